"""Read CSV as a stream of records; a malformed record does not end the reading."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from blendin_local.errors import InputError

__all__ = ["Cells", "CsvTable", "format_names"]

_LONGEST_FIELD = 8 << 20
"""Longest field in characters, which bounds the text after an unclosed quote."""
_UNDECODED = re.compile("[\udc80-\udcff]")
_MOST_NAMES = 12
_LONGEST_NAME = 40

Cells = list[str] | csv.Error | None
"""The fields of a record, or why it cannot be parsed; None if a line of it is too long."""


def format_names(names: Sequence[str]) -> str:
    """Return names of columns or keys for an error message, limited in number and length."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:_MOST_NAMES]]
    return ", ".join(name[:_LONGEST_NAME] for name in shown) + (", ..." if len(names) > _MOST_NAMES else "")


class CsvTable:
    """Records of numbered lines of CSV. Iterate once: (number of a record's first line, its cells).

    names: the columns; empty if there are no lines. Records of blank fields are skipped.
    """

    def __init__(
        self,
        numbered: Iterator[tuple[int, bytes | None]],
        *,
        name: str,
        delimiter: str,
        columns: Sequence[str] = (),
    ) -> None:
        """Read the header. name: the file in error messages.

        columns: names for a table that may lack a header; a header contains the first of them.
        Raises InputError where the header cannot be read.
        """
        # The limit is global to the process, and its default is shorter than a long prompt.
        csv.field_size_limit(_LONGEST_FIELD)
        self._lines = _Lines(numbered)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._records = self._parse()
        first = next(self._records, (0, []))
        try:
            self.names = [cell.strip() for cell in _fields(first[1])]
        except InputError as error:
            if not columns:
                raise InputError(f"The header of {name} cannot be read: {error}") from error
            self.names = []
        if columns and first[0] and columns[0] not in self.names:
            self.names = list(columns)
            self._records = chain([first], self._records)

    def __iter__(self) -> Iterator[tuple[int, Cells]]:
        return self._records

    def _parse(self) -> Iterator[tuple[int, Cells]]:
        while True:
            self._lines.begin()
            cells: Cells
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = error
                if "field limit" in str(error):
                    self._lines.skip_quoted()
            if self._lines.overlong:
                cells = None
            if not isinstance(cells, list) or any(cell.strip() for cell in cells):
                yield self._lines.first, cells

    def fields_of(self, cells: Cells, columns: Sequence[str] | None = None) -> dict[str, str]:
        """Return a record's fields by column: of all columns, or those of `columns` that exist and it has.

        Raises InputError for a malformed record and for fields of these columns that are not UTF-8.
        """
        values = _fields(cells)
        if len(values) > len(self.names) or (columns is None and len(values) < len(self.names)):
            raise InputError(
                f"The row has {len(values)} fields where the header names {len(self.names)}: put fields with "
                "the delimiter or a newline in them in double quotes."
            )
        fields = dict(zip(self.names, values, strict=False))  # trailing columns may be left out
        if columns is not None:
            fields = {name: fields[name] for name in columns if name in fields}
        if any(_UNDECODED.search(field) for field in fields.values()):
            raise InputError("The row is not UTF-8 text: save the file as UTF-8.")
        return fields


class _Lines:
    """Decoded lines for `csv.reader`, which reads several for a record with quoted newlines."""

    def __init__(self, numbered: Iterator[tuple[int, bytes | None]]) -> None:
        self._numbered = numbered
        self.begin()

    def begin(self) -> None:
        self.first = 0
        self.overlong = False
        self._quotes = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._numbered)
        self.first = self.first or number
        if line is None:
            self.overlong = True
            return "\n"
        self._quotes += line.count(b'"')
        # A decoding error raised here would end the reader.
        return line.decode("utf-8", "surrogateescape")

    def skip_quoted(self) -> None:
        """Skip the lines of a quoted field in which the reader gave up: they are no records of their own."""
        while self._quotes % 2 and next(self, None) is not None:
            pass


def _fields(cells: Cells) -> list[str]:
    if cells is None:
        raise InputError("A line is too long: shorten it.")
    if isinstance(cells, csv.Error):
        raise InputError(
            f"The row is not valid CSV ({cells}): a field in double quotes ends with one, and any within it "
            "are doubled."
        )
    return cells
