"""Print the summary of a job on stderr: counts, reliability of the answers, rows to look at."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from blendin_local.batch.job_report import Bins, JobReport
from blendin_local.batch.report_tables import (
    format_counts,
    headline,
    hints,
    rates,
    reliability_name,
    spread_line,
)
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.steps import WEAK_BELOW
from blendin_local.presentation.formatting import line

__all__ = ["print_summary", "summary_parts"]

_PIPED_WIDTH = 100
"""Width where stderr is not a terminal."""
_MAX_ROWS = 10
_HEIGHT = 3
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LONGEST_ID = 24
_INDENT = 2


def print_summary(report: JobReport) -> None:
    """Print the summary of a job."""
    piped = not is_terminal(sys.stderr)
    width = _PIPED_WIDTH if piped else None
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        for part in summary_parts(report):
            # Lines of a log are not wrapped; a table is laid out to the width.
            console.print(part, soft_wrap=piped and isinstance(part, Text))
    for each in captured.get().splitlines():
        click.echo(each.rstrip(), err=True)


def summary_parts(report: JobReport) -> list[RenderableType]:
    """Return the lines and tables of the summary in order."""
    parts: list[RenderableType] = [Text(f"{format_counts(report)}. {headline(report)}.", "bold")]
    if report.answered:
        parts.append(Text(" · ".join(f"{name} {value}" for name, value in rates(report))))
        parts += _distribution(report)
        parts.append(_count_line("Ended by", report.finish_reasons))
    if report.errors:
        parts.append(_count_line("Failed", report.errors, "red"))
    parts += [Text(hint) for hint in hints(report)]
    parts += _worth_a_look(report)
    if report.output:
        parts.append(Text(f"Answers: {line(report.output)}"))
    return parts


def _count_line(title: str, counts: Mapping[str, int], style: str = "") -> Text:
    return Text(f"{title}: {', '.join(f'{line(name)} {n:,}' for name, n in counts.items())}", style)


# Distribution of the reliability


def _distribution(report: JobReport) -> Iterator[RenderableType]:
    if not (text := spread_line(report.reliability)):
        return
    yield Text()
    yield Text(f"Mean {reliability_name(report)} of an answer: {text}")
    yield Padding(histogram(report.reliability.histogram), (0, 0, 0, _INDENT), expand=False)
    yield Text()


def histogram(bins: Bins) -> Text:
    """Draw the bins as a bar chart above its scale; bins below `WEAK_BELOW` are yellow."""
    counts, edges = bins.counts, bins.edges
    most, steps = max(counts) or 1, len(_BLOCKS) - 1
    # Rounded up, so that a bin with any rows is visible.
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


# Rows to check by hand


def _worth_a_look(report: JobReport) -> Iterator[RenderableType]:
    found, rows = report.worth_a_look, report.rows
    if not found:
        if rows:
            yield Text("No row stands out.")
        return
    yield Text()
    yield Text(f"Worth a look: {len(found):,} of {rows:,} {'row' if rows == 1 else 'rows'}", "bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST_ID)
    grid.add_column(overflow="fold")
    for row in found[:_MAX_ROWS]:
        lines = [Text("; ".join(map(line, row.why)), "red" if row.error else "yellow")]
        if text := line(row.message or row.text):
            lines.append(Text(text, "dim", no_wrap=True, overflow="ellipsis"))
        grid.add_row(Text(line(row.id)), Group(*lines))
    yield Padding(grid, (0, 0, 0, _INDENT), expand=False)
    if len(found) > _MAX_ROWS:
        yield Text(f"and {len(found) - _MAX_ROWS} more in --json and --report", "dim")
    yield Text()
