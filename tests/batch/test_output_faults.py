"""Full disks, closed pipes, kills: what was written before is whole, and a run that goes on ends well."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.batch_lines import RUN, answer_of, documents_in, failure_of, ids_in, lines_in, written
from support.nightly import first_of
from support.output_faults import fill, text_of
from support.paths import TESTS

from blendin_local.batch import output as module
from blendin_local.batch import sink as sinks
from blendin_local.batch.output import Output, open_output
from blendin_local.errors import BatchError

NAMES = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]

every_kind = pytest.mark.parametrize("name", NAMES)
one_kind = pytest.mark.parametrize("name", first_of(NAMES))


def check_whole(path: Path, count: int) -> None:
    assert documents_in(path) == [answer_of(number, text_of(number)) for number in range(1, count + 1)]


def finish(path: Path, count: int) -> Output:
    with open_output(str(path), RUN) as output:
        for number in range(1, count + 1):
            if output.answered_ids.digest_of(f"row-{number}") is None:
                output.write(answer_of(number, text_of(number)))
    check_whole(path, count)
    return output


def recovered(path: Path) -> list[bytes]:
    """The whole lines of a file whose compressed data may lack their end."""
    from blendin_local.batch.resuming import EarlierLines

    return [line for line, _ in EarlierLines(str(path), str(path))]


# No room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@every_kind
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(small_disk: Path, name: str) -> None:
    path = small_disk / name
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(20_000))
    output = open_output(str(path), RUN)
    count = fill(output)
    assert fill.sentence == (  # type: ignore[attr-defined]
        f"The disk is full, after {count} whole rows in {path}: free space and run the same command again, "
        "which goes on there."
    )
    assert 5 < count < 120
    if name == "out.jsonl":
        output.close()
        assert len(lines_in(path)) == count
    else:
        # What ends compressed data may find no room either, and does no harm then.
        try:
            output.close()
        except BatchError as error:
            assert "The disk is full" in str(error)
    assert len(recovered(path)) == count
    ballast.unlink()
    if name != "out.jsonl":
        # To write whole lines anew takes as much room beside them.
        kept = path.read_bytes()
        with pytest.raises(
            BatchError, match=r"cannot be repaired .*No space left on device\); it is unchanged"
        ):
            open_output(str(path), RUN)
        assert path.read_bytes() == kept
        assert os.listdir(small_disk) == [name]
        subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    output = finish(path, count + 3)
    assert (output.kept, output.written) == (count, 3)


_LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from support.batch_lines import RUN
from support.nightly import first_of
from support.output_faults import fill
from blendin_local.batch.output import open_output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, 50_001))
with open_output(sys.argv[1], RUN) as output:
    count = fill(output)
print(count, fill.sentence)
"""


@pytest.mark.slow
@every_kind
def test_a_file_that_may_grow_no_further_holds_whole_lines(tmp_path: Path, name: str) -> None:
    """The system takes the part of a line that still has room: a short write before the error."""
    path = tmp_path / name
    command = [sys.executable, "-c", _LIMITED, str(path), str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, sentence = done.stdout.split(maxsplit=1)
    assert sentence.startswith(
        f"The system lets the file grow no further, after {count} whole rows in {path}"
    )
    assert len(recovered(path)) == int(count)
    assert finish(path, int(count) + 2).kept == int(count)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_device_cannot_be_cut(tmp_path: Path) -> None:
    output = open_output("/dev/full", RUN)
    assert fill(output) == 0
    assert fill.sentence == (  # type: ignore[attr-defined]
        "The disk is full, after 0 whole rows: write to a file to be able to go on later."
    )
    output.close()


class Faulty(io.FileIO):
    """A file whose writes take a few bytes at once, and fail when their time has come."""

    fault: int | None = None
    room = 1 << 30

    def write(self, data: Any, /) -> int:
        if self.room <= 0 and self.fault is not None:
            raise OSError(self.fault, os.strerror(self.fault))
        n_written = super().write(bytes(data[: min(7, max(self.room, 1))]))
        Faulty.room -= n_written
        return n_written


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    monkeypatch.setattr(sinks.io, "FileIO", Faulty)
    monkeypatch.setattr(Faulty, "fault", None)
    monkeypatch.setattr(Faulty, "room", 1 << 30)
    yield Faulty


@every_kind
def test_short_writes_are_gone_on_with(tmp_path: Path, faulty: type[Faulty], name: str) -> None:
    finish(tmp_path / name, 3)


@pytest.mark.parametrize("fault", [errno.EIO, errno.EDQUOT, errno.ENOSPC, errno.ESTALE])
@every_kind
def test_a_write_that_fails_at_any_byte_leaves_whole_lines(
    tmp_path: Path, faulty: type[Faulty], name: str, fault: int
) -> None:
    length = len(written(tmp_path / name, [answer_of(1, text_of(1))]).read_bytes())
    for room in (0, 1, length // 2, length - 1, length, length + 1):
        path = tmp_path / f"{room} {name}"
        with monkeypatched(faulty, fault, room), open_output(str(path), RUN) as output:
            count = fill(output)
        assert len(recovered(path)) == count <= 1
        finish(path, 3)


class monkeypatched:
    """Writes fail after so many bytes, while the block runs."""

    def __init__(self, faulty: type[Faulty], fault: int, room: int) -> None:
        self._faulty, self._fault, self._room = faulty, fault, room

    def __enter__(self) -> None:
        self._faulty.fault, self._faulty.room = self._fault, self._room

    def __exit__(self, *error: object) -> None:
        self._faulty.fault, self._faulty.room = None, 1 << 30


def test_after_overwriting_nobody_is_told_to_overwrite_again(tmp_path: Path, faulty: type[Faulty]) -> None:
    """The same command would drop the rows that were written."""
    path = written(tmp_path / "out.jsonl", [answer_of(7)])
    with open_output(str(path), RUN, overwrite=True) as output:
        output.write(answer_of(1, text_of(1)))
        with monkeypatched(faulty, errno.EIO, 0):
            fill(output)
    assert fill.sentence == (  # type: ignore[attr-defined]
        f"{path} cannot be written any further (Input/output error), after 1 whole rows in {path}: mend that "
        "and run the same command without --overwrite, which goes on there."
    )
    assert finish(path, 3).kept == 1


@every_kind
def test_a_first_line_that_takes_the_place_of_others_is_whole_or_not_there(
    tmp_path: Path, faulty: type[Faulty], name: str
) -> None:
    path = written(tmp_path / name, [answer_of(number, text_of(number)) for number in range(7, 10)])
    with monkeypatched(faulty, errno.ENOSPC, 100), open_output(str(path), RUN, overwrite=True) as output:
        assert fill(output) == 0
    assert path.read_bytes() == b""
    finish(path, 3)


def test_a_file_that_cannot_be_emptied_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "out.jsonl", [answer_of(7)])
    before = path.read_bytes()
    with open_output(str(path), RUN, overwrite=True) as output, monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", failing(errno.EIO))
        with pytest.raises(BatchError, match="mend that and run the same command again, which goes on there"):
            output.write(answer_of(1))
    assert path.read_bytes() == before


def test_other_faults_are_named(tmp_path: Path, faulty: type[Faulty]) -> None:
    path = tmp_path / "out.jsonl"
    with monkeypatched(faulty, errno.EIO, 0), open_output(str(path), RUN) as output:
        fill(output)
    assert fill.sentence == (  # type: ignore[attr-defined]
        f"{path} cannot be written any further (Input/output error), after 0 whole rows in {path}: mend that "
        "and run the same command again, which goes on there."
    )


def test_the_first_fault_is_the_one_that_is_told(tmp_path: Path, faulty: type[Faulty]) -> None:
    """Also where the file cannot be closed either."""
    with (
        monkeypatched(faulty, errno.EIO, 0),
        pytest.raises(BatchError, match="Input/output"),
        pytest.MonkeyPatch.context() as patch,
        open_output(str(tmp_path / "out.jsonl"), RUN) as output,
    ):
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        output.write(answer_of(1))


def failing(fault: int) -> Callable[..., None]:
    def fail(*arguments: Any) -> None:
        raise OSError(fault, os.strerror(fault))

    return fail


def test_what_the_disk_refuses_later_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems say only then that there is no room."""
    monkeypatch.setattr(module, "_SYNC_INTERVAL_S", -1.0)
    output = open_output(str(tmp_path / "out.jsonl"), RUN)
    output.write(answer_of(1))
    monkeypatch.setattr(os, "fsync", failing(errno.EDQUOT))
    with pytest.raises(BatchError, match="Your share of the disk is used up, after 2 whole rows"):
        output.write(answer_of(2))
    with pytest.raises(BatchError, match="Your share of the disk is used up"):
        output.close()
    monkeypatch.undo()
    with open_output(str(tmp_path / "out.jsonl"), RUN) as output:
        assert output.kept == 2


def test_a_disk_that_cannot_be_waited_for_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SYNC_INTERVAL_S", -1.0)
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    finish(tmp_path / "out.jsonl", 2)


def test_the_disk_is_waited_for_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, []
    with open_output(str(tmp_path / "out.jsonl"), RUN) as output:
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor)))
        output.write(answer_of(1))
        assert not synced
        monkeypatch.setattr(module, "_SYNC_INTERVAL_S", -1.0)
        output.write(answer_of(2))
        assert len(synced) == 1
    assert len(synced) == 2


# Nobody reads


_TO_PIPE = """
import sys
sys.path.insert(0, sys.argv[2])
from support.batch_lines import RUN
from support.nightly import first_of
from support.output_faults import fill
from blendin_local.batch.output import open_output
with open_output(sys.argv[1], RUN) as output:
    print(fill(output), fill.sentence, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_pipe_that_was_closed_is_one_sentence() -> None:
    command = [sys.executable, "-c", _TO_PIPE, "-", str(TESTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stderr
        assert writer.stdout.readline().startswith(b'{"id": "row-1"')
        writer.stdout.close()
        told = writer.stderr.read().decode()
    assert writer.returncode == 0, told
    count, sentence = told.split(maxsplit=1)
    assert sentence == (
        f"Standard output was closed by its reader, after {int(count):,} whole rows: write to a file to be "
        "able to go on later.\n"
    )


def test_a_fifo_that_was_closed_is_one_sentence(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open_output(str(fifo), RUN) as output:
        output.write(answer_of(1))
        os.close(reader)
        with pytest.raises(
            BatchError, match=r"fifo was closed by its reader, after 1 whole rows: write to a file"
        ):
            output.write(answer_of(2))


# Killed


_WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from support.batch_lines import RUN, answer_of, failure_of
from support.nightly import first_of
from support.output_faults import text_of
from blendin_local.batch.output import open_output
with open_output(sys.argv[1], RUN, retry_failed=True) as output:
    print("open", flush=True)
    for number in range(1, int(sys.argv[3]) + 1):
        if output.answered_ids.digest_of(f"row-{number}") is None:
            text = text_of(number) * (200 if number % 7 == 0 else 1)
            output.write(failure_of(number) if number % 5 == 0 else answer_of(number, text))
            print(number, flush=True)
"""


@pytest.mark.slow
@one_kind
def test_a_writer_killed_again_and_again_loses_nothing(tmp_path: Path, name: str) -> None:
    """Every row that it said was written is there afterwards, once, but for failures that are asked again."""
    path, count = tmp_path / name, 120
    command = [sys.executable, "-c", _WRITER, str(path), str(TESTS), str(count)]
    luck = random.Random(name)
    said: set[int] = set()
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            lines = [writer.stdout.readline()]
            # Half of them are killed while they rewrite, or at their first row.
            lines += [writer.stdout.readline() for _ in range(luck.choice((0, 0, 5, 20)))]
            time.sleep(luck.random() * 0.01)
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        said |= {int(line) for line in lines if line.endswith("\n") and line.strip().isdecimal()}
        answered = [number for number in said if number % 5]
        ids = [json.loads(line)["id"] for line in recovered(path)]
        assert len(ids) == len(set(ids))
        assert set(ids) >= {f"row-{number}" for number in answered}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert sorted(ids_in(path)) == sorted(f"row-{number}" for number in range(1, count + 1))
    assert set(os.listdir(tmp_path)) == {"home", name}


@every_kind
def test_ctrl_c_in_the_middle_of_a_line_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    real = sinks.Sink._put

    def half(sink: sinks.Sink) -> None:
        sink._buffered = [b"".join(sink._buffered)[:50]]
        real(sink)
        sink.offset -= 50  # type: ignore[operator]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_output(str(path), RUN) as output:
        output.write(answer_of(1, text_of(1)))
        monkeypatch.setattr(sinks.Sink, "_put", half)
        output.write(answer_of(2, text_of(2)))
    monkeypatch.undo()
    assert len(recovered(path)) == 1
    with pytest.raises(BatchError, match="was left in the middle of a row"):
        output.write(answer_of(2, text_of(2)))
    finish(path, 3)


# Many rows


_SCAN = """
import re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support.batch_lines import RUN
from blendin_local.batch.output import open_output
peaks = []
def look():
    peaks.append(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10)
with open_output(sys.argv[1], RUN, retry_failed=True,
                 on_kept=lambda result: look() if result["index"] == 1000 else None) as output:
    assert output.kept == 30_000, output.kept
look()
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak like this")
@pytest.mark.slow
@one_kind
def test_to_go_on_takes_no_memory_for_rows(tmp_path: Path, name: str) -> None:
    """Nor does to write them anew without the failed one."""
    path = tmp_path / name
    written(path, [answer_of(number) for number in range(1, 30_001)] + [failure_of(30_001)])
    command = [sys.executable, "-c", _SCAN, str(path), str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 << 20, done.stdout  # the lines themselves are 36 MiB
    assert len(lines_in(path)) == 30_000


# Other programs


def _remove(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"something else\n")
    other.replace(path)


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"a line of somebody\n")


CHANGES = {_remove: "was removed", _replace: "was replaced", _cut: "was changed", _extend: "was changed"}


@every_kind
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("at_the_end", [False, True])
def test_an_output_changed_by_another_program_is_never_a_success(
    tmp_path: Path, name: str, change: Callable[[Path], None], at_the_end: bool
) -> None:
    path = tmp_path / name
    output = open_output(str(path), RUN)
    for number in (1, 2):
        output.write(answer_of(number, text_of(number)))
    change(path)
    after = path.read_bytes() if path.exists() else None
    with pytest.raises(BatchError, match=f"{CHANGES[change]} by another program"):
        output.close() if at_the_end else output.write(answer_of(3, text_of(3)))
    with pytest.raises(BatchError, match="by another program"):
        output.write(answer_of(4, text_of(4)))
    if not at_the_end:
        output.close()
    # What stands there now is not ours to touch.
    assert (path.read_bytes() if path.exists() else None) == after


def test_an_output_behind_a_link_that_leads_elsewhere_now(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to(tmp_path / "first.jsonl")
    with open_output(str(path), RUN) as output:
        output.write(answer_of(1, text_of(1)))
        path.unlink()
        path.symlink_to(tmp_path / "second.jsonl")
        # The file that was opened is still there.
        output.write(answer_of(2, text_of(2)))
    check_whole(tmp_path / "first.jsonl", 2)
