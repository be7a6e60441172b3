"""The sections of the panel."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from blendin_local.engine.chat_backend import ContextUse
from blendin_local.engine.steps import WEAK_BELOW, Source
from blendin_local.presentation.formatting import line
from blendin_local.tui.bars import stack
from blendin_local.tui.metrics import NEARLY_FULL, PanelMetrics, Totals
from blendin_local.tui.rows import MUTED, UNKNOWN, WARNING, PanelLayout, Row, number, percentage, shorten
from blendin_local.tui.widgets.metric_section import MetricSection

_SPEAKERS = (
    (Source.BASE, "base", "█", "$source-base"),
    (Source.GUIDE, "guide", "▓", "$source-guide"),
    (Source.BOTH, "both", "▒", "$source-both"),
    (Source.BLEND, "blend", "░", "$source-blend"),
    (Source.USER, "you", "▚", "$text-primary"),
)
_APART = 4
"""Width of the gap between the columns of shares."""
_ROLE_WIDTH = 7


class PairSection(MetricSection):
    """Pair, method and models of the reply."""

    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        about = shown.about
        method = Content.styled(about.method, MUTED)
        pair = shorten(line(about.pair or "Two models"), layout.width - method.cell_length - 2)

        def model(role: str, name: str) -> Content:
            shown_name = shorten(line(name), layout.width - _ROLE_WIDTH)
            return Content.assemble((f"{role:{_ROLE_WIDTH}}", MUTED), shown_name)

        head = layout.apart(Content.styled(pair, "bold"), method)
        return [Row.of("", head, model("base", about.base), model("guide", about.guide))]


class ReliabilitySection(MetricSection):
    """Reliability of base and guide, called confidence without calibration, and weak passages."""

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


class RatesSection(MetricSection):
    """Rates of interventions; those above the hint level are marked, except for the changed-token rate."""

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


class SpeakersSection(MetricSection):
    """Shares of the reply's steps by source."""

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


class BlendSection(MetricSection):
    """α, agreement and divergence of the steps at which the guide was asked."""

    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        metrics = shown.reply
        return [
            Row.of("", layout.heading("The mixture", "last", "mean")),
            Row.of("alpha", *layout.gauge("α", metrics.alpha, "$source-guide")),
            Row.of("agreement", *layout.gauge("agreement", metrics.agreement, "$source-both")),
            Row.of("divergence", *layout.gauge("divergence", metrics.divergence, "$source-blend")),
        ]


class SpeedSection(MetricSection):
    """Speed and length of the reply."""

    def rows(self, shown: PanelMetrics, layout: PanelLayout) -> Sequence[Row]:
        summary = shown.reply.summary
        speed = f"{summary.tokens_per_second:.1f}" if summary.tokens_per_second else UNKNOWN
        first = f"{summary.timings.first_token_s:.2f} s" if summary.timings.first_token_s else UNKNOWN
        tokens = f"{summary.tokens}, in the chat {shown.totals.tokens}" if shown.totals.steps else UNKNOWN
        return [
            Row.of("", layout.heading("Speed")),
            Row.of("tokens/s", layout.fact("tokens/s", speed)),
            Row.of("time to first token", layout.fact("first token after", first)),
            Row.of("", layout.fact("tokens", tokens)),
        ]


class ContextSection(MetricSection):
    """Fill of both contexts, and memory of the process."""

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


SECTIONS: tuple[type[MetricSection], ...] = (
    PairSection,
    ReliabilitySection,
    RatesSection,
    SpeakersSection,
    BlendSection,
    SpeedSection,
    ContextSection,
)
"""The most important first, because small screens show only those without scrolling."""
