"""The part of Ray that `RayDispatcher` uses, in this process: calls are answered and workers lost at
random."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from blendin_local.batch.ray_worker import WorkerSetup
from blendin_local.batch.results import Result
from blendin_local.batch.rows import Row
from blendin_local.errors import BatchError


class RayError(Exception):
    """Raised by a call to a lost worker."""


class RayTaskError(RayError):
    """Raised by a call that failed in the worker."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(eq=False)
class Reference:
    worker: FakeWorker
    give: Callable[[], Any]


@dataclass(eq=False)
class FakeWorker:
    """Hold rows, and answer some of them at each exchange."""

    ray: FakeRay
    parallel: int
    held: list[Row] = field(default_factory=list)
    alive: bool = True

    def __getattr__(self, method: str) -> Any:
        work = {"__ray_ready__": lambda: None, "load": self._load, "exchange": self._exchange}[method]
        return SimpleNamespace(remote=lambda *given: self._asked(work, *given))

    def _asked(self, work: Callable[..., Any], *given: Any) -> Reference:
        return Reference(self, lambda: work(*given))

    def _load(self, n_loading: int) -> tuple[str, int]:
        if why := self.ray.refuses():
            raise RayTaskError(BatchError(why))
        self.ray.n_loading.append(n_loading)
        return "here", self.parallel

    def _exchange(self, rows: Sequence[Row]) -> tuple[list[Result], int]:
        self.held += rows
        assert len(self.held) <= 2 * self.parallel
        if self.ray.kills(self):
            self.alive = False
            self.ray.deaths.append([row.id for row in self.held])
            raise RayError("Ray says more than anyone reads.\nThe worker has died.")
        most = min(len(self.held), self.ray.most)
        done = self.ray.chance.sample(self.held, self.ray.chance.randint(0, most))
        self.held = [row for row in self.held if row not in done]
        self.ray.answered += [row.id for row in done]
        return [{"id": row.id, "index": row.index, "error": None} for row in done], len(self.held)


class FakeRay:
    """kills: decides whether a worker is lost at this exchange. room: the number of workers that Ray can
    place. at_once: the number of rows that a worker decodes at once, None for as many as it is told.

    deaths: of each lost worker, the ids of the rows in flight. answered: ids of answered rows, also of
    answers that were lost. n_loading: what each worker was told about others that load on its node.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(
        self, seed: int, kills: Callable[[FakeWorker], bool], room: int, at_once: int | None = None
    ) -> None:
        self.chance = random.Random(seed)
        # Workers that answer one row after another are never empty while there are more.
        self.most = self.chance.choice([1, 1000])
        self.kills = kills
        self.room = room
        self.at_once = at_once
        self.deaths: list[list[str]] = []
        self.answered: list[str] = []
        self.n_loading: list[int] = []
        self._workers: list[FakeWorker] = []

    def refuses(self) -> str:
        """Return why the next worker cannot load the pair, or an empty string."""
        return ""

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}} for _ in range(self.room)]

    def remote(self, cls: type) -> Any:
        def start(setup: WorkerSetup, per_node: int) -> FakeWorker:
            self._workers.append(FakeWorker(self, self.at_once or setup.parallel))
            return self._workers[-1]

        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=start))

    def kill(self, worker: FakeWorker) -> None:
        worker.alive = False
        self._workers.remove(worker)

    def wait(
        self, references: Iterable[Reference], num_returns: int = 1, timeout: float = 0
    ) -> tuple[list[Reference], list[Reference]]:
        placed = self._workers[: self.room]
        ready = [each for each in references if each.worker in placed and self.chance.random() < 0.7]
        ready = ready[:num_returns]
        return ready, [each for each in references if each not in ready]

    def get(self, reference: Reference) -> Any:
        return reference.give()
