"""Panel section: α, agreement and divergence of the steps at which the guide was asked."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import PanelLayout, Row
from blendin_local.tui.widgets.metric_section import MetricSection


class BlendSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        metrics = shown.reply
        return [
            Row.of("", layout.heading("The mixture", "last", "mean")),
            Row.of("alpha", *layout.gauge("α", metrics.alpha, "$source-guide")),
            Row.of("agreement", *layout.gauge("agreement", metrics.agreement, "$source-both")),
            Row.of("divergence", *layout.gauge("divergence", metrics.divergence, "$source-blend")),
        ]
