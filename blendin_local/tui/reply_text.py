"""Convert the steps of a reply to pieces of sanitized text, each tagged with its step."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.engine.steps import Step
from blendin_local.engine.text_attribution import Attribution
from blendin_local.history.tree import Turn
from blendin_local.safe_text import sanitize

Piece = tuple[str, str | int]
"""Sanitized text and its tag: the index of its step, or the name of a style."""


class ReplyText:
    """Incrementally converts steps to pieces."""

    def __init__(self) -> None:
        self._attribution = Attribution()
        self._released = 0
        self._started = False

    def take(self, steps: Sequence[Step]) -> list[Piece]:
        """Return the pieces of new steps."""
        pieces: list[Piece] = []
        for step in steps:
            self._released += 0 if step.thinking else len(step.text)
            pieces += self._shown(self._attribution.take(step))
        return pieces

    def end(self, text: str) -> list[Piece]:
        """Return the pieces of `text`, the whole reply, that no step has released."""
        return self._shown(self._attribution.release(text[self._released :]))

    def _shown(self, pieces: Sequence[tuple[str, Step]]) -> list[Piece]:
        shown: list[Piece] = [(sanitize(text), step.index) for text, step in pieces]
        if not self._started:
            # A base model starts its reply with the space or line break after its prompt: it is not shown.
            while shown and not (first := shown[0][0].lstrip()):
                shown.pop(0)
            if shown:
                shown[0] = (first, shown[0][1])
                self._started = True
        return shown


def pieces_of(turn: Turn, steps: Sequence[Step]) -> list[Piece]:
    """Return the pieces of the answer of a finished reply."""
    if not steps:
        return [(sanitize(turn.text).strip(), "base")]
    text = ReplyText()
    return split_thinking([*text.take(steps), *text.end(turn.text)], steps)[1]


def thinking_of(steps: Sequence[Step]) -> list[Piece]:
    """Return the pieces of the thinking of a reply."""
    return split_thinking(ReplyText().take(steps), steps)[0]


def split_thinking(pieces: Sequence[Piece], steps: Sequence[Step]) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces of the thinking and those of the answer. steps: those of the reply so far."""
    thinking: list[Piece] = []
    answer: list[Piece] = []
    for text, tag in pieces:
        inside = isinstance(tag, int) and tag < len(steps) and steps[tag].thinking
        (thinking if inside else answer).append((text, tag))
    return thinking, answer
