"""History of sent messages, kept in a file across restarts."""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from blendin_local import files

MOST = 500
_LONGEST = 64 * 1024
"""Longest entry in bytes that is written to the file; longer ones stay in memory only."""


class PromptHistory:
    """Messages of this and earlier runs, the latest last, with a position that `earlier` and `later` move.

    path: a file with one JSON string per line and at most `2 * MOST` entries, shared by concurrent chats;
    None writes no file. Errors of the file are ignored.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries = deque(self._load(), maxlen=MOST)
        self._at = len(self._entries)
        self._draft = ""

    def add(self, text: str) -> None:
        """Add a sent message, and move to the end."""
        if not self._entries or self._entries[-1] != text:
            self._entries.append(text)
            self._append(text)
        self._at = len(self._entries)
        self._draft = ""

    def earlier(self, current: str) -> str | None:
        """Move back and return that message, None at the start. current: the text of the input."""
        return self._walk(-1, current)

    def later(self, current: str) -> str | None:
        """Move forward and return that message, at the end the draft, and None after it."""
        return self._walk(1, current)

    def _walk(self, by: int, current: str) -> str | None:
        at = self._at + by
        if not 0 <= at <= len(self._entries):
            return None
        # A message that was edited after it was recalled becomes the draft.
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
        # A crash can leave an incomplete line, to which the next entry would be appended.
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
                # One write in append mode, so that entries of concurrent chats do not mix.
                os.write(file, line)
            finally:
                os.close(file)


def _line(text: str) -> str:
    return json.dumps(text) + "\n"


def _read(line: bytes) -> str | None:
    try:
        entry = files.parse_json(line)
    except ValueError:
        return None
    return entry if isinstance(entry, str) else None
