"""Base class of the panel's sections: rows of metrics that can be selected and have a line of help."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.widget import Widget

from blendin_local.presentation.explanation import FIGURE_HELP
from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import PanelLayout, Row

_USUAL_WIDTH = 32


def explained(metric: str) -> Content:
    """Return the name of a metric and its line of help."""
    return Content.assemble((metric, "bold"), ": ", FIGURE_HELP[metric])


class MetricSection(Widget):
    """Draws the rows of a subclass, whose number is constant, so that the layout never changes."""

    @dataclass
    class Chosen(Message):
        """A row was clicked. place: its index in the section."""

        section: MetricSection
        place: int

    def __init__(self, shown: PanelMetrics) -> None:
        super().__init__()
        self._shown = shown
        self._pointed: int | None = None
        self._rows = self.rows(shown, PanelLayout(_USUAL_WIDTH))
        self._lines: list[Content] = [line for row in self._rows for line in row.lines]

    @abstractmethod
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]: ...

    def show(self, shown: PanelMetrics) -> None:
        self._shown = shown
        self._draw()

    def point_at(self, place: int | None) -> None:
        """Mark the row at an index, or none."""
        if place != self._pointed:
            self._pointed = place
            self._draw()

    @property
    def places(self) -> list[int]:
        """Indices of the rows that can be selected."""
        return [place for place, row in enumerate(self._rows) if row.metric]

    def metric_of(self, place: int) -> str:
        return self._rows[place].metric

    def region_of(self, place: int) -> Region:
        """Return the region of a row within the section."""
        top = sum(len(row.lines) for row in self._rows[:place])
        return Region(0, top, self.size.width, len(self._rows[place].lines))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Repaint the lines that have changed."""
        width = self.size.width
        if not width:
            return
        self._rows = self.rows(self._shown, PanelLayout(width))
        lines = [line for row in self._rows for line in row.lines]
        if self._pointed is not None:
            top = self.region_of(self._pointed).y
            lines[top] = Content.styled(lines[top].plain.ljust(width), "reverse")
        before, self._lines = self._lines, lines
        changed = [y for y, line in enumerate(lines) if not line.is_same(before[y])]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render(self) -> Content:
        return Content("\n").join(self._lines)

    # The mouse

    def _place_at(self, y: int) -> int | None:
        return next((place for place in self.places if y in self.region_of(place).line_range), None)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        place = self._place_at(event.y)
        help = None if place is None else explained(self.metric_of(place))
        if help != self.tooltip:
            self.tooltip = help

    def on_click(self, event: events.Click) -> None:
        place = self._place_at(event.y)
        if place is not None:
            self.post_message(self.Chosen(self, place))
