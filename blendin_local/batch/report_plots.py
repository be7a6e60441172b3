"""Plot distributions over the answers of a job of offline generation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from blendin_local.batch.job_report import Distribution, JobReport
from blendin_local.batch.report_tables import reliability_name, spread_line
from blendin_local.engine.steps import HINT_RATE, WEAK_BELOW
from blendin_local.presentation.formatting import percent
from blendin_local.presentation.plot import ROLE_COLOURS, Plot, hover, make_plot

__all__ = ["batch_plots"]


def batch_plots(report: JobReport) -> Iterator[Plot]:
    """Yield the plots that have data. Raises EvaluationError if Plotly is not installed."""
    name = reliability_name(report)
    if shown := spread_line(report.reliability):
        yield _histogram(
            report.reliability,
            f"{name.capitalize()} of the answers",
            f"Each answer by its mean over its steps: {shown}. Left of the dotted line an answer is weak "
            "throughout.",
            f"mean {name}", ROLE_COLOURS["chosen"], WEAK_BELOW, explained=("reliability of an answer",),
        )  # fmt: skip
    if shown := spread_line(report.intervention_rates):
        yield _histogram(
            report.intervention_rates,
            "Intervention rate of the answers",
            f"How often the guide was asked: {shown}. The dotted line is the paper's hint, no verdict.",
            "intervention rate", ROLE_COLOURS["guide"], HINT_RATE,
            explained=("intervention rate", "hint"),
        )  # fmt: skip


def _histogram(
    spread: Distribution, title: str, caption: str, across: str, colour: str, mark: float, **more: Any
) -> Plot:
    edges, counts = spread.histogram.edges, spread.histogram.counts
    total = sum(counts)
    width = edges[1] - edges[0]
    trace = {
        "type": "bar",
        "x": [(low + high) / 2 for low, high in pairwise(edges)],
        "y": list(counts),
        "width": [width * 0.9] * len(counts),
        "marker": {"color": colour},
        "hoverinfo": "text",
        "hovertext": [
            hover(f"{low:.2f} to {high:.2f}", answers=f"{count:,}", share=percent(count / total))
            for (low, high), count in zip(pairwise(edges), counts, strict=True)
        ],
    }
    line = {"color": ROLE_COLOURS["front"], "dash": "dot", "width": 1.5}
    layout = {
        "showlegend": False,
        "xaxis": {"title": {"text": across}, "range": [0, 1], "automargin": True, "showgrid": False},
        "yaxis": {"title": {"text": "answers"}, "rangemode": "tozero", "automargin": True, "nticks": 6},
        "shapes": [{"type": "line", "x0": mark, "x1": mark, "y0": 0, "y1": 1, "yref": "paper", "line": line}],
        "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
    }
    return make_plot(title, caption, [trace], layout, height=320, narrow=True, **more)
