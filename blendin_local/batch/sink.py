"""Write whole lines to a file, a pipe or standard output, compressed where the name asks for it."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import zstandard

from blendin_local.errors import BatchError
from blendin_local.inputs.streams import GZIP_WBITS, Compression, compression_of, open_fault

__all__ = ["Sink", "is_standard_output", "open_sink", "translate_errors"]


def is_standard_output(path: str) -> bool:
    return path in ("-", "/dev/stdout")


@contextmanager
def translate_errors(path: str, folder: str | None = None) -> Iterator[None]:
    """Translate errors of opening `path` in the block to BatchError, one sentence.

    folder: the folder of a file that is opened for writing; None for a file that is read.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise BatchError(open_fault(error, path, folder)) from error


class _Coder:
    """Encoder of one gzip member or Zstandard frame; with "none", bytes pass unchanged."""

    def __init__(self, compression: Compression) -> None:
        self._gzip = zlib.compressobj(wbits=GZIP_WBITS) if compression == "gzip" else None
        self._zstd = zstandard.ZstdCompressor().compressobj() if compression == "zstd" else None

    def encode(self, data: bytes) -> bytes:
        coder = self._gzip or self._zstd
        return coder.compress(data) if coder else data

    def flush(self) -> bytes:
        """Bytes that complete the encoding of everything so far, without ending the member or frame."""
        if self._gzip:
            return self._gzip.flush(zlib.Z_SYNC_FLUSH)
        return self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if self._zstd else b""

    def finish(self) -> bytes:
        coder = self._gzip or self._zstd
        return coder.flush() if coder else b""


class Sink:
    """Buffered writer of whole lines; `flush` makes all of them readable in the file.

    offset: size of a regular file in bytes after the last successful `flush`; None for a pipe, a terminal
    or standard output, which cannot be truncated.

    A `flush` that raises may have written part of a line: `cut` then restores the last good state, and the
    lines of the failed flush are lost. Appending to a compressed file begins a new member or frame.
    """

    def __init__(
        self, raw: io.RawIOBase | BinaryIO, compression: Compression, offset: int | None, *, owned: bool
    ) -> None:
        self.compression = compression
        self.offset = offset
        self._raw = raw
        self._owned = owned
        self._coder = _Coder(compression)
        self._buffered: list[bytes] = []
        # A compressed file without lines is valid only with one empty member.
        self._started = not offset
        self._torn = False

    def write(self, line: bytes) -> None:
        """Buffer one line, which ends with a newline, until `flush`."""
        self._started = True
        self._buffered.append(self._coder.encode(line))

    def flush(self) -> None:
        """Write all buffered lines. Raises OSError."""
        if self._buffered:
            self._buffered.append(self._coder.flush())
            self._put()

    def cut(self) -> None:
        """Discard buffered lines and truncate the file to `offset`. Raises OSError.

        A compressed file can be appended to only if it was truncated at the end of a member or frame;
        otherwise it must be closed and rewritten from its whole lines.
        """
        self._buffered.clear()
        self._coder, self._started = _Coder(self.compression), False
        if self.offset is not None:
            os.ftruncate(self._raw.fileno(), self.offset)
            self._torn = False

    def abandon(self) -> None:
        """Discard what is buffered, and never write again."""
        self._buffered.clear()
        self._started = False

    def empty(self) -> None:
        """Truncate a regular file to nothing. Raises OSError."""
        if self.offset is not None:
            self.offset = 0
            self.cut()

    def close(self) -> None:
        """Write buffered lines, end the compressed data and close the file, also when raising OSError.

        Writes nothing after a failed flush. Standard output stays open.
        """
        if self._raw.closed:
            return
        try:
            if self._started and not self._torn:
                self._buffered.append(self._coder.finish())
                self._put()
        finally:
            if self._owned:
                self._raw.close()
            self._started = False

    def _put(self) -> None:
        data = b"".join(self._buffered)
        self._buffered.clear()
        self._torn = True
        rest = memoryview(data)
        while rest:
            n_written = self._raw.write(rest)
            if n_written is None:  # the pipe was set to non-blocking
                select.select([], [self._raw], [])
            else:
                rest = rest[n_written:]
        self._torn = False
        if self.offset is not None:
            self.offset += len(data)


def open_sink(path: str) -> Sink:
    """Open a file for appending, creating it if missing; "-" is standard output.

    A regular file is compressed as its name implies; pipes and devices are written as they are. Raises
    BatchError where the output cannot be opened.
    """
    if is_standard_output(path):
        if sys.stdout is None:
            raise BatchError("Standard output is closed: name an output file.")
        sys.stdout.flush()
        # Bypass the buffer, which would repeat a failed write when the program ends.
        buffer = sys.stdout.buffer
        return Sink(getattr(buffer, "raw", buffer), "none", None, owned=False)
    with translate_errors(path, os.path.dirname(path)):
        file = io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), "ab")
    status = os.fstat(file.fileno())
    offset = status.st_size if stat.S_ISREG(status.st_mode) else None
    return Sink(file, compression_of(path), offset, owned=True)
