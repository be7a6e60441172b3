"""Base class of the modal screens that run workers."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """Cancels its workers when it closes: their results would reach widgets that are removed already."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        self.workers.cancel_node(self)
        return super().dismiss(result)
