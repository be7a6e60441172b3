"""Compressed files and slow streams for tests of reading and writing lines."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from blendin_local.inputs.streams import (
    DamagedError,
    lines_of,
    open_input,
)

EXTENSIONS = ["", ".gz", ".zst"]
SQUEEZED = [".gz", ".zst"]
LINES = [b"one\n", b"two\n", b"three\n"]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


SQUEEZE: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


def read(path: object) -> bytes:
    with open_input(str(path)) as stream:
        return stream.read()


def read_until_damage(path: Path) -> tuple[list[bytes | None], str]:
    found: list[bytes | None] = []
    with open_input(str(path)) as stream:
        try:
            for line in lines_of(stream):
                found.append(line)
        except DamagedError as error:
            return found, str(error)
    return found, ""


def file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class Chunks(io.RawIOBase):
    """Bytes that come in pieces, as from a pipe; `asked` tells how far a reader has gone."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.rest = b""
        self.asked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray) -> int:  # type: ignore[override]
        if not self.rest:
            self.rest = next(self.pieces, b"")
            self.asked += 1
        n = min(len(target), len(self.rest))
        target[:n], self.rest = self.rest[:n], self.rest[n:]
        return n
