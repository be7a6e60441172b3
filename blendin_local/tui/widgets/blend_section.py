"""How much the guide had to say in the reply."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from blendin_local.tui import rows
from blendin_local.tui.figures import Figures


class BlendSection(Widget):
    def __init__(self) -> None:
        super().__init__()
        self._figures = Figures()

    def show(self, figures: Figures) -> None:
        self._figures = figures
        self.refresh()

    def render(self) -> Content:
        summary, alpha = self._figures.summary, self._figures.alpha
        begun = summary.steps > 0
        return rows.stacked(
            rows.heading("The guide's part", "last", "mean"),
            rows.gauge("α", alpha.last, alpha.mean, "$source-guide"),
            rows.rate("intervened", summary.intervention_rate if begun else None, "$source-guide"),
            rows.rate("changed", summary.changed_rate if begun else None, "$source-guide"),
            rows.rate("guide words", summary.guide_word_rate if begun else None, "$source-guide"),
        )
