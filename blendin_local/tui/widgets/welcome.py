"""The text of an empty conversation: the two models, the colours, and an example question."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from blendin_local.safe_text import sanitize
from blendin_local.tui.about import About
from blendin_local.tui.widgets.legend import Legend

EXAMPLE = "Why do leaves change colour in autumn?"


class Welcome(VerticalScroll, can_focus=False):
    def __init__(self, about: About, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._about = about

    def compose(self) -> ComposeResult:
        about = self._about
        base_role, guide_role = about.roles
        base, guide = sanitize(about.base), sanitize(about.guide)
        width = max(cell_len(base), cell_len(guide)) + 2
        models = Content.assemble(
            ("Two models answer you together.\n\n", "bold"),
            (set_cell_size(base, width), "$source-base bold"), (base_role, "$foreground-muted"), "\n",
            (set_cell_size(guide, width), "$source-guide bold"), (guide_role, "$foreground-muted"), "\n",
        )  # fmt: skip
        yield Static(models)
        yield Static("Each word shows who chose it while it is written; F6 shows it again:")
        yield Legend(explained=True)
        yield Static(Content.assemble("Try:  ", (EXAMPLE, "italic")))
