"""Panel section: shares of the reply's steps by source."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.engine.steps import Source
from blendin_local.tui.bars import stack
from blendin_local.tui.metrics import PanelMetrics
from blendin_local.tui.rows import UNKNOWN, PanelLayout, Row
from blendin_local.tui.widgets.metric_section import MetricSection

_SPEAKERS = (
    (Source.BASE, "base", "█", "$source-base"),
    (Source.GUIDE, "guide", "▓", "$source-guide"),
    (Source.BOTH, "both", "▒", "$source-both"),
    (Source.BLEND, "blend", "░", "$source-blend"),
    (Source.USER, "you", "▚", "$text-primary"),
)
_APART = 4


class SpeakersSection(MetricSection):
    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        sources = shown.reply.summary.sources
        counts = [sources[source] for source, *_ in _SPEAKERS]
        total = sum(counts)
        cells = stack(counts, layout.width)
        bar = Content.assemble(
            *((mark * n, style) for n, (_, _, mark, style) in zip(cells, _SPEAKERS, strict=True))
        )
        width = (layout.width - _APART) // 2

        def entry(place: int) -> Content:
            _, label, mark, style = _SPEAKERS[place]
            share = f"{counts[place] / total:.0%}" if total else UNKNOWN
            if counts[place] and share == "0%":
                share = "<1%"
            return PanelLayout(width).apart(Content.assemble((mark, style), f" {label}"), share)

        def pair(left: int, right: int) -> Content:
            return layout.apart(entry(left), entry(right))

        you = Content.assemble("  ", entry(4)) if counts[4] else Content("")
        return [
            Row.of("", layout.apart(Content.styled("Who spoke", "bold"), you)),
            Row.of("who spoke", bar if total else Content("─" * layout.width), pair(0, 1), pair(2, 3)),
        ]
