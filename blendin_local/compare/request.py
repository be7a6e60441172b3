"""Request a comparison, and prepare it: read and check all inputs before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from blendin_local.compare.answers import Answers
from blendin_local.compare.arms import ArmModel, ArmSpec, find_model, make_arms
from blendin_local.compare.judging import CachedJudge, make_judge
from blendin_local.compare.loading import load_models, offloads, options_with
from blendin_local.compare.result import CompareReport
from blendin_local.compare.run import Comparison, compare, draw_tasks
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.compare.writing import Load
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.pair import Pair
from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.models import memory_estimate
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.checksums import file_digest, model_files
from blendin_local.models.loading import interruptible_load
from blendin_local.presentation.progress_display import hash_progress
from blendin_local.progress import Progress, Watcher
from blendin_local.settings import ModelOptions
from blendin_local.tasks import describe_left_out

__all__ = ["CompareRequest", "CompareResult", "PreparedComparison", "prepare"]

_LONGEST_TEXT = 1 << 28  # bytes; a device such as /dev/zero never ends


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """A request for a comparison. hint_level: the intervention rate above which a hint is given."""

    arms: tuple[ArmSpec, ...]
    tasks: tuple[TaskSpec, ...] = ()
    settings: RunSettings = field(default_factory=RunSettings)
    options: ModelOptions = field(default_factory=ModelOptions)
    hint_level: float = HINT_RATE


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The report of a comparison (docs/compare.md), including every answer."""

    report: CompareReport

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `blendin compare --json` prints."""
        return self.report.to_dict()

    def to_markdown(self) -> str:
        """Return the report as Markdown tables."""
        from blendin_local.compare.report_text import compare_markdown

        return compare_markdown(self.report)

    def to_html(self) -> str:
        """Return an offline HTML page with plots. Raises EvaluationError without the extra "report"."""
        from blendin_local.compare.report_page import compare_page

        return compare_page(self.report)


@dataclass(frozen=True, slots=True)
class PreparedComparison:
    """A comparison with checked files and sampled questions."""

    comparison: Comparison
    judge: CachedJudge | None
    load: Load

    @property
    def model_files(self) -> list[Path]:
        """Return the files of all models."""
        models = (model.header.path for arm in self.comparison.arms for model in arm.models)
        return [part for path in models for part in model_files(path)]

    def run(self, answers: Answers, watcher: Watcher) -> CompareResult:
        """Compute what is not cached. Raises KeyboardInterrupt at Ctrl-C; finished answers stay cached."""
        with closing(self.judge) if self.judge else nullcontext():
            report = compare(
                self.comparison,
                answers,
                self.load,
                judge=self.judge.score if self.judge else None,
                watcher=watcher,
                interruptible=interrupting,
                tell_peak=not offloads(
                    self.comparison.options, (model for arm in self.comparison.arms for model in arm.models)
                ),
            )
        return CompareResult(report)


def prepare(
    request: CompareRequest, catalogue: Catalogue, answers: Answers, watcher: Watcher
) -> PreparedComparison:
    """Find and check everything that a comparison needs, the slowest checks last.

    Raises a BlendinError for a wrong arm, task, text or judge.
    """
    settings = request.settings
    # Options of one model are part of the arms' models.
    options = replace(request.options, base_options={}, guide_options={})
    runs = draw_tasks(request.tasks, settings)
    for each in runs:
        if lost := describe_left_out(each.task, each.source):
            watcher.warn(lost)
    text = _read_text(settings.text) if settings.text else b""
    identify = partial(file_digest, progress=hash_progress(watcher))
    load = _loader(watcher)
    judge = make_judge(settings, runs, answers, load, options, partial(find_model, catalogue, identify))
    arms = make_arms(request.arms, catalogue, identify, request.options)
    comparison = Comparison.of(arms, runs, settings, options, text, request.hint_level)
    return PreparedComparison(comparison, judge, load)


def _loader(watcher: Watcher) -> Callable[[tuple[ArmModel, ...], ModelOptions], Pair]:
    def load(models: tuple[ArmModel, ...], options: ModelOptions) -> Pair:
        both = options_with(models, options)
        each = (both.of("base"), both.of("guide"))
        estimates = (
            memory_estimate.estimate(model.header, own) for model, own in zip(models, each, strict=False)
        )
        if warning := memory_estimate.warning(*estimates):
            watcher.warn(warning)
        name = " + ".join(model.name or model.header.label for model in models)
        return interruptible_load(
            lambda report: load_models(models, options, report),
            lambda role, share: watcher.progress(
                Progress(f"loading {name} ({role})", round(100 * share), 100, "%")
            ),
        )

    return load


def _read_text(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST_TEXT + 1)
        text.decode("utf-8")
    except OSError as error:
        raise EvaluationError(f"The text {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"The text {path} is not UTF-8 at byte {error.start}: convert it.") from error
    if len(text) > _LONGEST_TEXT:
        raise EvaluationError(f"The text {path} is longer than {_LONGEST_TEXT:,} bytes: give a part of it.")
    if not text:
        raise EvaluationError(f"The text {path} is empty.")
    return text
