"""Records of CSV, streamed: one that is wrong says so itself and ends nothing.

Nothing here knows what the columns mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from blendin_local.errors import BatchError, PromptError

__all__ = ["Record", "Table", "named"]

_LONGEST_FIELD = 8 << 20
"""Characters of one field: what a quote that is never closed may swallow at most."""
_UNDECODED = re.compile("[\udc80-\udcff]")
_SHOWN = 12
"""So many names are shown in a complaint, each so many characters long at most:"""
_LONGEST_NAME = 40

Record = list[str] | csv.Error | None
"""Fields, or what is wrong with them; None where a line is too long to be held."""


def named(names: Sequence[str]) -> str:
    """Names that stand in somebody's file, for a complaint."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:_SHOWN]]
    return ", ".join(name[:_LONGEST_NAME] for name in shown) + (", ..." if len(names) > _SHOWN else "")


class Table:
    """CSV with a header, out of numbered lines. Iterated over once: (number of the first line, record).

    names: of the columns; none where there is no line at all. Records of empty fields are skipped. Raises
    BatchError where the header cannot be read.
    """

    def __init__(self, numbered: Iterator[tuple[int, bytes | None]], *, name: str, delimiter: str) -> None:
        # The library's limit holds for a whole program, and its default is shorter than a long prompt.
        csv.field_size_limit(_LONGEST_FIELD)
        self._lines = _Lines(numbered)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        _, header = next(iter(self), (0, []))
        try:
            self.names = [cell.strip() for cell in _fields(header)]
        except PromptError as error:
            raise BatchError(f"The header of {name} cannot be read: {error}") from error

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        while True:
            self._lines.begin()
            record: Record
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                record = error
            if self._lines.overlong:
                record = None
            if not isinstance(record, list) or any(cell.strip() for cell in record):
                yield self._lines.first, record

    def fields_of(self, record: Record, columns: Sequence[str]) -> dict[str, str]:
        """A record's fields in these columns, where there are such. Raises PromptError for a wrong record."""
        cells = _fields(record)
        if len(cells) != len(self.names):
            raise PromptError(
                f"The row has {len(cells)} fields where the header names {len(self.names)}: put fields with "
                "the delimiter or a newline in them in double quotes."
            )
        fields = dict(zip(self.names, cells, strict=True))
        found = {name: fields[name] for name in columns if name in fields}
        if any(_UNDECODED.search(field) for field in found.values()):
            raise PromptError("The row is not UTF-8 text: save the file as UTF-8.")
        return found


class _Lines:
    """Lines for the CSV reader, which asks for more as long as a quote is open."""

    def __init__(self, numbered: Iterator[tuple[int, bytes | None]]) -> None:
        self._numbered = numbered
        self.begin()

    def begin(self) -> None:
        self.first = 0
        self.overlong = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._numbered)
        self.first = self.first or number
        if line is None:
            self.overlong = True
            return "\n"
        # An error here would end the reader for good.
        return line.decode("utf-8", "surrogateescape")


def _fields(record: Record) -> list[str]:
    if record is None:
        raise PromptError("A line is too long: shorten it.")
    if isinstance(record, csv.Error):
        raise PromptError(
            f"The row is not valid CSV ({record}): a field in double quotes ends with one, and any within it "
            "are doubled."
        )
    return record
