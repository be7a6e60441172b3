"""A table of plain text cells, rendered as Markdown, HTML or terminal output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Column", "Table", "TableRow"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. right: right-aligned. rank: narrow output drops the columns of the highest rank first."""

    title: str
    right: bool = True
    rank: int = 0


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row. mark: a label of the row, such as "recommended"."""

    cells: tuple[str, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. explained: names in `formatting.TERM_HELP` to explain below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    explained: tuple[str, ...] = field(default=())

    def without_empty(self, nothing: str) -> Table:
        """Drop the columns, except the first, whose cells are all "" or `nothing`."""
        kept = [
            place
            for place in range(len(self.columns))
            if place == 0 or any(row.cells[place] not in ("", nothing) for row in self.rows)
        ]
        return self.only(kept)

    def only(self, places: Sequence[int]) -> Table:
        """Return a table of the columns at these places, in this order."""
        rows = (replace(row, cells=tuple(row.cells[place] for place in places)) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in places), rows=tuple(rows))


def unmarked_rows(cells: Iterable[Sequence[str]]) -> tuple[TableRow, ...]:
    """Make rows without marks."""
    return tuple(TableRow(tuple(each)) for each in cells)
