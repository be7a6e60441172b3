"""What the app is doing: decides what a key does, and what the status line says."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    LOADING = auto()
    """The models are being loaded."""
    WAITING = auto()
    """They are, and a message waits for them."""
    FAILED = auto()
    """They could not be loaded."""
    READY = auto()
    WRITING = auto()
    """A reply is under way."""
    STOPPING = auto()
    """It was told to stop."""

    @property
    def is_loading(self) -> bool:
        return self in (Phase.LOADING, Phase.WAITING)

    @property
    def is_writing(self) -> bool:
        return self in (Phase.WRITING, Phase.STOPPING)
