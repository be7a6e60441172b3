"""What a job came to, on stderr at its end: counts, how sure the answers are, and which to look at."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from blendin_local.batch.report_tables import (
    counted,
    headline,
    hints,
    how_sure,
    reliability_name,
    spread_line,
)
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.steps import WEAK_BELOW
from blendin_local.presentation.formatting import Document, line

__all__ = ["print_summary", "summary_parts"]

_PIPED = 100
"""Columns where nobody sees them."""
_LISTED = 10
_HEIGHT = 3
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LONGEST_ID = 24
_INDENT = 2


def print_summary(figures: Document) -> None:
    """Print the summary of a job's figures."""
    piped = not is_terminal(sys.stderr)
    width = _PIPED if piped else None
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        for part in summary_parts(figures):
            # Lines of a log are not broken; a table keeps to its width.
            console.print(part, soft_wrap=piped and isinstance(part, Text))
    for each in captured.get().splitlines():
        click.echo(each.rstrip(), err=True)


def summary_parts(figures: Document) -> list[RenderableType]:
    """Lines and tables for a terminal of any width, in their order."""
    parts: list[RenderableType] = [Text(f"{counted(figures)}. {headline(figures)}.", "bold")]
    if figures.get("answered"):
        parts.append(Text(" · ".join(f"{name} {value}" for name, value in how_sure(figures))))
        parts += _distribution(figures)
        parts.append(_counts("Ended by", figures.get("finish_reasons") or {}))
    if figures.get("errors"):
        parts.append(_counts("Failed", figures["errors"], "red"))
    parts += [Text(hint) for hint in hints(figures)]
    parts += _worth_a_look(figures)
    if figures.get("output"):
        parts.append(Text(f"Answers: {line(figures['output'])}"))
    return parts


def _counts(title: str, counts: Document, style: str = "") -> Text:
    return Text(f"{title}: {', '.join(f'{line(name)} {n:,}' for name, n in counts.items())}", style)


# How sure the answers are


def _distribution(figures: Document) -> Iterator[RenderableType]:
    spread = figures.get("reliability") or {}
    if not (said := spread_line(spread)):
        return
    yield Text()
    yield Text(f"Mean {reliability_name(figures)} of an answer: {said}")
    yield Padding(histogram(spread["histogram"]), (0, 0, 0, _INDENT), expand=False)
    yield Text()


def histogram(counted_bins: Document) -> Text:
    """Bins as columns of blocks over their scale; those of weak answers are yellow."""
    counts, edges = counted_bins["counts"], counted_bins["edges"]
    most, steps = max(counts) or 1, len(_BLOCKS) - 1
    # What is there at all is seen.
    heights = [math.ceil(count / most * _HEIGHT * steps) for count in counts]
    text = Text(no_wrap=True, overflow="crop")
    for row in reversed(range(_HEIGHT)):
        for height, edge in zip(heights, edges, strict=False):
            block = _BLOCKS[min(max(height - row * steps, 0), steps)]
            text.append(block * 2, "yellow" if edge < WEAK_BELOW else "green")
        text.append(f" peak {most:,}\n" if row == _HEIGHT - 1 else "\n", "dim")
    width = 2 * len(counts)
    marks = {0: "0", round(WEAK_BELOW * width): f"{WEAK_BELOW:g} (weak below)", width - 1: "1"}
    scale = ""
    for place, mark in marks.items():
        scale = scale.ljust(place) + mark
    return text.append(scale, "dim")


# Rows for a person


def _worth_a_look(figures: Document) -> Iterator[RenderableType]:
    found = figures.get("worth_a_look") or []
    if not found:
        if figures.get("rows"):
            yield Text("No row stands out.")
        return
    rows = figures.get("rows") or len(found)
    yield Text()
    yield Text(f"Worth a look: {len(found):,} of {rows:,} {'row' if rows == 1 else 'rows'}", "bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST_ID)
    grid.add_column(overflow="fold")
    for row in found[:_LISTED]:
        error = row.get("error") or {}
        why, said = (
            "; ".join(map(line, row.get("why") or ())),
            line(error.get("message") or row["text"] or ""),
        )
        lines: list[Text] = [Text(why, "red" if error else "yellow")]
        if said:
            lines.append(Text(said, "dim", no_wrap=True, overflow="ellipsis"))
        grid.add_row(Text(line(row["id"])), Group(*lines))
    yield Padding(grid, (0, 0, 0, _INDENT), expand=False)
    if len(found) > _LISTED:
        yield Text(f"and {len(found) - _LISTED} more in --json and --report", "dim")
    yield Text()
