"""Measure which promises of `generate --ray` an actor pool of Ray Data keeps.

    python docs/measure_ray_data.py             # all experiments, each in a process of its own
    python docs/measure_ray_data.py lost-node   # one of them

Each runs on a local cluster of two nodes with one worker each. One row is one block, and a worker runs
several calls in threads, so that rows can join and leave a shared decode. `docs/batch.md` has the results.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter, sleep
from typing import Any

# Ray reads them while it is imported; without the second, it tells of each lost worker on standard output.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}

import ray
from ray.cluster_utils import Cluster

ROWS = 40
AT_ONCE = 4
ROW_S = 2.0
FATAL_ROW = 7
FATAL_ROW_S = 0.5
LIMIT_S = 120.0
"""A job that has not ended so long after its first answer counts as hanging; without a fault: 10 s."""
START_S = 180.0


class Worker:
    """Stand in for a loaded pair.

    fatal_calls: a folder that gets a file for each call that ends the process.
    """

    def __init__(self, fatal_calls: str, fatal_row: int, bad_node: str) -> None:
        self._fatal_calls, self._fatal_row = Path(fatal_calls), fatal_row
        if ray.get_runtime_context().get_node_id() == bad_node:
            (self._fatal_calls / str(os.getpid())).touch()
            raise RuntimeError("The model is missing on this node.")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if batch["id"][0] == self._fatal_row:
            sleep(FATAL_ROW_S)
            (self._fatal_calls / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        sleep(ROW_S)
        return {"id": batch["id"], "pid": [os.getpid()]}


def observe(
    *,
    at_once: int = AT_ONCE,
    fatal_row: int = -1,
    bad_node: str = "",
    on_fifth: Callable[[int], None] = lambda pid: None,
    **remote: int,
) -> None:
    """Run one job, and print how it ended, or how far it was after `LIMIT_S`.

    on_fifth: called with the process id of the worker that gave the fifth answer. remote: options of actors.
    """
    times: list[float] = []
    found: list[int] = []
    ending: list[str] = []

    def run(fatal_calls: str) -> None:
        pool = ray.data.ActorPoolStrategy(
            size=2,
            max_concurrent_calls_per_actor=at_once,
            max_tasks_in_flight_per_actor=at_once,
            enable_true_multi_threading=True,
        )
        rows = [{"id": row} for row in range(ROWS)]
        options = {"fatal_calls": fatal_calls, "fatal_row": fatal_row, "bad_node": bad_node}
        try:
            answers = ray.data.from_items(rows, override_num_blocks=ROWS).map_batches(
                Worker, fn_constructor_kwargs=options, batch_size=1, compute=pool, num_cpus=1, **remote
            )
            for row in answers.iter_rows():
                times.append(perf_counter() - began)
                found.append(int(row["id"]))
                if len(found) == 5:
                    on_fifth(int(row["pid"]))
            ending.append("ended")
        except Exception as error:
            ending.append(f"failed with {type(error).__name__}")

    with TemporaryDirectory() as fatal_calls:
        began = perf_counter()
        thread = Thread(target=run, args=[fatal_calls], daemon=True)
        thread.start()
        while thread.is_alive() and perf_counter() - began < (times[0] + LIMIT_S if times else START_S):
            sleep(0.1)
        took = perf_counter() - began
        n_fatal = len(list(Path(fatal_calls).iterdir()))
    missing = sorted(set(range(ROWS)) - set(found))
    first = f"{times[0]:.1f} s" if times else "never"
    print(f"  {ending[0] if ending else 'has not ended'} after {took:.1f} s, first answer: {first}")
    print(f"  times of the answers: {' '.join(f'{time - times[0]:.0f}' for time in times)}")
    print(f"  {len(found)} answers, missing rows: {missing or 'none'}, fatal calls: {n_fatal}", flush=True)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def remove_node(nodes: Cluster) -> None:
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)


def drop_failed_blocks() -> None:
    ray.data.DataContext.get_current().max_errored_blocks = -1


def no_fault(nodes: Cluster) -> None:
    """Nothing happens."""
    observe()


def killed_worker(nodes: Cluster) -> None:
    """A worker is killed once."""
    observe(on_fifth=kill)


def fatal_row(nodes: Cluster) -> None:
    """A row kills its worker whenever it is asked; retries as Ray Data sets them."""
    observe(fatal_row=FATAL_ROW)


def fatal_row_limited(nodes: Cluster) -> None:
    """The same with `max_task_retries=2` and `max_errored_blocks=-1`."""
    drop_failed_blocks()
    observe(fatal_row=FATAL_ROW, max_task_retries=2)


def fatal_row_one_at_a_time(nodes: Cluster) -> None:
    """The same with one row at a time in each worker."""
    drop_failed_blocks()
    observe(fatal_row=FATAL_ROW, max_task_retries=2, at_once=1)


def lost_node(nodes: Cluster) -> None:
    """A node is lost for good."""
    observe(on_fifth=lambda pid: remove_node(nodes))


def lost_node_no_restarts(nodes: Cluster) -> None:
    """The same with `max_restarts=0` and `max_errored_blocks=-1`."""
    drop_failed_blocks()
    observe(on_fifth=lambda pid: remove_node(nodes), max_restarts=0)


def bad_node(nodes: Cluster) -> None:
    """A worker cannot load the pair on one of the nodes."""
    observe(bad_node=next(iter(nodes.worker_nodes)).node_id)


def bad_node_tolerated(nodes: Cluster) -> None:
    """The same with `max_consecutive_actor_init_deaths=20`."""
    ray.data.DataContext.get_current().max_consecutive_actor_init_deaths = 20
    observe(bad_node=next(iter(nodes.worker_nodes)).node_id)


EXPERIMENTS = {
    experiment.__name__.replace("_", "-"): experiment
    for experiment in (
        no_fault,
        killed_worker,
        fatal_row,
        fatal_row_limited,
        fatal_row_one_at_a_time,
        lost_node,
        lost_node_no_restarts,
        bad_node,
        bad_node_tolerated,
    )
}


def main() -> None:
    if len(sys.argv) < 2:
        for name in EXPERIMENTS:
            subprocess.run([sys.executable, __file__, name], check=True, stderr=subprocess.DEVNULL)
        return
    experiment = EXPERIMENTS[sys.argv[1]]
    print(f"{sys.argv[1]}: {experiment.__doc__}", flush=True)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    experiment(nodes)
    # A job that hangs would hold up an orderly end, of which Ray would write at length.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for node in nodes.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    os._exit(0)


if __name__ == "__main__":
    main()
