"""Locations of the package's files, atomic writes, and edits of TOML that keep its comments.

BLENDIN_CONFIG_DIR, BLENDIN_CACHE_DIR and BLENDIN_DATA_DIR override the platform's own folders; BLENDIN_FOLDER
limits the files that a chat in a browser reaches. A file is
replaced atomically: a reader sees the old content or the new, never a part.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir, user_config_dir, user_data_dir

__all__ = [
    "cache_dir",
    "config_dir",
    "data_dir",
    "edit_toml",
    "hub_cache_dir",
    "is_file_name",
    "is_open_to_chats",
    "local_path",
    "models_dir",
    "parse_json",
    "read_json",
    "real_path",
    "with_line_ends",
    "write_bytes",
    "write_text",
]

_NAME = "blendin-local"
_LONGEST_NAME = 200
"""Bytes of a file's name, with room for the suffixes of partial files."""


def config_dir() -> Path:
    """Folder of the preferences and the user's catalogue. It may not exist yet."""
    return _folder("BLENDIN_CONFIG_DIR", user_config_dir(_NAME, appauthor=False))


def cache_dir() -> Path:
    """Folder of models, vocabulary maps and other data that can be restored. It may not exist yet."""
    return _folder("BLENDIN_CACHE_DIR", user_cache_dir(_NAME, appauthor=False))


def data_dir() -> Path:
    """Folder of the conversations. It may not exist yet."""
    return _folder("BLENDIN_DATA_DIR", user_data_dir(_NAME, appauthor=False))


def models_dir() -> Path:
    """Folder of the pulled model files. It may not exist yet."""
    return cache_dir() / "models"


def _folder(variable: str, default: str) -> Path:
    return local_path(os.environ.get(variable) or default).absolute()


def hub_cache_dir() -> Path:
    """Download cache of huggingface_hub and `hf`."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return local_path(folder)
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return local_path(home or str(Path(cache) / "huggingface")) / "hub"


_LONGEST_TEXT = 16 << 20
_LONGEST_NUMBER = 8192
"""Bits of a whole number. Python reads any, and does not print all."""
_LONGEST_EDITED = 1 << 20
"""Characters of a document that tomlkit edits; it takes ten seconds for so many."""
_KEY = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
"""Begins at the start of a word and gives nothing back, so that a long word costs its length only."""
_MANY_PARTS = re.compile(rf"{_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{99}}")


def local_path(text: str | os.PathLike[str]) -> Path:
    """Path of a user's input, with `~` expanded unless it names an unknown user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def real_path(path: Path) -> Path:
    """Path without symbolic links; links in a circle, and what no system can have, stay as they are."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle is a RuntimeError in Python 3.11 and 3.12
        return Path(os.path.abspath(path))


def is_open_to_chats(path: Path) -> bool:
    """Return whether a chat may read and write a file: below BLENDIN_FOLDER, or anywhere without it."""
    folder = os.environ.get("BLENDIN_FOLDER")
    return not folder or real_path(path).is_relative_to(real_path(Path(folder)))


def read_text(path: Path, *, longest: int = _LONGEST_TEXT) -> str:
    """Read a text file that a user wrote, without its byte order mark; line ends stay as they are.

    longest: bytes of the longest file that is read. Raises FileNotFoundError, and ValueError with the reason
    in words for whatever else is wrong with it.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(path)
        if not path.is_file():
            raise ValueError("it is a folder" if path.is_dir() else "it is not a file")
        with path.open("rb") as stream:
            data = stream.read(longest + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > longest:
        raise ValueError(f"it is longer than {longest >> 20} MiB")
    return decode_text(data)


def decode_text(data: bytes) -> str:
    """Decode a text that a user wrote, without its byte order mark. Raises ValueError with the reason."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16 text: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError, also for a document that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path, *, longest: int = _LONGEST_TEXT) -> Any:
    """Read a file of JSON. Raises FileNotFoundError, and ValueError, as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, longest=longest))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError with the reason in words, also for a document made to take for ever."""
    if _MANY_PARTS.search(text):
        raise ValueError("a key in it has too many parts")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value
        elif type(value) is int and value.bit_length() > _LONGEST_NUMBER:
            raise ValueError("a whole number in it is too long")
    return document


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, creating missing folders. Raises OSError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically, creating missing folders.

    Raises OSError, also for a device, a pipe or links in a circle, which would be replaced by a file.
    """
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    if old and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if old:
            unfinished.chmod(stat.S_IMODE(old.st_mode))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def edit_toml(text: str, change: Callable[[Any], None]) -> str:
    """Apply `change` to a TOML document and return the new text, with comments and order kept.

    change: edits a mapping in place; it is called on plain dicts and on tomlkit's document, and both must
    end up equal. Raises ValueError for invalid TOML and for a document that cannot be edited this way.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if len(text) > _LONGEST_EDITED:
        raise ValueError(f"it is longer than {_LONGEST_EDITED >> 10} KiB, so edit it by hand")
    expected = parse_toml(text)
    try:
        change(expected)
        document = tomlkit.parse(text)
        change(document)
        new = tomlkit.dumps(document)
        if tomllib.loads(new) != expected:
            raise ValueError("the edited file would have another meaning")
    except RecursionError as error:
        raise ValueError("it is nested too deeply to be edited") from error
    except (TypeError, AttributeError, LookupError, TOMLKitError) as error:
        # Such as a plain value where a table is expected.
        raise ValueError(f"the document cannot be edited: {error}") from error
    return with_line_ends(new, text)


def with_line_ends(text: str, like: str) -> str:
    """Return a text with the line ends of another one: of Windows, or of other systems."""
    return re.sub(r"\r?\n", "\r\n" if "\r\n" in like else "\n", text)


def is_file_name(name: str) -> bool:
    """Return whether a name from elsewhere can be a file in a folder of ours, on any system."""
    plain = name.isprintable() and not set('/\\:*?"<>|') & set(name)
    return plain and 0 < len(os.fsencode(name)) <= _LONGEST_NAME and not name.startswith(".")
