"""Read files, pipes and standard input as lines of bytes, decompressed where needed.

Memory use does not grow with the length of a stream.
"""

from __future__ import annotations

import io
import os
import select
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Literal, Protocol, cast

import zstandard

from blendin_local.errors import InputError

__all__ = [
    "GZIP_WBITS",
    "LONGEST_LINE",
    "Compression",
    "DamagedError",
    "compression_of",
    "extension_of",
    "lines_of",
    "open_fault",
    "open_input",
    "reason_of",
]

Compression = Literal["none", "gzip", "zstd"]

LONGEST_LINE = 64 << 20
"""Longest line of an input that is read, in bytes."""

_CHUNK = 1 << 10
"""Compressed bytes decoded at once: gzip expands them to at most 1 MiB, Zstandard to 32 MiB."""
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
GZIP_WBITS = 16 + zlib.MAX_WBITS
"""`wbits` of zlib for the gzip format."""


class DamagedError(InputError):
    """Compressed data is truncated or corrupt. All data before the damage has been read."""


def compression_of(path: str) -> Compression:
    """Return the compression that a file's name implies."""
    name = path.lower()
    return "gzip" if name.endswith(".gz") else "zstd" if name.endswith((".zst", ".zstd")) else "none"


def extension_of(path: str) -> str:
    """Return the extension of a file's name in lower case, such as ".csv", without that of its
    compression.
    """
    name = path.lower()
    if compression_of(name) != "none":
        name = os.path.splitext(name)[0]
    return os.path.splitext(name)[1]


def reason_of(error: Exception) -> str:
    """Return an error's own message on one line, without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".")


def open_fault(error: Exception, path: str, folder: str | None = None) -> str:
    """One sentence on why a file cannot be opened for reading, or, given its folder, for writing."""
    if isinstance(error, FileNotFoundError):
        missing = f"file {path}" if folder is None else f"folder {folder} for {path}: make it first"
        return f"There is no {missing}."
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder: name {'one file of it' if folder is None else 'a file in it'}."
    return f"{path} cannot be {'read' if folder is None else 'written'}: {reason_of(error)}."


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Open a file, a pipe or standard input ("-") as a stream of decompressed bytes.

    Compression follows from the name, or else from the first bytes. Raises InputError where the input cannot
    be opened; reading raises DamagedError for damaged compressed data.
    """
    if path == "-":
        with _standard_input() as stream:
            yield _decompress(stream, "Standard input", "none")
        return
    with ExitStack() as stack:
        stream = stack.enter_context(_open_file(path))
        if not os.path.isfile(path):
            stream = stack.enter_context(_stoppable(stream.fileno(), path))
        yield _decompress(stream, path, compression_of(path))


def _open_file(path: str) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise InputError(open_fault(error, path)) from error


@contextmanager
def _standard_input() -> Iterator[io.BufferedReader]:
    stdin = io.BytesIO() if sys.stdin is None else sys.stdin.buffer
    if isinstance(getattr(stdin, "raw", None), io.FileIO):
        with _stoppable(stdin.fileno(), "Standard input") as stream:
            yield stream
        return
    # A replacement of standard input, such as a file in memory, may lack `peek`.
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
    """A stream over a pipe or a terminal that can be closed while another thread is blocked reading it."""
    raw = _Stoppable(descriptor, name)
    with io.BufferedReader(raw) as stream:
        try:
            yield cast(io.BufferedReader, stream)
        finally:
            raw.stop()


class _Stoppable(io.RawIOBase):
    """Raw reader of a file descriptor whose blocked read returns end of file after `stop`.

    Without it, a buffered reader cannot be closed, nor the program end, while a thread is blocked in a read
    of a silent pipe.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor = descriptor
        self._stop_reader, self._stop_writer = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self._stop_reader in select.select([self._descriptor, self._stop_reader], [], [])[0]:
            return 0
        data = os.read(self._descriptor, len(target))
        target[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        os.write(self._stop_writer, b"\0")

    def close(self) -> None:
        if not self.closed:
            os.close(self._stop_reader)
            os.close(self._stop_writer)
        super().close()


def lines_of(stream: BinaryIO, limit: int | None = LONGEST_LINE) -> Iterator[bytes | None]:
    """Yield the lines of a stream with their newlines; the last line may have none.

    None stands for a skipped line of more than `limit` bytes. Raises InputError where reading fails.
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
        raise InputError(f"{name} cannot be read any further: {reason_of(error)}.") from error


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Decompressed(io.RawIOBase):
    """Raw reader of the decompressed content of concatenated gzip members or Zstandard frames."""

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
                chunk = chunk.lstrip(b"\0")  # tapes and some servers pad the last block
                self._decoder = zlib.decompressobj(GZIP_WBITS) if chunk else None
            else:
                self._decoder = zstandard.ZstdDecompressor().decompressobj()
        if not self._decoder:
            return
        try:
            self._ready = memoryview(self._decoder.decompress(chunk))
        except (zlib.error, zstandard.ZstdError) as error:
            raise DamagedError(
                f"{self.name} is damaged, or no {self._compression} data, within the {len(chunk)} bytes "
                f"before byte {self._n_read} ({reason_of(error)})."
            ) from error
        if self._decoder.eof:
            self._rest, self._decoder = self._decoder.unused_data, None


def _decompress(stream: io.BufferedReader, name: str, compression: Compression) -> BinaryIO:
    if compression == "none":
        start = stream.peek(4)
        compression = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "none")
    if compression == "none":
        return cast(BinaryIO, stream)
    return cast(BinaryIO, io.BufferedReader(_Decompressed(stream, name, compression)))
