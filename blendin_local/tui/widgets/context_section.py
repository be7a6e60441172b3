"""Panel section: fill of both contexts, and memory of the process."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.engine.chat_backend import ContextUse
from blendin_local.tui.metrics import NEARLY_FULL, PanelMetrics
from blendin_local.tui.rows import UNKNOWN, WARNING, PanelLayout, Row
from blendin_local.tui.widgets.metric_section import MetricSection


class ContextSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        memory = f"{shown.memory / 1e9:.2f} GB" if shown.memory else UNKNOWN
        return [
            Row.of("", layout.heading("Context", "tokens")),
            *(
                Row.of("context fill", _fill(role, shown.context_use.get(role), layout))
                for role in ("base", "guide")
            ),
            Row.of("memory", layout.fact("memory taken", memory)),
        ]


def _fill(role: str, fill: ContextUse | None, layout: PanelLayout) -> Content:
    if fill is None or not fill.size:
        return layout.fact(role, UNKNOWN)
    share = fill.used / fill.size
    warned = share >= NEARLY_FULL
    return layout.fill(
        f"{role}{' !' if warned else ''}",
        share,
        WARNING if warned else f"$source-{role}",
        f"{_short(fill.used)}/{_short(fill.size)}",
    )


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 10_000 else f"{tokens / 1000:.0f}k"
