"""The side panel: all metrics of the current or selected reply, with explanations."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.widgets import Static

from blendin_local.presentation.colour_scale import Mode
from blendin_local.presentation.explanation import describe_reply
from blendin_local.tui.about import About
from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import MUTED
from blendin_local.tui.widgets.legend import Legend
from blendin_local.tui.widgets.metric_section import MetricSection, explained
from blendin_local.tui.widgets.panel_sections import SECTIONS

_NOTHING_YET = "A summary of the reply appears here. Tab leads here; ↑ and ↓ explain each metric."


class Panel(Vertical, can_focus=True):
    """Explains the metric at the cursor while it has the focus; otherwise describes the reply in words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Metric up", key_display="↑", show=False, id="panel.up"),
        Binding("down,j", "move(1)", "Next metric", key_display="↓", id="panel.down"),
        Binding("home", "move(-999)", "First metric", show=False, id="panel.first"),
        Binding("end", "move(999)", "Last metric", show=False, id="panel.last"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="panel.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="panel.page-down"),
    ]

    legend = query_one(Legend)
    _scroll = query_one("#metrics", VerticalScroll)
    _words = query_one("#words", Static)

    def __init__(self, about: About, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown = PanelMetrics(about)
        self._sections = [section(self._shown) for section in SECTIONS]
        self._stops = [(section, place) for section in self._sections for place in section.places]
        self._cursor = 0
        self._said = Content("")

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="metrics", can_focus=False):
            yield from self._sections
            yield Legend(explained=True)
        yield Static(id="words")

    def on_mount(self) -> None:
        self._update()

    def show(self, shown: PanelMetrics) -> None:
        """Show current metrics; the layout stays, and only changed lines are repainted."""
        self._shown = shown
        for section in self._sections:
            section.show(shown)
        self._update()

    def show_colours(self, mode: Mode | None) -> None:
        """Explain the colours of a mode; None for a view without colours."""
        self.legend.show(mode)

    # The cursor

    @property
    def metric(self) -> str:
        """The metric at the cursor."""
        section, place = self._stops[self._cursor]
        return section.metric_of(place)

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._point()

    def action_move(self, by: int) -> None:
        self._cursor = min(max(self._cursor + by, 0), len(self._stops) - 1)
        self._point()

    def action_page(self, direction: int) -> None:
        self._scroll.scroll_relative(y=direction * self._scroll.size.height, animate=False)

    @on(MetricSection.Chosen)
    def _choose(self, message: MetricSection.Chosen) -> None:
        self._cursor = self._stops.index((message.section, message.place))
        self.focus(scroll_visible=False)
        self._point()

    def _point(self) -> None:
        """Mark the metric at the cursor, scroll to it, and explain it."""
        current, place = self._stops[self._cursor]
        for section in self._sections:
            section.point_at(place if self.has_focus and section is current else None)
        if self.has_focus:
            self._show_row(current, place)
        self._update()

    def _show_row(self, section: MetricSection, place: int) -> None:
        if self._cursor == 0:
            # Also show the title above the first metric.
            self._scroll.scroll_home(animate=False)
        else:
            region = section.region_of(place).translate(section.virtual_region.offset)
            self._scroll.scroll_to_region(region, animate=False)

    def _update(self) -> None:
        if self.has_focus:
            said = explained(self.metric)
        else:
            shown = self._shown
            method = shown.about.blend.method
            words = describe_reply(shown.reply.summary, method, shown.hint_rate, shown.calibrated)
            said = Content(words) if words else Content.styled(_NOTHING_YET, MUTED)
        if not said.is_same(self._said):
            self._said = said
            self._words.update(said, layout=False)
