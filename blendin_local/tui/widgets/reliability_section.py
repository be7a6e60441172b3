"""How sure base and guide are, now and over the reply."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from blendin_local.steps import WEAK_BELOW
from blendin_local.tui import rows
from blendin_local.tui.figures import Figures


class ReliabilitySection(Widget):
    """Called reliability only where the pair has been calibrated."""

    def __init__(self) -> None:
        super().__init__()
        self._figures = Figures()
        self._calibrated = False

    def show(self, figures: Figures, calibrated: bool) -> None:
        self._figures, self._calibrated = figures, calibrated
        self.refresh()

    def render(self) -> Content:
        figures, summary = self._figures, self._figures.summary
        lowest = summary.lowest_reliability
        return rows.stacked(
            rows.heading("Reliability" if self._calibrated else "Confidence", "now", "mean"),
            Content.styled("" if self._calibrated else "not calibrated", "$foreground-muted"),
            rows.gauge("base", figures.base.last, figures.base.mean, "$source-base"),
            rows.line_of(figures.base.latest, "$source-base"),
            rows.gauge("guide", figures.guide.last, figures.guide.mean, "$source-guide"),
            rows.line_of(figures.guide.latest, "$source-guide"),
            rows.fact("lowest", "–" if lowest is None else f"{lowest:.2f}"),
            rows.fact(f"steps under {WEAK_BELOW}", f"{summary.weak_share:.0%}" if summary.steps else "–"),
        )
