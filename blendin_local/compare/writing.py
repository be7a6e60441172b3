"""Write the answers of all arms to all questions, and cache each as soon as it is finished.

Every answer depends on its key alone, not on the answers before it, so a resumed comparison gives the same
answers as an uninterrupted one. The sample is fixed before, independent of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from blendin_local import __version__
from blendin_local.compare.answers import Answer, Answers, digest
from blendin_local.compare.arms import Arm, ArmModel, effective
from blendin_local.compare.shared_prompt import SharedPrompt
from blendin_local.engine.conversation import Reply, begin_reply
from blendin_local.engine.interrupt import Interruptible, uninterrupted
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Message, PromptFormat
from blendin_local.engine.steps import Summary
from blendin_local.engine.trigger import threshold
from blendin_local.errors import PromptError
from blendin_local.methods import METHODS
from blendin_local.models.peak_memory import PeakMemory
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.tasks.base import Item, Task

__all__ = [
    "TOO_LONG",
    "ArmProgress",
    "Load",
    "TaskRun",
    "answer_key",
    "model_identities",
    "settings_for",
    "versions",
    "write_answers",
]

TOO_LONG = "prompt too long"
"""Finish reason of an answer whose prompt alone overflows a context."""

_FORMAT = 1

Load = Callable[[tuple[ArmModel, ...], ModelOptions], Pair]
"""Loads a single model, or base and guide; the caller closes the pair."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task with its sampled questions. name: unique in the comparison."""

    name: str
    task: Task
    items: tuple[Item, ...]
    source: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ArmProgress:
    """Progress of one arm over all tasks. left_s: seconds left for it, None before its first answer."""

    arm: str
    task: str
    done: int
    total: int
    left_s: float | None


Progress = Callable[[ArmProgress], None]


def settings_for(arm: Arm, run: TaskRun, item: Item, seed: int) -> GenerationSettings:
    """Return an arm's settings for one question: the task's length, and a seed of the question's own.

    The seed is the same for all arms, so that sampled answers of arms are paired.
    """
    own = digest({"seed": seed, "messages": _plain(item.messages)})
    return replace(arm.settings, max_tokens=run.max_tokens, seed=int(own[:12], 16))


def model_identities(models: Sequence[ArmModel]) -> list[dict[str, Any]]:
    """Return the part of a key that identifies models: their digests, prompt formats, and options of their
    own.
    """
    return [
        {"sha256": model.sha256, "format": _plain_format(model.format)}
        | ({"options": dict(model.options)} if model.options else {})
        for model in models
    ]


def _plain_format(form: PromptFormat) -> dict[str, Any]:
    plain = asdict(form)
    return {name: plain[name] for name in plain if name not in ("variables", "head")} | form.additions


def versions() -> dict[str, str]:
    """Versions of the programs that answers depend on."""
    from blendin_local.llamacpp.library import version

    return {"blendin_local": __version__, "llama_cpp_python": version}


def answer_key(arm: Arm, item: Item, settings: GenerationSettings, options: ModelOptions) -> str:
    """Return the key of an answer: a digest of everything that it depends on.

    Settings without effect under the arm's method are left out, and so is the seed at temperature 0, so that
    an extended comparison reuses its answers.
    """
    return digest(
        {
            "format": _FORMAT,
            "versions": versions(),
            "alone": not arm.is_pair,
            "models": model_identities(arm.models),
            "messages": _plain(item.messages),
            "blend": dict(effective(settings.blend)),
            "sampling": asdict(settings.sampling),
            "max_tokens": settings.max_tokens,
            **({"max_thinking": settings.max_thinking} if any(m.format.marks for m in arm.models) else {}),
            "stop": settings.stop,
            "seed": settings.seed if settings.sampling.temperature > 0 else None,
            "options": options.to_dict(),
        }
    )


def _plain(messages: Iterable[Message]) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]


def write_answers(
    arms: Sequence[Arm],
    runs: Sequence[TaskRun],
    answers: Answers,
    load: Load,
    options: ModelOptions,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    interruptible: Interruptible = uninterrupted,
    tell_peak: bool = True,
) -> dict[tuple[str, str, str], Answer]:
    """Return the answers by (arm, task, question), and write those that are not cached.

    Models are loaded once for all arms that need them, and only if an answer is missing. Raises
    KeyboardInterrupt at Ctrl-C, ModelError if a model fails; finished answers stay cached.
    """
    found: dict[tuple[str, str, str], Answer] = {}
    missing: dict[str, list[tuple[TaskRun, Item, GenerationSettings, str]]] = {}
    for arm in arms:
        for run, item in _questions(runs):
            settings = settings_for(arm, run, item, seed)
            key = answer_key(arm, item, settings, options)
            if kept := answers.answer(key):
                found[arm.name, run.name, item.id] = kept
            else:
                missing.setdefault(arm.name, []).append((run, item, settings, key))
    total = sum(len(run.items) for run in runs)
    for models, group in _groups([arm for arm in arms if arm.name in missing]).items():
        with closing(load(models, options)) as pair:
            writer = _Writer(pair, interruptible, tell_peak)
            for arm in group:
                clock = _ArmTimer(arm.name, total, len(missing[arm.name]), progress)
                writer.peak.reset()
                for run, item, settings, key in missing[arm.name]:
                    clock.tell(run.name)
                    answer = writer.write(arm, item, settings)
                    answers.save_answer(key, answer)
                    found[arm.name, run.name, item.id] = answer
                    clock.count(run.name)
    return found


def _questions(runs: Iterable[TaskRun]) -> Iterator[tuple[TaskRun, Item]]:
    return ((run, item) for run in runs for item in run.items)


def _groups(arms: Iterable[Arm]) -> dict[tuple[ArmModel, ...], list[Arm]]:
    """Group arms by the files that they load; single models are loaded alone, to measure their memory."""
    groups: dict[tuple[str, ...], list[Arm]] = {}
    for arm in arms:
        groups.setdefault(tuple(model.sha256 for model in arm.models), []).append(arm)
    return {group[0].models: group for group in groups.values()}


class _ArmTimer:
    """Reports the progress of an arm, and the remaining time at the pace of its answers so far."""

    def __init__(self, arm: str, total: int, missing: int, progress: Progress | None) -> None:
        self._arm, self._total, self._left = arm, total, missing
        self._progress = progress
        self._written = 0
        self._began = perf_counter()

    def tell(self, task: str) -> None:
        if self._progress:
            pace = (perf_counter() - self._began) / self._written if self._written else None
            left_s = None if pace is None else pace * self._left
            self._progress(ArmProgress(self._arm, task, self._total - self._left, self._total, left_s))

    def count(self, task: str) -> None:
        self._written += 1
        self._left -= 1
        self.tell(task)


class _Writer:
    """Writes answers with a loaded pair, each from the same state of both caches."""

    def __init__(self, pair: Pair, interruptible: Interruptible, tell_peak: bool) -> None:
        self._pair = pair
        self._interruptible = interruptible
        self._tell_peak = tell_peak
        self._shared_prompts = {id(model): SharedPrompt(model) for model in (pair.base, pair.guide)}
        self.peak = PeakMemory()

    def write(self, arm: Arm, item: Item, settings: GenerationSettings) -> Answer:
        """Write one answer. Raises KeyboardInterrupt if the reply was cancelled."""
        base, guide = (arm.models * 2)[:2]
        formats: dict[Role, PromptFormat] = {"base": base.format, "guide": guide.format}
        try:
            self._shared_prompts[id(self._pair.base)].restore(base.format, item.messages)
            if arm.is_pair and settings.blend.may_consult:
                self._shared_prompts[id(self._pair.guide)].restore(guide.format, item.messages)
            reply = begin_reply(self._pair, formats, item.messages, settings)
        except PromptError:
            # A question that does not fit must not end the comparison.
            return Answer("", TOO_LONG, Summary().as_dict(), {}, {})
        return self._consume(reply, settings)

    def _consume(self, reply: Reply, settings: GenerationSettings) -> Answer:
        ranks, masses = [], []
        unsure_below = _rank_threshold(settings.blend)
        with self._interruptible(reply.cancel):
            for step in reply:
                if step.guide_rank is not None and step.c_b is not None and step.c_b < unsure_below:
                    ranks.append(step.guide_rank)
                    masses.append(step.mass_above or 0.0)
        if reply.finish_reason == "cancelled":
            raise KeyboardInterrupt
        summary = reply.summary
        return Answer(
            text=reply.text,
            finish_reason=str(reply.finish_reason),
            summary=summary.as_dict(),
            timings=asdict(summary.timings),
            counts={
                "words": summary.words,
                "guide_words": summary.guide_words,
                "changed": summary.changed,
                "dropped_messages": reply.dropped_messages,
            },
            ranks=tuple(ranks),
            masses=tuple(masses),
            peak_memory=self.peak.read() if self._tell_peak else None,
        )


def _rank_threshold(blend: BlendSettings) -> float:
    """Return the confidence below which ranks are recorded. Methods without a threshold take the default
    one, since their answers must not depend on the setting.
    """
    return threshold(blend if METHODS[blend.method].trigger == "uncertain" else BlendSettings())
