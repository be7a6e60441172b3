"""What one worker of a cluster does: load the pair of a run, and answer the rows that it is handed.

A worker is an ordinary object in a process of its own, which Ray calls one method after another. A thread in
it writes all the while, so that rows handed over in small blocks join those under way. It knows nothing of
other workers; that a row is answered once is the concern of who deals them (`cluster`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import psutil

from blendin_local import __version__
from blendin_local.batch.planning import fitting, options_for
from blendin_local.batch.results import Result
from blendin_local.batch.rows import Row
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.batch.scheduler import Scheduler
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat
from blendin_local.errors import BatchError, BlendinError, CatalogueError
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.checksums import file_digest
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, load_pair, locate_pair
from blendin_local.settings import ModelOptions

__all__ = ["Worker", "WorkerSetup"]

_HOLD_S = 0.25
"""How long an exchange waits for a first result."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """All that a worker needs to know of a run.

    formats: the templates themselves, which may be files of one machine alone. options: for one sequence;
    n_threads 0 takes the worker's share of its node. parallel: rows at once, where memory has room for them.
    """

    entry: PairEntry
    formats: Mapping[Role, PromptFormat]
    options: ModelOptions
    run: RunManifest
    parallel: int


class Worker:
    """The pair of a run, loaded once, and a thread that answers rows with it.

    on_node: how many workers share a node.
    """

    def __init__(self, setup: WorkerSetup, on_node: int = 1) -> None:
        self._setup = setup
        self._on_node = on_node
        self._rows: SimpleQueue[Row] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._unfinished_tokens = 0
        self._error: Exception | None = None
        self._thread: Thread | None = None

    def prepare(self, pairs: int = 1) -> tuple[str, int]:
        """Check and load the pair, and begin.

        pairs: how many workers are about to load on this node. Returns the name of the node, and how many
        rows are written at once. Raises BatchError, which names the node, where the package or the files are
        not those of the run, or cannot be loaded.
        """
        try:
            files = self._checked_files()
            parallel = fitting(self._setup.options, self._setup.parallel, files, pairs)
            scheduler = self._load(files, parallel)
        except CatalogueError as error:
            raise BatchError(
                f"On node {node_name()}: {error} Each node needs the files of both models."
            ) from error
        except BlendinError as error:
            raise BatchError(f"On node {node_name()}: {error}") from error
        self._thread = Thread(target=self._write, args=[scheduler], daemon=True)
        self._thread.start()
        return node_name(), parallel

    def exchange(self, rows: Sequence[Row]) -> tuple[list[Result], int]:
        """Hand over rows; returns the results that came since, none if there is none for a moment, and how
        many tokens the rows under way have.

        Raises BatchError, which names the node, once the pair has failed as a whole.
        """
        for row in rows:
            self._rows.put(row)
        results: list[Result] = []
        try:
            results.append(self._results.get(timeout=_HOLD_S))
            while True:
                results.append(self._results.get_nowait())
        except Empty:
            if self._error and not results and self._results.empty():
                raise self._error from None
        return results, self._unfinished_tokens

    def _checked_files(self) -> PairFiles:
        _check_versions(self._setup.run)
        files = locate_pair(load_catalogue(), self._setup.entry)
        _check_bytes(files, self._setup.run)
        return files

    def _load(self, files: PairFiles, parallel: int) -> Scheduler:
        setup = self._setup
        options = options_for(setup.options, parallel)
        pair = load_pair(files, replace(options, n_threads=options.n_threads or _threads(self._on_node)))

        def on_round() -> None:
            self._unfinished_tokens = scheduler.unfinished_tokens

        scheduler = Scheduler(pair, setup.formats, setup.run, parallel, on_round=on_round)
        return scheduler

    def _write(self, scheduler: Scheduler) -> None:
        try:
            for result in scheduler.answer(self._arriving(scheduler)):
                self._results.put(result)
        except BlendinError as error:
            self._error = BatchError(f"On node {node_name()}: {error}")
        except Exception as error:
            self._error = error

    def _arriving(self, scheduler: Scheduler) -> Iterator[Row | None]:
        while True:
            try:
                yield self._rows.get(block=not scheduler.active)
            except Empty:
                yield None


def node_name() -> str:
    """This node, as who administers the cluster knows it: the name of the machine and its address."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def _threads(on_node: int) -> int:
    """Physical cores for one of so many workers, within what Ray may use of this node."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    mine: list[dict[str, Any]] = [node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id]
    cores = psutil.cpu_count(logical=False) or 1
    return max(1, min(cores, *(int(resources.get("CPU", cores)) for resources in mine)) // on_node)


def _check_versions(run: RunManifest) -> None:
    from blendin_local.llamacpp.library import version

    here = {"blendin_local": __version__, "llama_cpp_python": version}
    for program, wanted in run.versions.items():
        if here.get(program) != wanted:
            raise BatchError(
                f"It has {program} {here.get(program)}, and the machine that started this has {wanted}: "
                "install the same version on both."
            )


def _check_bytes(files: PairFiles, run: RunManifest) -> None:
    for role, header in (("base", files.base), ("guide", files.guide)):
        wanted = run.models[role]["sha256"]
        if file_digest(header.path) != wanted:
            raise BatchError(
                f"The {role} {header.path} has other bytes than the one that this was started with "
                f"(SHA-256 {wanted[:12]}): copy that one there."
            )
