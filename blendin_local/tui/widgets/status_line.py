"""One line under the conversation: what is going on, and what the colours mean."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.getters import query_one
from textual.widgets import Static

from blendin_local.steps import Summary
from blendin_local.tui.widgets.legend import Legend


class StatusLine(Horizontal):
    state = query_one("#state", Static)

    def compose(self) -> ComposeResult:
        yield Static(id="state", markup=False)
        yield Legend()

    def show(self, text: str, style: str = "") -> None:
        self.state.update(Content.styled(text, style), layout=False)

    def show_writing(self, summary: Summary) -> None:
        """A reply is under way: at first its prompt is read."""
        if not summary.steps:
            self.show("● Reading the conversation …", "$primary")
            return
        speed = summary.tokens_per_second
        parts = [f"{summary.tokens} tokens"] + ([f"{speed:.0f}/s"] if speed else [])
        parts.append(f"intervened {summary.intervention_rate:.0%}")
        self.show("● " + " · ".join(parts), "$primary")
