"""Run a comparison: answers, likelihoods, figures on a text, judgements, and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter

from blendin_local.compare.across import across_pairs, families
from blendin_local.compare.answers import Answer, Answers
from blendin_local.compare.arms import Arm, ArmModel
from blendin_local.compare.likelihoods import choose
from blendin_local.compare.quantizations import compare_quantizations, reference_of, singles
from blendin_local.compare.reading import answer_rows, disagreements
from blendin_local.compare.result import ArmInfo, CompareReport, FidelityRow, ModelFile, TaskInfo
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.compare.summary import Choices, Results, summarise
from blendin_local.compare.writing import (
    TOO_LONG,
    ArmProgress,
    Load,
    TaskRun,
    versions,
    write_answers,
)
from blendin_local.engine.interrupt import Interruptible, uninterrupted
from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.progress import Progress, Watcher
from blendin_local.settings import ModelOptions
from blendin_local.tasks import chance, find_task, load_items
from blendin_local.tasks.base import Item, Score, Task

__all__ = ["Comparison", "compare", "draw_tasks"]

Scorer = Callable[[TaskRun, Item, Answer], Score]
"""Returns a judge's score of an answer."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A checked comparison. text: for the fidelity of models, b"" for none.

    reference: the reference model; None without a text. hint_level: the intervention rate above which a hint
    is given.
    """

    arms: tuple[Arm, ...]
    runs: tuple[TaskRun, ...]
    settings: RunSettings = field(default_factory=RunSettings)
    options: ModelOptions = field(default_factory=ModelOptions)
    text: bytes = b""
    reference: ArmModel | None = None
    hint_level: float = HINT_RATE

    @classmethod
    def of(
        cls,
        arms: tuple[Arm, ...],
        runs: tuple[TaskRun, ...],
        settings: RunSettings,
        options: ModelOptions,
        text: bytes = b"",
        hint_level: float = HINT_RATE,
    ) -> Comparison:
        """Raises EvaluationError if there is neither task nor text, or the reference is unknown."""
        if not runs and not text:
            raise EvaluationError(
                "There is nothing to compare by: give a task (--task NAME --data FILE), or a --text."
            )
        reference = reference_of(singles(arms), settings.reference) if text else None
        return cls(arms, runs, settings, options, text, reference, hint_level)


def draw_tasks(specs: Sequence[TaskSpec], settings: RunSettings) -> tuple[TaskRun, ...]:
    """Load all tasks and draw their questions, before any model is loaded. Raises EvaluationError."""
    drawn: list[TaskRun] = []
    for spec in specs:
        task = find_task(spec.name)
        limit = settings.limit if spec.limit is None else spec.limit
        items = load_items(
            task,
            spec.data,
            shots=settings.shots if spec.shots is None else spec.shots,
            limit=limit or None,
            seed=settings.seed,
        )
        if settings.system is not None:
            items = [replace(item, messages=_with_system(item.messages, settings.system)) for item in items]
        longest = spec.max_tokens or settings.max_tokens or task.max_tokens
        drawn.append(TaskRun(task.name, task, tuple(items), spec.data, longest))
    return tuple(replace(run, name=name) for run, name in zip(drawn, _names(drawn), strict=True))


def _with_system(messages: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    rest = tuple(message for message in messages if message.role != "system")
    return (Message("system", system), *rest) if system.strip() else rest


def _names(runs: Sequence[TaskRun]) -> list[str]:
    """Make task names distinct by the file, then by a number."""
    from pathlib import PurePath

    names = [run.name for run in runs]
    named = [
        f"{run.name} {PurePath(run.source).stem}" if names.count(run.name) > 1 else run.name for run in runs
    ]
    return [
        name if named.count(name) == 1 else f"{name} ({named[:index].count(name) + 1})"
        for index, name in enumerate(named)
    ]


def compare(
    comparison: Comparison,
    answers: Answers,
    load: Load,
    *,
    judge: Scorer | None = None,
    watcher: Watcher | None = None,
    interruptible: Interruptible = uninterrupted,
    tell_peak: bool = True,
) -> CompareReport:
    """Compute everything that is not cached, and report it.

    Raises KeyboardInterrupt at Ctrl-C, ModelError or EvaluationError if a model or a judge fails; finished
    answers stay cached.
    """
    began = perf_counter()
    watcher = watcher or Watcher()
    arms, runs, settings = comparison.arms, comparison.runs, comparison.settings
    # First, because this fails early for a text that is too short.
    fidelity = _fidelity(comparison, answers, load, watcher, tell_peak)
    written = write_answers(
        arms,
        runs,
        answers,
        load,
        comparison.options,
        seed=settings.seed,
        progress=lambda at: _tell_arm(watcher, at),
        interruptible=interruptible,
        tell_peak=tell_peak,
    )
    choices = _choices(comparison, answers, load, watcher)
    results = Results(written, _scores(arms, runs, written, judge, watcher), choices)
    cells = summarise(arms, runs, results)
    return CompareReport(
        arms=tuple(_arm(arm, results, runs) for arm in arms),
        tasks=tuple(map(_task, runs)),
        cells=cells,
        across=across_pairs(arms, runs, cells),
        disagreements=disagreements(arms, runs, results),
        seed=settings.seed,
        limit=settings.limit or None,
        max_tokens=settings.max_tokens,
        hint_level=comparison.hint_level,
        versions=versions(),
        fidelity=fidelity,
        seconds=perf_counter() - began,
        answers=answer_rows(arms, runs, results),
    )


def _tell_arm(watcher: Watcher, at: ArmProgress) -> None:
    if at.done == at.total and at.left_s is not None:
        watcher.log(f"{at.arm}: {at.total} questions answered")
    watcher.progress(Progress(f"{at.arm} · {at.task}", at.done, at.total, "questions", at.left_s))


def _tell_step(watcher: Watcher, work: str, done: int, total: int) -> None:
    watcher.log(work)
    watcher.progress(Progress(work, done, total))


def _fidelity(
    comparison: Comparison, answers: Answers, load: Load, watcher: Watcher, tell_peak: bool
) -> tuple[FidelityRow, ...]:
    if comparison.reference is None:
        return ()
    return compare_quantizations(
        singles(comparison.arms),
        comparison.reference,
        comparison.text,
        answers,
        load,
        comparison.options,
        n_ctx=comparison.settings.text_ctx,
        chunks=comparison.settings.chunks,
        progress=lambda what, done, total: _tell_step(watcher, f"text: {what}", done, total),
        tell_peak=tell_peak,
    )


def _choices(
    comparison: Comparison, answers: Answers, load: Load, watcher: Watcher
) -> dict[tuple[str, str], Choices]:
    if not comparison.settings.options:
        return {}

    def report(what: str, done: int, total: int) -> None:
        _tell_step(watcher, f"options: {what}", done, total)

    return choose(comparison.arms, comparison.runs, answers, load, comparison.options, report)


def _scores(
    arms: Sequence[Arm],
    runs: Sequence[TaskRun],
    written: Mapping[tuple[str, str, str], Answer],
    judge: Scorer | None,
    watcher: Watcher,
) -> dict[tuple[str, str, str], Score]:
    found = {}
    judged = sum(len(run.items) for run in runs if run.task.needs_judge) * len(arms)
    done = 0
    for run in runs:
        for arm in arms:
            for item in run.items:
                answer = written[arm.name, run.name, item.id]
                if answer.finish_reason == TOO_LONG:
                    score = Score(None, "", "the prompt does not fit the context")
                elif run.task.needs_judge and judge is not None:
                    _tell_step(watcher, "judge", done, judged)
                    score = judge(run, item, answer)
                    done += 1
                else:
                    score = run.task.score(item, answer.text)
                found[arm.name, run.name, item.id] = score
    return found


def _task(run: TaskRun) -> TaskInfo:
    task: Task = run.task
    return TaskInfo(
        run.name,
        task.name,
        source=run.source,
        items=len(run.items),
        metric=task.metric,
        scale=task.scale,
        chance=chance(run.items),
        max_tokens=run.max_tokens,
    )


def _arm(arm: Arm, results: Results, runs: Sequence[TaskRun]) -> ArmInfo:
    peaks = (answer.peak_memory for run in runs for answer in results.answers_of(arm, run))
    settings = asdict(arm.settings.blend) if arm.is_pair else {}
    settings |= asdict(arm.settings.sampling) | {"stop": list(arm.settings.stop)}
    return ArmInfo(
        arm.name,
        arm.kind,
        pair=arm.pair or None,
        base=arm.base.name if arm.base else None,
        guide=arm.guide.name if arm.guide else None,
        method=arm.method,
        settings=settings,
        files=tuple(
            ModelFile(
                "model" if arm.kind == "model" else role,
                model.name,
                path=str(model.header.path),
                size_bytes=model.header.size_bytes,
                quantization=model.header.quantization,
                fingerprint=model.sha256,
                format=model.format.name,
            )
            for role, model in (("base", arm.base), ("guide", arm.guide))
            if model is not None
        ),
        peak_memory=max((peak for peak in peaks if peak is not None), default=None),
        family=families(arm),
    )
