"""Convert JSON values to declared types, with checks: strictly for documents, leniently for the database."""

from __future__ import annotations

import base64
import binascii
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from blendin_local.errors import HistoryError, SettingError

__all__ = ["BASE64", "InvalidValue", "read", "read_fields", "read_or", "replace_known"]

BASE64 = "_base64"
"""Suffix of the key for bytes that are not UTF-8."""

T = TypeVar("T")

_KINDS = {str: "a text", bytes: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class InvalidValue(HistoryError):
    """A value of the wrong type; the message names its place and the expected type."""


def read(kind: Any, value: Any, where: str) -> Any:
    """Convert a value to a plain type, Literal, StrEnum, `X | None`, list, tuple, dict or dataclass.

    where: the value's place in messages. Raises InvalidValue.
    """
    if kind is Any:
        return value
    if kind in _KINDS:
        return _plain(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else read(arguments[0], value, where)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise InvalidValue(f"{where} is not a list")
        return origin(read(arguments[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin in (dict, Mapping):
        return {
            key: read(arguments[1], each, f"{where}.{key}") for key, each in _object(value, where).items()
        }
    if is_dataclass(kind):
        return _construct(kind, read_fields(kind, value, where), where)
    choices = arguments if origin is Literal else tuple(kind)
    if not isinstance(value, str) or value not in choices:
        raise InvalidValue(f"{where} is none of {', '.join(choices)}")
    return value if origin is Literal else kind(value)


def read_fields(
    kind: Any, value: Any, where: str, keys: Mapping[str, str] | None = None, skipped: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read the fields of a dataclass from a JSON object; other keys are ignored. Raises InvalidValue.

    keys: keys of fields that differ from their names. The key of bytes may have the suffix `BASE64`.
    """
    record = _object(value, where)
    found = {}
    for name, hint, required in _list_fields(kind):
        key = (keys or {}).get(name, name)
        if name in skipped:
            continue
        if hint is bytes and f"{key}{BASE64}" in record:
            found[name] = _bytes(record[f"{key}{BASE64}"], f"{where}.{key}{BASE64}")
        elif key in record:
            found[name] = read(hint, record[key], f"{where}.{key}")
        elif required:
            raise InvalidValue(f"{where}.{key} is missing")
    return found


def read_or(default: T, kind: Any, value: Any) -> T:
    """Convert a value as `read`; a wrong one becomes the default."""
    try:
        return read(kind, value, "")  # type: ignore[no-any-return]
    except InvalidValue:
        return default


def replace_known(known: T, values: Mapping[str, Any]) -> T:
    """Replace those fields of a dataclass for which `values` has a valid value; ignore all others."""
    kind: Any = type(known)
    for name, hint, _ in _list_fields(kind):
        if name not in values:
            continue
        old, new = getattr(known, name), values[name]
        try:
            new = replace_known(old, new) if is_dataclass(old) else read(hint, new, name)
            known = replace(known, **{name: new})  # type: ignore[type-var]
        except (InvalidValue, SettingError, TypeError):
            continue
    return known


@cache
def _list_fields(kind: type) -> list[tuple[str, Any, bool]]:
    """Return name, type and whether it is required, of every field."""
    hints = get_type_hints(kind)
    return [
        (each.name, hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    ]


def _construct(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        return kind(**values)
    except SettingError as error:
        raise InvalidValue(f"{where}: {str(error).rstrip('.')}") from error


def _plain(kind: Any, value: Any, where: str) -> Any:
    if kind is bytes and isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise InvalidValue(f"{where} is not {_KINDS[kind]}")
    return value


def _bytes(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidValue(f"{where} is not base64") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue(f"{where} is not an object")
    return value
