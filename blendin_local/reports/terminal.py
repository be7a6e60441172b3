"""What `tune` and `compare` found, for a terminal: tables and a plot that fit its width."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from blendin_local.reports import compare_tables, tune_tables
from blendin_local.reports.across_tables import across_lines
from blendin_local.reports.fidelity_tables import fidelity_table, overview_table
from blendin_local.reports.tables import Row, Table
from blendin_local.reports.terminal_plot import speed_plot
from blendin_local.reports.verdicts import verdicts
from blendin_local.reports.words import Document, gained, line, setting_flags, setting_name, shortened

__all__ = ["print_compare", "print_tune"]

_GAP = 3
_SHORTEST_NAME = 26
_MARKS = {"recommended": "★", "best of the fitting half": "☆", "best": "★", "reference": "·"}
_KEY = {
    "recommended": "★ recommended",
    "best of the fitting half": "☆ best on the fitting half",
    "best": "★ highest score",
    "reference": "· the reference",
}


def print_tune(result: Document, console_width: int, color: bool = True) -> list[RenderableType]:
    """What to print after `tune`, in order; color: whether the terminal shows colours (NO_COLOR forbids)."""
    color = _coloured(color)
    parts: list[RenderableType] = []
    if result.get("verdict"):
        parts += [_text(result["verdict"], "bold" if color else ""), Text()]
    recommendation = result.get("recommendation") or {}
    if recommendation.get("setting"):
        setting = recommendation["setting"]
        said = Text("Recommended: ").append(setting_name(setting), style="bold green" if color else "")
        parts += [said.append(f"  ({setting_flags(setting)})", style="dim" if color else "")]
    if not result.get("verdict"):
        parts.append(_text(gained(recommendation)))
    parts.append(Text())
    parts += [*_tables([tune_tables.interesting(result)], console_width, color, titled=False), Text()]
    if plot := speed_plot(result, console_width, color):
        parts += [plot, Text()]
    parts += [_text(each) for each in tune_tables.uncertain_lines(result)]
    if said_of := tune_tables.calibration_line(result):
        parts.append(_text(said_of))
    if (hint := result.get("hint") or {}).get("note"):
        parts.append(_text(f"Hint: {hint['note']}", "dim" if color else ""))
    return parts


def print_compare(result: Document, console_width: int, color: bool = True) -> list[RenderableType]:
    """What to print after `compare`, in order: the tasks, quantizations, across pairs, what it comes to."""
    color = _coloured(color)
    parts: list[RenderableType] = []
    tasks = compare_tables.tasks_of(result)
    for table in (compare_tables.task_table, compare_tables.writing_table):
        parts += _tables([table(result, task) for task in tasks], console_width, color)
    overview, figures = overview_table(result), fidelity_table(result)
    parts += _tables([table for table in (overview,) if table], console_width, color)
    if figures:
        parts += _tables(_in_columns(figures, console_width), console_width, color)
    if overlap := compare_tables.overlap_table(result):
        parts += _tables([overlap], console_width, color)
    if lines := list(across_lines(result)):
        parts += [_title("Across pairs", color), *map(_text, lines), Text()]
    parts += [_text(each, "bold" if color else "") for each in verdicts(result)]
    if not parts:
        parts = [Text("Nothing was compared.")]
    return parts


def _coloured(color: bool) -> bool:
    return color and not os.environ.get("NO_COLOR")


def _text(text: object, style: str = "") -> Text:
    return Text(line(text), style=style)


def _title(title: str, color: bool) -> Text:
    return _text(title, "bold" if color else "")


# Tables


def _tables(
    tables: Iterable[Table], width: int, color: bool, *, titled: bool = True
) -> Iterator[RenderableType]:
    for table in tables:
        if not table.rows or len(table.columns) < 2:
            continue
        if titled:
            yield _title(table.title, color)
        yield Padding(_grid(fitted(table, width), width, color), 0, expand=False)
        marks = dict.fromkeys(row.mark for row in table.rows if row.mark)
        notes = [_KEY.get(mark, mark) for mark in marks] + ([table.note] if table.note else [])
        if notes:
            yield _text(" · ".join(notes), "dim" if color else "")
        if titled:
            yield Text()


def fitted(table: Table, width: int) -> Table:
    """The table with as many of its columns as fit; the first column may be shortened for their sake."""
    places = list(range(len(table.columns)))
    while len(places) > 2 and _least_width(table, places) > width:
        droppable = [place for place in places[1:] if table.columns[place].rank > 0]
        if not droppable:
            break
        places.remove(max(droppable, key=lambda place: table.columns[place].rank))
    return table.only(places)


def _least_width(table: Table, places: list[int]) -> int:
    first = min(_column_width(table, 0), _SHORTEST_NAME)
    return first + sum(_column_width(table, place) + _GAP for place in places[1:])


def _column_width(table: Table, place: int) -> int:
    cells = [row.cells[place] for row in table.rows]
    indent = len(_lead(table, table.rows[0])) if place == 0 else 0
    return indent + max(map(cell_len, (table.columns[place].title, *cells)))


def _lead(table: Table, row: Row) -> str:
    """What stands before the first cell: the row's mark, or room for it where other rows have one."""
    marked = any(each.mark in _MARKS for each in table.rows)
    return f"{_MARKS.get(row.mark, ' ')} " if marked else ""


def _grid(table: Table, width: int, color: bool) -> Grid:
    others = sum(_column_width(table, place) + _GAP for place in range(1, len(table.columns)))
    room = max(_SHORTEST_NAME, width - others)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold" if color else "")
    for column in table.columns:
        justify: Any = "right" if column.right else "left"
        indent = "" if grid.columns else _lead(table, Row(()))
        grid.add_column(Text(indent + column.title), justify=justify, overflow="ellipsis", no_wrap=True)
    for row in table.rows:
        lead = _lead(table, row)
        first = lead + shortened(row.cells[0], room - len(lead))
        style = "bold green" if color and row.mark in ("recommended", "best") else ""
        grid.add_row(Text(first), *map(Text, row.cells[1:]), style=style)
    return grid


def _in_columns(table: Table, width: int) -> Iterator[Table]:
    """A table of many models as several with as many of them as fit side by side."""
    first = _column_width(table, 0)
    group: list[int] = []
    for place in range(1, len(table.columns)):
        wanted = sum(_column_width(table, other) + _GAP for other in [*group, place])
        if group and first + wanted > width:
            yield table.only([0, *group])
            group = []
        group.append(place)
    yield table.only([0, *group])
