"""Offline generation on a Ray cluster: rows are dealt to workers, and again where one is lost.

A worker holds a few rows more than it writes at once, so that it never idles, and says which are done
whenever it is asked. A row counts as answered when its result is here; until then it belongs to the worker
that holds it, and goes back to the others if that is lost. Nothing here knows a model or a file.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import perf_counter, sleep
from types import TracebackType
from typing import Any

from blendin_local import __version__
from blendin_local.batch.ray_connection import connect, disconnect
from blendin_local.batch.ray_resources import Resources, Share, share_out
from blendin_local.batch.ray_worker import Worker, WorkerSetup
from blendin_local.batch.results import Result, failed
from blendin_local.batch.rows import BadRow, Row
from blendin_local.engine.language_model import Cancellation
from blendin_local.errors import BatchError, BlendinError
from blendin_local.files import local_path

__all__ = ["Cluster", "WorkerSetup"]

_PATIENCE_S = 0.1
"""How long to wait for workers before asking for rows again, or whether to stop."""
_ROOM_S = 120.0
"""How long nodes may be busy with something else while there is no worker."""
_LOOK_S = 10.0
"""How often to look for nodes that joined."""
_MOST_DEATHS = 3
"""A row that was in flight when so many workers were lost is given up."""
_ALONE_DEATHS = _MOST_DEATHS - 1
"""From so many on a row is dealt alone: the last time, no other row can be to blame."""
_MOST_LOSSES = 6
"""Workers lost in one place, without a result in between, until the place is given up."""
_LONGEST = 240


@dataclass(eq=False, slots=True)
class _Place:
    """Where one worker stands, and another after it is lost.

    placed: is ready once Ray has found room for it. call: what it was asked and has not answered yet. node:
    where it is, "" until it has loaded the pair. parallel: rows that it writes at once. held: the rows in
    flight. unfinished_tokens: what those under way have by now. losses: how many were lost here since the
    last result.
    """

    worker: Any = None
    placed: Any = None
    call: Any = None
    node: str = ""
    parallel: int = 0
    held: dict[int, Row] = field(default_factory=dict)
    unfinished_tokens: int = 0
    losses: int = 0


class Cluster:
    """Workers on a Ray cluster that answer the rows of one run. A context manager.

    address: None starts Ray on this machine and ends it again; "auto" finds one that runs here; "HOST:PORT"
    and "ray://HOST:PORT" connect to a cluster, which is left running. workers: by default one for each node,
    also for those that join later; on this machine alone, one. note: is told in a sentence what happened to
    a worker. on_round: called whenever workers have told what is done. worker_class: what is started on the
    nodes.
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
        entry = replace(setup.entry, base=_whole(setup.entry.base), guide=_whole(setup.entry.guide))
        self._setup = replace(setup, entry=entry)
        self._address = address
        self._workers = workers if workers or address else 1
        self._cancellation = cancellation
        self._note = note
        self._on_round = on_round
        self._ray: Any = None
        self._share: Share
        self._places: list[_Place] = []
        self._given_up: list[_Place] = []
        self._refused = ""
        self._again: deque[Row] = deque()
        self._suspects: deque[Row] = deque()
        self._kept: _Place | None = None
        self._deaths: dict[int, int] = {}
        self._small: set[str] = set()
        self._without_since: float | None = None
        self._looked = perf_counter()

    @property
    def workers(self) -> int:
        """How many workers have loaded the pair."""
        return sum(place.node != "" for place in self._places)

    @property
    def active(self) -> int:
        """How many rows are being written."""
        return sum(min(len(place.held), place.parallel) for place in self._places)

    @property
    def unfinished_tokens(self) -> int:
        """How many tokens the rows under way had of late."""
        return sum(place.unfinished_tokens for place in self._places)

    def __enter__(self) -> Cluster:
        """Connect, start the workers, and wait for the first, unless cancelled.

        Raises BatchError where Ray is missing or cannot be reached, or no worker can load the pair.
        """
        try:
            cpus = (self._workers or 1) * max(1, self._setup.options.n_threads)
            self._ray = connect(self._address, cpus)
            wanted, self._share = share_out(self._nodes(), self._workers, self._setup.options)
            self._add_places(wanted)
            while not self.workers and not self._cancelled:
                for _ in self._collect():
                    pass
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, and Ray if it was started here. Can be called again."""
        if self._ray:
            for place in [*self._places, *self._given_up]:
                self._kill(place)
            disconnect()
        self._places.clear()
        self._given_up.clear()
        self._ray = None

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]:
        """Results of the rows, each as soon as it is known: not in their order. To be called once.

        Rows are taken only when a worker has room for them; None among them says that none has arrived yet.
        Once cancelled, rows in flight have no result. Raises BatchError where no worker is left and none can
        be started, or where the pair fails at one as a whole.
        """
        waiting, more = iter(rows), True
        while not self._cancelled:
            blocks: dict[_Place, list[Row]] = {place: [] for place in self._places if self._is_free(place)}
            self._deal_suspect(blocks)
            while not self._cancelled and (place := self._emptiest(blocks)):
                try:
                    row = self._again.popleft() if self._again else next(waiting)
                except StopIteration:
                    more = False
                    break
                if row is None:
                    break
                if isinstance(row, BadRow):
                    yield failed(row, row.kind, row.error, self._setup.run)
                    continue
                place.held[row.index] = row
                blocks[place].append(row)
            # Also an idle worker is asked: it may be lost.
            for place, block in blocks.items():
                place.call = place.worker.exchange.remote(block)
            left = self._again or self._suspects or any(place.held for place in self._places)
            if not more and not left:
                return
            yield from self._collect()
            self._on_round()

    @property
    def _cancelled(self) -> bool:
        return self._cancellation is not None and self._cancellation.requested

    # Dealing

    def _is_free(self, place: _Place) -> bool:
        return place.node != "" and place.call is None

    def _emptiest(self, places: Iterable[_Place]) -> _Place | None:
        """The place to deal to, so that few rows are spread evenly; None if each has all that it may hold.

        That is a second block beside the one that it writes.
        """
        open_places = [
            place for place in places if place is not self._kept and len(place.held) < 2 * place.parallel
        ]
        return min(open_places, key=lambda place: len(place.held), default=None)

    def _deal_suspect(self, blocks: dict[_Place, list[Row]]) -> None:
        """Deal a row that must be alone, to a place that is kept for such and gets nothing else meanwhile."""
        if self._suspects and not self._kept:
            loaded = [place for place in self._places if place.node]
            self._kept = min(loaded, key=lambda place: len(place.held), default=None)
        kept = self._kept
        if not kept or kept not in blocks or kept.held:
            return
        if self._suspects:
            row = self._suspects.popleft()
            kept.held[row.index] = row
            blocks[kept].append(row)
        else:
            self._kept = None

    # What comes back

    def _collect(self) -> Iterator[Result]:
        """What workers have answered, once one has or a moment has passed; lost ones are replaced."""
        self._check_room()
        self._look_for_nodes()
        calls = {place.call: place for place in self._places if place.call is not None}
        if not calls:
            sleep(_PATIENCE_S)
            return
        if self._ray.wait(list(calls), timeout=_PATIENCE_S)[0]:
            for call in self._ray.wait(list(calls), num_returns=len(calls), timeout=0)[0]:
                yield from self._receive(calls[call])

    def _receive(self, place: _Place) -> Iterator[Result]:
        call, place.call = place.call, None
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, BlendinError):
                raise
            if place.node:
                raise BatchError(str(error.cause)) from error
            self._do_without(place, str(error.cause))
            return
        except self._ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                self._do_without(place, _not_installed(error))
            else:
                yield from self._lose(place, error)
            return
        if not place.node:
            self._welcome(place, *answer)
            return
        results, place.unfinished_tokens = answer
        for result in results:
            # Anything else has been answered by another worker.
            if place.held.pop(result["index"], None):
                self._deaths.pop(result["index"], None)
                place.losses = 0
                yield result

    def _welcome(self, place: _Place, node: str, parallel: int) -> None:
        place.node, place.parallel = node, parallel
        if parallel < self._setup.parallel and node not in self._small:
            self._small.add(node)
            rows = "1 row is" if parallel == 1 else f"{parallel} rows are"
            self._note(f"On node {node} {rows} written at once: memory has no room for more.")

    def _lose(self, place: _Place, error: Exception) -> Iterator[Result]:
        """Deal the rows of a lost worker again, and start another in its place. Results: of rows given up."""
        where = f" on node {place.node}" if place.node else ""
        self._note(f"A worker{where} was lost, with {len(place.held)} rows in flight: {_reason(error)}")
        self._kill(place)
        if place is self._kept:
            self._kept = None
        for index, row in place.held.items():
            self._deaths[index] = self._deaths.get(index, 0) + 1
            if self._deaths[index] < _MOST_DEATHS:
                queue = self._suspects if self._deaths[index] >= _ALONE_DEATHS else self._again
                queue.append(row)
                continue
            del self._deaths[index]
            message = (
                f"{_MOST_DEATHS} workers were lost while they answered this row, the last time alone: "
                f"look at its prompt, and at the memory of the nodes. {_reason(error)}"
            )
            yield failed(row, "worker lost", message, self._setup.run)
        place.held.clear()
        place.unfinished_tokens = 0
        place.losses += 1
        if place.losses < _MOST_LOSSES:
            self._start(place)
            return
        self._give_up(place)
        if not self._places:
            raise BatchError(
                f"No worker is left: the last {_MOST_LOSSES} were lost one after another, without a result: "
                f"look at the memory of the nodes, and run the same command again. {_reason(error)}"
            )

    def _do_without(self, place: _Place, why: str) -> None:
        """Go on without a place where the pair cannot be loaded. Raises BatchError where it is the last.

        Its worker stays, so that Ray puts no other there.
        """
        self._give_up(place)
        self._refused = why
        if not self._places:
            raise BatchError(why)
        self._note(why)

    def _give_up(self, place: _Place) -> None:
        self._places.remove(place)
        self._given_up.append(place)

    # Workers and nodes

    def _add_places(self, n: int) -> None:
        # All of them before the first: each is told how many load beside it.
        added = [_Place() for _ in range(n)]
        self._places += added
        for place in added:
            self._start(place)

    def _start(self, place: _Place) -> None:
        remote = self._ray.remote(self.worker_class).options(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            scheduling_strategy="SPREAD",
            # Ray would not know which rows are still wanted.
            max_restarts=0,
        )
        place.worker = remote.remote(self._setup, self._share.on_node)
        place.placed = place.worker.__ray_ready__.remote()
        place.node = ""
        loading = sum(not place.node for place in self._places)
        place.call = place.worker.prepare.remote(min(loading, self._share.on_node))

    def _kill(self, place: _Place) -> None:
        with suppress(Exception):
            self._ray.kill(place.worker)

    def _nodes(self) -> list[Resources]:
        """The resources of each node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _check_room(self) -> None:
        """Raises BatchError where no worker is left, and Ray finds no room for one."""
        if self.workers or any(self._ray.wait([place.placed], timeout=0)[0] for place in self._places):
            self._without_since = None
            return
        needs = self._share
        if not any(map(self._share.fits, self._nodes())):
            raise BatchError(
                f"No node of the Ray cluster has the {needs} of a worker: add a node and run the same "
                "command again, or let a worker take less with --threads or more --workers."
            )
        self._without_since = self._without_since or perf_counter()
        if perf_counter() - self._without_since > _ROOM_S:
            raise BatchError(
                self._refused
                or f"The nodes of the Ray cluster are busy: none had the {needs} of a worker free for "
                f"{_ROOM_S:.0f} seconds. See `ray status`, and run the same command again."
            )

    def _look_for_nodes(self) -> None:
        """Let nodes that joined have workers, unless a user said how many there are."""
        if self._workers or perf_counter() - self._looked < _LOOK_S:
            return
        self._looked = perf_counter()
        room = sum(map(self._share.fits, self._nodes()))
        self._add_places(room - len(self._places) - len(self._given_up))


def _whole(model: str) -> str:
    """A model's path from the root, as another process finds it; a name stays as it is."""
    path = local_path(model)
    return str(path.absolute()) if path.is_file() else model


def _not_installed(error: Exception) -> str:
    node = re.search(r"ip=([^,)]+)", str(error))
    return (
        f"On node {node[1] if node else '?'}: This program cannot be imported there ({_reason(error)}): "
        f"run `pip install 'blendin-local[ray]=={__version__}'` on each node."
    )


def _reason(error: Exception) -> str:
    """What Ray says about the end of a worker, without its guesses at causes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1].partition(" Some common causes")[0] if lines else type(error).__name__
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
