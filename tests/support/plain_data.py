"""Typed results from hand-written documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from blendin_local.tune.costs import Costs


def from_plain(kind: Any, value: Any) -> Any:
    """An object of a dataclass, tuple, mapping or optional type from plain data; reverses `to_plain`."""
    arguments = get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind, localns={"Costs": Costs})
        return kind(**{name: from_plain(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
    if get_origin(kind) is UnionType:
        (inner,) = (each for each in arguments if each is not NoneType)
        return None if value is None else from_plain(inner, value)
    if get_origin(kind) is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(from_plain(each, part) for each, part in zip(kinds, value, strict=True))
    if get_origin(kind) is Mapping:
        return {name: from_plain(arguments[1], each) for name, each in value.items()}
    return value
