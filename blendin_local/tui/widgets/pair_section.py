"""The panel's head: which pair, which method and which models wrote the reply."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import MUTED, PanelLayout, Row, name
from blendin_local.tui.widgets.metric_section import MetricSection


class PairSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        about = shown.about
        method = Content.styled(about.method, MUTED)
        pair = name(about.pair or "Two models", layout.width - method.cell_length - 2).stylize("bold")
        models = (("base", about.base), ("guide", about.guide))
        lines = (
            Content.assemble((f"{role:7}", MUTED), name(each, layout.width - 7)) for role, each in models
        )
        return [Row.of("", layout.apart(pair, method), *lines)]
