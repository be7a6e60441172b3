"""Metrics of replies with round numbers, for tests of the panel."""

from __future__ import annotations

from blendin_local.engine.steps import Source, Step
from blendin_local.tui.metrics import ReplyMetrics


def step(index: int, source: Source = Source.BASE) -> Step:
    """Return a step; unless the base chose it, the base is weak and the guide was asked."""
    asked = source not in (Source.BASE, Source.USER)
    return Step(
        index=index,
        data=b" word",
        text=" word",
        source=source,
        base_tokens=(index,),
        r_b=0.3 if asked else 0.9,
        r_g=0.35 if asked else None,
        agreement=0.25 if asked else None,
        alpha=0.625 if asked else 0.0,
        intervened=asked,
        changed=source is Source.GUIDE,
        divergence=0.375 if asked else None,
    )


_TURN = [Source(name) for name in ("base", "base", "guide", "base", "both", "base", "blend", "user")]


def metrics_of(n: int) -> ReplyMetrics:
    metrics = ReplyMetrics()
    for i in range(n):
        metrics.add([each := step(i, _TURN[i % len(_TURN)])])
        metrics.summary.add(each)
    metrics.summary.timings.first_token_s = 0.42
    metrics.summary.timings.total_s = 0.42 + (n - 1) / 40
    return metrics
