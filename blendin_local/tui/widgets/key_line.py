"""The keys that can be pressed now, at the foot of the screen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer

_MOST = 6
"""More are not taken in at a glance; F1 shows all."""


class KeyLine(Footer):
    """Keys of what has the focus first, then those of the screen as far as they go, and how to leave."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        keys = list(super().compose())
        shown = keys if len(keys) <= _MOST else [*keys[: _MOST - 1], keys[-1]]
        self.styles.grid_size_columns = len(shown)
        yield from shown
