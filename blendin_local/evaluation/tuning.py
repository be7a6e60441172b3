"""The result of `tune` as one document: what was read, what it cost, and all that follows from it."""

from __future__ import annotations

import platform
from dataclasses import replace
from time import perf_counter
from typing import Any

from blendin_local import __version__
from blendin_local.catalogue import PairEntry
from blendin_local.errors import EvaluationError
from blendin_local.evaluation.diagnosis import analyse
from blendin_local.evaluation.passes import Measured
from blendin_local.evaluation.pricing import halves, setting_of
from blendin_local.steps import HINT_RATE

__all__ = ["describe", "machine", "tuned_entry"]


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

    Whatever the grid does not vary stays as it is in `entry`. Raises EvaluationError without curves.
    """
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
    return replace(entry, name=name, blend=replace(entry.blend, **changes), calibration=curves)
