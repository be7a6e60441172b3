"""Files in a message: `@notes.txt` stands for the file's text."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from blendin_local.errors import PromptError
from blendin_local.safe_text import sanitize

__all__ = ["Expanded", "complete_path", "expand", "unfinished"]

LARGEST = 256 * 1024
"""Largest file that a message takes in, in bytes."""

# At the start of a word only, so that an address is none; after opening brackets and quotes too.
_START = r"(?:(?<=[\s(\[{'\"])|^)"
_FENCED = r"^(`{3,})[^`\n]*\n[\s\S]*?(?:^\1|\Z)"
_MENTION = re.compile(_FENCED + "|" + _START + r'(\\)?@(?:"([^"\n]+)"|([^\s"]+))', re.MULTILINE)
_UNFINISHED = re.compile(_START + r'@(?:"([^"]*)|([^\s"]*))$')
_LONGEST_NAME = 4096
_CLOSING = ".,;:!?)]}'"
_BACKTICKS = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class Expanded:
    """A message as the models read it.

    files: those that were inserted, each once. missing: what looks like a mention but names no file.
    """

    text: str
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def expand(text: str, folder: Path) -> Expanded:
    r"""Put the files that a message mentions before it, and their bare names in place of the mentions.

    `@name`, or `@"a name"` with spaces, at the start of a word is a mention; names are relative to `folder`.
    `\@` is a plain @, and so is any between fences, since code has many. The question stays last because
    small models forget what stands before a long text.
    Raises PromptError for a folder, a file that is too large or cannot be read, and one that is not text.
    """
    inserted: dict[Path, str] = {}
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        fence, escaped, quoted, plain = match.groups()
        if fence:
            return match[0]
        if escaped:
            return match[0][1:]
        name, after = _find(quoted or plain, folder, trim=not quoted)
        if not name:
            missing.append(quoted or plain)
            return match[0]
        path = folder / os.path.expanduser(name)
        if path not in inserted:
            inserted[path] = _fenced(name, _read(path, name))
        return name + after

    message = _MENTION.sub(replace, text)
    return Expanded("\n\n".join([*inserted.values(), message]), tuple(inserted), tuple(missing))


def unfinished(line: str) -> tuple[int, str, bool] | None:
    """Return the mention being typed at the end of `line`: where its @ stands, the name, whether it is
    quoted.
    """
    if match := _UNFINISHED.search(line):
        quoted, plain = match.groups()
        return match.start(), quoted if plain is None else plain, plain is None
    return None


def complete_path(prefix: str, folder: Path) -> list[str]:
    """Return names of files that begin with `prefix`, relative to `folder`; folders end with a slash.

    Hidden files are listed if the prefix asks for them, names that a terminal cannot show never. At most one
    folder is read.
    """
    parent, slash, start = prefix.rpartition("/")
    try:
        with os.scandir(folder / os.path.expanduser(parent + slash)) as entries:
            found = [
                f"{parent}{slash}{entry.name}" + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.casefold().startswith(start.casefold())
                and entry.name.startswith(".") <= start.startswith(".")
                and '"' not in entry.name
                and entry.name == sanitize(entry.name).replace("\n", " ")
            ]
    except (OSError, ValueError):
        return []
    return sorted(found, key=str.casefold)


def _find(name: str, folder: Path, *, trim: bool) -> tuple[str, str]:
    """Return the name without the punctuation after it, and that; ("", ...) if no such file exists."""
    end = len(name) if len(name) <= _LONGEST_NAME else 0
    while end and not _exists(folder / os.path.expanduser(name[:end])):
        end = end - 1 if trim and name[end - 1] in _CLOSING else 0
    return name[:end], name[end:]


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _read(path: Path, name: str) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PromptError(
                f"{name} is a folder: name a file in it, or write \\@{name} to send it as it is."
            )
        # Reading a pipe or a device could take for ever.
        if not stat.S_ISREG(status.st_mode):
            raise PromptError(f"{name} is not a file with text, so it cannot be inserted.")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise PromptError(f"Cannot read {name}: {error.strerror or error}.") from error
    if len(data) > LARGEST:
        size = max(status.st_size, LARGEST + 1) / 1024
        raise PromptError(f"{name} is too large to insert: {size:.0f} KB; {LARGEST // 1024} KB is the most.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    if "\0" in text:
        raise PromptError(f"{name} is not text: it holds zero bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _fenced(name: str, text: str) -> str:
    """Return the file as Markdown; the fence is longer than any in the text, so that nothing in it ends
    it.
    """
    fence = "`" * max([3, *(len(run) + 1 for run in _BACKTICKS.findall(text))])
    return f"{name}:\n{fence}\n{text.rstrip(chr(10))}\n{fence}"
