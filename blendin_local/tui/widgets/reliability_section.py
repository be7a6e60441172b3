"""Panel section: reliability of base and guide over the reply, and weak passages."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.engine.steps import WEAK_BELOW
from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import MUTED, UNKNOWN, PanelLayout, Row, number
from blendin_local.tui.widgets.metric_section import MetricSection


class ReliabilitySection(MetricSection):
    """Titled "Reliability" for calibrated pairs, else "Confidence"."""

    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        metrics, summary = shown.reply, shown.reply.summary
        title, source = (
            ("reliability", "calibrated for this pair")
            if shown.calibrated
            else ("confidence", "the pair is not calibrated")
        )
        mean, lowest = (
            number(value, WEAK_BELOW, width=0)
            for value in (summary.mean("reliability"), summary.lowest_reliability)
        )
        weak = f"{summary.weak_share:.0%}" if summary.steps else UNKNOWN
        return [
            Row.of("", layout.heading(title.capitalize(), "now", "mean")),
            Row.of(title, Content.styled(source, MUTED)),
            Row.of(title, *layout.gauge("base", metrics.base, "$source-base", WEAK_BELOW)),
            Row.of(title, *layout.gauge("guide", metrics.guide, "$source-guide", WEAK_BELOW)),
            Row.of(
                "mean and lowest reliability",
                layout.fact("who spoke", Content.assemble("mean ", mean, "  lowest ", lowest)),
            ),
            Row.of("weak passages", layout.fact(f"weak steps {weak}", _passages(shown))),
        ]


def _passages(shown: PanelMetrics) -> str:
    if not shown.weak_passages:
        return "no weak passage" if shown.reply.summary.steps else ""
    if shown.weak_at is not None:
        return f"passage {shown.weak_at + 1}/{shown.weak_passages}"
    return f"{shown.weak_passages} passage{'s' if shown.weak_passages > 1 else ''}"
