"""The folder of pulled models, and what is remembered of each.

Every entry has a folder of its own, with a note beside the file: where the file is (it may be elsewhere, in
another program's cache), how large, last changed when, and its checksum. As long as size and time are what
they were, the checksum is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from blendin_local.errors import CatalogueError
from blendin_local.locations import models_dir
from blendin_local.sources.transfer import Progress, hash_file, no_progress, write_text

if TYPE_CHECKING:
    from blendin_local.catalogue import ModelEntry

__all__ = [
    "Pulled",
    "checksum",
    "entry_folder",
    "find_pulled",
    "forget",
    "locked",
    "pulled_files",
    "remember",
]

_NOTE = "pulled.json"
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Pulled:
    """One file on this machine, whole, with its checksum."""

    path: Path
    sha256: str


def entry_folder(entry: ModelEntry) -> Path:
    """Where the files of an entry are put. It may not exist yet."""
    return models_dir() / entry.name


def find_pulled(entry: ModelEntry) -> Path | None:
    """The file of a model that has been pulled, or None; of a split model, its first part."""
    files = pulled_files(entry)
    return files[0] if files else None


def pulled_files(entry: ModelEntry) -> list[Path]:
    """All files of a model that has been pulled and not changed since; none if it has not been."""
    try:
        note = json.loads((entry_folder(entry) / _NOTE).read_text("utf-8"))
        if note["sources"] != list(entry.sources) or note["sha256"] != entry.sha256:
            return []
        return [path for each in note["files"] if (path := _unchanged(each))][: len(note["files"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Without a note that can be read, the model counts as not pulled, and pulling it mends that.
        return []
