"""A table of plain text cells, which Markdown, pages and terminals render."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Column", "Table", "TableRow"]


@dataclass(frozen=True, slots=True)
class Column:
    """right: numbers. rank: columns of the highest rank are the first to go where there is no room."""

    title: str
    right: bool = True
    rank: int = 0


@dataclass(frozen=True, slots=True)
class TableRow:
    """mark: a word on what is special about it, such as "recommended"."""

    cells: tuple[str, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """explained: names in `formatting.TERM_HELP` to explain under the table."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    explained: tuple[str, ...] = field(default=())

    def without_empty(self, nothing: str) -> Table:
        """Without the columns, apart from the first, that have nothing in any row."""
        kept = [
            place
            for place in range(len(self.columns))
            if place == 0 or any(row.cells[place] not in ("", nothing) for row in self.rows)
        ]
        return self.only(kept)

    def only(self, places: Sequence[int]) -> Table:
        """These columns alone, in this order."""
        rows = (replace(row, cells=tuple(row.cells[place] for place in places)) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in places), rows=tuple(rows))


def unmarked_rows(cells: Iterable[Sequence[str]]) -> tuple[TableRow, ...]:
    """Rows without marks."""
    return tuple(TableRow(tuple(each)) for each in cells)
