"""One line under the conversation: what is going on, and what the colours mean."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.getters import query_one
from textual.widgets import Static

from blendin_local.steps import Summary
from blendin_local.tui.phase import Phase
from blendin_local.tui.widgets.legend import Legend

_SAYS = {
    Phase.LOADING: ("Loading; you can write already", "$text-primary"),
    Phase.WAITING: ("Your message waits for the models; Escape takes it back", "$text-primary"),
    Phase.FAILED: ("No models; Ctrl+Q quits", "$text-error"),
    Phase.READY: ("Ready", "$text-success"),
    Phase.WRITING: ("Reading the conversation …", "$text-primary"),
    Phase.STOPPING: ("Stopping …", "$text-warning"),
}


class StatusLine(Horizontal):
    state = query_one("#state", Static)

    def compose(self) -> ComposeResult:
        yield Static(id="state", markup=False)
        yield Legend()

    def show(self, phase: Phase) -> None:
        self._say(*_SAYS[phase])

    def show_progress(self, summary: Summary) -> None:
        """How far a reply under way is."""
        speed = summary.tokens_per_second
        parts = [f"{summary.tokens} tokens"] + ([f"{speed:.0f}/s"] if speed else [])
        parts.append(f"intervened {summary.intervention_rate:.0%}")
        self._say(" · ".join(parts), "$text-primary")

    def _say(self, text: str, style: str) -> None:
        self.state.update(Content.styled(f"● {text}", style), layout=False)
