"""Where the package keeps its files.

BLENDIN_CONFIG_DIR, BLENDIN_CACHE_DIR and BLENDIN_DATA_DIR override the platform's own places.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir, user_config_dir, user_data_dir

__all__ = ["cache_dir", "config_dir", "data_dir", "hub_cache_dir", "models_dir"]

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
