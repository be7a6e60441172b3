"""How long work tells how far it is, whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress", "Watcher"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is.

    work: its name, such as "loading base: gemma.gguf". done, total: counted in `unit`s; total is None where
    it is unknown. left_s: estimated seconds to the end; None leaves the estimate to the display.
    """

    work: str
    done: int
    total: int | None = None
    unit: str = ""
    left_s: float | None = None


class Watcher:
    """Receives the progress and the messages of long work; this one discards them."""

    def progress(self, progress: Progress) -> None:
        """Take in how far the work is. Called often, always from the thread that does the work."""

    def note(self, text: str, kind: str | None = None) -> None:
        """Take in a sentence for the user. kind: what many such sentences have in common."""

    def warn(self, text: str) -> None:
        """Take in a sentence on something that may spoil the work, such as too little memory."""

    def hint(self, text: str) -> None:
        """Take in a sentence that only a person at a terminal wants."""

    def log(self, text: str) -> None:
        """Take in a milestone, which a log shows in place of a progress bar."""
