"""Panel section: pair, method and models of the reply."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.presentation.formatting import line
from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import MUTED, PanelLayout, Row, fit
from blendin_local.tui.widgets.metric_section import MetricSection

_ROLE = 7


class PairSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        about = shown.about
        method = Content.styled(about.method, MUTED)
        pair = fit(line(about.pair or "Two models"), layout.width - method.cell_length - 2).rstrip()

        def model(role: str, name: str) -> Content:
            return Content.assemble((f"{role:{_ROLE}}", MUTED), fit(line(name), layout.width - _ROLE))

        head = layout.apart(Content.styled(pair, "bold"), method)
        return [Row.of("", head, model("base", about.base), model("guide", about.guide))]
