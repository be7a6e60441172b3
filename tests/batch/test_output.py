"""The one writer: nothing is lost, nothing stands there twice, and no file but an output is touched."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.batch_lines import RUN, answer_of, documents_in, failure_of, ids_in, lines_in, run_of, written
from support.paths import TESTS

from blendin_local.batch.output import Output, check_apart, check_output, first_result, open_output
from blendin_local.errors import BatchError

NAMES = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]

every_kind = pytest.mark.parametrize("name", NAMES)


def answers(first: int, last: int) -> list[dict[str, Any]]:
    return [answer_of(number) for number in range(first, last + 1)]


def goes_on(path: Path, last: int, **options: Any) -> Output:
    """What a run does that is started again with the same input: rows 1 to `last`."""
    with open_output(str(path), RUN, **options) as output:
        for number in range(1, last + 1):
            if output.answered_ids.digest_of(f"row-{number}") is None:
                assert output.write(answer_of(number))
    return output


# Writing


@every_kind
def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with open_output(str(path), RUN) as output:
        for number in range(1, 4):
            assert output.write(answer_of(number, text=f"äöü\n\u2028{number}"))
            data = path.read_bytes()
            if name.endswith(".gz"):
                data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data)
            if name.endswith(".zst"):
                data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            *lines, rest = data.split(b"\n")
            assert [json.loads(line)["index"] for line in lines] == list(range(number)) and not rest
        assert (output.written, output.kept) == (3, 0)
    assert documents_in(path) == [answer_of(number, text=f"äöü\n\u2028{number}") for number in range(1, 4)]


def test_what_is_no_json_is_written_as_json(tmp_path: Path) -> None:
    """A half of a surrogate pair, and figures that are no numbers."""
    odd = answer_of(1, text="\ud800") | {
        "tokens_per_second": float("nan"),
        "more": [float("inf"), {"a": 1e300}],
    }
    (document,) = documents_in(written(tmp_path / "out.jsonl", [odd]))
    assert document == odd | {"tokens_per_second": None, "more": [None, {"a": 1e300}]}


def test_a_row_is_answered_once(tmp_path: Path) -> None:
    """Whoever deals rows again after losing a worker may get two answers."""
    path = written(tmp_path / "out.jsonl", answers(1, 2))
    with open_output(str(path), RUN) as output:
        assert not output.write(answer_of(2, "another text"))
        assert output.write(answer_of(3))
        assert not output.write(failure_of(3, "worker lost"))
        assert output.written == 1
    assert documents_in(path) == answers(1, 3)


def test_duplicates_are_reported_once_each(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for _ in range(2):
        with open_output(str(path), RUN) as output:
            for number in range(1, 4):
                if not output.answered_ids.count("a"):
                    output.write(answer_of(number, id="a"))
                elif not output.answered_ids.is_reported("a"):
                    assert output.write(failure_of(number, "duplicate id", id="a"))
        assert [document["index"] for document in documents_in(path)] == [0, 1, 2]
    assert (output.kept, output.kept_failed) == (3, 2)


@pytest.mark.parametrize("name", NAMES)
def test_openai_lines_are_resumed(tmp_path: Path, name: str) -> None:
    run = run_of(output_format="openai")
    path = written(tmp_path / name, [answer_of(1, run=run), failure_of(2, run=run)], run)
    assert [line["custom_id"] for line in documents_in(path)] == ["row-1", "row-2"]
    told: list[Any] = []
    with open_output(str(path), run, on_kept=told.append) as output:
        assert output.answered_ids.digest_of("row-1") == answer_of(1)["row"]
        assert (output.kept, output.kept_failed) == (2, 1)
    assert [(result["id"], result.get("text"), bool(result["error"])) for result in told] == [
        ("row-1", "The tide.", False),
        ("row-2", None, True),
    ]
    with open_output(str(path), run, retry_failed=True) as output:
        assert output.write(answer_of(2, run=run))
    assert [line["response"]["status_code"] for line in documents_in(path)] == [200, 200]
    with pytest.raises(BatchError, match="the format of the output is jsonl and was openai"):
        open_output(str(path), RUN)


# Going on


@every_kind
def test_finished_rows_are_kept(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, [*answers(1, 3), failure_of(4)])
    before = lines_in(path)
    told: list[Any] = []
    counts: list[int] = []
    with open_output(str(path), RUN, on_kept=told.append, progress=counts.append) as output:
        assert (output.kept, output.kept_failed, output.retried, output.mended) == (4, 1, 0, False)
        assert output.answered_ids.digest_of("row-1") == answer_of(1)["row"]
        assert output.answered_ids.digest_of("row-4") == ""
        assert output.answered_ids.digest_of("row-5") is None
        output.write(answer_of(5))
    assert told == [*answers(1, 3), failure_of(4)]
    assert counts == [0]
    assert lines_in(path)[:4] == before
    assert ids_in(path) == [f"row-{number}" for number in range(1, 6)]


def test_the_rows_that_are_kept_are_told_now_and_then(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", [failure_of(1), *answers(2, 2500)])
    counts: list[int] = []
    with open_output(str(path), RUN, retry_failed=True, progress=counts.append):
        assert counts == [0, 999, 1999]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """By kind of file: eight rows in one go, and in three runs of which each went on."""
    folder = tmp_path_factory.mktemp("finished")
    found = {}
    for name in NAMES:
        whole = written(folder / name, answers(1, 8))
        parts = folder / f"parts {name}"
        for last in (3, 4, 8):
            goes_on(parts, last)
        found[name] = (whole.read_bytes(), parts.read_bytes())
    return found


@every_kind
@given(data=st.data())
def test_an_output_cut_anywhere_is_finished(finished: Any, name: str, data: st.DataObject) -> None:
    """Whatever a kill leaves: each row stands there once, as if nothing had been."""
    whole = data.draw(st.sampled_from(finished[name]))
    place = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(whole[:place])
        output = goes_on(path, 8)
        assert sorted(ids_in(path)) == [f"row-{number}" for number in range(1, 9)]
        assert output.kept + output.written == 8
        assert os.listdir(folder) == [name]


@every_kind
def test_every_cut_of_the_first_lines_is_mended(finished: Any, name: str, tmp_path: Path) -> None:
    whole = finished[name][0]
    path = tmp_path / name
    for place in range(0, min(len(whole), 1200), 7):
        path.write_bytes(whole[:place])
        goes_on(path, 8)
        assert sorted(ids_in(path)) == [f"row-{number}" for number in range(1, 9)]


def test_a_line_that_lacks_nothing_but_its_end_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 3))
    os.truncate(path, path.stat().st_size - 1)
    output = goes_on(path, 4)
    assert (output.kept, output.written, output.mended) == (3, 1, False)
    assert documents_in(path) == answers(1, 4)


@every_kind
def test_what_another_program_packed_again_without_the_last_newline_is_kept(
    tmp_path: Path, name: str
) -> None:
    text = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers(1, 3))[:-1]
    packed = {"gz": gzip.compress(text), "zst": zstandard.compress(text)}.get(name.split(".")[-1], text)
    path = tmp_path / name
    path.write_bytes(packed)
    assert goes_on(path, 4).kept == 3
    assert documents_in(path) == answers(1, 4)


def test_zeros_of_a_power_failure_are_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 3))
    with path.open("ab") as file:
        file.write(b"\0" * 5000)
    output = goes_on(path, 4)
    assert (output.kept, output.mended) == (3, True)
    assert documents_in(path) == answers(1, 4)


def test_blank_lines_harm_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"\n".join(json.dumps(answer).encode() for answer in answers(1, 2)) + b"\r\n\n \n\n")
    assert goes_on(path, 3).kept == 2
    assert len([line for line in lines_in(path) if line.strip()]) == 3


def test_an_empty_file_is_a_new_output(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).touch(mode=0o640)
        goes_on(tmp_path / name, 2)
        assert ids_in(tmp_path / name) == ["row-1", "row-2"]


# Failed rows


@every_kind
def test_failed_rows_are_asked_again(tmp_path: Path, name: str) -> None:
    first = [
        answer_of(1),
        failure_of(2),
        answer_of(3),
        failure_of(4, "duplicate id", id="row-1"),
        failure_of(5),
    ]
    path = written(tmp_path / name, first)
    path.chmod(0o640)
    told: list[Any] = []
    with open_output(str(path), RUN, retry_failed=True, on_kept=told.append) as output:
        assert (output.kept, output.kept_failed, output.retried) == (2, 0, 3)
        assert output.answered_ids.digest_of("row-2") is output.answered_ids.digest_of("row-5") is None
        assert ids_in(path) == ["row-1", "row-3"]  # before anything is answered: failures are dropped at once
        output.write(answer_of(2))
    assert told == [answer_of(1), answer_of(3)]
    assert documents_in(path) == [answer_of(1), answer_of(3), answer_of(2)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert set(os.listdir(tmp_path)) == {"home", name}


def test_failed_rows_stay_without_being_asked_again(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", [answer_of(1), failure_of(2)])
    before, inode = path.read_bytes(), path.stat().st_ino
    goes_on(path, 2)
    goes_on(path, 1, retry_failed=False)
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)


def test_without_failed_rows_nothing_is_rewritten(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 2))
    inode = path.stat().st_ino
    goes_on(path, 3, retry_failed=True)
    assert path.stat().st_ino == inode


def test_a_torn_line_goes_with_the_failed_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", [failure_of(1), *answers(2, 4)])
    os.truncate(path, path.stat().st_size - 10)
    output = goes_on(path, 4, retry_failed=True)
    assert (output.kept, output.retried, output.mended) == (2, 1, True)
    assert sorted(ids_in(path)) == [f"row-{number}" for number in range(1, 5)]


def test_a_rewrite_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", [failure_of(1), answer_of(2)])
    (tmp_path / ".unfinished.out.jsonl").write_text("half of it")
    goes_on(path, 2, retry_failed=True)
    assert sorted(ids_in(path)) == ["row-1", "row-2"]
    assert not (tmp_path / ".unfinished.out.jsonl").exists()


def test_a_rewrite_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "out.jsonl", [failure_of(1), answer_of(2)])
    before = path.read_bytes()

    def fail(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(BatchError, match=r"cannot be repaired .*\(No space left on device\); it is unch"):
        open_output(str(path), RUN, retry_failed=True)
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"home", "out.jsonl"}
    monkeypatch.undo()
    goes_on(path, 2)  # and nobody holds its lock


# Other runs, other files


def test_another_run_is_refused_with_the_differences_and_a_choice(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 2))
    before = path.read_bytes()
    with pytest.raises(BatchError) as caught:
        open_output(str(path), run_of(gamma=0.6, method="nudge"))
    assert str(caught.value) == (
        f"{path} holds the answers of another run (--method is nudge and was blendin; --gamma is 0.6 and was "
        "0.4): name a new file, or give --overwrite to answer every row again."
    )
    assert path.read_bytes() == before
    with open_output(str(path), run_of(gamma=0.6), overwrite=True) as output:
        assert (output.kept, path.read_bytes()) == (0, before)
        output.write(answer_of(1, run=run_of(gamma=0.6)))
    assert documents_in(path) == [answer_of(1, run=run_of(gamma=0.6))]


@pytest.mark.parametrize(
    "content",
    [b"plain text", b'{"id": "ro', gzip.compress(b"other\n", mtime=0), zstandard.compress(b"other\n")],
)
@every_kind
def test_what_is_overwritten_stays_until_there_is_a_line(tmp_path: Path, name: str, content: bytes) -> None:
    """A model that cannot be loaded, or a kill before the first answer, costs nothing."""
    path = tmp_path / name
    path.write_bytes(content)
    status = path.stat()
    with open_output(str(path), RUN, overwrite=True) as output:
        assert output.answered_ids.digest_of("row-1") is None
        assert output.resume_command == "the same command again"
    with pytest.raises(ZeroDivisionError), open_output(str(path), RUN, overwrite=True):
        1 / 0  # noqa: B018
    assert path.read_bytes() == content
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    with open_output(str(path), RUN, overwrite=True) as output:
        for number in (1, 2):
            output.write(answer_of(number))
            assert output.resume_command == "the same command without --overwrite"
    assert documents_in(path) == answers(1, 2)
    assert goes_on(path, 3).kept == 2


def test_the_first_line_of_an_output(tmp_path: Path) -> None:
    for name in NAMES:
        path = tmp_path / name
        assert first_result(str(path)) is None and not path.exists()
        path.touch()
        assert first_result(str(path)) is None
        written(path, [failure_of(3), answer_of(1)])
        before = path.read_bytes()
        assert first_result(str(path)) == failure_of(3)
        assert path.read_bytes() == before
        path.write_bytes(before[: len(before) // 20])
        assert first_result(str(path)) is None
    run = run_of(output_format="openai")
    found = first_result(str(written(tmp_path / "openai", [answer_of(1, run=run)], run)))
    assert found and found["settings"] == run.settings
    assert first_result("-") is first_result("/dev/null") is None
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(BatchError, match="has content other than answers"):
        first_result(str(tmp_path / "other"))


def test_many_differences_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 1))
    many = dict(gamma=0.1, alpha=0.1, prior=1.0, tau=0.1, compete_k=9, unit="word", capability_gap=0.1)
    with pytest.raises(BatchError, match=r"--max-inter.*|.*; and 1 more\): name a new file"):
        open_output(str(path), run_of(**many))


def test_a_row_of_another_run_further_down_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 3))
    other = written(tmp_path / "other.jsonl", [answer_of(4, run=run_of(gamma=0.1))], run_of(gamma=0.1))
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with pytest.raises(BatchError, match=r"--gamma is 0\.4 and was 0\.1"):
        open_output(str(path), RUN)


def test_two_answers_to_one_row_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "out.jsonl", answers(1, 2))
    path.write_bytes(path.read_bytes() * 2)
    before = path.read_bytes()
    with pytest.raises(BatchError, match="answers 'row-1' twice, as no run would: take one of the lines out"):
        open_output(str(path), RUN)
    assert path.read_bytes() == before


LINE = json.dumps(answer_of(1)).encode()
OTHER_CONTENT = [
    b"hello",
    b"hello\n",
    b"\n\nhello",
    b'{"id": "a"}\n',
    b'{"id": "a"}',
    b'{"id": 1, "prompt": "What?"}\n{"id": 2, "prompt": "Who?"}\n',
    b"{\n",
    b"[1, 2",
    b"null\n",
    b"\0" * 5000,
    b"\xff\xfe\xfa",
    b"id,prompt\n1,What?\n",
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n',
    b'{"custom_id": "a", "blendin": 5, "response": null}\n',
    b"[" * 100_000 + b"\n",
    LINE.replace(b'"row-1"', b"5") + b"\n",
    LINE + b"\nhello\n" + LINE.replace(b"row-1", b"row-2") + b"\n",
    LINE + b"\n" + LINE[:100] + b"\n",
    gzip.compress(LINE + b"\n", mtime=0),
    zstandard.compress(LINE + b"\n"),
]


@pytest.mark.parametrize("content", OTHER_CONTENT, ids=lambda content: repr(content[:30]))
@every_kind
def test_a_file_that_holds_something_else_is_refused_and_not_touched(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    packed = {"gz": gzip.compress(content), "zst": zstandard.compress(content)}.get(name.split(".")[-1])
    path.write_bytes(packed or content)
    before, status = path.read_bytes(), path.stat()
    for options in ({}, {"retry_failed": True}):
        with pytest.raises(
            BatchError, match=r"has content other than answers \(line \d\): name another file"
        ):
            open_output(str(path), RUN, **options)
    assert path.read_bytes() == before
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    if not content.startswith(LINE):
        with pytest.raises(BatchError):
            check_output(str(path))
    check_output(str(path), overwrite=True)
    assert path.read_bytes() == before
    goes_on(path, 2, overwrite=True)
    assert documents_in(path) == answers(1, 2)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("content", [b"plain text", b"pl", LINE + b"\n"])
def test_a_file_of_another_kind_than_its_name_says_is_not_touched(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match="has content other than answers"):
        open_output(str(tmp_path / name), RUN)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("name", NAMES[1:])
def test_half_of_another_packed_file_is_not_touched(tmp_path: Path, name: str) -> None:
    text = "\n".join(map(str, range(1_000_000))).encode()
    content = (gzip.compress(text) if name.endswith("gz") else zstandard.compress(text))[:500_000]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match="has content other than answers"):
        open_output(str(tmp_path / name), RUN)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("name", NAMES[1:])
def test_damage_in_the_middle_is_refused(tmp_path: Path, name: str) -> None:
    """Rows behind it may be there still, and are not thrown away."""
    path = written(tmp_path / name, answers(1, 50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 60] = os.urandom(60)
    path.write_bytes(content)
    with pytest.raises(BatchError, match="name another file, or give --overwrite"):
        open_output(str(path), RUN)
    assert path.read_bytes() == content


# Two at once


_HOLDER = """
import sys
sys.path.insert(0, sys.argv[2])
from support.batch_lines import RUN, failure_of
from blendin_local.batch.output import open_output
output = open_output(sys.argv[1], RUN, retry_failed=True)
output.write(failure_of(9))
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process writes it until it is killed."""
    command = [sys.executable, "-c", _HOLDER, str(path), str(TESTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "open\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [[], [answer_of(1)], [failure_of(1), answer_of(2)]], ids=["new", "old", "rewritten"]
)
def test_a_second_process_is_refused(tmp_path: Path, first: list[Any]) -> None:
    """Also where the first one has put another file in its place."""
    path = tmp_path / "out.jsonl"
    if first:
        written(path, first)
    with held(path):
        before = path.read_bytes()
        for attempt in (
            lambda: open_output(str(path), RUN),
            lambda: open_output(str(path), RUN, overwrite=True),
            lambda: check_output(str(path)),
            lambda: check_output(str(path), overwrite=True),
        ):
            with pytest.raises(BatchError, match="is being written by another run: wait until it has ended"):
                attempt()
        assert path.read_bytes() == before
    assert goes_on(path, 3).kept_failed == 1  # a lock dies with its process


def test_a_lock_taken_on_a_file_that_was_just_replaced_is_none(tmp_path: Path) -> None:
    """Who opened the old file before the first run replaced it must not write beside the first run."""
    path = written(tmp_path / "out.jsonl", [failure_of(1), answer_of(2)])
    real_flock, first = fcntl.flock, list[Any]()

    def replaced_in_between(descriptor: int, how: int) -> None:
        if not first:
            first.append(None)
            # The other run opens, replaces, and holds the new file; this one has opened the old one.
            first[0] = open_output(str(path), RUN, retry_failed=True)
        real_flock(descriptor, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fcntl.flock", replaced_in_between)
        with pytest.raises(BatchError, match="is being written by another run"):
            open_output(str(path), RUN)
    first[0].close()
    assert ids_in(path) == ["row-2"]


def test_a_reader_that_closes_the_file_does_not_end_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_output(str(path), RUN) as output:
        output.write(answer_of(1))
        lines_in(path)
        with pytest.raises(BatchError, match="is being written"):
            open_output(str(path), RUN)
    goes_on(path, 2)


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    goes_on(tmp_path / "out.jsonl", 2)
    assert ids_in(tmp_path / "out.jsonl") == ["row-1", "row-2"]


# Places


@every_kind
def test_links_are_followed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = tmp_path / name
    link.symlink_to(Path("elsewhere") / name)
    written(link, [failure_of(1), answer_of(2)])
    assert link.is_symlink() and ids_in(folder / name) == ["row-1", "row-2"]
    goes_on(link, 2, retry_failed=True)
    assert link.is_symlink() and ids_in(folder / name) == ["row-2", "row-1"]
    assert os.listdir(folder) == [name]


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "a"}\n')
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "other name").hardlink_to(path)
    return path


@contextmanager
def standing_for(name: str, path: Path | str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with open(path, "a+") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        yield


@pytest.mark.parametrize("name", ["in.jsonl", "link", "other name"])
def test_an_output_that_is_the_input_is_refused_whatever_leads_to_it(
    input_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would read its own answers for ever."""
    path = str(input_file.with_name(name))
    sentence = "is the same file as {}, which this command reads: name another file"
    for others in ([], [Path(path)]):
        with pytest.raises(BatchError, match=f"^{path} " + sentence.format(input_file)):
            check_apart(str(input_file), path, others)
    with standing_for("stdin", input_file, monkeypatch):
        with pytest.raises(BatchError, match=f"^{path} " + sentence.format("standard input")):
            check_apart("-", path)
        with (
            standing_for("stdout", input_file, monkeypatch),
            pytest.raises(BatchError, match="^Standard output " + sentence.format("standard input")),
        ):
            check_apart("-", "-")
    with standing_for("stdout", input_file, monkeypatch):
        for output in ("-", "/dev/stdout"):
            with pytest.raises(BatchError, match="^Standard output " + sentence.format(path)):
                check_apart(path, output)
            with pytest.raises(BatchError, match="^Standard output " + sentence.format(path)):
                check_apart("/dev/null", output, [Path(path)])


@pytest.mark.slow
def test_standard_input_by_its_name_as_a_file(input_file: Path) -> None:
    code = "import sys; from blendin_local.batch.output import check_apart; check_apart(*sys.argv[1:])"
    for source, output in (("/dev/stdin", str(input_file)), (str(input_file), "/dev/fd/1"), ("-", "-")):
        with input_file.open() as stdin, input_file.open("a") as stdout:
            done = subprocess.run(
                [sys.executable, "-c", code, source, output],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert "is the same file as" in done.stderr


def test_files_apart_and_what_is_no_file_will_do(
    input_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = [tmp_path / "none", input_file, tmp_path]
    check_apart(str(tmp_path / "none"), str(tmp_path / "none"), read)
    check_apart("a\0b", str(tmp_path / "out.jsonl"), read)
    check_apart("-", "-", read)  # whatever they are in a test
    (tmp_path / "out.jsonl").write_bytes(input_file.read_bytes())
    check_apart(str(input_file), str(tmp_path / "out.jsonl"), read)
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/null", str(tmp_path / "fifo"), str(tmp_path)):
        check_apart(path, path, [Path(path)])
    for missing in ("stdin", "stdout"):
        monkeypatch.setattr(sys, missing, None)
        check_apart("-", "-", read)


def places(tmp_path: Path) -> list[tuple[str, str]]:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none/out.jsonl")
    return [
        (str(tmp_path), "is a folder: name a file in it"),
        (str(tmp_path / "none" / "out.jsonl"), "There is no folder .*none for .*out.jsonl: make it first"),
        (str(tmp_path / "dangling"), "There is no folder .*none for .*dangling: make it first"),
        (str(tmp_path / "file" / "out.jsonl"), "cannot be written: Not a directory"),
        (str(tmp_path / "loop"), "cannot be written: Too many levels"),
        (str(tmp_path / ("x" * 300)), "cannot be written: File name too long"),
        (str(tmp_path / "a\0b"), "cannot be written: embedded null"),
    ]


@pytest.mark.parametrize("number", range(7))
def test_a_place_where_nothing_can_be_written_is_one_sentence(tmp_path: Path, number: int) -> None:
    path, sentence = places(tmp_path)[number]
    with pytest.raises(BatchError, match=sentence):
        open_output(path, RUN)
    with pytest.raises(BatchError, match=sentence):
        check_output(path)


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's permissions."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_lacking_the_permission_is_one_sentence() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.jsonl")
        written(path, answers(1, 2))
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        try:
            with nobody():
                for each in (path, path.with_name("new.jsonl")):
                    for attempt in (check_output, lambda path: open_output(path, RUN)):
                        with pytest.raises(BatchError, match=r"jsonl cannot be written: .*[Pp]ermission"):
                            attempt(str(each))
        finally:
            Path(folder).chmod(0o755)
        assert documents_in(path) == answers(1, 2)


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    check_output(str(tmp_path / "new.jsonl"))
    assert not (tmp_path / "new.jsonl").exists()
    for name in NAMES:
        path = written(tmp_path / name, answers(1, 2))
        os.truncate(path, path.stat().st_size - 3)
        before, status = path.read_bytes(), path.stat()
        check_output(str(path))
        check_output(str(path), overwrite=True)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, status.st_mtime_ns)
    check_output("-")
    check_output("/dev/null")


def test_what_is_no_file_is_neither_read_nor_cut(tmp_path: Path) -> None:
    fifo = tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    found: list[list[str]] = []
    reader = threading.Thread(target=lambda: found.append(ids_in(fifo)))
    reader.start()
    check_output(str(fifo))
    with open_output(str(fifo), RUN, retry_failed=True, overwrite=True) as output:
        assert output.write(answer_of(1))
        assert not output.write(answer_of(1))
        assert output.write(answer_of(2))
    reader.join()
    assert found == [["row-1", "row-2"]]
    goes_on(Path("/dev/null"), 2)


def test_standard_output_stays_open(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("-", "/dev/stdout"):
        with open_output(name, RUN) as output:
            output.write(answer_of(1))
        print("more", flush=True)
        lines = capfdbinary.readouterr().out.splitlines()
        assert (json.loads(lines[0]), lines[1]) == (answer_of(1), b"more")
