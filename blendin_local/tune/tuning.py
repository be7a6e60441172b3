"""Build the report of a pass over reference answers, and the tuned entry of the catalogue."""

from __future__ import annotations

import platform
from dataclasses import fields, replace
from time import perf_counter
from typing import Any

from blendin_local import __version__
from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.files import local_path
from blendin_local.models.entries import PairEntry
from blendin_local.tune.diagnosis import LEAST_EXAMPLES, analyse
from blendin_local.tune.passes import Measured
from blendin_local.tune.result import Analysis, PairInfo, References, TuneReport
from blendin_local.tune.setting_scores import halves

__all__ = ["describe", "machine", "portable", "tuned_entry"]


def describe(
    measured: Measured,
    *,
    pair: dict[str, Any],
    source: str,
    seed: int,
    versions: dict[str, str],
    hint_level: float = HINT_RATE,
) -> TuneReport:
    """Analyse a finished pass. Raises EvaluationError for a record without text."""
    record = measured.record
    begun = perf_counter()
    analysis = analyse(record, measured.costs, seed=seed, hint_level=hint_level)
    seconds = perf_counter() - begun
    references = References(
        source,
        examples=record.examples,
        positions=len(record),
        bytes=int(record.bytes.sum()),
        skipped=len(measured.skipped),
        held_out_examples=len(halves(record.examples, seed)[1]),
        seed=seed,
    )
    return TuneReport(
        **{field.name: getattr(analysis, field.name) for field in fields(Analysis)},
        pair=PairInfo(**pair),
        references=references,
        costs=measured.costs,
        seconds={"pass": measured.seconds, "analysis": seconds},
        versions=versions,
    )


def machine(llama_cpp_python: str) -> dict[str, str]:
    """Versions and hardware, to report with the figures."""
    return {
        "blendin_local": __version__,
        "llama_cpp_python": llama_cpp_python,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }


def tuned_entry(entry: PairEntry, result: TuneReport, name: str) -> PairEntry:
    """Return the pair under `name`, with the recommended setting and both calibration curves.

    Settings that the grid does not vary stay as in `entry`. Raises EvaluationError if there were too few
    answers to choose a setting or to calibrate.
    """
    references = result.references
    if references.held_out_examples < LEAST_EXAMPLES:
        raise EvaluationError(
            f"{references.examples} answers are too few to tune a pair by, so nothing was saved: "
            f"score at least {2 * LEAST_EXAMPLES} (--data, --max-tokens)."
        )
    chosen = result.recommendation.setting.setting
    changes = {key: value for key, value in chosen.as_dict().items() if value is not None}
    curves = {}
    for role in ("base", "guide"):
        curve = result.calibration[role].curve
        if not curve.confidences:
            raise EvaluationError(
                f"There is too little data for a calibration curve of the {role}: use more."
            )
        curves[role] = curve.confidences, curve.reliabilities
    return replace(
        entry,
        name=name,
        base=portable(entry.base),
        guide=portable(entry.guide),
        blend=replace(entry.blend, **changes),
        calibration=curves,
    )


def portable(model: str) -> str:
    """Return a model's name, or the absolute path of its file, which is valid in any folder."""
    path = local_path(model)
    return str(path.absolute()) if path.is_file() else model
