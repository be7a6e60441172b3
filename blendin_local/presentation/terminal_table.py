"""Render tables and lines of a report for a terminal of a given width."""

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

from blendin_local.presentation.formatting import line, shorten
from blendin_local.presentation.table import Table, TableRow

__all__ = ["fit_columns", "render_tables", "split_columns", "styled_line", "table_title", "use_colour"]

_GAP = 3
_SHORTEST_NAME = 26
_MARKS = {"recommended": "★", "best of the fitting half": "☆", "best": "★", "reference": "·"}
_KEY = {
    "recommended": "★ recommended",
    "best of the fitting half": "☆ best on the fitting half",
    "best": "★ highest score",
    "reference": "· the reference",
}


def use_colour(color: bool) -> bool:
    return color and not os.environ.get("NO_COLOR")


def styled_line(text: object, style: str = "") -> Text:
    return Text(line(text), style=style)


def table_title(title: str, color: bool) -> Text:
    return styled_line(title, "bold" if color else "")


def render_tables(
    tables: Iterable[Table], width: int, color: bool, *, titled: bool = True
) -> Iterator[RenderableType]:
    for table in tables:
        if not table.rows or len(table.columns) < 2:
            continue
        if titled:
            yield table_title(table.title, color)
        yield Padding(_grid(fit_columns(table, width), width, color), 0, expand=False)
        marks = dict.fromkeys(row.mark for row in table.rows if row.mark)
        notes = [_KEY.get(mark, mark) for mark in marks] + ([table.note] if table.note else [])
        if notes:
            yield styled_line(" · ".join(notes), "dim" if color else "")
        if titled:
            yield Text()


def fit_columns(table: Table, width: int) -> Table:
    """Drop columns by rank until the table fits; the first column may be shortened to `_SHORTEST_NAME`."""
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


def _lead(table: Table, row: TableRow) -> str:
    """Return the prefix of the first cell: the row's mark, or spaces if only other rows have one."""
    marked = any(each.mark in _MARKS for each in table.rows)
    return f"{_MARKS.get(row.mark, ' ')} " if marked else ""


def _grid(table: Table, width: int, color: bool) -> Grid:
    others = sum(_column_width(table, place) + _GAP for place in range(1, len(table.columns)))
    room = max(_SHORTEST_NAME, width - others)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold" if color else "")
    for column in table.columns:
        justify: Any = "right" if column.right else "left"
        indent = "" if grid.columns else _lead(table, TableRow(()))
        grid.add_column(Text(indent + column.title), justify=justify, overflow="ellipsis", no_wrap=True)
    for row in table.rows:
        lead = _lead(table, row)
        first = lead + shorten(row.cells[0], room - len(lead))
        style = "bold green" if color and row.mark in ("recommended", "best") else ""
        grid.add_row(Text(first), *map(Text, row.cells[1:]), style=style)
    return grid


def split_columns(table: Table, width: int) -> Iterator[Table]:
    """Split a table with a column for each model into tables that fit the width."""
    first = _column_width(table, 0)
    group: list[int] = []
    for place in range(1, len(table.columns)):
        wanted = sum(_column_width(table, other) + _GAP for other in [*group, place])
        if group and first + wanted > width:
            yield table.only([0, *group])
            group = []
        group.append(place)
    yield table.only([0, *group])
