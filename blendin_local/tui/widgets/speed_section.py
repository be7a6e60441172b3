"""How fast the reply is written."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from blendin_local.steps import Summary
from blendin_local.tui import rows


class SpeedSection(Widget):
    def __init__(self) -> None:
        super().__init__()
        self._summary = Summary()

    def show(self, summary: Summary) -> None:
        self._summary = summary
        self.refresh()

    def render(self) -> Content:
        summary = self._summary
        speed, first = summary.tokens_per_second, summary.timings.first_token_s
        return rows.stacked(
            rows.heading("Speed"),
            rows.fact("tokens/s", f"{speed:.1f}" if speed else "–"),
            rows.fact("first token after", f"{first:.2f} s" if first else "–"),
            rows.fact("tokens", str(summary.tokens) if summary.steps else "–"),
        )
