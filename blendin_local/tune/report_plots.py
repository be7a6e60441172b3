"""Plot a tune report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import interval, number, percent
from blendin_local.presentation.plot import (
    ROLE_COLOURS,
    Plot,
    Trace,
    colour_of,
    error_bars,
    escape_text,
    front_line,
    hover,
    make_plot,
    scatter,
    titled_axis,
)
from blendin_local.presentation.setting_label import setting_label
from blendin_local.tune.report_tables import fitting_bits
from blendin_local.tune.result import CalibrationFit, ReliabilityBin, ScoredSetting, TuneReport

__all__ = ["tune_plots"]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_BITS = "bits per byte (lower is better)"


def tune_plots(result: TuneReport) -> Iterator[Plot]:
    """Yield all plots that have figures. Raises EvaluationError if Plotly is not installed."""
    made = (
        _speed(result),
        _over_gamma(result),
        _unsure(result),
        *(_reliability(role, found) for role, found in result.calibration.items()),
    )
    yield from (each for each in made if each)


def _hover(setting: ScoredSetting) -> str:
    rate = setting.intervention_rate
    # The guide alone has no model to ask.
    asked = {} if rate is None else {"intervention_rate": percent(rate)}
    speeds = {
        "tokens/s": number(setting.tokens_per_second, 1),
        "bytes/s": number(setting.bytes_per_second, 0),
    }
    bits, around = number(setting.bits_per_byte), interval(setting.interval)
    return hover(setting_label(setting), bits_per_byte=bits, interval=around, **asked, **speeds)


# Quality against speed


def _speed(result: TuneReport) -> Plot | None:
    methods: dict[str, list[ScoredSetting]] = {}
    for each in result.settings:
        if each.bits_per_byte is not None and each.bytes_per_second is not None:
            methods.setdefault(each.method, []).append(each)
    if not methods:
        return None
    front = [each for listed in methods.values() for each in listed if each.pareto]
    traces = [front_line((each.bytes_per_second or 0.0, each.bits_per_byte or 0.0) for each in front)]
    for place, (method, listed) in enumerate(methods.items()):
        marker = {
            "color": colour_of(method, place),
            "symbol": METHODS[method].marker if method in METHODS else "circle",
            "size": 13 if listed[0].is_single else 8,
            "opacity": 1 if listed[0].is_single else 0.8,
        }
        label = {"mode": "markers+text", "text": [escape_text(method)], "textposition": "top center"}
        traces.append(
            _at_speeds(escape_text(method), listed, marker) | (label if listed[0].is_single else {})
        )
    chosen = result.recommendation.setting
    if chosen in methods.get(chosen.method, ()):
        line = {"width": 3, "color": ROLE_COLOURS["chosen"]}
        ring = {"symbol": "circle-open", "size": 20, "color": ROLE_COLOURS["chosen"], "line": line}
        traces.append(_at_speeds("recommended", [chosen], ring))
    caption = (
        "Every setting: the lower and the further right, the better. The line joins those that none beats in "
        "both. The ring is the recommended one. Names in the legend switch methods on and off."
    )
    explained = ("bits per byte", "bytes/s", "Pareto front")
    layout = {"xaxis": titled_axis("bytes per second (higher is better)"), "yaxis": titled_axis(_BITS)}
    return make_plot("Quality against speed", caption, traces, layout, height=520, explained=explained)


def _at_speeds(name: str, settings: Sequence[ScoredSetting], marker: dict[str, Any]) -> Trace:
    return scatter(
        name,
        [each.bytes_per_second for each in settings],
        [each.bits_per_byte for each in settings],
        [_hover(each) for each in settings],
        cliponaxis=False,
        marker=marker,
    )


# Over the thresholds


def _over_gamma(result: TuneReport) -> Plot | None:
    """One line per method, for `fixed` one per α; single models and `ensemble` are horizontal lines."""
    chosen = result.recommendation.setting
    lines: dict[tuple[str, float | None], list[ScoredSetting]] = {}
    across: dict[str, ScoredSetting] = {}
    for setting in result.settings:
        if setting.bits_per_byte is None:
            continue
        if setting.gamma is None:
            across.setdefault(setting.method, setting)
        else:
            lines.setdefault((setting.method, setting.alpha), []).append(setting)
    if not lines:
        return None
    gammas = [each.gamma for listed in lines.values() for each in listed if each.gamma is not None]
    traces = [_level_line(setting, min(gammas), max(gammas)) for setting in across.values()]
    alphas = [key for key in lines if key[1] is not None]
    best_alpha = min(alphas, key=lambda key: min(map(fitting_bits, lines[key])), default=None)
    for place, (key, listed) in enumerate(lines.items()):
        dash = _DASHES[alphas.index(key) % len(_DASHES)] if key in alphas else "solid"
        hidden = key in alphas and key != best_alpha
        bold = (chosen.method, chosen.alpha) == key
        traces.append(_line(key, listed, colour_of(key[0], place), dash=dash, hidden=hidden, bold=bold))
    caption = (
        "How each method fares as the guide is asked more often: at γ = 0 never, at γ = 1 at every step. "
        "Bars are 95% intervals. Lines of other α of the method fixed can be switched on in the legend."
    )
    more: dict[str, Any] = {"height": 540, "explained": ("bits per byte", "95% interval"), "intervals": True}
    layout = {"xaxis": titled_axis("threshold γ"), "yaxis": titled_axis(_BITS)}
    return make_plot("Bits per byte over the threshold", caption, traces, layout, **more)


def _level_line(setting: ScoredSetting, low: float, high: float) -> Trace:
    line = {"color": colour_of(setting.method), "width": 2, "dash": "dash"}
    bits, hovers = [setting.bits_per_byte] * 2, [_hover(setting)] * 2
    return scatter(escape_text(setting.method), [low, high], bits, hovers, mode="lines", line=line)


def _line(
    key: tuple[str, float | None],
    listed: list[ScoredSetting],
    colour: str,
    *,
    dash: str,
    hidden: bool,
    bold: bool,
) -> Trace:
    ordered = sorted(listed, key=lambda each: each.gamma or 0.0)
    bits = [each.bits_per_byte for each in ordered]
    method, alpha = key
    return scatter(
        escape_text(method if alpha is None else f"{method} α {number(alpha, 2)}"),
        [each.gamma for each in ordered],
        bits,
        [_hover(each) for each in ordered],
        mode="lines+markers",
        visible="legendonly" if hidden else True,
        error_y=error_bars(bits, [each.interval for each in ordered], visible=bold),
        line={"color": colour, "width": 3 if bold else 1.5, "dash": dash},
        marker={"size": 6, "color": colour},
    )


# Where the base is unsure


def _unsure(result: TuneReport) -> Plot | None:
    found = result.uncertain
    parts = (
        ("both right", found.both_right, ROLE_COLOURS["chosen"]),
        ("only the guide", found.only_guide_right, ROLE_COLOURS["guide"]),
        ("only the base", found.only_base_right, ROLE_COLOURS["base"]),
        ("neither", found.neither_right, ROLE_COLOURS["front"]),
    )
    if not found.positions:
        return None
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "x": [share],
            "y": [""],
            "text": [percent(share, 0)],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "textfont": {"color": "#000000"},
            "hovertext": [hover(label, share=percent(share))],
            "hoverinfo": "text",
            "marker": {"color": colour},
        }
        for label, share, colour in parts
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"tickformat": ".0%", "range": [0, 1], "fixedrange": True},
        "yaxis": {"visible": False, "fixedrange": True},
        "margin": {"l": 12, "r": 12, "t": 8, "b": 32},
        "legend": {"orientation": "h", "y": -0.45, "yanchor": "top", "x": 0, "traceorder": "normal"},
    }
    caption = (
        "Whose favourite token was the reference's, at the positions where the guide would be asked. The "
        "more “only the guide”, the more there is to gain; “only the base” is what a blend may lose."
    )
    title = f"Right and wrong where the base is unsure (γ {number(found.gamma, 2)})"
    return make_plot(title, caption, traces, layout, height=190, explained=("where the base is unsure",))


# Reliability


def _reliability(role: str, found: CalibrationFit) -> Plot | None:
    bins = [each for each in found.bins if each.count]
    if not bins:
        return None
    colour = ROLE_COLOURS[role]
    diagonal = {"color": ROLE_COLOURS["front"], "dash": "dot", "width": 1}
    traces = [
        scatter("perfect", [0, 1], [0, 1], mode="lines", line=diagonal),
        scatter(
            "raw",
            [each.confidence for each in bins],
            [each.accuracy for each in bins],
            [_bin_hover(each, "raw confidence", each.confidence) for each in bins],
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 7},
        ),
        *_fitted_traces(found, bins),
        _counts(bins, colour),
    ]
    layout: dict[str, Any] = {
        "xaxis": titled_axis("confidence") | {"range": [0, 1], "anchor": "y2"},
        "yaxis": titled_axis("how often right") | {"range": [0, 1.02], "domain": [0.24, 1]},
        "yaxis2": titled_axis("positions") | {"domain": [0, 0.16], "anchor": "x", "nticks": 3},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    }
    raw, fitted = number(found.ece_raw), number(found.ece_fitted)
    caption = (
        f"Calibration error (ECE) {raw} as it is, {fitted} after the fit, on examples that were held out."
    )
    explained = ("reliability diagram", "ECE", "fitted")
    return make_plot(
        f"Reliability of the {role}", caption, traces, layout, height=460, narrow=True, explained=explained
    )


def _bin_hover(each: ReliabilityBin, label: str, confidence: float | None) -> str:
    facts = {
        label: number(confidence, 2),
        "right": percent(each.accuracy),
        "positions": f"{each.count:,}",
    }
    return hover(f"{number(each.low, 2)} to {number(each.high, 2)}", **facts)


def _fitted_traces(found: CalibrationFit, bins: list[ReliabilityBin]) -> Iterator[Trace]:
    """Yield the curve, and the same bins moved to where it puts their confidence, as `steps.Calibration`
    does.
    """
    curve = found.curve
    if not curve.confidences:
        return
    confidences = [each.confidence or 0.0 for each in bins]
    moved = np.interp(confidences, curve.confidences, curve.reliabilities).tolist()
    yield scatter(
        "fitted",
        moved,
        [each.accuracy for each in bins],
        [_bin_hover(each, "reliability", x) for each, x in zip(bins, moved, strict=True)],
        marker={
            "color": ROLE_COLOURS["chosen"],
            "size": 10,
            "symbol": "diamond-open",
            "line": {"width": 2},
        },
    )
    line = {"color": ROLE_COLOURS["chosen"], "width": 1.5, "dash": "dash"}
    yield scatter("the curve", list(curve.confidences), list(curve.reliabilities), mode="lines", line=line)


def _counts(bins: list[ReliabilityBin], colour: str) -> Trace:
    return {
        "type": "bar",
        "name": "positions",
        "showlegend": False,
        "yaxis": "y2",
        "x": [(each.low + each.high) / 2 for each in bins],
        "width": [(each.high - each.low) * 0.92 for each in bins],
        "y": [each.count for each in bins],
        "hovertext": [f"{each.count:,} positions" for each in bins],
        "hoverinfo": "text",
        "marker": {"color": colour, "opacity": 0.6},
    }
