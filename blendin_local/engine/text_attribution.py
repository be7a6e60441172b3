"""Attribute the characters of a reply to its steps.

Text is released later than its tokens are chosen: a character may need the bytes of several steps, and the
possible beginning of a stop string is held back. Released text belongs to the steps that chose its bytes, not
to the step that released it. The marks of thinking, and the whitespace after them, are not released.
"""

from __future__ import annotations

import codecs
from collections import deque

from blendin_local.engine.steps import Source, Step


class Attribution:
    """Splits released text into pieces by the step that chose them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: deque[tuple[int, Step]] = deque()
        self._last: Step | None = None
        self._thinking = False
        self._after_mark = False

    def take(self, step: Step) -> list[tuple[str, Step]]:
        """Return the pieces of text that this step released."""
        if step.source is not Source.STOP or self._last is None:
            self._last = step
        chars = self._decoder.decode(step.data)
        if step.thinking != self._thinking:
            # What waits, and all but the end of this step, is a mark.
            self._thinking, self._after_mark = step.thinking, True
            self._waiting.clear()
            chars = chars[len(chars) - len(step.text) :] if step.text else ""
        elif self._after_mark and not step.text and not chars.strip():
            chars = ""
        self._after_mark = self._after_mark and not step.text
        if chars:
            self._waiting.append((len(chars), step))
        return self.release(step.text)

    def release(self, text: str) -> list[tuple[str, Step]]:
        """Pieces of text released after the last step; empty without any step."""
        pieces: list[tuple[str, Step]] = []
        while text and self._waiting:
            count, step = self._waiting.popleft()
            if count > len(text):
                self._waiting.appendleft((count - len(text), step))
            pieces.append((text[:count], step))
            text = text[count:]
        if text and self._last is not None:
            pieces.append((text, self._last))
        return pieces
