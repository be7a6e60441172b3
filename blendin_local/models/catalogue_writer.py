"""Writes a pair into the user's catalogue, and leaves everything else in that file as it was.

The file is the user's, with comments and an order of their own: so only the lines of the one pair are
replaced, and the result is read back before it takes the old file's place.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blendin_local.errors import CatalogueError
from blendin_local.files import write_text
from blendin_local.models.catalogue import user_catalogue_file
from blendin_local.models.entries import PairEntry
from blendin_local.settings import setting_names

__all__ = ["save_pair"]

_HEADER = re.compile(r"\s*\[+([^\[\]]*)\]+\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"\\]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.|$)""")


def save_pair(pair: PairEntry, file: Path | None = None) -> Path:
    """Add `pair` to the user's catalogue, or replace the entry of that name; returns the catalogue's file.

    Settings are written in full: a default that changes later must not change a pair that was saved.
    Raises CatalogueError where the file cannot be read or written.
    """
    target = (file or user_catalogue_file()).resolve()
    try:
        old = target.read_text("utf-8") if target.exists() else ""
        wanted = tomllib.loads(old)
        entry = _entry(pair)
        wanted.setdefault("pairs", {})[pair.name] = entry
        new = _without(old, ("pairs", pair.name))
        new = f"{new.rstrip()}\n\n" if new.strip() else ""
        new += "\n".join(_render(f"pairs.{_quoted(pair.name)}", entry)) + "\n"
        if not _says(new, wanted):
            # An inline table, say, or lines that look like tables inside a longer text.
            raise CatalogueError(
                f"The pair {pair.name} cannot be replaced in {target}: delete it there first."
            )
        write_text(target, new)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CatalogueError(f"The pair {pair.name} cannot be saved in {target}: {reason}.") from error
    return target


def _entry(pair: PairEntry) -> dict[str, Any]:
    entry: dict[str, Any] = {"base": pair.base, "guide": pair.guide}
    if pair.description:
        entry["description"] = pair.description
    for key, settings in (("blend", pair.blend), ("sampling", pair.sampling)):
        entry[key] = {name: getattr(settings, name) for name in setting_names(type(settings))}
    if pair.calibration is not None:
        entry["calibration"] = {
            model: {"confidences": list(curve[0]), "reliabilities": list(curve[1])}
            for model, curve in pair.calibration.items()
        }
    return entry


def _render(header: str, table: dict[str, Any]) -> Iterator[str]:
    """The lines of a table and of the tables inside it."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if values:
        yield f"[{header}]"
        for key, value in values.items():
            # TOML writes texts, numbers, truth values and lists of numbers as JSON does, bar this character.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    for key, value in table.items():
        if isinstance(value, dict):
            yield ""
            yield from _render(f"{header}.{key}", value)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _without(text: str, path: tuple[str, ...]) -> str:
    """The text without the table at `path` and the tables inside it; the comments before them stay."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if header := _HEADER.match(line):
            inside = _parts(header[1])[: len(path)] == path
        if not inside:
            kept.append(line)
    return "".join(kept)


def _parts(header: str) -> tuple[str, ...]:
    """The keys of a table's header: ("pairs", "demo", "blend")."""
    parts: list[str] = []
    while match := _KEY.match(header):
        parts.append(match[1] or match[2] or match[3] or "")
        header = header[match.end() :]
    return tuple(parts)


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False
