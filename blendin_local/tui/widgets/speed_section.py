"""Panel section: speed and length of the reply."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import UNKNOWN, PanelLayout, Row
from blendin_local.tui.widgets.metric_section import MetricSection


class SpeedSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        summary = shown.reply.summary
        speed = f"{summary.tokens_per_second:.1f}" if summary.tokens_per_second else UNKNOWN
        first = f"{summary.timings.first_token_s:.2f} s" if summary.timings.first_token_s else UNKNOWN
        tokens = f"{summary.tokens}, in the chat {shown.totals.tokens}" if shown.totals.steps else UNKNOWN
        return [
            Row.of("", layout.heading("Speed")),
            Row.of("tokens/s", layout.fact("tokens/s", f"{speed:.1f}" if speed else UNKNOWN)),
            Row.of(
                "time to first token",
                layout.fact("first token after", f"{first:.2f} s" if first else UNKNOWN),
            ),
            Row.of("", layout.fact("tokens", tokens)),
        ]
