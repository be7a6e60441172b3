"""Write a comparison as CSV, for spreadsheets and scripts: plain numbers, shares as fractions of 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blendin_local.compare.result import Cell, CompareReport, OptionScores, PairedTest, ScoreInterval
from blendin_local.presentation.plain_data import to_plain
from blendin_local.safe_text import encodable

__all__ = ["compare_csv", "fidelity_csv"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets interpret text that begins so as a formula."""

_RANKS = ("mean", "median", "top_10", "top_50", "top_100", "top_90_mass")


def compare_csv(result: CompareReport) -> str:
    """Write one row for each arm and task; without tasks, the rows of `fidelity_csv`."""
    if not result.cells and result.fidelity:
        return fidelity_csv(result)
    reasons = sorted({reason for cell in result.cells for reason in cell.finish_reasons})
    rows = []
    for cell in result.cells:
        arm = result.arm(cell.arm)
        sizes = [file.size_bytes for file in arm.files]
        rows.append(
            _figures(cell)
            | {name: getattr(arm, name) for name in ("kind", "base", "guide", "method")}
            | {"size_bytes": sum(sizes) if sizes else None, "peak_memory": arm.peak_memory}
            | {f"ended_by_{reason}": cell.finish_reasons.get(reason, 0) for reason in reasons}
        )
    return _write_rows(rows, ("arm", "task"))


def fidelity_csv(result: CompareReport) -> str:
    """Write one row for each model, with nested figures as kld_mean, delta_p_rms and so on."""
    rows: list[dict[str, Any]] = []
    for model in result.fidelity:
        row: dict[str, Any] = {}
        for name, value in to_plain(model).items():
            if isinstance(value, Mapping):
                row |= {f"{name}_{inner}": figure for inner, figure in value.items()}
            elif name not in ("kld", "delta_p"):
                row[name] = value
        rows.append(row)
    return _write_rows(rows, ("model", "reference"))


def _figures(cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(cell, name) for name in ("arm", "task", "n", "scored", "value")}
    row |= _ends("interval", cell)
    for role in ("base", "guide", "reference"):
        test, prefix = cell.against.get(role), f"against_{role}"
        row[f"{prefix}_difference"] = test and test.difference
        row |= _ends(prefix, test)
        row |= {f"{prefix}_{name}": test and getattr(test, name) for name in ("p", "p_holm", "test")}
    options = cell.options
    by_bytes = options and options.normalised
    row |= {"options_value": options and options.value, **_ends("options", options)}
    row |= {"options_normalised": by_bytes and by_bytes.value, **_ends("options_normalised", by_bytes)}
    rates = ("intervention_rate", "changed_rate", "guide_word_rate", "mean_alpha", "loop_share")
    row |= {name: getattr(cell, name) for name in ("shortened", *rates)}
    row |= to_plain(cell.length) | {"tokens_per_second": cell.tokens_per_second}
    return row | {f"rank_{name}": cell.guide_rank and getattr(cell.guide_rank, name) for name in _RANKS}


def _ends(prefix: str, found: Cell | PairedTest | OptionScores | ScoreInterval | None) -> dict[str, Any]:
    low, high = (found and found.interval) or (None, None)
    return {f"{prefix}_low": low, f"{prefix}_high": high}


def _write_rows(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Write rows as CSV. names: the columns if there are no rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or list(names)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(map(_plain, columns))
    writer.writerows([_plain(row.get(name)) for name in columns] for row in rows)
    return target.getvalue()


def _plain(value: Any) -> Any:
    """Return numbers unchanged, "" for None, and text that spreadsheets do not interpret as a formula."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = encodable(value).replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
