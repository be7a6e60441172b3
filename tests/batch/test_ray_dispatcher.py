"""Dispatch rows to simulated workers that are lost and replaced: one result each, no row failed for
another's fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batch_results import Result
from support.fake_ray import FakeRay, FakeWorker

from blendin_local.batch import ray_dispatcher, ray_pool
from blendin_local.batch.ray_dispatcher import RayDispatcher, WorkerSetup
from blendin_local.batch.ray_resources import plan_workers
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.prompts import Message
from blendin_local.errors import BatchError
from blendin_local.models.entries import PairEntry
from blendin_local.settings import GenerationSettings, ModelOptions

RUN = RunManifest({}, {})


def row(index: int, id: str = "") -> Row:
    settings = GenerationSettings()
    return Row(id or f"row-{index}", index, f"line {index}", (Message("user", "hello"),), settings, {})


def never(worker: FakeWorker) -> bool:
    return False


@contextmanager
def dispatching(
    *,
    workers: int = 3,
    parallel: int = 2,
    seed: int = 0,
    kills: Callable[[FakeWorker], bool] = never,
    room: int | None = None,
    at_once: int | None = None,
    cancellation: Cancellation | None = None,
    **told: Any,
) -> Iterator[tuple[RayDispatcher, FakeRay]]:
    ray = FakeRay(seed, kills, workers if room is None else room, at_once)
    setup = WorkerSetup(PairEntry("", "base", "guide"), {}, ModelOptions(), RUN, parallel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_dispatcher, "connect", lambda address, cpus: ray)
        patch.setattr(ray_dispatcher, "disconnect", lambda: None)
        patch.setattr(ray_pool, "POLL_INTERVAL_S", 0.0)
        with RayDispatcher(setup, workers=workers, cancellation=cancellation, **told) as opened:
            yield opened, ray


def kinds(results: list[Result]) -> dict[str, str]:
    return {result["id"]: (result["error"] or {"kind": ""})["kind"] for result in results}


@given(
    seed=st.integers(0, 1 << 30),
    workers=st.integers(1, 5),
    parallel=st.integers(1, 4),
    n=st.integers(0, 60),
    n_deaths=st.integers(0, 5),
)
def test_each_row_has_one_result(seed: int, workers: int, parallel: int, n: int, n_deaths: int) -> None:
    def kills(worker: FakeWorker) -> bool:
        return len(worker.ray.deaths) < n_deaths and worker.ray.chance.random() < 0.3

    with dispatching(seed=seed, workers=workers, parallel=parallel, kills=kills) as (opened, ray):
        results = list(opened.answer(map(row, range(n))))
        assert sorted(result["index"] for result in results) == list(range(n))
        deaths = Counter(id for held in ray.deaths for id in held)
        for id, kind in kinds(results).items():
            assert kind == ("worker lost" if deaths[id] == 3 else "")
            assert deaths[id] < 3 or [id] in ray.deaths, "given up, though another may be to blame"
        assert opened.active == 0


@given(
    seed=st.integers(0, 1 << 30),
    workers=st.integers(1, 4),
    parallel=st.integers(1, 4),
    poison=st.sets(st.integers(0, 29), max_size=2),
)
def test_a_row_that_kills_workers_harms_no_other(
    seed: int, workers: int, parallel: int, poison: set[int]
) -> None:
    ids = {f"row-{index}" for index in poison}

    def kills(worker: FakeWorker) -> bool:
        return any(row.id in ids for row in worker.held)

    with dispatching(seed=seed, workers=workers, parallel=parallel, kills=kills) as (opened, ray):
        results = list(opened.answer(map(row, range(30))))
    assert len(results) == 30
    assert {id for id, kind in kinds(results).items() if kind} == ids
    assert all(kind in ("", "worker lost") for kind in kinds(results).values())
    assert len(ray.deaths) <= 3 * len(poison)


@given(
    seed=st.integers(0, 1 << 30),
    left=st.integers(1, 3),
    lost=st.integers(2, 6),
    parallel=st.integers(1, 4),
    marked=st.sets(st.integers(0, 5), min_size=1),
)
def test_last_attempts_do_not_wait_for_the_end_of_the_input(
    seed: int, left: int, lost: int, parallel: int, marked: set[int]
) -> None:
    """Nodes are lost for good, with the same rows each time; the others always have work."""
    ids = {f"row-{index}" for index in marked}

    def kills(worker: FakeWorker) -> bool:
        if len(worker.ray.deaths) == lost or not any(row.id in ids for row in worker.held):
            return False
        worker.ray.room -= 1
        return True

    with dispatching(seed=seed, workers=lost + left, parallel=parallel, kills=kills) as (opened, ray):
        for count, result in enumerate(opened.answer(map(row, range(1000)))):
            assert result["error"] is None or [result["id"]] in ray.deaths
            assert count < 900, "It waits for the end of the input."
            ids.discard(result["id"])
            if not ids:
                break
        assert not ids


@given(seed=st.integers(0, 1 << 30), workers=st.integers(1, 4), parallel=st.integers(1, 4))
def test_only_rows_in_flight_are_held(seed: int, workers: int, parallel: int) -> None:
    taken = 0

    def rows() -> Iterator[Row]:
        nonlocal taken
        for index in range(100):
            taken += 1
            yield row(index)

    with dispatching(seed=seed, workers=workers, parallel=parallel) as (opened, _):
        for count, _ in enumerate(opened.answer(rows()), 1):
            # One more may have been taken for which the round has no room.
            assert taken - count < 2 * workers * parallel + 1
            assert 0 <= opened.active <= workers * parallel
    assert taken == 100


def test_few_rows_are_spread_over_all_workers() -> None:
    with dispatching(workers=3, parallel=4) as (opened, _):
        while opened.workers < 3:
            list(opened._receive())
        answering = opened.answer([*map(row, range(6)), *[None] * 1000])
        next(answering)
        assert opened.active <= 6
        held = [len(slot.in_flight) for slot in opened.slots]
        assert max(held) <= 2, held


@given(seed=st.integers(0, 1 << 30), at_once=st.integers(1, 4))
def test_a_worker_with_less_memory_gets_fewer_rows(seed: int, at_once: int) -> None:
    """`FakeWorker` asserts how many it holds."""
    notes: list[str] = []
    with dispatching(seed=seed, workers=2, parallel=4, at_once=at_once, note=notes.append) as (opened, _):
        for _ in opened.answer(map(row, range(40))):
            assert opened.active <= 2 * at_once
    # Both are on one node.
    rows = "1 row is" if at_once == 1 else f"{at_once} rows are"
    said = f"On node here {rows} written at once: memory has no room for more."
    assert notes == ([said] if at_once < 4 else [])


def test_pairs_loaded_at_the_same_time_share_the_memory() -> None:
    def rows() -> Iterator[Row | None]:
        yield from map(row, range(20))
        while opened.workers < 3:
            yield None

    with dispatching(workers=3, room=1, kills=lambda worker: not worker.ray.deaths) as (opened, ray):
        ray.room = 3
        while opened.workers < 3:
            list(opened._receive())
        assert len(list(opened.answer(rows()))) == 20
    assert ray.n_loading == [3, 3, 3, 1]


def test_unfinished_tokens_are_those_of_rows_in_flight() -> None:
    seen = set[int]()

    def on_round() -> None:
        seen.add(opened.unfinished_tokens)
        # `FakeWorker` counts one for each row.
        assert opened.unfinished_tokens <= sum(len(slot.in_flight) for slot in opened.slots)

    def kills(worker: FakeWorker) -> bool:
        return worker.ray.chance.random() < 0.1

    with dispatching(workers=2, kills=kills, on_round=on_round) as (opened, _):
        assert opened.unfinished_tokens == 0
        list(opened.answer(map(row, range(100))))
        assert opened.unfinished_tokens == 0
    assert max(seen) > 2


def test_rows_that_have_not_arrived_block_no_result() -> None:
    """A slow pipe: each row comes only after the result of the one before."""
    seen: list[str] = []

    def rows() -> Iterator[Row | None]:
        for index in range(5):
            while len(seen) < index:
                yield None
            yield row(index)

    with dispatching() as (opened, _):
        for result in opened.answer(rows()):
            seen.append(result["id"])
    assert len(seen) == 5


def test_bad_rows_need_no_worker() -> None:
    bad = [
        BadRow("a", 0, "line 1", "This is no row."),
        BadRow("b", 1, "line 2", "Met before.", "duplicate id"),
    ]
    with dispatching() as (opened, ray):
        results = list(opened.answer([*bad, row(2)]))
    assert kinds(results) == {"a": "bad row", "b": "duplicate id", "row-2": ""}
    assert ray.answered == ["row-2"]


def test_other_workers_go_on_if_a_lost_one_cannot_be_replaced() -> None:
    def kills(worker: FakeWorker) -> bool:
        if worker.ray.deaths:
            return False
        worker.ray.room = 1
        return True

    with dispatching(workers=2, kills=kills) as (opened, _):
        assert not any(kinds(list(opened.answer(map(row, range(20))))).values())
        assert opened.workers == 1


def test_all_workers_are_lost_one_after_another() -> None:
    with dispatching(workers=2, kills=lambda worker: True) as (opened, ray):
        results = []
        with pytest.raises(BatchError, match=r"No worker is left.*The worker has died\."):
            for result in opened.answer(map(row, range(1000))):
                results.append(result)
    assert len(ray.deaths) == 12
    assert set(kinds(results).values()) <= {"worker lost"}


def test_a_replacement_that_cannot_load_the_pair_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without the models has joined since."""

    def kills(worker: FakeWorker) -> bool:
        monkeypatch.setattr(worker.ray, "refuses", lambda: "On node new: The model is missing.")
        return not worker.ray.deaths

    with dispatching(workers=2, kills=kills) as (opened, ray):
        while opened.workers < 2:
            list(opened._receive())
        assert not any(kinds(list(opened.answer(map(row, range(20))))).values())
        assert len(ray.deaths) == 1
    with dispatching(workers=1, kills=kills) as (opened, _), pytest.raises(BatchError, match="On node new"):
        list(opened.answer(map(row, range(20))))


def test_a_first_worker_that_cannot_load_the_pair_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["On node old: The model is missing."]
    notes: list[str] = []
    monkeypatch.setattr(FakeRay, "refuses", lambda ray: reasons.pop() if reasons else "")
    with dispatching(workers=2, note=notes.append) as (opened, ray):
        assert not any(kinds(list(opened.answer(map(row, range(20))))).values())
        assert opened.workers == 1
        # It has its node to itself: no other is put there.
        assert len(ray._workers) == 2
    assert not ray._workers
    assert notes == ["On node old: The model is missing."]


def test_no_other_node_is_free_when_the_first_cannot_load_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "_PLACEMENT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(FakeRay, "refuses", lambda ray: "On node old: The model is missing.")
    with pytest.raises(BatchError, match="On node old"), dispatching(workers=2, room=1):
        pass


def test_no_worker_can_load_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRay, "refuses", lambda ray: "On node old: The model is missing.")
    with pytest.raises(BatchError, match="On node old"), dispatching():
        pass


def test_no_node_has_the_resources_of_a_worker() -> None:
    def kills(worker: FakeWorker) -> bool:
        worker.ray.room = 0
        return True

    with (
        dispatching(workers=1, kills=kills) as (opened, _),
        pytest.raises(BatchError, match="No node of the Ray cluster has the 1 CPUs"),
    ):
        list(opened.answer(map(row, range(5))))


def test_busy_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "_PLACEMENT_TIMEOUT_S", 0.0)
    monkeypatch.setattr(FakeRay, "wait", lambda self, references, **options: ([], list(references)))
    with pytest.raises(BatchError, match="are busy"), dispatching():
        pass


def test_cancelled_before_the_first_worker() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with dispatching(cancellation=cancellation) as (opened, ray):
        assert list(opened.answer(map(row, range(5)))) == []
    assert not ray._workers


def test_cancelled_while_rows_are_bad() -> None:
    cancellation = Cancellation()
    bad = (BadRow(str(index), index, "a line", "This is no row.") for index in range(1000))
    with dispatching(cancellation=cancellation) as (opened, _):
        results = []
        for result in opened.answer(bad):
            results.append(result)
            if len(results) == 3:
                cancellation.cancel()
    assert len(results) == 3


NODE = {"CPU": 8.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("nodes", "workers", "threads", "layers", "expected"),
    [
        ([NODE] * 3, None, 0, -1, (3, 1, 8, 0)),
        ([NODE] * 3, None, 2, -1, (3, 1, 2, 0)),
        ([NODE] * 3, 6, 0, -1, (6, 2, 4, 0)),
        ([NODE] * 3, 4, 0, -1, (4, 2, 4, 0)),
        ([NODE], 100, 0, -1, (100, 100, 1, 0)),
        ([NODE, {"CPU": 2.0}, {"CPU": 0.0}], None, 0, -1, (2, 1, 2, 0)),
        ([NODE, NODE | {"GPU": 2.0}], None, 0, -1, (1, 1, 8, 2)),
        ([NODE, NODE | {"GPU": 2.0}], 4, 0, -1, (4, 4, 2, 0.5)),
        ([NODE, NODE | {"GPU": 3.0}], 2, 0, -1, (2, 2, 4, 1)),
        ([NODE, NODE | {"GPU": 2.0}], None, 0, 0, (2, 1, 8, 0)),
    ],
)
def test_resources_of_each_worker(
    nodes: list[dict[str, float]], workers: int | None, threads: int, layers: int, expected: tuple[float, ...]
) -> None:
    n_workers, resources = plan_workers(nodes, workers, ModelOptions(n_threads=threads, n_gpu_layers=layers))
    assert (n_workers, resources.per_node, resources.cpus, resources.gpus) == expected


def test_a_cluster_without_cpus() -> None:
    with pytest.raises(BatchError, match="No node of the Ray cluster has a CPU"):
        plan_workers([{"CPU": 0.0}], None, ModelOptions())
