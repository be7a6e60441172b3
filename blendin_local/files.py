"""Where the package keeps its files, and how it writes small ones.

BLENDIN_CONFIG_DIR, BLENDIN_CACHE_DIR and BLENDIN_DATA_DIR override the platform's own folders. A file is
replaced in one step: a reader sees the old text or the new one, never half of it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from platformdirs import user_cache_dir, user_config_dir, user_data_dir

__all__ = [
    "cache_dir",
    "config_dir",
    "data_dir",
    "hub_cache_dir",
    "local_path",
    "models_dir",
    "write_bytes",
    "write_text",
]

_NAME = "blendin-local"


def config_dir() -> Path:
    """Folder of what the user writes: preferences, the catalogue of pairs. It may not exist yet."""
    return _folder("BLENDIN_CONFIG_DIR", user_config_dir(_NAME, appauthor=False))


def cache_dir() -> Path:
    """Folder of what can be had again: models, vocabulary maps. It may not exist yet."""
    return _folder("BLENDIN_CACHE_DIR", user_cache_dir(_NAME, appauthor=False))


def data_dir() -> Path:
    """Folder of what cannot be had again: the conversations. It may not exist yet."""
    return _folder("BLENDIN_DATA_DIR", user_data_dir(_NAME, appauthor=False))


def models_dir() -> Path:
    """Folder of the pulled model files. It may not exist yet."""
    return cache_dir() / "models"


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or default).expanduser().absolute()


def hub_cache_dir() -> Path:
    """Folder in which the Hugging Face hub's own tools keep what they download."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home or Path(cache) / "huggingface").expanduser() / "hub"


def local_path(text: str) -> Path:
    """The path that a user means, with `~` resolved where there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step; folders that are missing are made. Raises OSError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """The same for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            unfinished.chmod(path.stat().st_mode)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
