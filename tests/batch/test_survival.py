"""What befalls a job of `blendin generate --input` as a process: kills, Ctrl-C, closed pipes, full disks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import IO, Any

import pytest

if sys.platform == "win32":
    pytest.skip("there are no such signals and terminals", allow_module_level=True)

from support.batch_commands import (
    as_lines,
    models_in,
    one_sentence,
    packed,
    pair_in,
    prompts,
    results_in,
    texts_in,
    write_rows,
)
from support.batch_lines import documents_in
from support.nightly import first_of, some_of
from support.terminal import CTRL_C, Terminal

from blendin_local.batch.resuming import EarlierLines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("here")]

_PATIENCE_S = 300.0
"""A safety net, and no measure: machines that run tests are busy."""
HINT = "Stopped. Finished answers are saved: run the same command again to resume.\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return pair_in(tmp_path_factory.mktemp("models"), endless=True)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A program that runs in the background may have been started deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


Process = subprocess.Popen[bytes]


class Command:
    """`blendin generate` with a pair and these options, as often as one likes."""

    def __init__(self, pair: list[str], *options: str, i: str = "in.jsonl", o: str = "out.jsonl") -> None:
        self.arguments = ["-m", "blendin_local", "generate", *pair, "--no-guide-stop", "-i", i, "-o", o]
        self.arguments += options

    @contextmanager
    def started(self, **streams: Any) -> Iterator[Process]:
        """The process; stderr is a pipe. Whatever happens, it has ended at the end."""
        process = subprocess.Popen([sys.executable, *self.arguments], stderr=subprocess.PIPE, **streams)
        # A test that waits for what never comes fails, and does not hang.
        guard = threading.Timer(_PATIENCE_S, process.kill)
        guard.start()
        with process:
            try:
                yield process
            finally:
                guard.cancel()
                process.kill()

    def end(self, **streams: Any) -> tuple[int, str]:
        """Run it to its end; returns its exit code and what it said."""
        with self.started(**streams) as process:
            return ended(process)


def ended(process: Process) -> tuple[int, str]:
    """Exit code and stderr of a process that ends by itself."""
    _, stderr = process.communicate()
    said = stderr.decode()
    for fault in ("Traceback", "Fatal Python error", "Exception ignored"):
        assert fault not in said, said
    return process.returncode, said


def wait_until(there: Callable[[], object], process: Process) -> None:
    while not there():
        # What it did last may be what is waited for.
        assert process.poll() is None or there(), "the process has ended"
        time.sleep(0.002)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def whole_lines(path: Path) -> list[bytes]:
    """What a run that goes on will find, torn or not."""
    return [line for line, _ in EarlierLines(str(path), str(path))] if path.exists() else []


# Kills


def kill_at_random(command: Command, out: Path, chance: random.Random) -> None:
    """Kill a run that goes on, while it loads or some rows later."""
    begun = size_of(out)
    with command.started() as process:
        if chance.random() < 0.25:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.random())
        else:
            step = chance.randint(1, 12_000)
            # Compressed files that were torn are written anew, and may be smaller then.
            wait_until(lambda: process.poll() is not None or abs(size_of(out) - begun) >= step, process)
            time.sleep(chance.random() * 0.01)
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("name", "parallel", "kills"),
    some_of(
        [("out.jsonl", 1, 6)],
        [("out.jsonl", 1, 20), ("out.jsonl", 3, 20), ("out.jsonl.gz", 3, 6), ("out.jsonl.zst", 3, 6)],
    ),
)
def test_killed_again_and_again_it_ends_as_if_undisturbed(
    pair: list[str], here: Path, name: str, parallel: int, kills: int
) -> None:
    chance = random.Random(f"{name} {parallel}")
    out, source = here / name, here / f"in{name.removeprefix('out')}"
    rows = prompts(12 * kills)
    for row in rows:
        row["settings"] = {"max_tokens": chance.randint(1, 24)}
    write_rows(source, rows)
    options = ["--parallel", str(parallel), "--seed", "7"]
    command = Command(pair, *options, i=str(source), o=str(out))
    counts, kept = [], list[bytes]()
    for _ in range(kills):
        kill_at_random(command, out, chance)
        assert whole_lines(out)[: len(kept)] == kept
        if chance.random() < 0.4 and out.exists():
            # As when the power fails: the file ends anywhere.
            os.truncate(out, max(0, size_of(out) - chance.randint(1, 300)))
        kept = whole_lines(out)
        counts.append(len(kept))
    assert len({count for count in counts if 0 < count < len(rows)}) > kills // 3, f"no real kills: {counts}"
    code, said = command.end()
    assert code == 0, said
    assert whole_lines(out)[: len(kept)] == kept
    assert Command(pair, *options, i=str(source), o="undisturbed.jsonl").end()[0] == 0
    undisturbed = texts_in(here / "undisturbed.jsonl")
    assert undisturbed.keys() == {row["id"] for row in rows}
    assert texts_in(out) == undisturbed
    if parallel == 1:
        # To the last bit.
        expected = results_in(here / "undisturbed.jsonl")
        for id, result in results_in(out).items():
            assert (result["summary"], result["index"]) == (expected[id]["summary"], expected[id]["index"])


# Signals


@pytest.mark.parametrize(
    ("name", "presses"),
    first_of([(name, presses) for presses in (1, 2) for name in ("out.jsonl.gz", "out.jsonl")]),
)
def test_ctrl_c_keeps_what_is_written_and_says_how_to_go_on(
    pair: list[str], here: Path, name: str, presses: int
) -> None:
    rows = prompts(40)
    write_rows(here / "in.jsonl", rows)
    command = Command(pair, "-n", "80", "--parallel", "2", o=name)
    with command.started() as process:
        wait_until(lambda: len(whole_lines(here / name)) > 2, process)
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 130
    assert said.endswith(HINT)
    # Whole, also where the data are compressed: nothing is left to mend.
    kept = results_in(here / name)
    assert 2 < len(kept) < 40
    code, said = command.end()
    assert code == 0 and f"{len(kept)} of them kept" in said and "half a line" not in said
    found = results_in(here / name)
    assert found.keys() == {row["id"] for row in rows}
    assert all(found[id] == result for id, result in kept.items())


def test_ctrl_c_stops_a_long_prompt(here: Path) -> None:
    """While it is read no token comes, and no row ends."""
    write_rows(here / "in.jsonl", [{"id": "a", "prompt": "the"}, {"id": "b", "prompt": "of " * 30_000}])
    models = models_in(here / "long", n_ctx_train=40_000)
    command = Command([*models, "--threads", "1"], "--n-ctx", "0", "-n", "1", "--parallel", "1")
    with command.started() as process:
        wait_until(lambda: whole_lines(here / "out.jsonl"), process)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert (code, said.endswith(HINT)) == (130, True)
    assert results_in(here / "out.jsonl").keys() == {"a"}


def test_terminated_it_goes_on_the_next_time(pair: list[str], here: Path) -> None:
    write_rows(here / "in.jsonl", prompts(30))
    command = Command(pair, "-n", "60", o="out.jsonl.zst")
    out = here / "out.jsonl.zst"
    with command.started() as process:
        wait_until(lambda: len(whole_lines(out)) > 2, process)
        process.terminate()
        code, _ = ended(process)
    assert code == 128 + signal.SIGTERM
    assert 2 < len(whole_lines(out)) < 30
    assert command.end()[0] == 0
    assert len(results_in(out)) == 30


# Pipes


def unread(pipe: IO[bytes]) -> int:
    """Bytes in a pipe that its reader has not taken yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe.fileno(), termios.FIONREAD, b"\0" * 4))[0])


@contextmanager
def feeding(command: Command, kind: str, **streams: Any) -> Iterator[tuple[Process, IO[bytes]]]:
    """The process, and the end of the pipe that it reads."""
    if kind == "stdin":
        with command.started(stdin=subprocess.PIPE, **streams) as process:
            assert process.stdin is not None
            yield process, process.stdin
        return
    os.mkfifo("in.fifo")
    with command.started(**streams) as process, open("in.fifo", "wb", buffering=0) as pipe:
        yield process, pipe


INPUTS = {"stdin": "-", "fifo": "in.fifo"}
every_pipe = pytest.mark.parametrize("kind", INPUTS)


@pytest.mark.parametrize(
    ("kind", "n_rows", "presses"),
    some_of([("stdin", 0, 1), ("fifo", 3, 2)], product(INPUTS, (0, 1, 3), (1, 2))),
)
def test_ctrl_c_ends_a_wait_for_a_pipe(
    pair: list[str], here: Path, kind: str, n_rows: int, presses: int
) -> None:
    command = Command(pair, "-n", "3", i=INPUTS[kind])
    with feeding(command, kind) as (process, pipe):
        pipe.write(as_lines(prompts(n_rows)) + b"\n")
        pipe.flush()
        wait_until(lambda: not unread(pipe) and len(whole_lines(here / "out.jsonl")) == n_rows, process)
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        said = (process.stderr.read() if process.stderr else b"").decode()
    assert "Fatal" not in said and "Traceback" not in said, said
    assert said.endswith(HINT if n_rows else "Stopped.\n")
    # The rows that it had are not asked again.
    if n_rows:
        code, said = Command(pair, "-n", "3", i=INPUTS["stdin"]).end(stdin=subprocess.DEVNULL)
        assert code == 0 and f"{n_rows} of them kept" in said


@every_pipe
def test_rows_are_answered_while_the_pipe_is_open(pair: list[str], kind: str) -> None:
    """From one pipe into another, a row at a time."""
    command = Command(pair, "-n", "3", "--parallel", "2", i=INPUTS[kind], o="-")
    with feeding(command, kind, stdout=subprocess.PIPE) as (process, pipe):
        assert process.stdout is not None
        for row in prompts(4):
            pipe.write(as_lines([row]))
            pipe.flush()
            assert json.loads(process.stdout.readline())["id"] == row["id"]
        # The last one without a newline, and several at once.
        rows = [{"id": f"late {n}", "prompt": "the"} for n in range(5)]
        pipe.write(as_lines(rows).rstrip())
        pipe.close()
        late = [json.loads(line)["id"] for line in process.stdout]
        assert sorted(late) == [row["id"] for row in rows]
        assert process.wait() == 0


def test_packed_rows_may_arrive_slowly(pair: list[str], here: Path) -> None:
    command = Command(pair, "-n", "3", i="-")
    with feeding(command, "stdin") as (process, pipe):
        for count, row in enumerate(prompts(3), 1):
            pipe.write(packed(as_lines([row]), "x.gz"))
            pipe.flush()
            wait_until(lambda count=count: len(whole_lines(here / "out.jsonl")) == count, process)
        code, _ = ended(process)
    assert code == 0
    assert len(results_in(here / "out.jsonl")) == 3


def test_a_pipe_that_ends_in_the_middle_leaves_whole_answers(pair: list[str], here: Path) -> None:
    data = packed(as_lines(prompts(30)), "x.gz")
    command = Command(pair, "-n", "3", i="-")
    with feeding(command, "stdin") as (process, pipe):
        pipe.write(data[:-20])
        pipe.close()
        process.stdin = None
        code, said = ended(process)
    assert code == 2 and "Standard input ends in the middle of its gzip data" in said
    n_kept = len(results_in(here / "out.jsonl"))
    with feeding(command, "stdin") as (process, pipe):
        pipe.write(data)
        pipe.close()
        process.stdin = None
        code, said = ended(process)
    assert code == 0 and (not n_kept or f"{n_kept} of them kept" in said)
    assert len(results_in(here / "out.jsonl")) == 30


@pytest.mark.parametrize("source", first_of(["-", "in.jsonl"]))
def test_a_reader_that_goes_away_ends_the_run(pair: list[str], here: Path, source: str) -> None:
    """As `| head -1` does."""
    write_rows(here / "in.jsonl", prompts(200))
    command = Command(pair, "-n", "20", "--quiet", i=source, o="-")
    with open("in.jsonl", "rb") as rows, command.started(stdin=rows, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["text"]
        process.stdout.close()
        process.stdout = None
        code, said = ended(process)
    assert code == 2
    one_sentence(said, "Standard output was closed by its reader, after", "write to a file")


# Disks and neighbours


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of so many bytes, and a function that gives it another size."""
    folder.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"only root may mount a disk: {done.stderr.decode().strip()}")

    try:
        mount(f"size={size}")
    except FileNotFoundError:
        pytest.skip("no mount here")
    try:
        yield lambda size: mount(f"remount,size={size}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", first_of(["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]))
def test_a_full_disk_ends_a_job_that_goes_on_when_there_is_room(
    pair: list[str], here: Path, name: str
) -> None:
    # More than the disk has room for, however well it is compressed.
    write_rows(here / "in.jsonl", prompts(60 if name == "out.jsonl" else 500))
    options = ["-n", "4"]
    with disk(here / "disk", "48k") as resize:
        out = here / "disk" / name
        command = Command(pair, *options, o=str(out))
        code, said = command.end()
        assert code == 2
        n_kept = len(whole_lines(out))
        assert n_kept > 5
        if name == "out.jsonl":
            # Where it can be cut nothing is left to mend.
            assert len(documents_in(out)) == n_kept
        assert f"The disk is full, after {n_kept} whole rows in {out}: free space and run" in said
        resize("4m")
        code, said = command.end()
        assert code == 0, said
        assert f"{n_kept} of them kept" in said
        assert Command(pair, *options, o="undisturbed.jsonl").end()[0] == 0
        assert texts_in(out) == texts_in(here / "undisturbed.jsonl")


def test_two_runs_do_not_share_an_output(pair: list[str], here: Path) -> None:
    write_rows(here / "in.jsonl", prompts(4))
    out = here / "out.jsonl"
    with feeding(Command(pair, "-n", "3", i="-"), "stdin") as (process, pipe):
        pipe.write(as_lines(prompts(2)))
        pipe.flush()
        wait_until(lambda: len(whole_lines(out)) == 2, process)
        before = out.read_bytes()
        for more in ([], ["--overwrite"], ["--retry-failed"]):
            code, said = Command(pair, "-n", "3", *more).end()
            assert code == 2
            one_sentence(said, "out.jsonl is being written by another run: wait until it has ended")
        assert out.read_bytes() == before
        assert ended(process)[0] == 0
    assert Command(pair, "-n", "3").end()[0] == 0
    assert len(results_in(out)) == 4


# In a terminal


def test_a_terminal_shows_how_far_it_is(pair: list[str], here: Path) -> None:
    write_rows(here / "in.jsonl", [*prompts(12), {"id": "bad row"}, *prompts(20)[12:]])
    command = Command(pair, "-n", "120", "--parallel", "2")
    with Terminal(*command.arguments, size=(90, 30)) as terminal:
        shown = terminal.wait(lambda text: re.search(r"[1-9]\d* of 21 rows \(\d+%\)[^$]*tokens/s", text))
        assert "━" in shown
        shown = terminal.wait("bad row (line 13): ")
        terminal.send(CTRL_C)
        assert terminal.end() == 130
        kept = len(documents_in(here / "out.jsonl"))
        shown = terminal.text
        assert HINT.strip() in shown
        # The lines in place are gone, what was said stays.
        assert "in progress" not in shown and "━" not in shown
        assert terminal.as_it_was
    with Terminal(*command.arguments, size=(90, 60)) as terminal:
        assert terminal.end() == 1
        shown = terminal.text
        assert f"21 rows: 20 answered, 1 failed; {kept} of them kept from before." in shown
        assert "Worth a look" in shown and "Answers: out.jsonl" in shown
        assert "━" not in shown and "in progress" not in shown
        assert terminal.as_it_was
        # Each line on its own, below each other: nothing was drawn over.
        assert [line for line in shown.splitlines() if line.startswith("21 rows")]
    assert len(documents_in(here / "out.jsonl")) == 21


# Thousands of rows

_PEAK = """
import sys
from blendin_local.cli import main
try:
    main(sys.argv[1:])
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(status["VmHWM"].split()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one process")
@pytest.mark.parametrize("n_many", some_of([1_000], [10_000]))
def test_memory_does_not_grow_with_the_number_of_rows(pair: list[str], here: Path, n_many: int) -> None:
    def peak_kib(n_rows: int, *options: str, bad: bool = False) -> int:
        rows = prompts(n_rows)
        for row in rows if bad else ():
            del row["prompt"]
        write_rows(here / "in.jsonl", rows)
        arguments = Command(pair, "-n", "2", "--parallel", "8", "--quiet", *options).arguments[2:]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *arguments], stdout=subprocess.PIPE, check=False, text=True
        )
        assert done.returncode == (1 if bad else 0)
        assert len(results_in(here / "out.jsonl")) == n_rows
        return int(done.stdout.split()[-1])

    few, many = peak_kib(100), peak_kib(n_many, "--overwrite")
    kept = peak_kib(n_many)
    failed = peak_kib(n_many, "--overwrite", bad=True)
    print(f"peak memory in KiB: {few} (100 rows), {many} ({n_many}), {kept} (kept), {failed} (failed)")
    assert max(many, kept, failed) <= 1.05 * few
