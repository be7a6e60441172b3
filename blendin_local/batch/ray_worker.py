"""One worker of a Ray cluster: load the pair of a run, and answer the rows that the driver sends.

A worker is an actor whose methods Ray calls one after another. A thread in it decodes all the while, so
that rows sent in small groups join those under way. The driver (`ray_dispatcher`) ensures that each
row is answered once.
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
from blendin_local.batch.planning import fit_parallel, parallel_options
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

_EXCHANGE_TIMEOUT_S = 0.25
"""How long an exchange waits for a first result."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Parameters of all workers of a run.

    formats: complete prompt formats, because template files may exist on the driver alone. options: for one
    sequence; with n_threads 0 a worker uses its share of the node's cores. parallel: maximum number of
    parallel rows, fewer if memory is short.
    """

    entry: PairEntry
    formats: Mapping[Role, PromptFormat]
    options: ModelOptions
    run: RunManifest
    parallel: int


class Worker:
    """Hold the loaded pair of a run and the thread that decodes with it.

    per_node: the number of workers that share a node.
    """

    def __init__(self, setup: WorkerSetup, per_node: int = 1) -> None:
        self._setup = setup
        self._per_node = per_node
        self._rows: SimpleQueue[Row] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._unfinished_tokens = 0
        self._error: Exception | None = None

    def load(self, n_loading: int = 1) -> tuple[str, int]:
        """Check and load the pair, and start to decode.

        n_loading: the number of workers that load on this node at the same time and share its memory.
        Returns the node's name and the number of rows decoded at once. Raises BatchError, which names the
        node, if the versions or the model files differ from the driver's, or if loading fails.
        """
        try:
            files = self._checked_files()
            parallel = fit_parallel(self._setup.options, self._setup.parallel, files, n_loading)
            scheduler = self._open(files, parallel)
        except CatalogueError as error:
            raise BatchError(
                f"On node {node_name()}: {error} Each node needs the files of both models."
            ) from error
        except BlendinError as error:
            raise BatchError(f"On node {node_name()}: {error}") from error
        Thread(target=self._decode, args=[scheduler], daemon=True).start()
        return node_name(), parallel

    def exchange(self, rows: Sequence[Row]) -> tuple[list[Result], int]:
        """Take new rows; return the results since the last call, and the tokens of unfinished rows.

        Waits a moment for a first result; there may be none. Raises BatchError, which names the node, once
        the pair has failed as a whole.
        """
        for row in rows:
            self._rows.put(row)
        results: list[Result] = []
        try:
            results.append(self._results.get(timeout=_EXCHANGE_TIMEOUT_S))
            while True:
                results.append(self._results.get_nowait())
        except Empty:
            if self._error and not results and self._results.empty():
                raise self._error from None
        return results, self._unfinished_tokens

    def _checked_files(self) -> PairFiles:
        _check_versions(self._setup.run)
        files = locate_pair(load_catalogue(), self._setup.entry)
        _check_digests(files, self._setup.run)
        return files

    def _open(self, files: PairFiles, parallel: int) -> Scheduler:
        setup = self._setup
        options = parallel_options(setup.options, parallel)
        pair = load_pair(files, replace(options, n_threads=options.n_threads or _threads(self._per_node)))
        scheduler = Scheduler(
            pair, setup.formats, setup.run, parallel, on_round=lambda: self._count_tokens(scheduler)
        )
        return scheduler

    def _decode(self, scheduler: Scheduler) -> None:
        try:
            for result in scheduler.answer(self._incoming_rows(scheduler)):
                # Before the result is queued, so that its tokens are not counted as unfinished too.
                self._count_tokens(scheduler)
                self._results.put(result)
        except BlendinError as error:
            self._error = BatchError(f"On node {node_name()}: {error}")
        except Exception as error:
            self._error = error

    def _count_tokens(self, scheduler: Scheduler) -> None:
        self._unfinished_tokens = scheduler.unfinished_tokens

    def _incoming_rows(self, scheduler: Scheduler) -> Iterator[Row | None]:
        while True:
            try:
                yield self._rows.get(block=not scheduler.active)
            except Empty:
                yield None


def node_name() -> str:
    """Return the host name and the Ray address of this node."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def _threads(per_node: int) -> int:
    """Return a worker's share of the physical cores, at most of the CPUs that Ray may use on this node."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    here: list[dict[str, Any]] = [node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id]
    cores = psutil.cpu_count(logical=False) or 1
    return max(1, min(cores, *(int(resources.get("CPU", cores)) for resources in here)) // per_node)


def _check_versions(run: RunManifest) -> None:
    from blendin_local.llamacpp.library import version

    installed = {"blendin_local": __version__, "llama_cpp_python": version}
    for program, wanted in run.versions.items():
        if installed.get(program) != wanted:
            raise BatchError(
                f"It has {program} {installed.get(program)}, and the machine that started the run has "
                f"{wanted}: install the same version on both."
            )


def _check_digests(files: PairFiles, run: RunManifest) -> None:
    for role, header in (("base", files.base), ("guide", files.guide)):
        wanted = run.models[role]["sha256"]
        if file_digest(header.path) != wanted:
            raise BatchError(
                f"The {role} {header.path} differs from the file of the machine that started the run "
                f"(SHA-256 {wanted[:12]}): copy that file there."
            )
