"""Progress callbacks of long work, independent of their display."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress", "Watcher"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a piece of work.

    work: its name, such as "loading base: gemma.gguf". done, total: counts in `unit`; total is None if
    unknown. left_s: estimated seconds to the end; None leaves the estimate to the display.
    """

    work: str
    done: int
    total: int | None = None
    unit: str = ""
    left_s: float | None = None


class Watcher:
    """Receives the progress and the messages of long work; this one discards them."""

    def progress(self, progress: Progress) -> None:
        """Receive progress. Called often, always from the thread that does the work."""

    def note(self, text: str, kind: str | None = None) -> None:
        """Receive a sentence for the user. kind: groups similar sentences, which a display may limit."""

    def warn(self, text: str) -> None:
        """Receive a warning, such as too little memory."""

    def hint(self, text: str) -> None:
        """Receive a sentence that is shown only in a terminal."""

    def log(self, text: str) -> None:
        """Receive a milestone, which a log shows instead of a progress bar."""
