"""Write the output of a job in whole lines, each flushed before the next, one for each row.

A resumed job appends to its output; `resuming` reads and repairs the existing file.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TextIO

from blendin_local.batch.file_lock import FileLock
from blendin_local.batch.id_index import IdIndex
from blendin_local.batch.openai import batch_line
from blendin_local.batch.results import Result
from blendin_local.batch.resuming import EarlierLines, ResumeState, is_duplicate, resume
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.batch.sink import Sink, is_standard_output, open_sink, translate_errors
from blendin_local.errors import BatchError
from blendin_local.presentation.plain_data import to_json

__all__ = ["Output", "check_apart", "check_output", "first_result", "open_output"]

_SYNC_INTERVAL_S = 5.0
"""Interval of fsync."""
_CAUSES = {
    errno.ENOSPC: ("The disk is full", "free space"),
    errno.EDQUOT: ("Your share of the disk is used up", "free space"),
    errno.EFBIG: ("The system lets the file grow no further", "raise that limit"),
}


def check_apart(input: str, output: str, others: Iterable[Path] = ()) -> None:
    """Raise BatchError if an output is a file that the job also reads, through any stream or link.

    Pipes, terminals and devices may be both.
    """
    target = _status(output, sys.stdout if is_standard_output(output) else None)
    read = [
        ("standard input" if input == "-" else input, _status(input, sys.stdin if input == "-" else None))
    ]
    read += [(str(path), _status(path, None)) for path in others]
    for name, status in read:
        if target and status and os.path.samestat(target, status):
            raise BatchError(
                f"{_name(output)} is the same file as {name}, which this command reads: name another file."
            )


def _status(path: str | Path, stream: TextIO | None) -> os.stat_result | None:
    """Status of the regular file behind a stream, or else a path."""
    try:
        status = os.fstat(stream.fileno()) if stream else os.stat(path)
    except (OSError, ValueError):  # missing, or a stream in memory
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def first_result(path: str) -> Result | None:
    """The result in the first line of an output, or None if there is no readable line.

    Raises BatchError for a file with other content.
    """
    name, real = _name(path), _regular(path)
    if real is None or not os.path.exists(real):
        return None
    with translate_errors(name), closing(iter(EarlierLines(real, name))) as lines:
        return next((result for _, result in lines), None)


def check_output(path: str, *, overwrite: bool = False) -> None:
    """Raise BatchError if `open_output` would certainly fail: a quick check before hours of work.

    Changes nothing. Whether the output belongs to another run is known only with the models.
    """
    name, real = _name(path), _regular(path)
    if real is None:
        return
    if not os.path.exists(real):
        folder = os.path.dirname(real)
        if not os.path.isdir(folder):
            raise BatchError(f"There is no folder {folder} for {name}: make it first.")
        effective = os.access in os.supports_effective_ids
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
            raise BatchError(
                f"{name} cannot be written: you lack the permission to create files in {folder}."
            )
        return
    _lock_file(real, name).release()
    if not overwrite:
        first_result(path)


def open_output(
    path: str,
    run: RunManifest,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    on_kept: Callable[[Result], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Output:
    """Open an output for appending after its existing results.

    path: "-" is standard output, which is written but never read, as are pipes and devices. A regular file is
    read in full, and locked until the output is closed; each kept result is passed to `on_kept`, their number
    now and then to `progress`. overwrite: drop the file's content when the first line is written.
    retry_failed: drop failed rows, so that they are asked again.

    Raises BatchError, and changes nothing, if the file cannot be opened, has other content, holds answers of
    another run, or is being written by one.
    """
    name, real = _name(path), _regular(path)
    with ExitStack() as undo:
        answered_ids = undo.enter_context(closing(IdIndex()))
        if real is None:
            output = Output(name, open_sink(path), run, answered_ids, None, ResumeState(), overwrite)
        else:
            lock = _lock_file(real, name)
            undo.callback(lambda: lock.release())
            found = ResumeState()
            if not overwrite:
                found = resume(real, name, run, answered_ids, lock, retry_failed, on_kept, progress)
            sink = open_sink(real)
            _sync_folder(os.path.dirname(real))
            output = Output(name, sink, run, answered_ids, lock, found, overwrite)
        undo.pop_all()
    return output


def _name(path: str) -> str:
    return "Standard output" if is_standard_output(path) else path


def _regular(path: str) -> str | None:
    """The regular file behind all links, which may not exist yet; None for any other kind of file."""
    if is_standard_output(path):
        return None
    with translate_errors(path, ""):
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return os.path.realpath(path)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        return os.path.realpath(path) if stat.S_ISREG(mode) else None


def _lock_file(real: str, name: str) -> FileLock:
    with translate_errors(name, os.path.dirname(real)):
        return FileLock(real, name)


def _sync_folder(folder: str) -> None:
    """Make a new file's name durable, if the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Output:
    """Writes results as lines, each row once. Usable from any thread, one at a time.

    answered_ids: index of the ids that the output answers. kept: number of lines of earlier runs.
    kept_failed: number of failures among them. retried: number of failures dropped to be asked again.
    mended: whether an earlier run had left a partial line. written: number of lines since.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        run: RunManifest,
        answered_ids: IdIndex,
        lock: FileLock | None,
        found: ResumeState,
        overwrite: bool,
    ) -> None:
        self.answered_ids = answered_ids
        self.kept, self.kept_failed = found.kept, found.kept_failed
        self.retried, self.mended = found.retried, found.mended
        self.written = 0
        self._name = name
        self._sink = sink
        self._is_openai = run.output_format == "openai"
        self._lock = lock
        self._overwrite, self._is_emptied = overwrite, False
        self._synced_s = time.monotonic()
        self._fault: BatchError | None = None

    @property
    def resume_command(self) -> str:
        """The command that resumes the job: "the same command again", without --overwrite if it was used."""
        return "the same command " + ("without --overwrite" if self._is_emptied else "again")

    def write(self, result: Result) -> bool:
        """Write a result as a line that is readable at once. Returns False, and writes nothing, if the output
        already answers this row.

        Raises BatchError if the line cannot be written; it is then missing as a whole, all earlier lines are
        intact, and nothing more is written.
        """
        if self._fault:
            raise self._fault
        duplicate = is_duplicate(result)
        if not duplicate and not self.answered_ids.add_answer(result["id"], result["row"]):
            return False
        line = _encode_line(batch_line(result) if self._is_openai else result)
        self._check_unchanged()
        with self._whole_lines():
            if self._overwrite and not self._is_emptied:
                self._sink.empty()
                self._is_emptied = True
            self._sink.write(line)
            self._sink.flush()
        self.written += 1
        if duplicate:
            self.answered_ids.add_duplicate(result["id"])
        if time.monotonic() - self._synced_s > _SYNC_INTERVAL_S:
            with self._whole_lines():
                self._sync()
        return True

    def close(self) -> None:
        """End compressed data, sync to disk, and release the lock.

        Raises BatchError if that fails; all written lines stay readable.
        """
        try:
            try:
                if self._fault is None:
                    self._check_unchanged()
            finally:
                with self._whole_lines():
                    self._sink.close()
                    self._sync()
        finally:
            self.answered_ids.close()
            if self._lock:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self.close()
        except BatchError:
            # An exception in the block is the cause of this one.
            if error is None:
                raise

    def _check_unchanged(self) -> None:
        """Raise BatchError if another program removed, replaced, cut or extended the file.

        It is left as it is then.
        """
        if self._lock is None:
            return
        own = os.fstat(self._lock.descriptor)
        try:
            same = os.path.samestat(own, os.stat(self._lock.path))
        except FileNotFoundError:
            what = "was removed"
        except OSError as error:
            what = f"cannot be reached any more ({error.strerror})"
        else:
            if same and own.st_size == self._sink.offset:
                return
            what = "was changed" if same else "was replaced"
        self._fault = BatchError(
            f"{self._name} {what} by another program while this job ran: run {self.resume_command}, which "
            "answers the rows that are missing there."
        )
        self._sink.abandon()
        raise self._fault

    def _sync(self) -> None:
        """Write the file to disk. Raises OSError."""
        self._synced_s = time.monotonic()
        if self._lock:
            try:
                os.fsync(self._lock.descriptor)
            except OSError as error:
                # Some file systems do not support fsync.
                if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                    raise

    @contextmanager
    def _whole_lines(self) -> Iterator[None]:
        """Truncate a partially written line after an exception, such as a full disk or Ctrl-C."""
        try:
            yield
        except OSError as error:
            self._cut()
            self._fault = self._describe_fault(error)
            raise self._fault from error
        except BaseException:
            self._cut()
            self._fault = BatchError(
                f"{self._name} was left in the middle of a row: run {self.resume_command}."
            )
            raise

    def _cut(self) -> None:
        with suppress(OSError, ValueError):
            # The sink may be closed already, the lock is not.
            if self._lock and self._sink.offset is not None:
                os.ftruncate(self._lock.descriptor, self._sink.offset)
        with suppress(OSError, ValueError):
            self._sink.cut()

    def _describe_fault(self, error: OSError) -> BatchError:
        reason = error.strerror or str(error)
        what, remedy = f"{self._name} cannot be written any further ({reason})", "mend that"
        if error.errno == errno.EPIPE:
            what = f"{self._name} was closed by its reader"
        elif error.errno in _CAUSES:
            what, remedy = _CAUSES[error.errno]
        rows = f"{self.kept + self.written:,} whole rows"
        if self._lock:
            return BatchError(
                f"{what}, after {rows} in {self._name}: {remedy} and run {self.resume_command}, "
                "which goes on there."
            )
        return BatchError(f"{what}, after {rows}: write to a file to be able to go on later.")


def _encode_line(document: dict[str, Any]) -> bytes:
    try:
        text = to_json(document)
    except ValueError:
        # NaN and infinities, which JSON lacks.
        document = json.loads(json.dumps(document), parse_constant=lambda name: None)
        text = to_json(document)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        # Lone surrogates can be escaped in JSON, but not encoded.
        return json.dumps(document).encode() + b"\n"
