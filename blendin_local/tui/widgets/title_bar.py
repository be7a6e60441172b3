"""A line at the top: the pair, its models, and the method."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.getters import query_one
from textual.widgets import Static

from blendin_local.safe_text import sanitize
from blendin_local.tui.about import About


class TitleBar(Horizontal):
    _title = query_one("#title", Static)
    _method = query_one("#method", Static)

    def __init__(self, about: About) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Static(id="method")

    def on_mount(self) -> None:
        self.show(self._about)

    def show(self, about: About) -> None:
        """Show a pair and its method."""
        parts = [
            ("blendin", "bold $text-primary"),
            (sanitize(about.pair), "bold"),
            (sanitize(about.models), ""),
        ]
        self._title.update(Content("  ").join(Content.styled(*part) for part in parts if part[0]))
        self._method.update(Content(about.method))
