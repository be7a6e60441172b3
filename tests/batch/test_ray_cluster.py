"""Run real Ray clusters of several nodes on this machine: kill workers, remove and add nodes."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
from support.batch_files import EXACT, answers, formats_of, row_of, run_of, tiny_files
from support.batch_results import Result

from blendin_local.batch import ray_connection, ray_pool
from blendin_local.batch.ray_dispatcher import RayDispatcher, WorkerSetup
from blendin_local.batch.ray_worker import Worker
from blendin_local.batch.rows import BadRow, Row
from blendin_local.engine.language_model import Cancellation
from blendin_local.errors import BatchError, ModelError
from blendin_local.files import cache_dir
from blendin_local.models import memory_estimate
from blendin_local.models.loading import PairFiles
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow

CEILING_S = 300.0
"""A safety net against waiting for ever; no test measures time."""
PARALLEL = 2
SETTINGS = GenerationSettings(
    BlendSettings(gamma=0.6), SamplingSettings(temperature=0.9, top_k=30), max_tokens=12, seed=3
)


@pytest.fixture(scope="module")
def nodes_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes") / "cache"


@pytest.fixture(scope="module")
def nodes(nodes_cache: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("BLENDIN_CACHE_DIR", str(nodes_cache))
        # Workers do not find this module; the classes in it are sent to them.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        started = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        for _ in range(2):
            started.add_node(num_cpus=1)
        yield started
        started.shutdown()


@dataclass
class Job:
    """A run of tiny models, and the notes about its workers."""

    files: PairFiles
    setup: WorkerSetup
    notes: list[str] = field(default_factory=list)

    def rows(self, n: int) -> list[Row]:
        return [row_of(f"id {index}", f"the word {index} of", SETTINGS, index) for index in range(n)]

    def on(self, nodes: Any, kind: type[RayDispatcher] = RayDispatcher, **options: Any) -> RayDispatcher:
        return kind(self.setup, address=nodes.address, note=self.notes.append, **options)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    files = tiny_files(tmp_path)
    run = run_of(files, SETTINGS)
    return Job(files, WorkerSetup(files.entry, formats_of(files), EXACT, run, PARALLEL))


def workers_of(nodes: Any) -> list[psutil.Process]:
    """Return the processes of all workers of these nodes, and of no other Ray."""
    found = []
    for node in nodes.list_all_nodes():
        for raylet in node.all_processes["raylet"]:
            for process in psutil.Process(raylet.process.pid).children(recursive=True):
                try:
                    if "Worker" in process.cmdline()[0]:
                        found.append(process)
                except (psutil.Error, IndexError):
                    pass
    return found


def until(done: Callable[[], bool]) -> Iterator[None]:
    """Yield None, as for rows that have not arrived, until a condition holds."""
    began = monotonic()
    while not done():
        assert monotonic() - began < CEILING_S
        yield None


def assert_same(results: Iterable[Result], expected: dict[str, Result]) -> None:
    """Assert that each row has one result, equal to the one computed on this machine."""
    found = list(results)
    assert sorted(result["id"] for result in found) == sorted(expected)
    kept = ("index", "text", "finish_reason", "error", "settings", "models", "run", "row")
    for result in found:
        wanted = expected[result["id"]]
        assert {key: result[key] for key in kept} == {key: wanted[key] for key in kept}
        assert result.keys() == wanted.keys()


def test_rows_are_answered_as_on_one_machine(nodes: Any, job: Job) -> None:
    rows: list[Row | BadRow] = [
        *job.rows(24),
        row_of("long", "the " * 300, SETTINGS, 24),
        BadRow("bad", 25, "line 26", "This row has no prompt."),
    ]
    expected = answers(job.files, job.setup.run, rows, 1)
    with job.on(nodes) as opened:
        # Every node has a worker before the rows are given out.
        assert_same(opened.answer([*until(lambda: wait_for(opened, 3)), *rows]), expected)
    assert expected["long"]["error"]["kind"] == "too long"
    assert job.notes == []


def wait_for(opened: RayDispatcher, workers: int) -> bool:
    list(opened._receive())
    return opened.workers == workers


def test_a_killed_worker_loses_no_row(nodes: Any, job: Job) -> None:
    rows = job.rows(40)
    results = []
    with job.on(nodes) as opened:
        for count, result in enumerate(opened.answer(rows), 1):
            results.append(result)
            if count == 5:
                workers_of(nodes)[0].send_signal(signal.SIGKILL)
            if count == 20:
                for process in workers_of(nodes):
                    process.send_signal(signal.SIGKILL)
    assert_same(results, answers(job.files, job.setup.run, rows, 1))
    assert job.notes and all("was lost" in note for note in job.notes)


@pytest.mark.nightly
def test_nodes_go_and_come(nodes: Any, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "_NODE_SCAN_INTERVAL_S", 0.1)
    rows = job.rows(40)
    expected = answers(job.files, job.setup.run, rows, 1)
    results = []

    def arriving(opened: RayDispatcher) -> Iterator[Row | None]:
        yield from until(lambda: opened.workers == 3)
        yield from rows[:30]
        yield from until(lambda: opened.workers == 2)
        yield from rows[30:34]
        nodes.add_node(num_cpus=1)
        yield from until(lambda: opened.workers == 3)
        yield from rows[34:37]
        joined.append(nodes.add_node(num_cpus=1))
        yield from until(lambda: opened.workers == 4)
        yield from rows[37:]

    joined: list[Any] = []
    with job.on(nodes) as opened:
        for count, result in enumerate(opened.answer(arriving(opened)), 1):
            results.append(result)
            if count == 5:
                nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
    nodes.remove_node(joined[0])
    # Until it is known to be gone, a worker is meant for it.
    nodes.wait_for_nodes(CEILING_S)
    assert_same(results, expected)
    # Of the node that went; before Ray knows that it is gone, a worker may be meant for it.
    assert 1 <= len(job.notes) <= 3


class RefusingWorker(Worker):
    """Refuse to load the pair on the node where the first worker is placed."""

    def load(self, n_loading: int = 1) -> Any:
        node = ray.get_runtime_context().get_node_id()
        refused = Path(self._setup.entry.base).with_name("refused")
        try:
            with refused.open("x") as file:
                file.write(node)
        except FileExistsError:
            # The first worker may not have written it yet.
            while not (first := refused.read_text()):
                pass
            if node != first:
                return super().load(n_loading)
        raise BatchError("The model is missing here.")


class RefusingDispatcher(RayDispatcher):
    worker_class = RefusingWorker


def test_a_bad_node_is_left_out(nodes: Any, job: Job) -> None:
    """Also later, when a lost worker is replaced."""
    rows = job.rows(40)
    results = []
    with job.on(nodes, RefusingDispatcher) as opened:
        for count, result in enumerate(opened.answer([*until(lambda: wait_for(opened, 2)), *rows]), 1):
            results.append(result)
            if count == 5:
                workers_of(nodes)[0].send_signal(signal.SIGKILL)
    assert_same(results, answers(job.files, job.setup.run, rows, 1))
    assert sum("model is missing" in note for note in job.notes) == 1
    assert len(job.notes) <= 2


class PoisonedWorker(Worker):
    """Kill the process when a certain row arrives."""

    def exchange(self, rows: Any) -> Any:
        if any(row.id == "id 7" for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().exchange(rows)


class PoisonedDispatcher(RayDispatcher):
    worker_class = PoisonedWorker


def test_a_row_that_kills_workers_is_given_up(nodes: Any, job: Job) -> None:
    rows = job.rows(20)
    expected = answers(job.files, job.setup.run, rows, 1)
    with job.on(nodes, PoisonedDispatcher) as opened:
        results = {result["id"]: result for result in opened.answer(rows)}
    assert results.pop("id 7")["error"]["kind"] == "worker lost"
    del expected["id 7"]
    assert_same(results.values(), expected)
    assert len(job.notes) == 3


def test_ctrl_c_leaves_the_cluster_running(nodes: Any, job: Job) -> None:
    cancellation = Cancellation()
    results = []
    with job.on(nodes, cancellation=cancellation) as opened:
        for result in opened.answer(job.rows(1000)):
            results.append(result)
            if len(results) == 5:
                cancellation.cancel()
    assert 5 <= len(results) < 100
    assert all(result["text"] is not None for result in results)
    for _ in until(lambda: not workers_of(nodes)):
        sleep(0.1)
    assert all(node.any_processes_alive() for node in nodes.list_all_nodes())


class PoorWorker(Worker):
    """Report no free memory. Hold the first row until an exchange has told of its tokens."""

    def load(self, n_loading: int = 1) -> Any:
        memory_estimate.free_memory = lambda: 1000
        self._told = Event()
        return super().load(n_loading)

    def exchange(self, rows: Any) -> Any:
        results, tokens = super().exchange(rows)
        if tokens:
            self._told.set()
        return results, tokens

    def _count_tokens(self, scheduler: Any) -> None:
        super()._count_tokens(scheduler)
        if self._unfinished_tokens:
            self._told.wait()


class PoorDispatcher(RayDispatcher):
    worker_class = PoorWorker


def test_nodes_without_memory_write_fewer_rows_at_once(nodes: Any, job: Job) -> None:
    rows = job.rows(12)
    tokens = list[int]()

    def on_round() -> None:
        tokens.append(opened.unfinished_tokens)

    with job.on(nodes, PoorDispatcher, on_round=on_round) as opened:
        assert_same(opened.answer(rows), answers(job.files, job.setup.run, rows, 1))
    assert job.notes and all("1 row is written at once: memory has no room" in note for note in job.notes)
    assert max(tokens) > 0 and tokens[-1] == 0


def test_nodes_have_folders_of_their_own(nodes: Any, nodes_cache: Path, job: Job) -> None:
    """The folders of the driver's environment may not exist there."""
    with job.on(nodes) as opened:
        assert len(list(opened.answer(job.rows(1)))) == 1
    assert list((nodes_cache / "vocabulary-maps").iterdir())
    assert not (cache_dir() / "vocabulary-maps").exists()


def test_a_node_that_lacks_a_model(nodes: Any, job: Job) -> None:
    job.files.guide.path.unlink()
    with pytest.raises(BatchError) as failure, job.on(nodes):
        pass
    assert f"On node {socket.gethostname()} (" in str(failure.value)
    assert f"{job.files.guide.path} does not exist" in str(failure.value)
    assert "Each node needs" in str(failure.value)


def test_a_node_that_has_other_bytes(nodes: Any, job: Job) -> None:
    path = job.files.base.path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with (
        pytest.raises(
            BatchError, match=r"On node .*: The base .* differs from the file of the machine"
        ) as failure,
        job.on(nodes),
    ):
        pass
    assert str(path) in str(failure.value)


def test_a_node_with_another_version(nodes: Any, job: Job) -> None:
    run = job.setup.run
    settings = run.settings | {"versions": run.versions | {"blendin_local": "0.0.1"}}
    job.setup = replace(job.setup, run=replace(run, settings=settings))
    with pytest.raises(BatchError, match=r"On node .* started the run has 0\.0\.1"), job.on(nodes):
        pass


def test_a_node_without_the_package(
    nodes: Any, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from blendin_local.batch.ray_worker import Worker\nclass Elsewhere(Worker): pass\n"
    (tmp_path / "only_here.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    monkeypatch.setattr(RayDispatcher, "worker_class", only_here.Elsewhere)
    with (
        pytest.raises(BatchError, match=r"On node .*: This program cannot .*'only_here'.*`pip install"),
        job.on(nodes),
    ):
        pass


def test_no_node_has_room(nodes: Any, job: Job) -> None:
    job.setup = replace(job.setup, options=replace(job.setup.options, n_threads=64))
    with pytest.raises(BatchError, match="No node of the Ray cluster has the 64 CPUs"), job.on(nodes):
        pass


class FailingWorker(Worker):
    """Fail in the scheduler, as llama.cpp might."""

    def _incoming_rows(self, scheduler: Any) -> Any:
        for row in super()._incoming_rows(scheduler):
            if row is None:
                raise ModelError("Out of everything: give less.")
            yield row


class FailingDispatcher(RayDispatcher):
    worker_class = FailingWorker


def test_a_pair_that_fails_as_a_whole(nodes: Any, job: Job) -> None:
    with (
        pytest.raises(BatchError, match=r"On node .*: Out of everything"),
        job.on(nodes, FailingDispatcher) as opened,
    ):
        list(opened.answer(job.rows(5)))


LOCAL = """
import os, pickle, signal, sys
import psutil
from blendin_local.batch.ray_dispatcher import RayDispatcher
setup, rows = pickle.load(sys.stdin.buffer)
notes = []
with RayDispatcher(setup, note=notes.append) as opened:
    for count, result in enumerate(opened.answer(rows), 1):
        print(result["id"])
        if count == 3:
            for process in psutil.Process().children(recursive=True):
                if "Worker" in process.cmdline()[0]:
                    process.kill()
assert len(notes) == 1, notes
assert not psutil.Process().children()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


def test_ray_on_this_machine_leaves_the_terminal_alone(job: Job) -> None:
    """Ray writes nothing, not even about a lost worker."""
    rows = job.rows(20)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOCAL],
        input=pickle.dumps((job.setup, rows)),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert sorted(done.stdout.decode().splitlines()) == sorted(row.id for row in rows)
    # Workers use the cache folder of this program.
    assert list((cache_dir() / "vocabulary-maps").iterdir())


def test_ray_is_not_installed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BatchError, match=r"pip install 'blendin-local\[ray\]'"), RayDispatcher(job.setup):
        pass


def test_nothing_listens_at_the_address(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with (
            pytest.raises(BatchError, match=f"{address} cannot be reached"),
            RayDispatcher(job.setup, address=address),
        ):
            pass


@pytest.mark.parametrize(
    "address", ["nonsense", "host:", ":6379", "host:port", "ray://", "host:\x1b[31m", "a:²"]
)
def test_what_is_no_address(job: Job, address: str) -> None:
    with pytest.raises(BatchError, match="is no address of a Ray cluster") as failure:
        RayDispatcher(job.setup, address=address).__enter__()
    assert str(failure.value).isprintable()


def test_no_cluster_on_this_machine(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(BatchError, match="No Ray cluster runs on this machine: start one"):
        ray_connection.connect("auto", 1)
    with pytest.raises(BatchError, match="Ray cannot be started on this machine: Could not find"):
        ray_connection.connect(None, 1)
