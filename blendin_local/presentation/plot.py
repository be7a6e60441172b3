"""Build the Plotly figures of reports.

Figures define no text and paper colours: the page sets those of its theme. All text that Plotly draws goes
through `escape_text`, because Plotly interprets a few HTML tags, such as links.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendin_local.errors import EvaluationError
from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import line, shorten

__all__ = [
    "LABEL",
    "ROLE_COLOURS",
    "Plot",
    "Trace",
    "check_available",
    "colour_of",
    "error_bars",
    "escape_text",
    "front_line",
    "hover",
    "make_plot",
    "plotly_script",
    "scatter",
    "titled_axis",
]

Trace = dict[str, Any]
"""A trace of Plotly's `data`."""

ROLE_COLOURS = {
    "base": METHODS["base"].colour,
    "guide": METHODS["guide"].colour,
    "blend": METHODS["blendin"].colour,
    "front": METHODS["fixed"].colour,
    "chosen": METHODS["tuned"].colour,
}
_CYCLE = tuple(method.colour for method in METHODS.values())
"""Contrast of at least 3 : 1 against both page backgrounds (tests/tune/test_reports.py)."""

LABEL = 26
"""Most characters of a name at an axis; the full name is in the hover text."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure of the page.

    figure: `data` and `layout` of Plotly. height: pixels. explained: names in `formatting.TERM_HELP`. narrow:
    two of them fit side by side. intervals: whether the page has a switch for the intervals of every line.
    """

    title: str
    caption: str
    figure: Mapping[str, Any]
    height: int
    explained: tuple[str, ...] = ()
    narrow: bool = False
    intervals: bool = False


def check_available() -> None:
    """Raise EvaluationError if Plotly is not installed; call it before a long run."""
    try:
        import plotly.graph_objects  # noqa: F401
    except ImportError as error:
        raise EvaluationError(
            "HTML reports need Plotly, which is not installed: pip install 'blendin-local[report]'."
        ) from error


def plotly_script() -> str:
    """Return Plotly's JavaScript, to be embedded. Raises EvaluationError if it is unusable."""
    check_available()
    from plotly.offline import get_plotlyjs

    found: str = get_plotlyjs()
    if "</script" in found.lower():
        raise EvaluationError("The installed Plotly cannot be put into a page: install another version.")
    return found


def make_plot(
    title: str,
    caption: str,
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    *,
    height: int = 420,
    **more: Any,
) -> Plot:
    """Make a plot; Plotly validates its traces and layout. Raises EvaluationError if Plotly is missing."""
    check_available()
    import plotly.graph_objects as go

    defaults: dict[str, Any] = {
        "margin": {"l": 56, "r": 12, "t": 34, "b": 48},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0, "itemsizing": "constant"},
        "height": height,
    }
    figure = go.Figure(data=[dict(trace) for trace in traces], layout=defaults | dict(layout))
    # Plotly's default template sets colours.
    figure.layout.template = None
    drawn = figure.to_plotly_json()
    drawn["layout"].pop("template", None)
    return Plot(title, caption, drawn, height, **more)


def scatter(
    name: str,
    x: Sequence[Any],
    y: Sequence[Any],
    hovers: Sequence[str] | None = None,
    *,
    mode: str = "markers",
    **more: Any,
) -> Trace:
    """Return a trace of points or lines. hovers: hover texts; None disables hovering."""
    hovering = {"hoverinfo": "skip"} if hovers is None else {"hovertext": hovers, "hoverinfo": "text"}
    return {"type": "scatter", "mode": mode, "name": name, "x": x, "y": y, **hovering, **more}


def front_line(points: Iterable[tuple[float, float]]) -> Trace:
    """Return the dotted line through the points of a Pareto front, sorted by x."""
    x, y = zip(*found, strict=True) if (found := sorted(points)) else ((), ())
    line = {"color": ROLE_COLOURS["front"], "width": 1.5, "dash": "dot"}
    return scatter("Pareto front", list(x), list(y), mode="lines", line=line)


def titled_axis(title: str) -> dict[str, Any]:
    """Return the layout of an axis with a title."""
    return {"title": {"text": title}, "automargin": True}


def escape_text(text: object, width: int | None = None) -> str:
    """Escape a text for Plotly. width: shorten it to so many characters, if given."""
    return html.escape(line(text) if width is None else shorten(text, width), quote=False)


def hover(name: object, **facts: str) -> str:
    """Return the hover text of a point: its name, and one line for each figure."""
    lines = [
        f"<b>{escape_text(name)}</b>",
        *(f"{escape_text(key.replace('_', ' '))}: {escape_text(value)}" for key, value in facts.items()),
    ]
    return "<br>".join(lines)


def colour_of(name: str, place: int = 0) -> str:
    """Return the colour of a method; other names take the colour at `place` in a cycle."""
    return METHODS[name].colour if name in METHODS else _CYCLE[place % len(_CYCLE)]


def error_bars(
    values: Sequence[float | None], bounds: Sequence[Any], *, visible: bool = True
) -> dict[str, Any]:
    """Return Plotly's error bars for values and their intervals, zero where either is missing."""
    above, below = [], []
    for value, found in zip(values, bounds, strict=True):
        whole = value is not None and found and None not in (found[0], found[1])
        above.append(max(0.0, found[1] - value) if whole else 0.0)
        below.append(max(0.0, value - found[0]) if whole and value is not None else 0.0)
    return {
        "type": "data", "symmetric": False, "array": above, "arrayminus": below, "visible": visible,
        "thickness": 1.5, "width": 4,
    }  # fmt: skip
