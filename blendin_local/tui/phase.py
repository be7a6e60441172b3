"""States of the chat, which decide what keys do and what the status line says."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    LOADING = auto()
    """Models are being loaded."""
    WAITING = auto()
    """Models are being loaded, and a message waits for them."""
    FAILED = auto()
    """No models are loaded, because loading failed."""
    READY = auto()
    WRITING = auto()
    """A reply is being written."""
    STOPPING = auto()
    """The reply was cancelled and has not ended yet."""

    @property
    def is_loading(self) -> bool:
        return self in (Phase.LOADING, Phase.WAITING)

    @property
    def is_writing(self) -> bool:
        return self in (Phase.WRITING, Phase.STOPPING)
