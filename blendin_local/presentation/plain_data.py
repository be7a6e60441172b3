"""Objects as plain data: dictionaries, lists, numbers and text, and the JSON of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["to_json", "to_plain"]


def to_plain(value: Any) -> Any:
    """Dataclasses and mappings as dictionaries, tuples as lists, at any depth; other values unchanged."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return value


def to_json(document: Any) -> str:
    """One line of JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
