"""Insert mentioned files into a message: `@notes.txt` stands for the text of the file."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from blendin_local.errors import PromptError
from blendin_local.files import is_open_to_chats
from blendin_local.safe_text import sanitize

__all__ = ["Expanded", "complete_path", "expand", "unfinished"]

LARGEST = 256 * 1024
"""Largest file that is inserted into a message, in bytes."""

# Only at the start of a word, so that e-mail addresses are no mentions; also after brackets and quotes.
_START = r"(?:(?<=[\s(\[{'\"])|^)"
_FENCED = r"^(`{3,})[^`\n]*\n[\s\S]*?(?:^\1|\Z)"
_MENTION = re.compile(_FENCED + "|" + _START + r'(\\)?@(?:"([^"\n]+)"|([^\s"]+))', re.MULTILINE)
_UNFINISHED = re.compile(_START + r'@(?:"([^"]*)|([^\s"]*))$')
_LONGEST_NAME = 4096
_CLOSING = ".,;:!?)]}'"
_BACKTICKS = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class Expanded:
    """A message with its files inserted.

    files: the inserted files, each once. missing: names of mentions for which there is no file.
    """

    text: str
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def expand(text: str, folder: Path) -> Expanded:
    r"""Insert mentioned files before a message, and replace the mentions by the file names.

    `@name` or `@"a name"` at the start of a word is a mention; names are relative to `folder`. `\@` is a
    plain @, and mentions in fenced code are ignored. The question stays last because small models forget
    a question before a long text.
    Raises PromptError for a folder and for a file that is too large, unreadable or not text.
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
    """Return the unfinished mention at the end of `line`: (column of its @, name, whether it is quoted)."""
    if match := _UNFINISHED.search(line):
        quoted, plain = match.groups()
        return match.start(), quoted if plain is None else plain, plain is None
    return None


def complete_path(prefix: str, folder: Path) -> list[str]:
    """Return the names of files that begin with `prefix`, relative to `folder`; folders end with a slash.

    Hidden files are listed only for a prefix with a dot, and names that a terminal cannot show never. Reads
    at most one folder.
    """
    parent, slash, start = prefix.rpartition("/")
    listed = folder / os.path.expanduser(parent + slash)
    if not is_open_to_chats(listed):
        return []
    try:
        with os.scandir(listed) as entries:
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
    """Split a mention into the name of an existing file and the punctuation after it; ("", ...) if none."""
    end = len(name) if len(name) <= _LONGEST_NAME else 0
    while end and not _exists(folder / os.path.expanduser(name[:end])):
        end = end - 1 if trim and name[end - 1] in _CLOSING else 0
    return name[:end], name[end:]


def _exists(path: Path) -> bool:
    if not is_open_to_chats(path):
        return False
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
        # Reading a pipe or a device could block.
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
    """Return the file as a Markdown code block with a fence longer than any run of backticks in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in _BACKTICKS.findall(text))])
    return f"{name}:\n{fence}\n{text.rstrip(chr(10))}\n{fence}"
