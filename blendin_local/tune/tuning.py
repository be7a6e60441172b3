"""The result of `tune` as one document: what was read, what it cost, and all that follows from it."""

from __future__ import annotations

import platform
from dataclasses import replace
from time import perf_counter
from typing import Any

from blendin_local import __version__
from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.files import local_path
from blendin_local.models.entries import PairEntry
from blendin_local.tune.diagnosis import LEAST_EXAMPLES, analyse
from blendin_local.tune.passes import Measured
from blendin_local.tune.setting_scores import halves, setting_of

__all__ = ["describe", "machine", "portable", "tuned_entry"]


def describe(
    measured: Measured,
    *,
    pair: dict[str, Any],
    source: str,
    seed: int,
    versions: dict[str, str],
    hint_level: float = HINT_RATE,
) -> dict[str, Any]:
    """The document that `--json` prints (docs/tune.md). Raises EvaluationError for a record without text."""
    record = measured.record
    begun = perf_counter()
    analysis = analyse(record, measured.costs, seed=seed, hint_level=hint_level)
    seconds = perf_counter() - begun
    references = {
        "source": source,
        "examples": record.examples,
        "positions": len(record),
        "bytes": int(record.bytes.sum()),
        "skipped": len(measured.skipped),
        "held_out_examples": len(halves(record.examples, seed)[1]),
        "seed": seed,
    }
    return {
        "pair": pair,
        "references": references,
        **analysis,
        "costs": measured.costs.as_dict(),
        "seconds": {"pass": measured.seconds, "analysis": seconds},
        "versions": versions,
    }


def machine(llama_cpp_python: str) -> dict[str, str]:
    """What the figures were measured with."""
    return {
        "blendin_local": __version__,
        "llama_cpp_python": llama_cpp_python,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }


def tuned_entry(entry: PairEntry, result: dict[str, Any], name: str) -> PairEntry:
    """The pair under `name`, with the recommended setting and both calibration curves.

    Whatever the grid does not vary stays as it is in `entry`. Raises EvaluationError where there were too few
    answers to choose or to calibrate by.
    """
    references = result["references"]
    if references["held_out_examples"] < LEAST_EXAMPLES:
        raise EvaluationError(
            f"{references['examples']} answers are too few to tune a pair by, so nothing was saved: "
            f"score at least {2 * LEAST_EXAMPLES} (--data, --max-tokens)."
        )
    chosen = setting_of(result["recommendation"]["setting"])
    changes = {key: value for key, value in chosen.as_dict().items() if value is not None}
    curves = {}
    for role in ("base", "guide"):
        curve = result["calibration"][role]["curve"]
        if not curve["confidences"]:
            raise EvaluationError(
                f"There is too little data for a calibration curve of the {role}: use more."
            )
        curves[role] = (tuple(curve["confidences"]), tuple(curve["reliabilities"]))
    return replace(
        entry,
        name=name,
        base=portable(entry.base),
        guide=portable(entry.guide),
        blend=replace(entry.blend, **changes),
        calibration=curves,
    )


def portable(model: str) -> str:
    """A model as it is written down: the path of a file is made absolute, for commands run elsewhere."""
    path = local_path(model)
    return str(path.absolute()) if path.is_file() else model
