"""Continuous batching: rows take sequences of a loaded pair as soon as others release them.

Every round advances all active rows by one step; a finished row leaves at once, and the next one takes its
sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import sleep

from blendin_local.batch.results import ErrorKind, Result, answered, failed
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.engine.conversation import make_request
from blendin_local.engine.decoder import Decoder, Request, Response, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import PLAIN_FORMATS, PromptFormat
from blendin_local.engine.steps import Step
from blendin_local.errors import PromptError, PromptTooLong

__all__ = ["Scheduler", "request_of"]

_RAW: dict[Role, PromptFormat] = {"base": PLAIN_FORMATS["raw"], "guide": PLAIN_FORMATS["raw"]}

_POLL_INTERVAL_S = 0.05
"""Poll interval for new rows while no row is active."""


def request_of(pair: Pair, formats: Mapping[Role, PromptFormat], row: Row, candidates: int = 0) -> Request:
    """Build the request of a row to a pair. Raises PromptError or PromptTooLong."""
    return make_request(pair, _RAW if row.raw else formats, row.messages, row.settings, candidates=candidates)


class Scheduler:
    """Answers rows with a loaded pair, up to `parallel` at once.

    pair: models with at least `parallel` sequences, which can be forked unless it is 1. active: number of
    rows in progress. on_round: called after each round. With one sequence, answers are bitwise independent of
    earlier rows.
    """

    def __init__(
        self,
        pair: Pair,
        formats: Mapping[Role, PromptFormat],
        run: RunManifest,
        parallel: int,
        cancellation: Cancellation | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_round = on_round
        self._pair = pair
        self._formats = formats
        self._run = run
        self._parallel = parallel
        self._cancellation = cancellation
        self._writing: dict[Response, tuple[Row, list[Step]]] = {}

    @property
    def active(self) -> int:
        return len(self._writing)

    @property
    def unfinished_tokens(self) -> int:
        """Number of tokens generated for rows in progress."""
        return sum(response.summary.tokens for response in self._writing)

    @property
    def _is_cancelled(self) -> bool:
        return self._cancellation is not None and self._cancellation.requested

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]:
        """Yield results as soon as they are known, not in the order of the rows.

        Rows are taken when there is room for them; None among them means that none has arrived yet. After a
        cancellation, rows in progress yield no result. Raises ModelError if a model fails as a whole.
        """
        decoder = Decoder(self._pair, self._cancellation, repeatable=self._parallel == 1)
        waiting = iter(rows)
        free = list(range(self._parallel))[::-1]
        more = True
        self._writing.clear()
        with self._pair.watched(self._cancellation):
            while more or decoder.active:
                while more and free and not self._is_cancelled:
                    try:
                        row = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    if row is None:
                        break
                    if isinstance(started := self._start(row, free[-1]), Response):
                        decoder.join(started)
                        free.pop()
                    else:
                        yield started
                if not decoder.active and more:
                    sleep(_POLL_INTERVAL_S)
                for response, step in decoder.round():
                    if self._run.with_steps:
                        self._writing[response][1].append(step)
                for response in decoder.over:
                    row, steps = self._writing.pop(response)
                    free.append(response.seq)
                    if response.error:
                        yield failed(row, "model", str(response.error), self._run)
                    elif response.finish_reason != "cancelled":
                        yield answered(row, response, self._run, steps if self._run.with_steps else None)
                self._on_round()
                if self._is_cancelled:
                    self._writing.clear()
                    return

    def _start(self, row: Row | BadRow, seq: int) -> Response | Result:
        if isinstance(row, BadRow):
            return failed(row, row.kind, row.error, self._run)
        try:
            request = request_of(self._pair, self._formats, row, self._run.candidates)
        except PromptError as error:
            kind: ErrorKind = "too long" if isinstance(error, PromptTooLong) else "bad row"
            return failed(row, kind, str(error), self._run)
        response = respond(self._pair, request, seq)
        self._writing[response] = (row, [])
        return response
