"""A comparison as CSV, for spreadsheets and scripts: plain numbers, fractions of 1 where a share is meant."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from blendin_local.presentation.formatting import Document
from blendin_local.safe_text import encodable

__all__ = ["compare_csv", "fidelity_csv"]

_ACTS = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets take text that begins so for a formula."""

_CELL = (
    "arm", "task", "n", "scored", "value", "interval_low", "interval_high",
    "against_base_difference", "against_base_low", "against_base_high", "against_base_p",
    "against_base_p_holm", "against_base_test",
    "against_guide_difference", "against_guide_low", "against_guide_high", "against_guide_p",
    "against_guide_p_holm", "against_guide_test",
    "against_reference_difference", "against_reference_low", "against_reference_high", "against_reference_p",
    "against_reference_p_holm", "against_reference_test",
    "options_value", "options_low", "options_high",
    "options_normalised", "options_normalised_low", "options_normalised_high", "shortened",
    "intervention_rate", "changed_rate", "guide_word_rate", "mean_alpha", "loop_share",
    "mean_tokens", "mean_bytes", "tokens_per_second",
    "rank_mean", "rank_median", "rank_top_10", "rank_top_50", "rank_top_100", "rank_top_90_mass",
)  # fmt: skip
_ARM = ("kind", "base", "guide", "method", "size_bytes", "peak_memory")


def compare_csv(result: Document) -> str:
    """One row for each arm and task; where there are no tasks, one for each model's fidelity, which else is
    a table of its own.
    """
    cells = result.get("cells") or []
    if not cells and result.get("fidelity"):
        return fidelity_csv(result)
    reasons = sorted({reason for cell in cells for reason in cell.get("finish_reasons") or {}})
    arms = {arm.get("name"): arm for arm in result.get("arms") or []}
    rows = []
    for cell in cells:
        arm = arms.get(cell.get("arm")) or {}
        sizes = [file.get("size_bytes") for file in arm.get("files") or []]
        known = {"size_bytes": sum(sizes) if sizes and None not in sizes else None}
        ended = {
            f"ended_by_{reason}": (cell.get("finish_reasons") or {}).get(reason, 0) for reason in reasons
        }
        rows.append(_flat(cell) | {name: {**arm, **known}.get(name) for name in _ARM} | ended)
    return _written([*_CELL, *_ARM, *(f"ended_by_{reason}" for reason in reasons)], rows)


def fidelity_csv(result: Document) -> str:
    """One row for each model and every figure that any of them has; kld_mean, delta_p_rms, ..."""
    rows: list[dict[str, Any]] = []
    for model in result.get("fidelity") or []:
        row: dict[str, Any] = {}
        for name, value in model.items():
            if isinstance(value, Mapping):
                row |= {f"{name}_{inner}": figure for inner, figure in value.items()}
            elif name not in ("kld", "delta_p"):
                row[name] = value
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row) or dict.fromkeys(("model", "reference"))
    return _written(list(names), rows)


def _flat(cell: Document) -> dict[str, Any]:
    flat = {name: cell.get(name) for name in _CELL}
    flat["interval_low"], flat["interval_high"] = _bounds(cell)
    for role in ("base", "guide", "reference"):
        found = (cell.get("against") or {}).get(role) or {}
        low, high = _bounds(found)
        flat |= {f"against_{role}_{name}": found.get(name) for name in ("difference", "p", "p_holm", "test")}
        flat |= {f"against_{role}_low": low, f"against_{role}_high": high}
    options = cell.get("options") or {}
    flat["options_value"] = options.get("value")
    flat["options_low"], flat["options_high"] = _bounds(options)
    by_bytes = options.get("normalised") or {}
    flat["options_normalised"] = by_bytes.get("value")
    flat["options_normalised_low"], flat["options_normalised_high"] = _bounds(by_bytes)
    flat |= {name: (cell.get("length") or {}).get(name) for name in ("mean_tokens", "mean_bytes")}
    flat |= {f"rank_{name}": value for name, value in (cell.get("guide_rank") or {}).items()}
    return {name: flat.get(name) for name in _CELL}


def _bounds(found: Document) -> tuple[float | None, float | None]:
    low, high = found.get("interval") or (None, None)
    return low, high


def _written(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(map(_plain, names))
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return target.getvalue()


def _plain(value: Any) -> Any:
    """Numbers as they are, nothing for null, and text that no spreadsheet runs."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = encodable(value).replace("\0", "")
    return f"'{text}" if text.startswith(_ACTS) else text
