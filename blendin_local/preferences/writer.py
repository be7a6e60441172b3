"""Write preferences to the user's file, keeping its comments and all other keys."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.files import edit_toml, parse_toml, read_text, real_path, write_text
from blendin_local.preferences.preferences import KEYS, SECTIONS, key_named, preferences_file

__all__ = ["as_toml", "default_text", "remove_preference", "write_default", "write_preference"]


def write_preference(name: str, value: Any, path: Path | None = None) -> Path:
    """Set a key, by its full name ("chat.view"); return the file.

    Raises SettingError, with the file unchanged, for an unknown key, a wrong value, and a file that cannot
    be read or written.
    """
    key = key_named(name)
    value = key.check(value)

    def change(document: Any) -> None:
        document.setdefault(key.section, {})[key.name] = list(value) if isinstance(value, tuple) else value

    return _edit(path, change)


def remove_preference(name: str, path: Path | None = None) -> bool:
    """Remove a key, even an unknown one, from the file; return whether the file had it.

    Raises SettingError for a key that is neither known nor in the file, and as `write_preference` does.
    """
    file = _file(path)
    section, _, rest = name.partition(".")
    table = parse_toml(_text(file)).get(section)
    if not isinstance(table, dict) or rest not in table:
        key_named(name)
        return False

    def change(document: Any) -> None:
        del document[section][rest]

    _edit(file, change)
    return True


def write_default(path: Path | None = None) -> Path:
    """Write the commented default file; return it. Raises SettingError if it exists already."""
    file = _file(path)
    if file.exists():
        raise SettingError(f"{file} exists already: `blendin config edit` changes it.")
    _write(file, default_text())
    return file


def default_text() -> str:
    """Return the text of a file with every key described and commented out."""
    return "\n".join(_default_lines())


def as_toml(value: Any) -> str:
    """Format a value as TOML."""
    import tomlkit

    return str(tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string())


def _default_lines() -> Iterator[str]:
    yield "# Preferences: `blendin config` lists the values in effect, docs/config.md describes the keys."
    yield "# Remove the # before a key to set it."
    for section, about in SECTIONS.items():
        yield from ("", "", f"# {about}", f"[{section}]")
        for key in KEYS.values():
            if key.section == section:
                yield ""
                yield from textwrap.wrap(key.about, 100, initial_indent="# ", subsequent_indent="# ")
                yield f"#{key.name} = {as_toml(key.spec.default)}"
    yield from ("", '#"chat.stop" = "escape,ctrl+g"', "")


def _file(path: Path | None) -> Path:
    # Write to the target of a symbolic link, which stays a link.
    return real_path(path or preferences_file())


def _edit(path: Path | None, change: Callable[[Any], None]) -> Path:
    """Apply a change to the file's document. Raises SettingError if its form does not allow the edit."""
    file = _file(path)
    try:
        new = edit_toml(_text(file), change)
    except ValueError as error:
        raise SettingError(f"{file} has a form that cannot be changed here: edit it yourself.") from error
    _write(file, new)
    return file


def _text(file: Path) -> str:
    """Return the file's text with its line ends, "" if missing. Raises SettingError if it is not TOML."""
    try:
        text = read_text(file)
        parse_toml(text)
    except FileNotFoundError:
        return ""
    except ValueError as error:
        raise SettingError(f"The preferences {file} cannot be read: {error}.") from error
    return text


def _write(file: Path, text: str) -> None:
    try:
        write_text(file, text)
    except OSError as error:
        raise SettingError(f"The preferences {file} cannot be written: {error.strerror or error}.") from error
