"""What the tests of pulls share: a file to pull, and what they look at afterwards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from blendin_local.errors import CatalogueError
from blendin_local.models.download import pull
from blendin_local.models.download.store import find_pulled
from blendin_local.models.entries import ModelEntry

MB = 1 << 20
CONTENT = b"GGUF" + os.urandom(3 * MB)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def refusal(entry: ModelEntry, **options: object) -> str:
    with pytest.raises(CatalogueError) as caught:
        pull(entry, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert find_pulled(entry) is None
    return text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


class Reports(list[tuple[int, int | None, str]]):
    """A progress callback that keeps what it is told, and can break the pull off."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop_after = stop_after

    def __call__(self, done: int, total: int | None, label: str) -> None:
        self.append((done, total, label))
        if self.stop_after is not None and done >= self.stop_after:
            raise KeyboardInterrupt
