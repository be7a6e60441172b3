"""What the parts of the main screen know of each other; knows no Textual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from blendin_local.engine.steps import Summary
from blendin_local.history.tree import Turn
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece


class Tell(Protocol):
    """Shows one sentence beside the conversation."""

    def __call__(self, text: str, *, error: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """How a reply ended.

    turn: the reply, None where no words came and it is gone. begun: whether the models took its prompt.
    on_path: whether it stood in the conversation shown. cancelled: whether the user stopped it. error: one
    sentence if it failed.
    """

    turn: Turn | None
    begun: bool
    on_path: bool
    cancelled: bool
    error: str


class ReplySink(Protocol):
    """Shows the words of a reply."""

    def started(self, turn: Turn) -> None:
        """A reply was asked for."""

    def write(self, turn: Turn, pieces: list[Piece], summary: Summary) -> None:
        """The reply goes on with these words."""

    def ended(self, end: ReplyEnd) -> None: ...


class ReplyView(Protocol):
    """Shows the state of the models, and what concerns no single reply."""

    def tell(self, text: str, *, error: bool = False) -> None: ...

    def show_phase(self, phase: Phase) -> None: ...

    def show_progress(self, role: str, share: float) -> None:
        """How much of a model is loaded; role is "" before the first report."""

    def show_pair(self) -> None:
        """The pair, or how the next reply is asked for, is another now."""

    def show_metrics(self) -> None:
        """The figures of the reply being written, or of the one selected, have changed."""

    def take_back(self, typed: str) -> None:
        """A message that the models have not read is out of the conversation; "" if it was not typed."""

    def load_failed(self, reason: str) -> None: ...
