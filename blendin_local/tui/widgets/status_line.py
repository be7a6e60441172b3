"""A line below the conversation: state of the chat, metrics of the reply, legend of the colours."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.getters import query_one
from textual.widgets import Static

from blendin_local.engine.steps import WEAK_BELOW
from blendin_local.presentation.colour_scale import Mode
from blendin_local.tui.metrics import NEARLY_FULL, PanelMetrics
from blendin_local.tui.phase import Phase
from blendin_local.tui.rows import WARNING
from blendin_local.tui.widgets.legend import Legend

_SAYS = {
    Phase.LOADING: ("Loading; you can write already", "$text-primary"),
    Phase.WAITING: ("Your message waits for the models; Escape takes it back", "$text-primary"),
    Phase.FAILED: ("No models; F3 chooses others", "$text-error"),
    Phase.READY: ("Ready", "$text-success"),
    Phase.WRITING: ("Reading the conversation …", "$text-primary"),
    Phase.STOPPING: ("Stopping …", WARNING),
}
_WITH_METRICS = (Phase.READY, Phase.WRITING, Phase.STOPPING)
_FOR_THE_STATE = 60
"""Width that is reserved for the state before the legend gets any."""


class StatusLine(Horizontal):
    state = query_one("#state", Static)
    legend = query_one(Legend)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._phase = Phase.LOADING
        self._parts: list[tuple[int, Content]] = []
        self._said = Content("")

    def compose(self) -> ComposeResult:
        yield Static(id="state", markup=False)
        yield Legend()

    def show(self, phase: Phase) -> None:
        """Show the phase; hide the metrics of the last reply when the next one begins."""
        if phase is Phase.WRITING and self._phase is not phase:
            self._parts = []
        self._phase = phase
        self._update()

    def show_progress(self, shown: PanelMetrics, branch: tuple[int, int] = (1, 1)) -> None:
        """Show the metrics of the current or selected reply.

        branch: (number of the reply, number of replies to its message), from 1.
        """
        self._parts = _parts(shown, *branch)
        self._update()

    def show_colours(self, mode: Mode | None) -> None:
        """Show the legend of a mode; None for a view without colours."""
        self.legend.show(mode)
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        self.legend.shorten(self.content_size.width - _FOR_THE_STATE)
        self.call_after_refresh(self._update)

    def _update(self) -> None:
        text, style = _SAYS[self._phase]
        parts = self._parts if self._phase in _WITH_METRICS else []
        if parts and self._phase is Phase.WRITING:
            text = "Writing"
        said = Content.styled(f"● {text}", style)
        room = self.state.size.width - said.cell_length
        for _, part in _fitting(parts, room):
            said = Content.assemble(said, " · ", part)
        if not said.is_same(self._said):
            self._said = said
            self.state.update(said, layout=False)


def _fitting(parts: list[tuple[int, Content]], room: int) -> list[tuple[int, Content]]:
    """Drop the parts of the highest ranks until the rest fits into `room` cells."""
    parts = list(parts)
    while parts and sum(part.cell_length + 3 for _, part in parts) > room:
        parts.remove(max(parts, key=lambda part: part[0]))
    return parts


def _parts(shown: PanelMetrics, branch: int, branches: int) -> list[tuple[int, Content]]:
    """Return the metrics of a reply as (rank, text) in the order of display; see `_fitting`."""
    summary = shown.reply.summary
    if not summary.steps:
        return []

    def part(rank: int, text: str, warned: bool = False) -> tuple[int, Content]:
        return rank, Content.styled(f"{text}!" if warned else text, WARNING if warned else "")

    parts = [part(1, "1 token" if summary.tokens == 1 else f"{summary.tokens} tokens")]
    if speed := summary.tokens_per_second:
        parts.append(part(2, f"{speed:.0f}/s"))
    rate, lowest = summary.intervention_rate, summary.lowest_reliability
    parts.append(part(4, f"intervened {rate:.0%}", shown.over_hint(rate)))
    if (mean := summary.mean("reliability")) is not None and lowest is not None:
        title = "reliability" if shown.calibrated else "confidence"
        parts += [part(3, f"{title} {mean:.2f}"), part(6, f"lowest {lowest:.2f}", lowest < WEAK_BELOW)]
    fill = max((fill.used / fill.size for fill in shown.context_use.values() if fill.size), default=0.0)
    if fill:
        nearly = fill >= NEARLY_FULL
        parts.append(part(0 if nearly else 7, f"context {fill:.0%}", nearly))
    if branches > 1:
        parts.append(part(5, f"branch {branch}/{branches}"))
    return parts
