"""Streams of lines: compressed, cut off, damaged, slow and silent ones."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import EXTENSIONS, SQUEEZE, SQUEEZED, Chunks, file, read, read_until_damage, zstd

from blendin_local.batch.sink import open_sink
from blendin_local.errors import InputError
from blendin_local.inputs.streams import (
    compression_of,
    lines_of,
    open_input,
)

# Names


@pytest.mark.parametrize(
    ("path", "compression"),
    [("a.jsonl", "none"), ("a.gz", "gzip"), ("A.JSONL.GZ", "gzip"), ("a.zst", "zstd"), ("-", "none")],
)  # fmt: skip
def test_a_name_tells_the_compression(path: str, compression: str) -> None:
    assert compression_of(path) == compression


# Reading lines


@given(st.binary(max_size=400), st.sampled_from([b"\n", b"\r\n", b"\0\n"]))
def test_lines_are_those_of_a_file(data: bytes, end: bytes) -> None:
    data = data.replace(b"x", end)
    assert list(lines_of(io.BytesIO(data))) == io.BytesIO(data).readlines()


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 20), st.booleans())
def test_a_long_line_is_reported_and_the_rest_goes_on(lengths: list[int], limit: int, ended: bool) -> None:
    lines = [b"x" * length + b"\n" for length in lengths]
    if lines and not ended:
        lines[-1] = lines[-1][:-1]
    wanted = [line if len(line) <= limit else None for line in lines if line]
    assert list(lines_of(io.BytesIO(b"".join(lines)), limit)) == wanted


def test_without_a_limit_every_line_is_held() -> None:
    line = b"x" * 5000 + b"\n"
    assert list(lines_of(io.BytesIO(line * 2), None)) == [line, line]


def test_a_line_without_end_is_never_held() -> None:
    pieces = itertools.chain([b"first\n"], itertools.repeat(b"x" * (1 << 16), 2000), [b"\nlast"])
    tracemalloc.start()
    found = list(lines_of(io.BufferedReader(Chunks(pieces)), 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [b"first\n", None, b"last"]
    assert peak < 8 << 20


def test_a_line_comes_as_soon_as_it_is_there() -> None:
    raw = Chunks(iter([b"a\n", b"b", b"\nc\n"]))
    lines = lines_of(io.BufferedReader(raw))
    assert (next(lines), raw.asked) == (b"a\n", 1)
    assert (next(lines), raw.asked) == (b"b\n", 3)


def test_a_disk_that_fails_is_one_sentence() -> None:
    class Failing(Chunks):
        name = "in.jsonl"

        def readinto(self, target: bytearray) -> int:  # type: ignore[override]
            if self.asked:
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(target)

    lines = lines_of(io.BufferedReader(Failing(iter([b"a\n"]))))
    assert next(lines) == b"a\n"
    with pytest.raises(InputError, match=r"^in.jsonl cannot be read any further: Input/output error\.$"):
        next(lines)


# Opening inputs


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("data", [b"", b"x", b"a\nb", b"a\r\n\0\xff\n", b"line\n" * 100_000])
def test_reads_what_others_wrote(tmp_path: Path, extension: str, data: bytes) -> None:
    assert read(file(tmp_path / f"in{extension}", SQUEEZE[extension](data))) == data


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_of_no_bytes_is_empty(tmp_path: Path, extension: str) -> None:
    assert read(file(tmp_path / f"in{extension}", b"")) == b""


@pytest.mark.parametrize("extension", SQUEEZED)
@given(parts=st.lists(st.binary(max_size=3000), max_size=6))
def test_members_and_frames_are_read_one_after_another(
    tmp_path_factory: pytest.TempPathFactory, extension: str, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("parts") / f"in{extension}"
    assert read(file(path, b"".join(map(SQUEEZE[extension], parts)))) == b"".join(parts)


@pytest.mark.parametrize("extension", SQUEEZED)
def test_large_members_with_many_small_chunks(tmp_path: Path, extension: str) -> None:
    parts = [os.urandom(50_000), b"z" * 3_000_000, b"", os.urandom(1023)]
    path = file(tmp_path / f"in{extension}", b"".join(map(SQUEEZE[extension], parts)))
    assert read(path) == b"".join(parts)


def test_zeros_that_fill_up_a_block_after_gzip_data_are_skipped(tmp_path: Path) -> None:
    data = gzip.compress(b"a\n") + b"\0" * 2000 + gzip.compress(b"b\n") + b"\0" * 512
    assert read(file(tmp_path / "in.gz", data)) == b"a\nb\n"


def test_skippable_frames_are_skipped(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
    assert read(file(tmp_path / "in.zst", skippable + zstd(b"a\n") + skippable + zstd(b"b\n"))) == b"a\nb\n"


@pytest.mark.parametrize("extension", SQUEEZED)
def test_compressed_data_under_another_name_is_known_by_its_first_bytes(
    tmp_path: Path, extension: str
) -> None:
    assert read(file(tmp_path / "in.jsonl", SQUEEZE[extension](b"a\nb\n"))) == b"a\nb\n"


@pytest.mark.parametrize("extension", SQUEEZED)
def test_a_cut_off_file_gives_its_lines_and_then_says_so(tmp_path: Path, extension: str) -> None:
    lines = [b"%d %s\n" % (n, os.urandom(20).hex().encode()) for n in range(2000)]
    data = SQUEEZE[extension](b"".join(lines))
    found, error = read_until_damage(file(tmp_path / f"in{extension}", data[: len(data) * 2 // 3]))
    # A Zstandard frame is decoded by blocks of 128 KiB.
    assert found == lines[: len(found)] and len(found) < len(lines)
    assert extension == ".zst" or len(found) > 1000
    assert "ends in the middle" in error and f"after {len(data) * 2 // 3} bytes" in error


@pytest.mark.parametrize("extension", SQUEEZED)
def test_every_cut_of_a_compressed_file_is_noticed(tmp_path: Path, extension: str) -> None:
    first, second = SQUEEZE[extension](b"one\n"), SQUEEZE[extension](b"two\n")
    data = first + second
    for length in range(1, len(data)):
        found, error = read_until_damage(file(tmp_path / f"in{extension}", data[:length]))
        if length == len(first):
            assert (found, error) == ([b"one\n"], "")
        else:
            assert "ends in the middle" in error, length
            assert found in ([], [b"one\n"], [b"one\n", b"two\n"])


@pytest.mark.parametrize("extension", SQUEEZED)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is plain text\n",
        lambda data: data + b"garbage after the end",
        lambda data: (
            data[:-3] + b"abc" if data.startswith(b"\x1f\x8b") else data + b"\x28\xb5\x2f\xfd\xff\xff"
        ),
    ],
)
def test_what_is_no_compressed_data_is_one_sentence(
    tmp_path: Path, extension: str, damage: Callable[[bytes], bytes]
) -> None:
    path = file(tmp_path / f"in{extension}", damage(SQUEEZE[extension](b"one\ntwo\n")))
    _, error = read_until_damage(path)
    assert error.startswith(f"{path} ") and error.endswith(".") and "\n" not in error


@pytest.mark.slow
@pytest.mark.parametrize("extension", SQUEEZED)
def test_a_highly_compressed_input_does_not_fill_memory(tmp_path: Path, extension: str) -> None:
    line = b"the same line again and again\n"
    sink = open_sink(str(tmp_path / f"in{extension}"))
    for _ in range(2000):
        sink.write(line * 1000)
    sink.close()
    tracemalloc.start()
    with open_input(str(tmp_path / f"in{extension}")) as stream:
        count = sum(1 for _ in lines_of(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2_000_000
    assert peak < 34 << 20


def test_missing_files_and_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no file .*nowhere\.$"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder: name one file"):
        read(tmp_path)
    with pytest.raises(InputError, match="cannot be read: "):
        read(f"{tmp_path}/{'x' * 300}")
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read("a\0b")
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        read(file(tmp_path / "file", b"") / "in")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_one_sentence(tmp_path: Path) -> None:
    file(tmp_path / "in", b"").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read(tmp_path / "in")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_reads_from_a_named_pipe(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"pipe{extension}"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(SQUEEZE[extension](b"a\n" * 50_000)))
    writer.start()
    assert read(path) == b"a\n" * 50_000
    writer.join()


# Standard input


class FakeInput:
    def __init__(self, buffer: object) -> None:
        self.buffer = buffer


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch, extension: str) -> None:
    memory = io.BytesIO(SQUEEZE[extension](b"a\nb\n"))
    monkeypatch.setattr(sys, "stdin", FakeInput(memory))
    assert read("-") == b"a\nb\n"
    assert not memory.closed


def test_a_closed_standard_input_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert read("-") == b""


def test_a_pipe_on_standard_input_gives_lines_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as buffer, open(writing, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", FakeInput(buffer))
        writer.write(b"first\n")
        with open_input("-") as stream:
            lines = lines_of(stream)
            assert next(lines) == b"first\n"
            writer.write(b"second\n")
            assert next(lines) == b"second\n"
            writer.close()
            assert list(lines) == []
        assert not buffer.closed
