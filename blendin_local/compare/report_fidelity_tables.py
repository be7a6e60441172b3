"""The fidelity figures of quantizations, in the order and words of llama.cpp's perplexity tool."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from blendin_local.presentation.formatting import NOTHING, Document, line, number, percent, size
from blendin_local.presentation.table import Column, Row, Table, rows_of

__all__ = ["fidelity_table", "overview_table"]

_KLD = (
    ("Mean KLD", "mean"),
    ("Maximum KLD", "max"),
    ("99.9% KLD", "p999"),
    ("99.0% KLD", "p99"),
    ("95.0% KLD", "p95"),
    ("90.0% KLD", "p90"),
    ("Median KLD", "median"),
    ("10.0% KLD", "p10"),
    ("5.0% KLD", "p5"),
    ("1.0% KLD", "p1"),
    ("0.1% KLD", "p01"),
    ("Minimum KLD", "min"),
)
_DELTA = (
    ("Mean Δp", "mean"),
    ("Maximum Δp", "max"),
    ("99.9% Δp", "p999"),
    ("99.0% Δp", "p99"),
    ("95.0% Δp", "p95"),
    ("90.0% Δp", "p90"),
    ("75.0% Δp", "p75"),
    ("Median Δp", "median"),
    ("25.0% Δp", "p25"),
    ("10.0% Δp", "p10"),
    ("5.0% Δp", "p5"),
    ("1.0% Δp", "p1"),
    ("0.1% Δp", "p01"),
    ("Minimum Δp", "min"),
    ("RMS Δp", "rms"),
)


def overview_table(result: Document) -> Table | None:
    """One row for each model, by size: what a quantization costs and saves."""
    models = sorted(result.get("fidelity") or [], key=lambda each: -(each.get("size_bytes") or 0))
    if not models:
        return None
    rows = []
    for each in models:
        kld, delta = each.get("kld") or {}, each.get("delta_p") or {}
        is_reference = each.get("model") == each.get("reference")
        cells = (
            line(each.get("model")),
            size(each.get("size_bytes")),
            size(each.get("peak_memory")),
            number(each.get("tokens_per_second"), 1),
            number(each.get("bits_per_byte"), 4),
            number(each.get("perplexity"), 3),
            number(kld.get("mean"), 5),
            percent(delta.get("rms"), 2),
            percent(each.get("same_top"), 2),
        )
        rows.append(Row(cells, "reference" if is_reference else ""))
    columns = (
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
    explained = ("bits per byte", "PPL", "KLD", "Δp", "same top", "peak memory")
    table = Table("Fidelity of quantizations", columns, tuple(rows), _bytes(models), explained)
    return table.without_empty(NOTHING)


def _bytes(models: list[Document]) -> str:
    """Over what text bits per byte are: the same for all models, but for characters cut in two."""
    sizes = [each["bytes"] for each in models if each.get("bytes") is not None]
    if not sizes:
        return ""
    least, most = min(sizes), max(sizes)
    said = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"Bits per byte are over the same {said} bytes of the text."


def fidelity_table(result: Document) -> Table | None:
    """One column for each model that was held against the reference, one row for each figure."""
    models = [each for each in result.get("fidelity") or [] if each.get("kld") or each.get("ppl_ratio")]
    if not models:
        return None
    lines = list(_lines(models))
    columns = (Column("figure", right=False), *(Column(line(each.get("model"))) for each in models))
    shown = [row for row in lines if any(cell != NOTHING for cell in row[1:])]
    title = f"Against the reference {line(models[0].get('reference'))}"
    explained = ("PPL", "KLD", "Δp", "same top")
    return Table(title, columns, rows_of(shown), _note(models[0]), explained)


def _lines(models: list[Document]) -> Iterator[tuple[str, ...]]:
    """The perplexity tool's lines; Q is a model, its "base" is called the reference here."""

    def row(label: str, cell: Any) -> tuple[str, ...]:
        return (label, *(cell(each) for each in models))

    yield row("Mean PPL(Q)", lambda m: _with_error(m.get("perplexity"), m.get("perplexity_se"), 4))
    yield row(
        "Mean PPL(reference)",
        lambda m: _with_error(m.get("reference_perplexity"), m.get("reference_perplexity_se"), 4),
    )
    yield row("Cor(ln PPL(Q), ln PPL(reference))", lambda m: _percents(m.get("correlation"), None, 2))
    yield row("Mean ln(PPL(Q)/PPL(reference))", _log_ratio)
    yield row(
        "Mean PPL(Q)/PPL(reference)", lambda m: _with_error(m.get("ppl_ratio"), m.get("ppl_ratio_se"), 4)
    )
    yield row(
        "Mean PPL(Q)-PPL(reference)",
        lambda m: _with_error(m.get("ppl_difference"), m.get("ppl_difference_se"), 4),
    )
    yield row(
        "Bits per byte (Q)", lambda m: _with_error(m.get("bits_per_byte"), m.get("bits_per_byte_se"), 4)
    )
    for label, key in _KLD:
        yield row(label, lambda m, key=key: _of(m.get("kld"), key, _small))
    for label, key in _DELTA:
        yield row(label, lambda m, key=key: _of(m.get("delta_p"), key, _percents))
    yield row("Same top p", lambda m: _percents(m.get("same_top"), m.get("same_top_se")))


def _log_ratio(model: Document) -> str:
    """The tool's ± of the ratio is the ratio times that of its logarithm."""
    ratio, error = model.get("ppl_ratio"), model.get("ppl_ratio_se")
    if not ratio:
        return NOTHING
    return _with_error(math.log(ratio), None if error is None else error / ratio, 6)


def _of(found: Any, key: str, shown: Any) -> str:
    figures = found or {}
    return str(shown(figures.get(key), figures.get(f"{key}_se")))


def _with_error(value: float | None, error: float | None, decimals: int) -> str:
    if value is None or error is None:
        return number(value, decimals)
    return f"{number(value, decimals)} ± {number(error, decimals)}"


def _small(value: float | None, error: float | None = None) -> str:
    """Six decimals, as the tool prints divergences."""
    return _with_error(value, error, 6)


def _percents(value: float | None, error: float | None = None, decimals: int = 3) -> str:
    """A fraction of 1, in percents and with its error in percent points."""
    if value is None:
        return NOTHING
    shown = number(value * 100, decimals)
    return f"{shown}%" if error is None else f"{shown} ± {number(error * 100, decimals)}%"


def _note(model: Document) -> str:
    parts = []
    if model.get("positions") is not None:
        parts.append(f"{model['positions']:,} tokens scored")
    if model.get("chunks") is not None:
        parts.append(f"{model['chunks']:,} chunks")
    if model.get("n_ctx") is not None:
        parts.append(f"context {model['n_ctx']}")
    return f"{', '.join(parts)}; ± is one standard error." if parts else ""
