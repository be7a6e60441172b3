"""How fast the reply is written, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.tui.metrics import PanelFigures
from blendin_local.tui.rows import UNKNOWN, PanelLayout, Row
from blendin_local.tui.widgets.metric_section import FigureSection


class SpeedSection(FigureSection):
    def rows(self, shown: PanelFigures, sheet: PanelLayout) -> Sequence[Row]:
        summary = shown.reply.summary
        speed, first = summary.tokens_per_second, summary.timings.first_token_s
        tokens = f"{summary.tokens}, in the chat {shown.totals.tokens}" if shown.totals.steps else UNKNOWN
        return [
            Row.of("", sheet.heading("Speed")),
            Row.of("tokens/s", sheet.fact("tokens/s", f"{speed:.1f}" if speed else UNKNOWN)),
            Row.of(
                "time to first token", sheet.fact("first token after", f"{first:.2f} s" if first else UNKNOWN)
            ),
            Row.of("", sheet.fact("tokens", tokens)),
        ]
