"""Writing the answers of all arms to all questions, each kept as soon as it is whole.

Every answer depends on its key alone, not on what was written before it: so a comparison that was killed
and goes on gives what an undisturbed one gives. Nothing here knows a score: the sample is fixed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from blendin_local import __version__
from blendin_local.compare.answers import Answer, Answers, digest
from blendin_local.compare.arms import Arm, ArmModel, effective
from blendin_local.engine.conversation import Reply, begin_reply
from blendin_local.engine.interrupt import Interruptible, uninterrupted
from blendin_local.engine.language_model import LanguageModel, common_prefix
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Message, PromptFormat, make_prompt
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
    "described",
    "settings_for",
    "versions",
    "write_answers",
]

TOO_LONG = "prompt too long"
"""Why there is no answer: the prompt alone overflows a context."""

_FORMAT = 1
# Words that begin questions: a token of "a space and a word" must not count as shared up to its space.
_PROBES = ("0", "Z", "The", "the", "is")

Load = Callable[[tuple[ArmModel, ...], ModelOptions], Pair]
"""Loads one model alone, or base and guide; whoever calls closes the pair."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task with the questions that were drawn for it. name: no other task of the comparison has it."""

    name: str
    task: Task
    items: tuple[Item, ...]
    source: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ArmProgress:
    """How far one arm is, over all tasks. left_s: seconds left for this arm, None before its first answer."""

    arm: str
    task: str
    done: int
    total: int
    left_s: float | None


Progress = Callable[[ArmProgress], None]


def settings_for(arm: Arm, run: TaskRun, item: Item, seed: int) -> GenerationSettings:
    """An arm's settings for one question: its length is the task's; its random numbers are its own.

    The same for all arms, so that under a temperature arms differ by what they are, not by luck.
    """
    own = digest({"seed": seed, "messages": _plain(item.messages)})
    return replace(arm.settings, max_tokens=run.max_tokens, seed=int(own[:12], 16))


def described(models: Sequence[ArmModel]) -> list[dict[str, Any]]:
    """What of models decides an answer: their bytes, and how they are asked."""
    return [{"sha256": model.sha256, "format": asdict(model.format)} for model in models]


def versions() -> dict[str, str]:
    """What an answer owes to the programs that made it."""
    from blendin_local.llamacpp.library import version

    return {"blendin_local": __version__, "llama_cpp_python": version}


def answer_key(arm: Arm, item: Item, settings: GenerationSettings, options: ModelOptions) -> str:
    """The name under which an answer is kept: all that decides it, and nothing that does not.

    Settings that have no effect under the arm's method are left out, and so is the seed where no random
    number is drawn: a comparison that is extended must not ask again what it knows.
    """
    return digest(
        {
            "format": _FORMAT,
            "versions": versions(),
            "alone": not arm.is_pair,
            "models": described(arm.models),
            "messages": _plain(item.messages),
            "blend": dict(effective(settings.blend)),
            "sampling": asdict(settings.sampling),
            "max_tokens": settings.max_tokens,
            "stop": settings.stop,
            "seed": settings.seed if settings.sampling.temperature > 0 else None,
            "options": asdict(options),
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
    """The answers by (arm, task, question), those that are not kept yet written by the models.

    Models are loaded once for all arms that need them, and only where an answer is missing. Raises
    KeyboardInterrupt at Ctrl-C, with every finished answer kept; ModelError if a model fails.
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
        with _closing(load(models, options)) as pair:
            writer = _Writer(pair, interruptible, tell_peak)
            for arm in group:
                clock = _Clock(arm.name, total, len(missing[arm.name]), progress)
                writer.peak.reset()
                for run, item, settings, key in missing[arm.name]:
                    clock.tell(run.name)
                    answer = writer.write(arm, item, settings)
                    answers.keep_answer(key, answer)
                    found[arm.name, run.name, item.id] = answer
                    clock.count(run.name)
    return found


def _questions(runs: Iterable[TaskRun]) -> Iterator[tuple[TaskRun, Item]]:
    return ((run, item) for run in runs for item in run.items)


def _groups(arms: Iterable[Arm]) -> dict[tuple[ArmModel, ...], list[Arm]]:
    """Arms by the models that they need in memory: a model alone is loaded alone, which also tells its
    memory. Formats are the arm's, not the file's.
    """
    groups: dict[tuple[str, ...], list[Arm]] = {}
    for arm in arms:
        groups.setdefault(tuple(model.sha256 for model in arm.models), []).append(arm)
    return {group[0].models: group for group in groups.values()}


@contextmanager
def _closing(pair: Pair) -> Iterator[Pair]:
    try:
        yield pair
    finally:
        pair.close()


class _Clock:
    """Tells how far an arm is, and how long the rest will take at the pace of its answers so far."""

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
    """Writes answers with a loaded pair, each from the same state of its models."""

    def __init__(self, pair: Pair, interruptible: Interruptible, tell_peak: bool) -> None:
        self._pair = pair
        self._interruptible = interruptible
        self._tell_peak = tell_peak
        self._beginnings = {id(model): _Beginning(model) for model in (pair.base, pair.guide)}
        self.peak = PeakMemory()

    def write(self, arm: Arm, item: Item, settings: GenerationSettings) -> Answer:
        """Raises KeyboardInterrupt where the reply was cancelled."""
        base, guide = (arm.models * 2)[:2]
        formats: dict[Role, PromptFormat] = {"base": base.format, "guide": guide.format}
        try:
            self._beginnings[id(self._pair.base)].restore(base.format, item.messages)
            if arm.is_pair and settings.blend.may_consult:
                self._beginnings[id(self._pair.guide)].restore(guide.format, item.messages)
            reply = begin_reply(self._pair, formats, item.messages, settings)
        except PromptError:
            # One question that does not fit must not end the comparison.
            return Answer("", TOO_LONG, Summary().as_dict(), {}, {})
        return self._followed(reply, settings)

    def _followed(self, reply: Reply, settings: GenerationSettings) -> Answer:
        ranks, masses = [], []
        unsure_below = _unsure_below(settings.blend)
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


def _unsure_below(blend: BlendSettings) -> float:
    """The confidence under which ranks count. Where no threshold acts it is the usual one, not the settings'
    own, on which an answer must not depend.
    """
    return threshold(blend if METHODS[blend.method].trigger == "uncertain" else BlendSettings())


class _Beginning:
    """What all questions of a task begin with, decoded once for all of them.

    Reusing whatever the last question left would be as fast, but what a decode gives depends in its last
    digits on how the tokens are cut into batches, and a near tie on those: an answer would depend on its
    neighbours. So a sequence goes back to exactly the shared beginning, which is always decoded by itself.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._decoded: list[int] = []
        self._known: dict[tuple[PromptFormat, tuple[Message, ...]], list[int]] = {}

    def restore(self, form: PromptFormat, messages: Sequence[Message]) -> None:
        """Let the first sequence hold the beginning and nothing else. Raises PromptError."""
        beginning = self._shared(form, messages)
        cached = list(self._model.cached(0)[: len(beginning)])
        holds = beginning and cached == beginning == self._decoded
        if holds and self._model.rewind(0, len(beginning)) == len(beginning):
            return
        self._model.rewind(0, 0)
        self._decoded = beginning
        if beginning:
            self._model.advance({0: beginning})

    def _shared(self, form: PromptFormat, messages: Sequence[Message]) -> list[int]:
        """Tokens that the prompt begins with whatever is asked last."""
        *before, last = messages
        key = form, tuple(before)
        if key not in self._known:
            asked = [
                make_prompt(self._model, form, [*before, Message(last.role, text)]).tokens for text in _PROBES
            ]
            shared = asked[0][: min(common_prefix(asked[0], other) for other in asked)]
            self._known[key] = shared if len(shared) < self._model.n_ctx else []
        return self._known[key]
