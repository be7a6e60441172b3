"""Which step each character of a reply belongs to.

Text is released later than it is chosen: a character may need the bytes of several steps, and what may be
the beginning of a stop string waits. Released text therefore belongs to the steps whose bytes it is made
of, not to the step that released it.
"""

from __future__ import annotations

import codecs
from collections import deque

from blendin_local.steps import Source, Step


class Attribution:
    """Hands released text out in pieces, each with the source of the step that chose it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: deque[tuple[int, Source]] = deque()
        self._last = Source.BASE

    def take(self, step: Step) -> list[tuple[str, Source]]:
        """The pieces of text that this step released."""
        if step.source is not Source.STOP:
            self._last = step.source
        if count := len(self._decoder.decode(step.data)):
            self._waiting.append((count, step.source))
        return self.release(step.text)

    def release(self, text: str) -> list[tuple[str, Source]]:
        """Pieces of text released after the last step."""
        pieces: list[tuple[str, Source]] = []
        while text and self._waiting:
            count, source = self._waiting.popleft()
            if count > len(text):
                self._waiting.appendleft((count - len(text), source))
            pieces.append((text[:count], source))
            text = text[count:]
        if text:
            pieces.append((text, self._last))
        return pieces
