"""`blendin generate --input --ray` as a process: the same answers, whatever befalls workers or job."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

if sys.platform == "win32":
    pytest.skip("there are no such signals", allow_module_level=True)

from support.batch_commands import one_sentence, pair_in, prompts, results_in, texts_in, write_rows

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

_PATIENCE_S = 300.0
"""A safety net, and no measure: machines that run tests are busy."""
RAY = ["--ray", "--workers", "2", "--threads", "1"]

Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return pair_in(tmp_path_factory.mktemp("models"), endless=True)


@pytest.fixture(autouse=True)
def sixty_rows(here: Path) -> None:
    write_rows(here / "in.jsonl", prompts(60))


@contextmanager
def started(pair: list[str], output: str, *options: str) -> Iterator[Process]:
    """`blendin generate` in a process group of its own, as a shell starts it; it has ended at the end."""
    arguments = ["generate", *pair, "--no-guide-stop", "-n", "60", "--parallel", "2", "-i", "in.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "blendin_local", *arguments, "-o", output, *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A program in the background may have been started deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    guard = threading.Timer(_PATIENCE_S, process.kill)
    guard.start()
    with process:
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def ended(process: Process) -> tuple[int, str]:
    _, said = process.communicate()
    assert "Traceback" not in said and "Exception ignored" not in said, said
    return process.returncode, said


def end(pair: list[str], output: str, *options: str) -> tuple[int, str]:
    with started(pair, output, *options) as process:
        return ended(process)


def wait_until(there: Callable[[], object], process: Process) -> None:
    while not there():
        assert process.poll() is None, "the process has ended"
        time.sleep(0.002)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def below(process: Process) -> list[psutil.Process]:
    """All processes that it has started."""
    return psutil.Process(process.pid).children(recursive=True)


def workers_of(process: Process) -> list[psutil.Process]:
    found = []
    for each in below(process):
        with contextlib.suppress(psutil.Error, IndexError):
            if "Worker" in each.cmdline()[0]:
                found.append(each)
    return found


@pytest.fixture
def expected(pair: list[str], here: Path) -> dict[str, str]:
    """Return the answers of a run without Ray."""
    assert end(pair, "ordinary.jsonl")[0] == 0
    return texts_in(here / "ordinary.jsonl")


@pytest.mark.nightly
def test_a_killed_worker_changes_no_answer(pair: list[str], here: Path, expected: dict[str, str]) -> None:
    with started(pair, "killed.jsonl", *RAY) as process:
        wait_until(lambda: lines(here / "killed.jsonl") > 3 and workers_of(process), process)
        workers_of(process)[0].kill()
        code, said = ended(process)
    assert code == 0, said
    assert "was lost, with" in said
    assert texts_in(here / "killed.jsonl") == expected


def test_ctrl_c_and_the_same_command_again(pair: list[str], here: Path, expected: dict[str, str]) -> None:
    """A terminal gives Ctrl-C to all processes of the job."""
    out = here / "stopped.jsonl"
    with started(pair, out.name, *RAY) as process:
        wait_until(lambda: lines(out) > 3, process)
        family = below(process)
        os.killpg(process.pid, signal.SIGINT)
        code, said = ended(process)
    assert code == 130, said
    assert said.endswith("Stopped. Finished answers are saved: run the same command again to resume.\n")
    assert "was lost" not in said
    kept = results_in(out)
    assert 3 < len(kept) < 60
    _, alive = psutil.wait_procs(family, timeout=_PATIENCE_S)
    assert not alive
    code, said = end(pair, out.name, *RAY)
    assert code == 0 and f"{len(kept)} of them kept" in said
    found = results_in(out)
    assert all(found[id] == result for id, result in kept.items())
    assert texts_in(out) == expected


@pytest.mark.parametrize(
    ("address", "words"),
    [("nonsense", "is no address of a Ray cluster: give HOST:PORT"), ("", "cannot be reached")],
)
def test_a_wrong_address_gets_one_sentence(pair: list[str], here: Path, address: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = address or f"127.0.0.1:{port}"
    code, said = end(pair, "out.jsonl", "--quiet", "--ray", address)
    assert code == 2
    one_sentence(said, address, words)
    assert not results_in(here / "out.jsonl")
