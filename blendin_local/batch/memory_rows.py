"""Read rows from Python objects, as JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from blendin_local.batch.reading import InputOptions, RowSource, count_rows, open_rows
from blendin_local.errors import BatchError

__all__ = ["MemoryRows", "count_source", "open_source"]


@dataclass(frozen=True, slots=True)
class MemoryRows:
    """Rows in memory: texts, or objects with the keys of docs/batch.md. An iterator is read once.

    column, id_column, system_column: as for `InputOptions`.
    """

    rows: Iterable[str | dict[str, Any]]
    column: str | None = None
    id_column: str = "id"
    system_column: str = "system"

    @property
    def path(self) -> str:
        """The name of the input in messages."""
        return "The rows"

    @property
    def repeatable(self) -> bool:
        return isinstance(self.rows, Sequence)


@contextmanager
def open_source(source: InputOptions | MemoryRows) -> Iterator[RowSource]:
    """Open an input. Raises BatchError if it contains no rows."""
    if isinstance(source, InputOptions):
        with open_rows(source) as rows:
            yield rows
        return
    options = InputOptions(source.path, "jsonl", source.column, source.id_column, source.system_column)
    yield RowSource(io.BufferedReader(_JsonLines(source.rows)), options)


def count_source(source: InputOptions | MemoryRows, limit: int | None = None) -> int | None:
    """Count the rows of an input, at most `limit`; None if it can be read only once."""
    if isinstance(source, InputOptions):
        return count_rows(source, limit)
    if not isinstance(source.rows, Sequence):
        return None
    return len(source.rows) if limit is None else min(limit, len(source.rows))


class _JsonLines(io.RawIOBase):
    """A stream of one JSON line for each row."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = iter(rows)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            for row in self._rows:
                self._rest = _line(row)
                break
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _line(row: Any) -> bytes:
    try:
        return json.dumps(row).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise BatchError(f"A row must be a text or an object of plain values ({error}).") from error
