"""The folder of pulled models, with a record of each.

Every entry has its own folder, with a record beside the file: path (possibly in another program's cache),
size, modification time and checksum. As long as size and time match, the checksum is not computed again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendin_local.errors import CatalogueError
from blendin_local.files import models_dir, read_json, write_text
from blendin_local.models.download.transfer import Progress, hash_file

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry

__all__ = [
    "Pulled",
    "check_file",
    "entry_folder",
    "files_elsewhere",
    "find_pulled",
    "lock_entry",
    "pulled_files",
    "remove",
    "write_record",
]

_RECORD = "pulled.json"
_POLL_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Pulled:
    """One complete file on this machine and its SHA-256."""

    path: Path
    sha256: str


def entry_folder(entry: ModelEntry) -> Path:
    """Return the folder of an entry's files. It may not exist yet."""
    return models_dir() / entry.name


def find_pulled(entry: ModelEntry) -> Path | None:
    """Return the file of a pulled model, for a split model its first part; None if it was not pulled."""
    files = pulled_files(entry)
    return files[0] if files else None


def pulled_files(entry: ModelEntry) -> list[Path]:
    """Return all files of a pulled model; empty if it was not pulled, or if a file has changed."""
    try:
        note = read_json(entry_folder(entry) / _RECORD)
        files = note["files"]
        same = entry.sha256 == files[0]["sha256"]
        # A file with the stated checksum is that model, also where its source was written otherwise.
        known = note["sources"] == list(entry.sources) or (same and len(files) == 1)
        right = known and (same or not entry.sha256)
        return [Path(each["path"]) for each in files] if right and all(map(_is_unchanged, files)) else []
    except (OSError, ValueError, LookupError, TypeError):
        # Without a readable record a model counts as not pulled; pulling writes a new one.
        return []


def write_record(entry: ModelEntry, files: Sequence[Pulled]) -> Path:
    """Write the record of a pulled model; return the path of its first file."""
    noted = []
    for each in files:
        path, status = str(each.path.absolute()), each.path.stat()
        noted.append(
            {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": each.sha256}
        )
    note = {"name": entry.name, "sources": list(entry.sources), "files": noted}
    write_text(entry_folder(entry) / _RECORD, json.dumps(note, indent=1))
    return files[0].path.absolute()


def check_file(path: Path, entry: ModelEntry, progress: Progress) -> Pulled:
    """Check size and checksum of a file against its entry. Raises CatalogueError if they differ."""
    size = path.stat().st_size
    if entry.size not in (None, size):
        raise CatalogueError(f"{path} has {size:,} bytes, but {entry.name} should have {entry.size:,}.")
    sha256 = hash_file(path, progress, f"checking {path.name}")
    if entry.sha256 not in ("", sha256):
        raise CatalogueError(f"{path} is not the file that {entry.name} names: its checksum is {sha256}.")
    return Pulled(path, sha256)


def remove(entry: ModelEntry) -> list[Path]:
    """Delete a model's folder; return its files in other folders, which are kept."""
    elsewhere = files_elsewhere(entry)
    if entry_folder(entry).is_dir():
        shutil.rmtree(entry_folder(entry))
    return elsewhere


def files_elsewhere(entry: ModelEntry) -> list[Path]:
    """Return the files of a pulled model that are outside its folder."""
    return [path for path in pulled_files(entry) if not path.is_relative_to(entry_folder(entry))]


@contextmanager
def lock_entry(entry: ModelEntry, progress: Progress) -> Iterator[None]:
    """Hold the model's inter-process lock for the block, after waiting for another pull to end."""
    from filelock import FileLock, Timeout

    models_dir().mkdir(parents=True, exist_ok=True)
    lock = FileLock(models_dir() / f".{entry.name}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_POLL_INTERVAL_S)
        except Timeout:
            progress(0, None, f"waiting for another pull of {entry.name}")
    try:
        yield
    finally:
        lock.release()


def _is_unchanged(noted: dict[str, Any]) -> bool:
    status = Path(noted["path"]).stat()
    return bool(status.st_size == noted["size"] and status.st_mtime_ns == noted["mtime_ns"])
