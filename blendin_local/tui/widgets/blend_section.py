"""How the two models met at the steps where the guide was asked."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.tui.metrics import PanelFigures
from blendin_local.tui.rows import PanelLayout, Row
from blendin_local.tui.widgets.metric_section import FigureSection


class BlendSection(FigureSection):
    def rows(self, shown: PanelFigures, sheet: PanelLayout) -> Sequence[Row]:
        figures = shown.reply
        return [
            Row.of("", sheet.heading("The mixture", "last", "mean")),
            Row.of("alpha", *sheet.gauge("α", figures.alpha, "$source-guide")),
            Row.of("agreement", *sheet.gauge("agreement", figures.agreement, "$source-both")),
            Row.of("divergence", *sheet.gauge("divergence", figures.divergence, "$source-blend")),
        ]
