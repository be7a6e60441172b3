"""Panel section: rates of the guide's interventions, in the reply and in the conversation."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.tui.metrics import PanelMetrics, Totals
from blendin_local.tui.rows import PanelLayout, Row, percentage
from blendin_local.tui.widgets.metric_section import MetricSection


class RatesSection(MetricSection):
    """Marks rates above the hint level, except for the changed-token rate."""

    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        reply, chat = Totals.of([shown.reply.summary]), shown.totals

        def row(metric: str, label: str, here: float | None, all: float | None, hinted: bool = True) -> Row:
            columns = [percentage(share, hinted and shown.over_hint(share)) for share in (here, all)]
            tick = shown.hint if hinted else None
            return Row.of(metric, layout.rate(label, columns[0], columns[1], here, tick))

        return [
            Row.of("hint level", layout.heading("The guide's part", "reply", "chat")),
            row("intervention rate", "intervened", reply.intervention_rate, chat.intervention_rate),
            row("changed-token rate", "changed", reply.changed_rate, chat.changed_rate, hinted=False),
            row("guide-word rate", "guide words", reply.guide_word_rate, chat.guide_word_rate),
        ]
