"""Read the output of an earlier run, repair a partial last line, and lock the file.

A file with content other than results is rejected and never changed. Memory use is independent of its size.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blendin_local.batch.file_lock import FileLock, lock_descriptor
from blendin_local.batch.id_index import IdIndex
from blendin_local.batch.openai import result_of
from blendin_local.batch.results import Result
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.batch.sink import open_sink
from blendin_local.errors import BatchError
from blendin_local.files import parse_json
from blendin_local.inputs.streams import (
    Compression,
    DamagedError,
    compression_of,
    lines_of,
    open_input,
)
from blendin_local.safe_text import sanitize

__all__ = ["EarlierLines", "ResumeState", "is_duplicate", "resume"]

_BEGINNING = b'{"id": '
"""The start of every result line, in both formats."""
_LONGEST = 1 << 30
"""Longest result line in bytes: records of all steps with many candidates are long."""
_FLUSH_BYTES = 1 << 20
_DIFFERENCES_TOLD = 6
_PROGRESS_INTERVAL_ROWS = 1000
"""Interval of progress reports in rows."""
_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


class EarlierLines:
    """Iterates the whole lines of an output, each with its newline, and their results.

    Valid after iteration: end, size of the whole lines in bytes before compression. torn: whether a partial
    line, or partial compressed data, follows them. lacks_newline: whether the last whole line has no newline
    in the file. Iteration raises BatchError for other content; name: the file's name in messages.
    """

    def __init__(self, path: str, name: str) -> None:
        self.end = 0
        self.torn = False
        self.lacks_newline = False
        self._path = path
        self._name = name

    def __iter__(self) -> Generator[tuple[bytes, Result], None, None]:
        self._check_packing()
        n_results, tail, cut_off = 0, b"", False
        try:
            with open_input(self._path) as stream:
                for number, line in enumerate(lines_of(stream, _LONGEST), 1):
                    if line is None:
                        raise self._other_content(number)
                    is_whole = line.endswith(b"\n")
                    if line.strip():
                        result = self._result(line, number)
                        if result is None and is_whole:
                            raise self._other_content(number)
                        if result is None:
                            tail, self.torn = line, True
                            break
                        n_results += 1
                        self.lacks_newline = not is_whole
                        yield line if is_whole else line + b"\n", result
                    self.end += len(line)
        except DamagedError as error:
            # Corrupt data has a cause; data truncated by a kill has none.
            if error.__cause__:
                raise BatchError(
                    f"{error} Its rows cannot be kept: name another file, or give --overwrite to answer all "
                    "of them again."
                ) from error
            self.torn = cut_off = True
        if not n_results:
            self._check_beginning(self._first_bytes() if cut_off else tail)

    def _result(self, line: bytes, number: int) -> Result | None:
        """Parse the result of a line; None if it is not JSON."""
        try:
            document = parse_json(line)
        except ValueError:
            return None
        try:
            result = result_of(document) if _is_openai(document) else document
        except BatchError:
            raise self._other_content(number) from None
        if not _is_result(result):
            raise self._other_content(number)
        return dict(result)

    def _check_packing(self) -> None:
        """Check that name and first bytes agree on the compression, because appending follows the name."""
        with open(self._path, "rb") as file:
            start = file.read(4)
        magic = _MAGIC.get(compression_of(self._path))
        if not start.startswith(magic[: len(start)]) if magic else start.startswith(tuple(_MAGIC.values())):
            raise self._other_content(1)

    def _check_beginning(self, tail: bytes) -> None:
        """Check that a file without a whole line begins like one, before it is truncated."""
        if not tail.startswith(_BEGINNING[: len(tail)]):
            raise self._other_content(1)

    def _first_bytes(self) -> bytes:
        found = b""
        with suppress(DamagedError), open_input(self._path) as stream:
            while len(found) < len(_BEGINNING) and (more := stream.read(1)):
                found += more
        return found

    def _other_content(self, number: int) -> BatchError:
        return BatchError(
            f"{self._name} has content other than answers (line {number}): name another file, or give "
            "--overwrite to replace it."
        )


def _is_openai(document: Any) -> bool:
    return isinstance(document, dict) and "custom_id" in document


def _is_result(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and isinstance(document.get("id"), str)
        and isinstance(document.get("run"), str)
        and isinstance(document.get("error", 0), dict | None)
        and isinstance(document.get("row", 0), str | None)
        and "settings" in document
        and "models" in document
    )


def is_duplicate(result: Result) -> bool:
    """Return whether a result reports that an earlier row has the same id."""
    return result["error"] is not None and result["error"].get("kind") == "duplicate id"


def rewrite(path: str, name: str, lock: FileLock, wanted: Callable[[Result], bool]) -> None:
    """Atomically replace a locked output by its wanted whole lines, and lock the new file.

    Raises OSError, and changes nothing, if the disk is full.
    """
    folder, file = os.path.split(path)
    # A fixed name, so that the next run deletes the file of one that was killed here.
    unfinished = os.path.join(folder, f".unfinished.{file}")
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _copy(path, name, unfinished, wanted)
        status = os.stat(path)
        with suppress(OSError):  # only root can change the owner
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.fsync(descriptor)
        # Locked before it can be opened under its name.
        lock_descriptor(descriptor)
        os.replace(unfinished, path)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    lock.move_to(descriptor)


def _copy(path: str, name: str, target: str, wanted: Callable[[Result], bool]) -> None:
    sink = open_sink(target)
    try:
        n_held = 0
        for line, result in EarlierLines(path, name):
            if wanted(result):
                sink.write(line)
                n_held += len(line)
                if n_held > _FLUSH_BYTES:
                    sink.flush()
                    n_held = 0
    except BaseException:
        with suppress(OSError):
            sink.close()
        raise
    sink.close()


@dataclass(slots=True)
class ResumeState:
    """The initial state of an output; see `Output`."""

    kept: int = 0
    kept_failed: int = 0
    retried: int = 0
    mended: bool = False


def resume(
    path: str,
    name: str,
    run: RunManifest,
    answered_ids: IdIndex,
    lock: FileLock,
    retry_failed: bool,
    on_kept: Callable[[Result], None] | None,
    progress: Callable[[int], None] | None,
) -> ResumeState:
    """Read a locked output, index its answers, and repair its end for appending.

    Raises BatchError, and changes nothing, if that is impossible; see `open_output`.
    """

    def wanted(result: Result) -> bool:
        return not retry_failed or result["error"] is None

    found, lines = ResumeState(), EarlierLines(path, name)
    for number, (_, result) in enumerate(lines):
        if progress and number % _PROGRESS_INTERVAL_ROWS == 0:
            progress(found.kept)
        if result["run"] != run.run_id:
            raise BatchError(_describe_other_run(name, run.differences(result)))
        if not wanted(result):
            found.retried += 1
            continue
        if is_duplicate(result):
            answered_ids.add_duplicate(result["id"])
        elif not answered_ids.add_answer(result["id"], result["row"]):
            raise BatchError(
                f"{name} answers {sanitize(repr(result['id']))} twice, as no run would: take one of the "
                "lines out, name another file, or give --overwrite to answer every row again."
            )
        found.kept += 1
        found.kept_failed += result["error"] is not None
        if on_kept:
            on_kept(result)
    found.mended = lines.torn
    try:
        is_packed = compression_of(path) != "none"
        if found.retried or (is_packed and (lines.torn or lines.lacks_newline)):
            rewrite(path, name, lock, wanted)
        elif lines.torn:
            os.ftruncate(lock.descriptor, lines.end)
        elif lines.lacks_newline:
            os.pwrite(lock.descriptor, b"\n", lines.end)
    except OSError as error:
        raise BatchError(
            f"{name} cannot be repaired to be continued ({error.strerror or error}); it is unchanged."
        ) from error
    return found


def _describe_other_run(name: str, differences: Sequence[str]) -> str:
    told = "; ".join(differences[:_DIFFERENCES_TOLD])
    if more := len(differences) - _DIFFERENCES_TOLD:
        told += f"; and {more} more" if more > 0 else ""
    return (
        f"{name} holds the answers of another run ({told}): name a new file, or give --overwrite to answer "
        "every row again."
    )
