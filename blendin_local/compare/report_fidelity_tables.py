"""Tabulate the fidelity of quantizations, in the order and terms of llama.cpp's perplexity tool."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from blendin_local.compare.result import CompareReport, FidelityRow
from blendin_local.presentation.formatting import NOTHING, line, number, percent, size
from blendin_local.presentation.table import Column, Table, TableRow, unmarked_rows

__all__ = ["fidelity_table", "overview_table"]

_KLD = (
    ("Mean", "mean"),
    ("Maximum", "max"),
    ("99.9%", "p999"),
    ("99.0%", "p99"),
    ("95.0%", "p95"),
    ("90.0%", "p90"),
    ("Median", "median"),
    ("10.0%", "p10"),
    ("5.0%", "p5"),
    ("1.0%", "p1"),
    ("0.1%", "p01"),
    ("Minimum", "min"),
)
_DELTA = (*_KLD[:6], ("75.0%", "p75"), _KLD[6], ("25.0%", "p25"), *_KLD[7:], ("RMS", "rms"))
_COLUMNS = (
    Column("model", right=False),
    Column("on disk"),
    Column("peak memory", rank=3),
    Column("tokens/s", rank=2),
    Column("bits per byte", rank=1),
    Column("PPL", rank=5),
    Column("mean KLD"),
    Column("RMS Δp", rank=4),
    Column("same top"),
)


def overview_table(result: CompareReport) -> Table | None:
    """Tabulate one row for each model, the largest file first; None without a text."""
    models = sorted(result.fidelity, key=lambda each: -each.size_bytes)
    if not models:
        return None
    rows = []
    for each in models:
        cells = (
            line(each.model),
            size(each.size_bytes),
            size(each.peak_memory),
            number(each.tokens_per_second, 1),
            number(each.bits_per_byte, 4),
            number(each.perplexity, 3),
            number(each.mean_kld, 5),
            percent(each.delta_p["rms"] if each.delta_p else None, 2),
            percent(each.same_top, 2),
        )
        rows.append(TableRow(cells, "reference" if each.model == each.reference else ""))
    explained = ("bits per byte", "PPL", "KLD", "Δp", "same top", "peak memory")
    table = Table("Fidelity of quantizations", _COLUMNS, tuple(rows), _bytes(models), explained)
    return table.without_empty(NOTHING)


def _bytes(models: Sequence[FidelityRow]) -> str:
    """Return the bytes that bits per byte are over: the same for all models, but for characters cut in
    two.
    """
    least, most = min(each.bytes for each in models), max(each.bytes for each in models)
    said = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"Bits per byte are over the same {said} bytes of the text."


def fidelity_table(result: CompareReport) -> Table | None:
    """Tabulate one column for each model with the reference's vocabulary, one row for each figure."""
    models = [each for each in result.fidelity if each.kld]
    if not models:
        return None
    shown = [row for row in _lines(models) if any(cell != NOTHING for cell in row[1:])]
    columns = (Column("figure", right=False), *(Column(line(each.model)) for each in models))
    title = f"Against the reference {line(models[0].reference)}"
    note = (
        f"{models[0].positions:,} tokens scored, {models[0].chunks:,} chunks, context {models[0].n_ctx}; "
        "± is one standard error."
    )
    return Table(title, columns, unmarked_rows(shown), note, ("PPL", "KLD", "Δp", "same top"))


def _lines(models: Sequence[FidelityRow]) -> Iterator[tuple[str, ...]]:
    """Yield the perplexity tool's lines; Q is a model, its "base" is called the reference here."""

    def row(label: str, cell: Callable[[FidelityRow], str]) -> tuple[str, ...]:
        return (label, *map(cell, models))

    def figure(label: str, name: str) -> tuple[str, ...]:
        return row(label, lambda m: _with_error(getattr(m, name), getattr(m, f"{name}_se"), 4))

    yield figure("Mean PPL(Q)", "perplexity")
    yield figure("Mean PPL(reference)", "reference_perplexity")
    yield row("Cor(ln PPL(Q), ln PPL(reference))", lambda m: _percents(m.correlation, None, 2))
    yield row("Mean ln(PPL(Q)/PPL(reference))", _log_ratio)
    yield figure("Mean PPL(Q)/PPL(reference)", "ppl_ratio")
    yield figure("Mean PPL(Q)-PPL(reference)", "ppl_difference")
    yield figure("Bits per byte (Q)", "bits_per_byte")
    for name, key in _KLD:
        # Six decimals, as the tool prints divergences.
        yield (f"{name} KLD", *(_with_error(*_of(each.kld, key), 6) for each in models))
    for name, key in _DELTA:
        yield (f"{name} Δp", *(_percents(*_of(each.delta_p, key)) for each in models))
    yield row("Same top p", lambda m: _percents(m.same_top, m.same_top_se))


def _log_ratio(model: FidelityRow) -> str:
    """Return ln(PPL ratio) with its error: the error of the ratio, divided by the ratio."""
    ratio, error = model.ppl_ratio, model.ppl_ratio_se
    if not ratio:
        return NOTHING
    return _with_error(math.log(ratio), None if error is None else error / ratio, 6)


def _of(figures: Mapping[str, float | None] | None, key: str) -> tuple[float | None, float | None]:
    """Return a figure and its standard error."""
    found = figures or {}
    return found.get(key), found.get(f"{key}_se")


def _with_error(value: float | None, error: float | None, decimals: int) -> str:
    if value is None or error is None:
        return number(value, decimals)
    return f"{number(value, decimals)} ± {number(error, decimals)}"


def _percents(value: float | None, error: float | None = None, decimals: int = 3) -> str:
    """Format a fraction of 1 in percent, with its error in percentage points."""
    if value is None:
        return NOTHING
    shown = number(value * 100, decimals)
    return f"{shown}%" if error is None else f"{shown} ± {number(error * 100, decimals)}%"
