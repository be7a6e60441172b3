"""Convert objects to dictionaries, lists, numbers and text, and to JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["to_json", "to_plain"]


def to_plain(value: Any) -> Any:
    """Convert dataclasses and mappings to dictionaries and tuples to lists, recursively."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return value


def to_json(document: Any) -> str:
    """Return a line of JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
