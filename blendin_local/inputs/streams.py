"""Files, standard streams and pipes of bytes, compressed or not: lines come in, whole lines go out.

Nothing here knows what a line means. What is held never grows with a stream.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Literal, Protocol, cast

import zstandard

from blendin_local.errors import BatchError

__all__ = [
    "LONGEST_LINE",
    "Compression",
    "DamagedError",
    "Sink",
    "compression_of",
    "explained",
    "is_standard_output",
    "lines_of",
    "open_input",
    "open_sink",
]

Compression = Literal["none", "gzip", "zstd"]

LONGEST_LINE = 64 << 20
"""Bytes of the longest line of an input that is taken in."""

_CHUNK = 1 << 10
"""Compressed bytes that are taken at once: gzip makes at most 1 MiB of them, Zstandard 32 MiB."""
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_GZIP = 16 + zlib.MAX_WBITS
"""zlib's name for deflated data in gzip's wrapping."""


class DamagedError(BatchError):
    """Compressed data is cut off or wrong. What came before has been read."""


def compression_of(path: str) -> Compression:
    """How a file of this name is compressed."""
    name = path.lower()
    return "gzip" if name.endswith(".gz") else "zstd" if name.endswith((".zst", ".zstd")) else "none"


def is_standard_output(path: str) -> bool:
    return path in ("-", "/dev/stdout")


@contextmanager
def explained(path: str, folder: str | None = None) -> Iterator[None]:
    """Raise BatchError, in one sentence, where the block cannot open a file to read it.

    folder: the one that the file is in, where it is to be written.
    """
    what, place = ("read", "one file of it") if folder is None else ("written", "a file in it")
    try:
        yield
    except FileNotFoundError:
        missing = f"file {path}" if folder is None else f"folder {folder} for {path}: make it first"
        raise BatchError(f"There is no {missing}.") from None
    except IsADirectoryError:
        raise BatchError(f"{path} is a folder: name {place}.") from None
    except (OSError, ValueError) as error:
        raise BatchError(f"{path} cannot be {what}: {_reason(error)}.") from error


# Reading


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, a pipe, or standard input ("-"), decompressed.

    Compression is told by the name, or by the first bytes under any other name. Raises BatchError where
    nothing can be opened. Reading raises DamagedError for damaged compressed data.
    """
    if path == "-":
        with _standard_input() as stream:
            yield _decompressed(stream, "Standard input", "none")
        return
    with ExitStack() as stack:
        with explained(path):
            stream = stack.enter_context(open(path, "rb"))
        if not os.path.isfile(path):
            stream = stack.enter_context(_stoppable(stream.fileno(), path))
        yield _decompressed(stream, path, compression_of(path))


@contextmanager
def _standard_input() -> Iterator[io.BufferedReader]:
    stdin = io.BytesIO() if sys.stdin is None else sys.stdin.buffer
    if isinstance(getattr(stdin, "raw", None), io.FileIO):
        with _stoppable(stdin.fileno(), "Standard input") as stream:
            yield stream
        return
    # Only what stands in for a standard input, such as a file in memory, cannot be peeked at.
    stream = cast(
        io.BufferedReader,
        stdin if hasattr(stdin, "peek") else io.BufferedReader(cast(io.RawIOBase, stdin)),
    )
    try:
        yield stream
    finally:
        if stream is not stdin:
            stream.detach()


@contextmanager
def _stoppable(descriptor: int, name: str) -> Iterator[io.BufferedReader]:
    """A stream of a pipe or a terminal, which another thread may be waiting for when this ends."""
    raw = _Stoppable(descriptor, name)
    with io.BufferedReader(raw) as stream:
        try:
            yield cast(io.BufferedReader, stream)
        finally:
            raw.stop()


class _Stoppable(io.RawIOBase):
    """What a descriptor brings, until `stop`: for whoever waits for more it ends then.

    A buffer cannot be closed while a thread waits in it for a pipe that sends nothing, nor can the program
    end then.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor = descriptor
        self._ear, self._mouth = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self._ear in select.select([self._descriptor, self._ear], [], [])[0]:
            return 0
        data = os.read(self._descriptor, len(target))
        target[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        os.write(self._mouth, b"\0")

    def close(self) -> None:
        if not self.closed:
            os.close(self._ear)
            os.close(self._mouth)
        super().close()


def lines_of(stream: BinaryIO, limit: int | None = LONGEST_LINE) -> Iterator[bytes | None]:
    """The lines of a stream, each with the newline that ends it; the last one may have none.

    None stands for a line of more than `limit` bytes, which is not held. Raises BatchError where the stream
    cannot be read on.
    """
    size = -1 if limit is None else limit + 1
    try:
        while line := stream.readline(size):
            if limit is None or len(line) <= limit:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            yield None
    except OSError as error:
        name = getattr(stream, "name", "The input")
        raise BatchError(f"{name} cannot be read any further: {_reason(error)}.") from error


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Decompressed(io.RawIOBase):
    """What members of gzip or frames of Zstandard hold, one after another."""

    def __init__(self, stream: io.BufferedReader, name: str, compression: Compression) -> None:
        self.name = name
        self._stream = stream
        self._compression = compression
        self._decoder: _Decoder | None = None
        self._n_read = 0
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview, /) -> int:  # type: ignore[override]
        while not self._ready:
            chunk = self._rest or self._stream.read1(_CHUNK)
            if not self._rest:
                self._n_read += len(chunk)
            self._rest = b""
            if not chunk:
                if self._decoder:
                    raise DamagedError(
                        f"{self.name} ends in the middle of its {self._compression} data, after "
                        f"{self._n_read} bytes: it was cut off."
                    )
                return 0
            self._decode(chunk)
        taken = self._ready[: len(target)]
        target[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def _decode(self, chunk: bytes) -> None:
        if not self._decoder:
            if self._compression == "gzip":
                chunk = chunk.lstrip(b"\0")  # tapes and some servers fill up the last block
                self._decoder = zlib.decompressobj(_GZIP) if chunk else None
            else:
                self._decoder = zstandard.ZstdDecompressor().decompressobj()
        if not self._decoder:
            return
        try:
            self._ready = memoryview(self._decoder.decompress(chunk))
        except (zlib.error, zstandard.ZstdError) as error:
            raise DamagedError(
                f"{self.name} is damaged, or no {self._compression} data, within the {len(chunk)} bytes "
                f"before byte {self._n_read} ({_reason(error)})."
            ) from error
        if self._decoder.eof:
            self._rest, self._decoder = self._decoder.unused_data, None


def _decompressed(stream: io.BufferedReader, name: str, compression: Compression) -> BinaryIO:
    if compression == "none":
        start = stream.peek(4)
        compression = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "none")
    if compression == "none":
        return cast(BinaryIO, stream)
    return cast(BinaryIO, io.BufferedReader(_Decompressed(stream, name, compression)))


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".")


# Writing


class _Coder:
    """Compression of one gzip member or Zstandard frame; for `none` bytes pass as they are."""

    def __init__(self, compression: Compression) -> None:
        self._gzip = zlib.compressobj(wbits=_GZIP) if compression == "gzip" else None
        self._zstd = zstandard.ZstdCompressor().compressobj() if compression == "zstd" else None

    def encode(self, data: bytes) -> bytes:
        coder = self._gzip or self._zstd
        return coder.compress(data) if coder else data

    def flush(self) -> bytes:
        """What a reader lacks to decode all that was encoded so far."""
        if self._gzip:
            return self._gzip.flush(zlib.Z_SYNC_FLUSH)
        return self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if self._zstd else b""

    def finish(self) -> bytes:
        coder = self._gzip or self._zstd
        return coder.flush() if coder else b""


class Sink:
    """Where lines go: `write` takes whole lines in, `flush` brings all of them to whoever reads the file.

    offset: size in bytes of the regular file after the last `flush` that succeeded; None for anything else
    (a pipe, a terminal, standard output), which cannot be cut. compression: of what is written.

    A `flush` that raises may have written half a line: `cut` then restores the last good state. Nothing that
    a failed flush held is written again. Appending to a compressed file begins a new member or frame.
    """

    def __init__(
        self, raw: io.RawIOBase | BinaryIO, compression: Compression, offset: int | None, *, owned: bool
    ) -> None:
        self.compression = compression
        self.offset = offset
        self._raw = raw
        self._owned = owned
        self._coder = _Coder(compression)
        self._held: list[bytes] = []
        # Also a file of no lines is whole: it holds one empty member.
        self._begun = not offset
        self._torn = False

    def write(self, line: bytes) -> None:
        """Take in one line with its newline. Nothing is written before `flush`."""
        self._begun = True
        self._held.append(self._coder.encode(line))

    def flush(self) -> None:
        """Write what is held, so that every line so far can be read. Raises OSError."""
        if self._held:
            self._held.append(self._coder.flush())
            self._put()

    def cut(self) -> None:
        """Drop what is held and cut the file to `offset`.

        A compressed file can be written on only if it was cut where a member or frame ended; else close it,
        and rewrite it from its whole lines. Raises OSError.
        """
        self._held.clear()
        self._coder, self._begun = _Coder(self.compression), False
        if self.offset is not None:
            os.ftruncate(self._raw.fileno(), self.offset)
            self._torn = False

    def empty(self) -> None:
        """Drop all that a regular file holds, whatever it is. Raises OSError."""
        if self.offset is not None:
            self.offset = 0
            self.cut()

    def close(self) -> None:
        """Write the rest, end the compressed data and close the file. Raises OSError; it is closed then too.

        After a failed flush nothing more is written. Standard output stays open.
        """
        if self._raw.closed:
            return
        try:
            if self._begun and not self._torn:
                self._held.append(self._coder.finish())
                self._put()
        finally:
            if self._owned:
                self._raw.close()
            self._begun = False

    def _put(self) -> None:
        data = b"".join(self._held)
        self._held.clear()
        self._torn = True
        rest = memoryview(data)
        while rest:
            n_written = self._raw.write(rest)
            if n_written is None:  # somebody set the pipe to non-blocking
                select.select([], [self._raw], [])
            else:
                rest = rest[n_written:]
        self._torn = False
        if self.offset is not None:
            self.offset += len(data)


def open_sink(path: str) -> Sink:
    """A sink at the end of a file, which is made if it is missing.

    "-" is standard output. Pipes and devices are written as they are. Compression is told by the name.
    Raises BatchError where nothing can be opened.
    """
    if is_standard_output(path):
        if sys.stdout is None:
            raise BatchError("Standard output is closed: name an output file.")
        sys.stdout.flush()
        # Past the buffer, which would try a failed write again when the program ends.
        buffer = sys.stdout.buffer
        return Sink(getattr(buffer, "raw", buffer), "none", None, owned=False)
    with explained(path, os.path.dirname(path)):
        file = io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), "ab")
    status = os.fstat(file.fileno())
    offset = status.st_size if stat.S_ISREG(status.st_mode) else None
    return Sink(file, compression_of(path), offset, owned=True)
