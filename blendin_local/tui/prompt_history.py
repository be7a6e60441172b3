"""The messages that were sent before, to walk through and to find again after a restart."""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from blendin_local import files

MOST = 500
_LONGEST = 64 * 1024
"""Longer entries, in bytes, are pastes: they can be walked to, but are not kept on disk."""


class PromptHistory:
    """Messages of this and earlier runs, the latest last.

    path: a file of one JSON string a line, shared by all that run at the same time; None keeps nothing.
    It holds at most twice `MOST` entries. Where it cannot be read or written, the chat goes on without.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries = deque(self._load(), maxlen=MOST)
        self._at = len(self._entries)
        self._draft = ""

    def add(self, text: str) -> None:
        """Remember a message that was sent, and end the walk."""
        if not self._entries or self._entries[-1] != text:
            self._entries.append(text)
            self._append(text)
        self._at = len(self._entries)
        self._draft = ""

    def earlier(self, current: str) -> str | None:
        """Return the message before the one shown, None if there is none. `current` is what stands in the
        input.
        """
        return self._walk(-1, current)

    def later(self, current: str) -> str | None:
        """Return the message after the one shown, at last the draft; None if it is shown."""
        return self._walk(1, current)

    def _walk(self, by: int, current: str) -> str | None:
        at = self._at + by
        if not 0 <= at <= len(self._entries):
            return None
        # What was changed since it was called up is a draft too.
        if self._at == len(self._entries) or current != self._entries[self._at]:
            self._draft = current
        self._at = at
        return self._draft if at == len(self._entries) else self._entries[at]

    def _load(self) -> list[str]:
        try:
            lines = self._path.read_bytes().split(b"\n") if self._path else []
        except OSError:
            return []
        entries = [text for line in lines if (text := _read(line))]
        # Half a line is what a crash left: the next entry would be written behind it.
        if len(entries) > 2 * MOST or (lines and lines[-1]):
            self._rewrite(entries[-MOST:])
        return entries

    def _rewrite(self, entries: list[str]) -> None:
        assert self._path
        with suppress(OSError):
            files.write_text(self._path, "".join(_line(text) for text in entries))

    def _append(self, text: str) -> None:
        line = _line(text).encode()
        if not self._path or len(line) > _LONGEST:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # One write at the end of the file: entries of several programs never mix.
                os.write(file, line)
            finally:
                os.close(file)


def _line(text: str) -> str:
    return json.dumps(text) + "\n"


def _read(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, str) else None
