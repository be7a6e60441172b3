"""SHA-256 checksums of model files, cached by path, size, modification time and inode.

Headers cannot replace them: two quantizations of one model can have equal headers and sizes. The cache only
saves time; if it is lost or damaged, checksums are computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blendin_local.errors import ModelError
from blendin_local.files import cache_dir, read_json, real_path, write_text
from blendin_local.llamacpp.header import model_files
from blendin_local.models.download.transfer import hash_file, no_progress

__all__ = ["HashProgress", "file_digest", "model_files"]

_MOST = 1000
"""Number of files in the cache, the latest ones."""

HashProgress = Callable[[Path, int, int], None]
"""Called with the file being read, the bytes read so far, and its size in bytes."""


def file_digest(path: Path, progress: HashProgress | None = None) -> str:
    """SHA-256 of a model's file; of a split model, of its parts' checksums. Raises ModelError."""
    parts = [_one_digest(part, progress) for part in model_files(path)]
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _one_digest(path: Path, progress: HashProgress | None) -> str:
    try:
        path = real_path(path)
        status = _status(path)
        known_status, known = _read_cache().get(str(path), ("", ""))
        if known_status == status:
            return known
        report = (lambda done, total, label: progress(path, done, total)) if progress else no_progress
        sha256 = hash_file(path, report, "")
        # A file that changed while it was read is not cached.
        if _status(path) == status:
            _add_to_cache(str(path), status, sha256)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    return sha256


def _status(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def _file() -> Path:
    return cache_dir() / "fingerprints.json"


def _read_cache() -> dict[str, tuple[str, str]]:
    """Cached (status, checksum) by path."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = read_json(_file())
        return {str(path): (str(status), str(known)) for path, (status, known) in found.items()}
    return {}


def _add_to_cache(path: str, status: str, sha256: str) -> None:
    known = _read_cache()
    known.pop(path, None)
    latest = [*known.items(), (path, (status, sha256))][-_MOST:]
    with suppress(OSError):
        # JSON in ASCII, because a path may hold bytes that are not UTF-8.
        write_text(_file(), json.dumps(dict(latest), indent=1))
