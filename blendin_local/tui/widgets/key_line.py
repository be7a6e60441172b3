"""The footer: keys that can be pressed now."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer

_MOST = 6
"""Largest number of keys; F1 shows all."""


class KeyLine(Footer):
    """Shows keys of the focused widget, then of the screen, and the last one, which quits."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        keys = list(super().compose())
        shown = keys if len(keys) <= _MOST else [*keys[: _MOST - 1], keys[-1]]
        self.styles.grid_size_columns = len(shown)
        yield from shown
