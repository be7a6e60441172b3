"""Filter rows that the output does not answer yet, have them answered, and write each result at once.

Rows are answered by an `Answering`: a `Scheduler` on this machine or a `RayDispatcher` on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from time import sleep
from typing import Protocol

from blendin_local.batch.id_index import IdIndex
from blendin_local.batch.output import Output
from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row
from blendin_local.errors import BatchError, InputError

__all__ = ["Answering", "Pending", "UntilDamaged", "check_unchanged", "peek", "write_answers"]

_POLL_INTERVAL_S = 0.05


class Answering(Protocol):
    """Turns rows into results.

    active: number of rows in progress. unfinished_tokens: number of tokens generated for them.
    """

    @property
    def active(self) -> int: ...

    @property
    def unfinished_tokens(self) -> int: ...

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]: ...


class Pending:
    """Iterates the rows that the output does not answer yet.

    A repeated id becomes a `BadRow`. None, for no row yet, is passed on. Raises BatchError for a row whose
    request differs from the one that the output answers under its id.
    """

    def __init__(self, rows: Iterable[Row | BadRow | None], answered_ids: IdIndex, output: str) -> None:
        self._rows = rows
        self._answered_ids = answered_ids
        self._output = output

    def __iter__(self) -> Iterator[Row | BadRow | None]:
        for row in self._rows:
            if row is None:
                yield None
                continue
            if self._answered_ids.count(row.id):
                if not self._answered_ids.is_reported(row.id):
                    yield _duplicate(row)
            elif not _is_done(row, self._answered_ids, self._output):
                yield row


class UntilDamaged:
    """Iterates rows up to the first read error, so that all rows before it are answered.

    damage: the read error, or None; the caller raises it once the rows are answered.
    """

    def __init__(self, rows: Iterable[Row | BadRow | None]) -> None:
        self._rows = rows
        self.damage: BatchError | InputError | None = None

    def __iter__(self) -> Iterator[Row | BadRow | None]:
        try:
            yield from self._rows
        except (BatchError, InputError) as error:
            self.damage = error


def check_unchanged(rows: Iterable[Row | BadRow | None], answered_ids: IdIndex, output: str) -> int:
    """Count the rows that the output answers, without marking their ids as seen.

    Raises BatchError as `Pending` does. Stops silently at a read error.
    """
    answered = 0
    with closing(IdIndex()) as met:
        for row in UntilDamaged(rows):
            if row and not met.count(row.id):
                answered += _is_done(row, answered_ids, output)
    return answered


def _is_done(row: Row | BadRow, answered_ids: IdIndex, output: str) -> bool:
    """Return whether the output answers a row. Raises BatchError if it answers a different request."""
    was = answered_ids.digest_of(row.id)
    if was is None:
        return False
    # A row that could not be parsed has no digest to compare.
    if was and was != (row.digest if isinstance(row, Row) else was):
        raise BatchError(
            f"The row {row.id!r} ({row.where}) is a different request from the one that {output} answers "
            "under that id: the input has changed since. Name another output, start anew with --overwrite, "
            "or give --retry-failed if that row had failed."
        )
    return True


def _duplicate(row: Row | BadRow) -> BadRow:
    error = f"The id {row.id!r} was met before: give each row an id of its own."
    return BadRow(row.id, row.index, row.where, error, "duplicate id")


def write_answers(
    rows: Iterable[Row | BadRow | None], answering: Answering, output: Output
) -> Iterator[Result]:
    """Answer rows and write each result; yield it once it is in the output."""
    for result in answering.answer(rows):
        if output.write(result):
            yield result


def peek(
    rows: Iterable[Row | BadRow | None], most: int
) -> tuple[list[Row | BadRow], Iterator[Row | BadRow | None]]:
    """Return the rows that have arrived, at least one and at most `most`, and an iterator over all rows."""
    rows = iter(rows)
    first: list[Row | BadRow] = []
    for row in rows:
        if row is not None:
            first.append(row)
        elif first:
            break
        else:
            sleep(_POLL_INTERVAL_S)
        if len(first) == most:
            break
    return first, chain(first, rows)
