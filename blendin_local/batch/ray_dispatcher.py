"""Dispatch the rows of a run to workers on a Ray cluster, and again where a worker is lost.

A worker holds up to twice the rows that it decodes at once, so that it never idles. A row is answered when
its result has arrived here; until then it is in flight at one worker, and is dispatched again if that is
lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from blendin_local.batch.ray_connection import connect, disconnect
from blendin_local.batch.ray_pool import WorkerPool, WorkerSlot, reason_of
from blendin_local.batch.ray_worker import Worker, WorkerSetup
from blendin_local.batch.results import Result, failed
from blendin_local.batch.rows import BadRow, Row
from blendin_local.engine.language_model import Cancellation
from blendin_local.files import local_path

__all__ = ["RayDispatcher", "WorkerSetup"]

_MAX_ATTEMPTS = 3
"""A row that was in flight when so many workers were lost has failed. The last attempt is made alone, so
that no other row can have been the cause."""


class RayDispatcher:
    """Answer the rows of one run on a Ray cluster. A context manager.

    address: None starts Ray on this machine and ends it again; "auto" finds one that runs here; "HOST:PORT"
    and "ray://HOST:PORT" connect to a cluster, which is left running. workers: by default one for each
    node, also for those that join later; on this machine alone, one. note: receives a sentence for the user
    about a worker or a node. on_round: called whenever workers have been polled. worker_class: the class of
    the actors.
    """

    worker_class: type[Worker] = Worker

    def __init__(
        self,
        setup: WorkerSetup,
        *,
        address: str | None = None,
        workers: int | None = None,
        cancellation: Cancellation | None = None,
        note: Callable[[str], None] = lambda sentence: None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        entry = replace(setup.entry, base=_absolute(setup.entry.base), guide=_absolute(setup.entry.guide))
        self._setup = replace(setup, entry=entry)
        self._address = address
        self._n_workers = workers if workers or address else 1
        self._cancellation = cancellation
        self._note = note
        self._on_round = on_round
        self._pool: WorkerPool
        self._closing = ExitStack()
        self.slots: list[WorkerSlot] = []
        self._retries: deque[Row] = deque()
        self._last_attempts: deque[Row] = deque()
        self._isolated: WorkerSlot | None = None
        self._losses: dict[int, int] = {}

    @property
    def workers(self) -> int:
        """The number of workers that have loaded the pair."""
        return sum(slot.node != "" for slot in self.slots)

    @property
    def active(self) -> int:
        """The number of rows being decoded."""
        return sum(min(len(slot.in_flight), slot.parallel) for slot in self.slots)

    @property
    def unfinished_tokens(self) -> int:
        """The number of tokens that the rows being decoded have, as last reported."""
        return sum(slot.unfinished_tokens for slot in self.slots)

    def __enter__(self) -> RayDispatcher:
        """Connect, start the workers, and wait for the first unless cancelled.

        Raises BatchError if Ray is not installed or cannot be reached, or if no worker can load the pair.
        """
        cpus = (self._n_workers or 1) * max(1, self._setup.options.n_threads)
        ray = connect(self._address, cpus)
        with ExitStack() as closing:
            closing.callback(disconnect)
            self._pool = WorkerPool(ray, self.worker_class, self._setup, self._n_workers, self._note)
            closing.callback(self._pool.close)
            self.slots = self._pool.slots
            while not self.workers and not self._is_cancelled:
                for _ in self._receive():
                    pass
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers, and Ray if it was started here."""
        self._closing.close()

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]:
        """Yield the result of each row as soon as it arrives, not in the rows' order. To be called once.

        Rows are taken only when a worker has room; None among them means that none has arrived yet. Once
        cancelled, rows in flight get no result. Raises BatchError if no worker is left and none can be
        started, or if the pair fails at a worker as a whole.
        """
        incoming, more = iter(rows), True
        while not self._is_cancelled:
            idle = [slot for slot in self.slots if slot.node and slot.call is None]
            self._dispatch_last_attempt(idle)
            while not self._is_cancelled and (slot := self._least_loaded(idle)):
                try:
                    row = self._retries.popleft() if self._retries else next(incoming)
                except StopIteration:
                    more = False
                    break
                if row is None:
                    break
                if isinstance(row, BadRow):
                    yield failed(row, row.kind, row.error, self._setup.run)
                    continue
                slot.dispatch(row)
            # Also without rows: the call collects results, and fails if the worker is lost.
            for slot in idle:
                slot.exchange()
            waiting = self._retries or self._last_attempts or any(slot.in_flight for slot in self.slots)
            if not more and not waiting:
                return
            yield from self._receive()
            self._on_round()

    @property
    def _is_cancelled(self) -> bool:
        return self._cancellation is not None and self._cancellation.requested

    def _least_loaded(self, slots: Iterable[WorkerSlot]) -> WorkerSlot | None:
        """Return the slot to dispatch to, so that few rows are spread evenly; None if all are full."""
        with_room = [
            slot for slot in slots if slot is not self._isolated and len(slot.in_flight) < 2 * slot.parallel
        ]
        return min(with_room, key=lambda slot: len(slot.in_flight), default=None)

    def _dispatch_last_attempt(self, idle: Sequence[WorkerSlot]) -> None:
        """Dispatch a row alone, to a slot that is reserved for such rows and gets no others meanwhile."""
        if self._last_attempts and not self._isolated:
            loaded = [slot for slot in self.slots if slot.node]
            self._isolated = min(loaded, key=lambda slot: len(slot.in_flight), default=None)
        slot = self._isolated
        if not slot or slot not in idle or slot.in_flight:
            return
        if self._last_attempts:
            slot.dispatch(self._last_attempts.popleft())
        else:
            self._isolated = None

    def _receive(self) -> Iterator[Result]:
        """Yield the results of one poll, and those of rows that have failed as their workers were lost."""
        for slot, answer in self._pool.poll():
            if isinstance(answer, Exception):
                yield from self._retry_rows(slot, answer)
                self._pool.replace(slot, answer)
                continue
            results, slot.unfinished_tokens = answer
            for result in results:
                del slot.in_flight[result["index"]]
                self._losses.pop(result["index"], None)
                slot.losses = 0
                yield result

    def _retry_rows(self, slot: WorkerSlot, error: Exception) -> Iterator[Result]:
        """Queue the rows of a lost worker again; yield results of those that have no attempt left."""
        where = f" on node {slot.node}" if slot.node else ""
        self._note(f"A worker{where} was lost, with {len(slot.in_flight)} rows in flight: {reason_of(error)}")
        if slot is self._isolated:
            self._isolated = None
        rows = list(slot.in_flight.values())
        slot.in_flight.clear()
        for row in rows:
            losses = self._losses[row.index] = self._losses.get(row.index, 0) + 1
            if losses < _MAX_ATTEMPTS - 1:
                self._retries.append(row)
            elif losses < _MAX_ATTEMPTS:
                self._last_attempts.append(row)
            else:
                del self._losses[row.index]
                message = (
                    f"{_MAX_ATTEMPTS} workers were lost while they answered this row, the last time alone: "
                    f"look at its prompt, and at the memory of the nodes. {reason_of(error)}"
                )
                yield failed(row, "worker lost", message, self._setup.run)


def _absolute(model: str) -> str:
    """Return a model file's absolute path, which workers can find; a catalogue name stays as it is."""
    path = local_path(model)
    return str(path.absolute()) if path.is_file() else model
