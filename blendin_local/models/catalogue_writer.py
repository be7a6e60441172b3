"""Save a pair into the user's catalogue, keeping the comments and the order of that file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendin_local.errors import CatalogueError
from blendin_local.files import edit_toml, parse_toml, read_text, real_path, with_line_ends, write_text
from blendin_local.models.catalogue import user_catalogue_file
from blendin_local.models.entries import PairEntry
from blendin_local.settings import setting_names

__all__ = ["save_pair"]


def save_pair(pair: PairEntry, file: Path | None = None) -> Path:
    """Add `pair` to the user's catalogue or update the entry of that name; return the catalogue's file.

    Settings are written in full: a default that changes later must not change a saved pair. Raises
    CatalogueError where the file cannot be read, edited or written.
    """
    target = real_path(file or user_catalogue_file())
    try:
        old = read_text(target) if target.exists() else ""
        write_text(target, _with_pair(old, pair.name, _entry(pair)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CatalogueError(f"The pair {pair.name} cannot be saved in {target}: {reason}.") from error
    return target


def _entry(pair: PairEntry) -> dict[str, Any]:
    """Return the TOML table of a pair."""
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
    for key in ("base_options", "guide_options", "base_variables", "guide_variables"):
        if values := getattr(pair, key):
            entry[key] = dict(values)
    return entry


def _with_pair(text: str, name: str, entry: dict[str, Any]) -> str:
    """Return the catalogue's text with this entry: edited where it stands, or appended. Raises ValueError."""
    import tomlkit

    document = parse_toml(text)
    pairs = document.get("pairs", {})
    if not isinstance(pairs, dict):
        raise ValueError("`pairs` is not a table there, so delete it first")
    try:
        if name in pairs:
            return edit_toml(text, lambda document: _update_pair(document["pairs"][name], entry))
        start = f"{text.rstrip()}\n\n" if text.strip() else ""
        new = start + tomlkit.dumps({"pairs": {name: entry}})
        parse_toml(new)
    except ValueError as error:
        header = tomlkit.dumps({"pairs": {name: {"base": ""}}}).splitlines()[0]
        raise ValueError(f"its form there cannot be edited, so write it as {header} first") from error
    return with_line_ends(new, text)


def _update_pair(table: Any, entry: dict[str, Any]) -> None:
    """Update a pair's table. Comments at its end stay there: they belong to the next table."""
    from tomlkit.items import Table

    trailing: list[Any] = []
    if isinstance(table, Table):
        body = _last_table(table).value.body
        while body and body[-1][0] is None:
            trailing.append(body.pop()[1])
    _merge(table, entry)
    if isinstance(table, Table):
        last = _last_table(table)
        for item in reversed(trailing):
            last.add(item)


def _last_table(table: Any) -> Any:
    """Return the innermost table at the end of a table's text."""
    from tomlkit.items import Table

    while (body := table.value.body) and isinstance(body[-1][1], Table):
        table = body[-1][1]
    return table


def _merge(table: Any, values: dict[str, Any]) -> None:
    """Make a table equal to `values` key by key, which keeps the comments beside its keys."""
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value
