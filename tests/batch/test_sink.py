"""Output of lines: what was flushed can be read at every moment, in every place, after every fault."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.streams import EXTENSIONS, LINES, SQUEEZED, file, read, read_until_damage

from blendin_local.batch.sink import Sink, is_standard_output, open_sink
from blendin_local.errors import BatchError
from blendin_local.inputs.streams import (
    compression_of,
    lines_of,
    open_input,
)


def test_standard_output_has_two_names() -> None:
    assert [is_standard_output(path) for path in ("-", "/dev/stdout", "./-", "out")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_after_each_flush_all_lines_can_be_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension}"
    sink = open_sink(str(path))
    for n in range(1, 50):
        sink.write(b"line %d\n" % n)
        sink.flush()
        assert path.stat().st_size == sink.offset
        assert len(read_until_damage(path)[0]) == n
    sink.close()
    assert read_until_damage(path) == ([b"line %d\n" % n for n in range(1, 50)], "")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_nothing_is_written_before_flush(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension}"
    sink = open_sink(str(path))
    sink.write(b"a\n")
    assert (path.stat().st_size, sink.offset) == (0, 0)
    sink.close()
    assert read(path) == b"a\n"
    assert sink.offset == path.stat().st_size


@pytest.mark.parametrize("extension", EXTENSIONS)
@given(runs=st.lists(st.lists(st.tuples(st.binary(max_size=100), st.booleans()), max_size=8), max_size=4))
def test_what_is_written_in_several_runs_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, extension: str, runs: list[list[tuple[bytes, bool]]]
) -> None:
    path = tmp_path_factory.mktemp("runs") / f"out{extension}"
    path.touch()
    for run in runs:
        sink = open_sink(str(path))
        for line, flushed in run:
            sink.write(b"> " + line + b"\n")
            if flushed:
                sink.flush()
        sink.close()
        sink.close()
    assert read(path) == b"".join(b"> " + line + b"\n" for run in runs for line, _ in run)


def test_other_programs_read_what_was_appended(tmp_path: Path) -> None:
    for extension in SQUEEZED:
        for line in LINES:
            sink = open_sink(str(tmp_path / f"out{extension}"))
            sink.write(line)
            sink.flush()
            sink.close()
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == b"".join(LINES)
    with zstandard.ZstdDecompressor().stream_reader(
        (tmp_path / "out.zst").read_bytes(), read_across_frames=True
    ) as reader:
        assert reader.readall() == b"".join(LINES)


@pytest.mark.parametrize("extension", SQUEEZED)
def test_a_compressed_file_of_no_lines_is_whole(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension}"
    open_sink(str(path)).close()
    size = path.stat().st_size
    assert size and read(path) == b""
    open_sink(str(path)).close()
    assert path.stat().st_size == size


def test_a_new_file_may_be_read_by_all(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        open_sink(str(tmp_path / "out")).close()
    finally:
        os.umask(mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def test_cut_drops_what_is_held(tmp_path: Path) -> None:
    path = file(tmp_path / "out", b"one\ntwo\n")
    sink = open_sink(str(path))
    sink.write(b"never\n")
    sink.cut()
    assert (path.read_bytes(), sink.offset) == (b"one\ntwo\n", 8)
    sink.write(b"three\n")
    sink.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "content", [b"plain text\n" * 100, gzip.compress(b"old\n", mtime=0)], ids=["plain", "gzip"]
)
def test_an_emptied_file_begins_anew_whatever_it_held(tmp_path: Path, extension: str, content: bytes) -> None:
    path = file(tmp_path / f"out{extension}", content)
    sink = open_sink(str(path))
    assert path.read_bytes() == content
    sink.empty()
    assert (path.read_bytes(), sink.offset) == (b"", 0)
    sink.write(b"new\n")
    sink.close()
    assert read(path) == b"new\n"


class Full:
    """A file on a disk on which so many more bytes find room."""

    def __init__(self, path: Path, room: int) -> None:
        self.file = io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a")
        self.room = room

    def write(self, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = self.file.write(data[: min(self.room, 7)])
        self.room -= n
        return n

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("room", [0, 1, 10, 25, 40, 60])
def test_a_full_disk_costs_no_line_that_was_flushed(tmp_path: Path, extension: str, room: int) -> None:
    path = tmp_path / f"out{extension}"
    sink = Sink(Full(path, room), compression_of(str(path)), 0, owned=True)  # type: ignore[arg-type]
    flushed: list[bytes] = []
    with pytest.raises(OSError, match="No space"):
        for n in range(100):
            sink.write(b"line %d\n" % n)
            sink.flush()
            flushed.append(b"line %d\n" % n)
    sink.cut()
    assert path.stat().st_size == sink.offset
    sink.close()
    assert read_until_damage(path)[0] == flushed
    assert path.stat().st_size == sink.offset


def test_after_a_cut_a_plain_file_goes_on(tmp_path: Path) -> None:
    full = Full(tmp_path / "out", 9)
    sink = Sink(full, "none", 0, owned=True)  # type: ignore[arg-type]
    sink.write(b"one\n")
    sink.flush()
    sink.write(b"twotwo\n")
    with pytest.raises(OSError):
        sink.flush()
    sink.cut()
    full.room = 1000
    sink.write(b"three\n")
    sink.close()
    assert (tmp_path / "out").read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_without_a_cut_close_adds_nothing_to_a_torn_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"out{extension}"
    full = Full(path, 5)
    sink = Sink(full, compression_of(str(path)), 0, owned=True)  # type: ignore[arg-type]
    sink.write(b"a line\n")
    with pytest.raises(OSError):
        sink.flush()
    full.room = 1000
    sink.close()
    assert path.stat().st_size == 5
    assert full.file.closed


def test_close_closes_where_the_rest_cannot_be_written(tmp_path: Path) -> None:
    full = Full(tmp_path / "out", 2)
    sink = Sink(full, "none", 0, owned=True)  # type: ignore[arg-type]
    sink.write(b"a line\n")
    with pytest.raises(OSError):
        sink.close()
    assert full.file.closed


@pytest.mark.slow
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_system_itself_refuses_to_let_a_file_grow(tmp_path: Path, extension: str) -> None:
    code = (
        "import resource, signal, sys\n"
        "from blendin_local.batch.sink import open_sink\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "sink = open_sink(sys.argv[1])\n"
        "try:\n"
        "    for n in range(10_000):\n"
        "        sink.write(b'%d %d\\n' % (n, hash(str(n)))); sink.flush()\n"
        "except OSError as error:\n"
        "    sink.cut(); sink.close(); print(n, sink.offset, error.strerror)\n"
    )
    path = tmp_path / f"out{extension}"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    n, offset, reason = done.stdout.split(maxsplit=2)
    assert reason.strip() == "File too large"
    assert path.stat().st_size == int(offset) <= 1000
    lines = read_until_damage(path)[0]
    assert [int(line.split()[0]) for line in lines if line] == list(range(int(n)))


def test_places_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"There is no folder .*missing for .*out: make it first\."):
        open_sink(str(tmp_path / "missing" / "out"))
    with pytest.raises(BatchError, match="is a folder: name a file in it"):
        open_sink(str(tmp_path))
    with pytest.raises(BatchError, match="cannot be written: "):
        open_sink("a\0b")
    with pytest.raises(BatchError, match="cannot be written: Not a directory"):
        open_sink(str(file(tmp_path / "file", b"") / "out"))


def test_a_device_is_written_and_never_cut() -> None:
    sink = open_sink("/dev/null")
    sink.write(b"a\n")
    sink.flush()
    sink.cut()
    sink.close()
    assert sink.offset is None


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_writes_to_a_named_pipe(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"pipe{extension}"
    os.mkfifo(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(read(path)))
    reader.start()
    sink = open_sink(str(path))
    for _ in range(1000):
        sink.write(b"a line\n" * 20)
        sink.flush()
    sink.close()
    reader.join()
    assert found == [b"a line\n" * 20_000]


def test_a_full_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = b"x" * 1_000_000
    found: list[bytes] = []
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as target:
        reader = threading.Thread(target=lambda: found.append(source.read(len(data))))
        sink = Sink(target, "none", None, owned=True)
        sink.write(data)
        threading.Timer(0.05, reader.start).start()
        sink.flush()
        sink.close()
        reader.join()
    assert found == [data]


def test_a_closed_pipe_is_an_os_error_and_said_once() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = Sink(open(writing, "wb", buffering=0), "none", None, owned=True)  # noqa: SIM115
    sink.write(b"a\n")
    with pytest.raises(BrokenPipeError):
        sink.flush()
    sink.cut()
    sink.close()


# Standard output


def test_standard_output_gets_lines_at_once_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        print("before", end=" ")
        sink = open_sink("-")
        sink.write(b"a\n")
        sink.flush()
        assert reader.read(100) == b"before a\n"
        sink.cut()
        sink.close()
        print("after", flush=True)
        assert reader.read(100) == b"after\n"
    assert sink.offset is None


def test_standard_output_may_be_a_stream_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(memory))
    sink = open_sink("-")
    sink.write(b"a\n")
    sink.close()
    assert memory.getvalue() == b"a\n"


def test_a_closed_standard_output_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(BatchError, match=r"^Standard output is closed: name an output file\.$"):
        open_sink("-")


@pytest.mark.slow
def test_a_program_whose_standard_output_was_closed_ends_quietly() -> None:
    code = (
        "import sys\n"
        "from blendin_local.batch.sink import open_sink\n"
        "sink = open_sink('-')\n"
        "try:\n"
        "    while True:\n"
        "        sink.write(b'line\\n'); sink.flush()\n"
        "except BrokenPipeError:\n"
        "    sink.cut(); sink.close(); sys.exit(3)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout and program.stderr
    assert program.stdout.readline() == b"line\n"
    program.stdout.close()
    assert program.wait() == 3
    assert program.stderr.read() == b""
    program.stderr.close()


def test_memory_does_not_grow_with_lines(tmp_path: Path) -> None:
    peaks = []
    for n in (2_000, 40_000):
        tracemalloc.start()
        sink = open_sink(str(tmp_path / f"{n}.zst"))
        for number in range(n):
            sink.write(b"%d\n" % number)
            sink.flush()
        sink.close()
        with open_input(str(tmp_path / f"{n}.zst")) as stream:
            assert sum(1 for _ in lines_of(stream)) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)
