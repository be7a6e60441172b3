"""One line at the top: the pair, its models, and how they are blended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from blendin_local.inert import inert
from blendin_local.tui.about import About


class TitleBar(Horizontal):
    def __init__(self, about: About) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        about = self._about
        parts = [("blendin", "bold $text-primary"), (inert(about.pair), "bold"), (inert(about.models), "")]
        title = Content("  ").join(Content.styled(*part) for part in parts if part[0])
        yield Static(title, id="title")
        yield Static(Content(about.method), id="method")
