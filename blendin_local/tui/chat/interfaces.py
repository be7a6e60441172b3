"""Interfaces between the parts of the main screen; independent of Textual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from blendin_local.engine.steps import Summary
from blendin_local.history.tree import Turn
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece


class Tell(Protocol):
    """Shows a sentence as a notification."""

    def __call__(self, text: str, *, error: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """Outcome of a reply.

    turn: the reply, None if it was empty and is dropped. begun: whether the models started to read the
    prompt. on_path: whether it was on the path shown. cancelled: whether the user stopped it. error: one
    sentence if it failed.
    """

    turn: Turn | None
    begun: bool
    on_path: bool
    cancelled: bool
    error: str


class ReplySink(Protocol):
    """Shows the text of replies."""

    def started(self, turn: Turn) -> None:
        """Show a reply that was requested."""

    def write(self, turn: Turn, pieces: list[Piece], summary: Summary) -> None:
        """Append text to a reply."""

    def ended(self, end: ReplyEnd) -> None: ...


class ReplyView(Protocol):
    """Shows the state of the models and of the chat."""

    def tell(self, text: str, *, error: bool = False) -> None: ...

    def show_phase(self, phase: Phase) -> None: ...

    def show_progress(self, role: str, share: float) -> None:
        """Show the loaded share of a model; role is "" before the first report."""

    def show_pair(self) -> None:
        """Show a changed pair or changed settings of the next reply."""

    def show_metrics(self) -> None:
        """Show changed metrics of the current or selected reply."""

    def take_back(self, typed: str) -> None:
        """Return an unread message, which left the conversation, to the input; "" if it was not typed."""

    def load_failed(self, reason: str) -> None: ...
