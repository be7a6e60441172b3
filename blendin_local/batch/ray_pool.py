"""The pool of workers on a Ray cluster: start them, wait for their answers, replace those that are lost.

A worker that is lost is followed by a new actor, in Ray's choice of place: Ray's own restarts
(`max_restarts`) would send the calls in flight to the same actor again, also while its node is gone and
others are idle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter, sleep
from typing import Any

from blendin_local import __version__
from blendin_local.batch.ray_resources import NodeResources, plan_workers
from blendin_local.batch.ray_worker import Worker, WorkerSetup
from blendin_local.batch.rows import Row
from blendin_local.errors import BatchError, BlendinError

__all__ = ["WorkerPool", "WorkerSlot", "reason_of"]

POLL_INTERVAL_S = 0.1
"""How long to wait for workers before the driver looks for new rows and for a cancellation."""
_PLACEMENT_TIMEOUT_S = 120.0
"""How long a first worker may wait for resources that other programs use."""
_NODE_SCAN_INTERVAL_S = 10.0
_MAX_LOSSES = 6
"""Workers lost in one slot, without a result in between, until the slot is closed."""
_MAX_REASON_CHARS = 240


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """One worker, or its replacement after a loss.

    worker: the actor's handle. placed: a reference that is ready once Ray has found resources for the
    actor. call: the reference of the call that is not answered yet, or None. node: the name of its node, ""
    until the pair is loaded. parallel: rows decoded at once. in_flight: rows dispatched and not
    answered, by index. unsent: those of them that the next exchange sends. unfinished_tokens: tokens of the
    rows being decoded. losses: workers lost since the last result.
    """

    worker: Any = None
    placed: Any = None
    call: Any = None
    node: str = ""
    parallel: int = 0
    in_flight: dict[int, Row] = field(default_factory=dict)
    unsent: list[Row] = field(default_factory=list)
    unfinished_tokens: int = 0
    losses: int = 0

    def dispatch(self, row: Row) -> None:
        """Have a row sent with the next exchange."""
        self.in_flight[row.index] = row
        self.unsent.append(row)

    def exchange(self) -> None:
        self.call = self.worker.exchange.remote(self.unsent)
        self.unsent = []


class WorkerPool:
    """Workers of one run.

    ray: the module, connected to a cluster. n_workers: None for one on each node, also on nodes that join
    later. note: receives a sentence for the user about a node.
    """

    def __init__(
        self,
        ray: Any,
        worker_class: type[Worker],
        setup: WorkerSetup,
        n_workers: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._ray = ray
        self._worker_class = worker_class
        self._setup = setup
        self._grows = n_workers is None
        self._note = note
        self.slots: list[WorkerSlot] = []
        self._closed_slots: list[WorkerSlot] = []
        self._load_error = ""
        self._nodes_with_less_memory: set[str] = set()
        self._waiting_since: float | None = None
        self._last_scan = perf_counter()
        n_slots, self._resources = plan_workers(self._nodes(), n_workers, setup.options)
        self._add_slots(n_slots)

    @property
    def loaded(self) -> list[WorkerSlot]:
        """Slots whose workers have loaded the pair."""
        return [slot for slot in self.slots if slot.node]

    def close(self) -> None:
        """Kill all workers. Can be called again."""
        for slot in [*self.slots, *self._closed_slots]:
            self._kill(slot)
        self.slots.clear()
        self._closed_slots.clear()

    def poll(self) -> Iterator[tuple[WorkerSlot, Any]]:
        """Wait briefly for pending calls; yield each slot with the answer to `exchange`, or with a
        RayError.

        A RayError means that the worker is lost: `replace` is to be called. Also adds workers on nodes that
        have joined. Raises BatchError if no worker is left and none can be started, or if the pair fails as
        a whole.
        """
        self._check_placement()
        self._add_slots_for_new_nodes()
        calls = {slot.call: slot for slot in self.slots if slot.call is not None}
        if not calls:
            sleep(POLL_INTERVAL_S)
        elif self._ray.wait(list(calls), timeout=POLL_INTERVAL_S)[0]:
            for call in self._ray.wait(list(calls), num_returns=len(calls), timeout=0)[0]:
                slot, calls[call].call = calls[call], None
                yield from self._receive(slot, call)

    def _receive(self, slot: WorkerSlot, call: Any) -> Iterator[tuple[WorkerSlot, Any]]:
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, BlendinError):
                raise
            if slot.node:
                raise BatchError(str(error.cause)) from error
            self._close_unloadable(slot, str(error.cause))
        except self._ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                self._close_unloadable(slot, _not_installed(error))
            else:
                yield slot, error
        else:
            if slot.node:
                yield slot, answer
            else:
                self._mark_loaded(slot, *answer)

    def _mark_loaded(self, slot: WorkerSlot, node: str, parallel: int) -> None:
        slot.node, slot.parallel = node, parallel
        if parallel < self._setup.parallel and node not in self._nodes_with_less_memory:
            self._nodes_with_less_memory.add(node)
            rows = "1 row is" if parallel == 1 else f"{parallel} rows are"
            self._note(f"On node {node} {rows} written at once: memory has no room for more.")

    def replace(self, slot: WorkerSlot, error: Exception) -> None:
        """Start another worker in the slot of a lost one, which holds no row any more.

        Raises BatchError if this was the last slot and its workers were lost one after another.
        """
        self._kill(slot)
        slot.unfinished_tokens = 0
        slot.losses += 1
        if slot.losses < _MAX_LOSSES:
            self._start(slot)
            return
        self._close_slot(slot)
        if not self.slots:
            raise BatchError(
                f"No worker is left: the last {_MAX_LOSSES} were lost one after another, without a result: "
                f"look at the memory of the nodes, and run the same command again. {reason_of(error)}"
            )

    def _close_unloadable(self, slot: WorkerSlot, why: str) -> None:
        """Close a slot where the pair cannot be loaded. Raises BatchError if it was the last."""
        self._close_slot(slot)
        self._load_error = why
        if not self.slots:
            raise BatchError(why)
        self._note(why)

    def _close_slot(self, slot: WorkerSlot) -> None:
        # Its actor, if alive, stays: it keeps Ray from starting another one on that node.
        self.slots.remove(slot)
        self._closed_slots.append(slot)

    def _add_slots(self, n: int) -> None:
        # All of them before the first starts: each is told how many load beside it.
        added = [WorkerSlot() for _ in range(n)]
        self.slots += added
        for slot in added:
            self._start(slot)

    def _start(self, slot: WorkerSlot) -> None:
        actor = self._ray.remote(self._worker_class).options(
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            scheduling_strategy="SPREAD",
            max_restarts=0,
        )
        slot.worker = actor.remote(self._setup, self._resources.per_node)
        slot.placed = slot.worker.__ray_ready__.remote()
        slot.node = ""
        n_loading = sum(not slot.node for slot in self.slots)
        slot.call = slot.worker.load.remote(min(n_loading, self._resources.per_node))

    def _kill(self, slot: WorkerSlot) -> None:
        with suppress(Exception):
            self._ray.kill(slot.worker)

    def _nodes(self) -> list[NodeResources]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _check_placement(self) -> None:
        """Raise BatchError if there is no worker and Ray finds no resources for one."""
        if self.loaded or any(self._ray.wait([slot.placed], timeout=0)[0] for slot in self.slots):
            self._waiting_since = None
            return
        needs = self._resources
        if not any(map(needs.fit, self._nodes())):
            raise BatchError(
                f"No node of the Ray cluster has the {needs} of a worker: add a node and run the same "
                "command again, or let a worker take less with --threads or more --workers."
            )
        self._waiting_since = self._waiting_since or perf_counter()
        if perf_counter() - self._waiting_since > _PLACEMENT_TIMEOUT_S:
            raise BatchError(
                self._load_error
                or f"The nodes of the Ray cluster are busy: none had the {needs} of a worker free for "
                f"{_PLACEMENT_TIMEOUT_S:.0f} seconds. See `ray status`, and run the same command again."
            )

    def _add_slots_for_new_nodes(self) -> None:
        if not self._grows or perf_counter() - self._last_scan < _NODE_SCAN_INTERVAL_S:
            return
        self._last_scan = perf_counter()
        n_fitting = sum(map(self._resources.fit, self._nodes()))
        self._add_slots(n_fitting - len(self.slots) - len(self._closed_slots))


def reason_of(error: Exception) -> str:
    """Return Ray's sentence on why a worker ended, without its list of common causes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].partition(" Some common causes")[0] if lines else type(error).__name__
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[:_MAX_REASON_CHARS]}…"


def _not_installed(error: Exception) -> str:
    node = re.search(r"ip=([^,)]+)", str(error))
    return (
        f"On node {node[1] if node else '?'}: This program cannot be imported there ({reason_of(error)}): "
        f"run `pip install 'blendin-local[ray]=={__version__}'` on each node."
    )
