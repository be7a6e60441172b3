"""A job: which rows of the input are still to be answered, and every answer written as soon as it is known.

It holds reading, models and output together and knows none of them closely; whoever answers rows (a
`Scheduler` here, a `RayDispatcher` on a cluster) is handed in.
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
    """Whatever turns rows into results.

    active: how many it is writing. unfinished_tokens: how many tokens these have by now.
    """

    @property
    def active(self) -> int: ...

    @property
    def unfinished_tokens(self) -> int: ...

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]: ...


class Pending:
    """The rows that the output does not answer yet.

    A row whose id was met before is a `BadRow`. None stays None: nothing has arrived yet. Raises BatchError
    for a row that asks something else than what the output answers under its id.
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
            if self._answered_ids.seen(row.id):
                if not self._answered_ids.reported(row.id):
                    yield _duplicate(row)
            elif not _is_done(row, self._answered_ids, self._output):
                yield row


class UntilDamaged:
    """Rows up to the place where they cannot be read on, so that all before it are answered.

    damage: why they cannot; None as long as they can. Once they are answered it is to be raised.
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
    """How many of these rows the output answers, none of them counted as met.

    Raises the BatchError that `Pending` would. Rows that cannot be read are passed over, and so is what comes
    after damage.
    """
    answered = 0
    with closing(IdIndex()) as met:
        for row in UntilDamaged(rows):
            if row and not met.seen(row.id):
                answered += _is_done(row, answered_ids, output)
    return answered


def _is_done(row: Row | BadRow, answered_ids: IdIndex, output: str) -> bool:
    """Whether the output answers a row. Raises BatchError where it answers another one of that id."""
    was = answered_ids.done(row.id)
    if was is None:
        return False
    # What could not be read had no digest; mending the row does not make its failure an answer.
    if was and was != (row.digest if isinstance(row, Row) else was):
        raise BatchError(
            f"The row {row.id!r} ({row.where}) asks something else than what {output} answers under that id: "
            "the input has changed since. Name another output, start anew with --overwrite, or give "
            "--retry-failed if that row had failed."
        )
    return True


def _duplicate(row: Row | BadRow) -> BadRow:
    error = f"The id {row.id!r} was met before: give each row an id of its own."
    return BadRow(row.id, row.index, row.where, error, "duplicate id")


def write_answers(
    rows: Iterable[Row | BadRow | None], answering: Answering, output: Output
) -> Iterator[Result]:
    """Have rows answered and each result written; gives each result once it is in the output."""
    for result in answering.answer(rows):
        if output.write(result):
            yield result


def peek(
    rows: Iterable[Row | BadRow | None], most: int
) -> tuple[list[Row | BadRow], Iterator[Row | BadRow | None]]:
    """The first rows, at least one where there is one, as many as have arrived; and all of them again."""
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
