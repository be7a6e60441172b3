"""A reply while it is written: its steps become coloured text and figures."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.inert import inert
from blendin_local.steps import FinishReason, Step, Summary
from blendin_local.tui.attribution import Attribution
from blendin_local.tui.chat import ReplyLike
from blendin_local.tui.figures import Figures

Piece = tuple[str, str]
"""Inert text, and the tag that says how it looks."""

_ENDS: dict[FinishReason, str] = {
    "cancelled": "stopped",
    "length": "cut off at the token limit",
    "context": "cut off: the context is full",
}


class LiveReply:
    """Turns steps into pieces of text for the transcript, and keeps the figures."""

    def __init__(self, reply: ReplyLike) -> None:
        self.figures = Figures(reply.summary)
        self.steps: list[Step] = []
        self._dropped = reply.dropped_messages
        self._attribution = Attribution()
        self._released = 0
        self._says_something = False

    def begin(self) -> list[Piece]:
        """What is to be said before the reply."""
        if not self._dropped:
            return []
        count = "1 old message" if self._dropped == 1 else f"{self._dropped} old messages"
        return [(f"(left out, because the context is full: {count})\n", "note")]

    def take(self, steps: Sequence[Step]) -> list[Piece]:
        """The text of new steps."""
        self.steps += steps
        self.figures.add(steps)
        pieces: list[Piece] = []
        for step in steps:
            self._released += len(step.text)
            pieces += self._shown(self._attribution.take(step))
        return pieces

    def end(self, text: str, finish_reason: FinishReason | None, kept: bool) -> list[Piece]:
        """What no step released of the whole text, and a line on how the reply went."""
        pieces = self._shown(self._attribution.release(text[self._released :]))
        if not kept:
            reason = "stopped before the first word" if finish_reason == "cancelled" else "no words came"
            return [*pieces, (f"({reason}; Ctrl+R asks again)", "note")]
        return [*pieces, (f"\n{_account(self.figures.summary, finish_reason)}", "note")]

    def _shown(self, pieces: Sequence[Piece]) -> list[Piece]:
        shown = [(inert(text), str(source)) for text, source in pieces]
        if not self._says_something:
            # A base begins its reply with the space or line break that its prompt left to it.
            while shown and not (first := shown[0][0].lstrip()):
                shown.pop(0)
            if shown:
                shown[0] = (first, shown[0][1])
                self._says_something = True
        return shown


def _account(summary: Summary, finish_reason: FinishReason | None) -> str:
    parts = [_ENDS[finish_reason]] if finish_reason in _ENDS else []
    parts.append("1 token" if summary.tokens == 1 else f"{summary.tokens} tokens")
    if speed := summary.tokens_per_second:
        parts.append(f"{speed:.0f}/s")
    parts += [
        f"intervened {summary.intervention_rate:.0%}",
        f"changed {summary.changed_rate:.0%}",
        f"guide words {summary.guide_word_rate:.0%}",
    ]
    return " · ".join(parts)
