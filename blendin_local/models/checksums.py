"""Model files known by the SHA-256 of all their bytes.

Two quantizations of one model can have equal headers and sizes, and an answer of the wrong one would be worse
than the wait. A digest is remembered with the file's path, size, time of change and inode, so a file is read
through once. What is remembered only saves time: lost, damaged or half another program's, it is worked out
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blendin_local.errors import ModelError
from blendin_local.files import cache_dir, write_text

__all__ = ["HashProgress", "file_digest", "model_files"]

_CHUNK = 1 << 22
_MOST = 1000
"""How many files are remembered: those that were read through last."""
_PART = re.compile(r"(.+-)00001(-of-(\d{5})\.gguf)")

HashProgress = Callable[[Path, int, int], None]
"""Called with a file that is read through, the bytes read so far, and its size."""


def model_files(path: Path) -> list[Path]:
    """The files of a model: of a split one all parts, which its header has checked to be there."""
    if name := _PART.fullmatch(path.name):
        return [path.with_name(f"{name[1]}{number:05d}{name[2]}") for number in range(1, int(name[3]) + 1)]
    return [path]


def file_digest(path: Path, progress: HashProgress | None = None) -> str:
    """SHA-256 of a model's bytes, of all parts in order. Raises ModelError where it cannot be read."""
    parts = [_one_digest(part, progress) for part in model_files(path)]
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _one_digest(path: Path, progress: HashProgress | None) -> str:
    try:
        path = path.resolve()
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            status = f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
            known_status, known = _remembered().get(str(path), ("", ""))
            if known_status == status:
                return known
            total, done = hashlib.sha256(), 0
            while chunk := stream.read(_CHUNK):
                total.update(chunk)
                done += len(chunk)
                if progress:
                    progress(path, done, found.st_size)
            # What was changed while it was read is known by no status.
            if os.fstat(stream.fileno()).st_mtime_ns == found.st_mtime_ns:
                _remember(str(path), status, total.hexdigest())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    return total.hexdigest()


def _file() -> Path:
    return cache_dir() / "fingerprints.json"


def _remembered() -> dict[str, tuple[str, str]]:
    """(status, digest) of files by their paths."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads(_file().read_bytes())
        return {str(path): (str(status), str(known)) for path, (status, known) in found.items()}
    return {}


def _remember(path: str, status: str, sha256: str) -> None:
    remembered = _remembered()
    remembered.pop(path, None)
    latest = [*remembered.items(), (path, (status, sha256))][-_MOST:]
    with suppress(OSError):
        # All ASCII: a path may hold bytes that are no UTF-8.
        write_text(_file(), json.dumps(dict(latest), indent=1))
