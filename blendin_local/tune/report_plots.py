"""The plots of a `tune` document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import (
    Document,
    interval,
    number,
    percent,
    same_setting,
    setting_name,
)
from blendin_local.presentation.plot import ROLE_COLOURS, Plot, colour_of, errors, hover, plot, shown
from blendin_local.tune.report_tables import fitting_bits, recommended, settings_of

__all__ = ["tune_plots"]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_ALONE = ("base", "guide")


def tune_plots(result: Document) -> Iterator[Plot]:
    """Those that there are figures for. Raises EvaluationError where Plotly is missing."""
    for make in (_speed, _over_gamma):
        if made := make(result):
            yield made
    if made := _unsure(result):
        yield made
    for role in _ALONE:
        if made := _reliability(result, role):
            yield made


def _by_method(settings: list[Document], *wanted: str) -> dict[str, list[Document]]:
    """Settings that have all these figures, by the name of their method."""
    found: dict[str, list[Document]] = {}
    for setting in settings:
        if all(setting.get(name) is not None for name in wanted):
            found.setdefault(str(setting.get("method")), []).append(setting)
    return found


def _hover(setting: Document) -> str:
    return hover(
        setting_name(setting),
        bits_per_byte=number(setting.get("bits_per_byte")),
        interval=interval(setting.get("interval")),
        **_rate(setting),
        **{
            "tokens/s": number(setting.get("tokens_per_second"), 1),
            "bytes/s": number(setting.get("bytes_per_second"), 0),
        },
    )


def _rate(setting: Document) -> dict[str, str]:
    """How often the guide is asked; the guide alone has nobody to ask."""
    rate = setting.get("intervention_rate")
    return {} if rate is None else {"intervention_rate": percent(rate)}


def _axes(across: str) -> dict[str, Any]:
    """The layout of a plot of bits per byte over something."""
    titles = {"xaxis": across, "yaxis": "bits per byte (lower is better)"}
    return {axis: {"title": {"text": title}, "automargin": True} for axis, title in titles.items()}


# Quality against speed


def _speed(result: Document) -> Plot | None:
    methods = _by_method(settings_of(result), "bits_per_byte", "bytes_per_second")
    if not methods:
        return None
    traces = [_front([each for listed in methods.values() for each in listed if each.get("pareto")])]
    for place, (method, listed) in enumerate(methods.items()):
        alone = method in _ALONE
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text" if alone else "markers",
                "name": shown(method),
                "x": [each["bytes_per_second"] for each in listed],
                "y": [each["bits_per_byte"] for each in listed],
                "text": [shown(method) if alone else "" for _ in listed],
                "textposition": "top center",
                "hovertext": [_hover(each) for each in listed],
                "hoverinfo": "text",
                "cliponaxis": False,
                "marker": {
                    "color": colour_of(method, place),
                    "symbol": METHODS[method].marker if method in METHODS else "circle",
                    "size": 13 if alone else 8,
                    "opacity": 1 if alone else 0.8,
                },
            }
        )
    chosen = recommended(result)
    listed = [each for found in methods.values() for each in found if same_setting(each, chosen)]
    traces += [_ring(each) for each in listed[:1]]
    caption = (
        "Every setting: the lower and the further right, the better. The line joins those that none beats in "
        "both. The ring is the recommended one. Names in the legend switch methods on and off."
    )
    explained = ("bits per byte", "bytes/s", "Pareto front")
    layout = _axes("bytes per second (higher is better)")
    return plot("Quality against speed", caption, traces, layout, height=520, explained=explained)


def _front(settings: list[Document]) -> dict[str, Any]:
    ordered = sorted(settings, key=lambda each: each["bytes_per_second"])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [each["bytes_per_second"] for each in ordered],
        "y": [each["bits_per_byte"] for each in ordered],
        "hoverinfo": "skip",
        "line": {"color": ROLE_COLOURS["front"], "width": 1.5, "dash": "dot"},
    }


def _ring(setting: Document) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "recommended",
        "x": [setting["bytes_per_second"]],
        "y": [setting["bits_per_byte"]],
        "hovertext": [_hover(setting)],
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {
            "symbol": "circle-open", "size": 20, "color": ROLE_COLOURS["chosen"],
            "line": {"width": 3, "color": ROLE_COLOURS["chosen"]},
        },
    }  # fmt: skip


# Over the thresholds


def _over_gamma(result: Document) -> Plot | None:
    """A line for each method, for `fixed` one for each α; single models and `ensemble` lie across."""
    chosen = recommended(result) or result.get("best")
    lines: dict[tuple[str, Any], list[Document]] = {}
    across: dict[str, Document] = {}
    for setting in settings_of(result):
        if setting.get("bits_per_byte") is None:
            continue
        method = str(setting.get("method"))
        if setting.get("gamma") is None:
            across.setdefault(method, setting)
        else:
            lines.setdefault((method, setting.get("alpha")), []).append(setting)
    if not lines:
        return None
    traces = [_level(method, setting, lines) for method, setting in across.items()]
    best_alpha = min(
        (key for key in lines if key[1] is not None),
        key=lambda key: min(fitting_bits(each) for each in lines[key]),
        default=None,
    )
    alphas = [key for key in lines if key[1] is not None]
    for place, (key, listed) in enumerate(lines.items()):
        dash = _DASHES[alphas.index(key) % len(_DASHES)] if key in alphas else "solid"
        hidden = key in alphas and key != best_alpha
        bold = chosen is not None and (chosen.get("method"), chosen.get("alpha")) == key
        traces.append(_line(key, listed, colour_of(key[0], place), dash=dash, hidden=hidden, bold=bold))
    caption = (
        "How each method fares as the guide is asked more often: at γ = 0 never, at γ = 1 at every step. "
        "Bars are 95% intervals. Lines of other α of the method fixed can be switched on in the legend."
    )
    more: dict[str, Any] = {"height": 540, "explained": ("bits per byte", "95% interval"), "intervals": True}
    return plot("Bits per byte over the threshold", caption, traces, _axes("threshold γ"), **more)


def _level(method: str, setting: Document, lines: dict[tuple[str, Any], list[Document]]) -> dict[str, Any]:
    gammas = [each["gamma"] for listed in lines.values() for each in listed]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": shown(method),
        "x": [min(gammas), max(gammas)],
        "y": [setting["bits_per_byte"]] * 2,
        "hovertext": [_hover(setting)] * 2,
        "hoverinfo": "text",
        "line": {"color": colour_of(method), "width": 2, "dash": "dash"},
    }


def _line(
    key: tuple[str, Any], listed: list[Document], colour: str, *, dash: str, hidden: bool, bold: bool
) -> dict[str, Any]:
    ordered = sorted(listed, key=lambda each: each["gamma"])
    bits = [each["bits_per_byte"] for each in ordered]
    method, alpha = key
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": shown(method if alpha is None else f"{method} α {number(alpha, 2)}"),
        "x": [each["gamma"] for each in ordered],
        "y": bits,
        "visible": "legendonly" if hidden else True,
        "error_y": errors(bits, [each.get("interval") for each in ordered], visible=bold),
        "hovertext": [_hover(each) for each in ordered],
        "hoverinfo": "text",
        "line": {"color": colour, "width": 3 if bold else 1.5, "dash": dash},
        "marker": {"size": 6, "color": colour},
    }


# Where the base is unsure


def _unsure(result: Document) -> Plot | None:
    found = result.get("uncertain") or {}
    parts = (
        ("both right", "both_right", ROLE_COLOURS["chosen"]),
        ("only the guide", "only_guide_right", ROLE_COLOURS["guide"]),
        ("only the base", "only_base_right", ROLE_COLOURS["base"]),
        ("neither", "neither_right", ROLE_COLOURS["front"]),
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "x": [found[key]],
            "y": [""],
            "text": [percent(found[key], 0)],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "textfont": {"color": "#000000"},
            "hovertext": [hover(label, share=percent(found[key]))],
            "hoverinfo": "text",
            "marker": {"color": colour},
        }
        for label, key, colour in parts
        if found.get(key) is not None
    ]
    if not traces or not found.get("positions"):
        return None
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
    title = f"Right and wrong where the base is unsure (γ {number(found.get('gamma'), 2)})"
    return plot(title, caption, traces, layout, height=190, explained=("where the base is unsure",))


# Reliability


def _reliability(result: Document, role: str) -> Plot | None:
    found = (result.get("calibration") or {}).get(role) or {}
    bins = [
        each
        for each in found.get("bins") or []
        if each.get("count") and each.get("confidence") is not None and each.get("accuracy") is not None
    ]
    if not bins:
        return None
    colour = ROLE_COLOURS[role]
    traces = [_diagonal(), _bins(bins, colour), *_fitted(found, bins), _counts(bins, colour)]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "confidence"}, "range": [0, 1], "anchor": "y2"},
        "yaxis": {"title": {"text": "how often right"}, "range": [0, 1.02], "domain": [0.24, 1]},
        "yaxis2": {"title": {"text": "positions"}, "domain": [0, 0.16], "anchor": "x", "nticks": 3},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    }
    for axis in ("xaxis", "yaxis", "yaxis2"):
        layout[axis]["automargin"] = True
    raw, fitted = number(found.get("ece_raw")), number(found.get("ece_fitted"))
    caption = (
        f"Calibration error (ECE) {raw} as it is, {fitted} after the fit, on examples that were held out."
    )
    more: dict[str, Any] = {
        "height": 460,
        "narrow": True,
        "explained": ("reliability diagram", "ECE", "fitted"),
    }
    return plot(f"Reliability of the {role}", caption, traces, layout, **more)


def _diagonal() -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "perfect", "hoverinfo": "skip",
        "line": {"color": ROLE_COLOURS["front"], "dash": "dot", "width": 1},
    }  # fmt: skip


def _bins(bins: list[Document], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "raw",
        "x": [each["confidence"] for each in bins],
        "y": [each["accuracy"] for each in bins],
        "hovertext": [_bin_hover(each, "raw confidence", each["confidence"]) for each in bins],
        "hoverinfo": "text",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 7},
    }


def _bin_hover(each: Document, label: str, confidence: float) -> str:
    facts = {
        label: number(confidence, 2),
        "right": percent(each["accuracy"]),
        "positions": f"{each['count']:,}",
    }
    return hover(f"{number(each.get('low'), 2)} to {number(each.get('high'), 2)}", **facts)


def _fitted(found: Document, bins: list[Document]) -> Iterator[dict[str, Any]]:
    """The same bins moved to where the curve puts their confidence."""
    curve = found.get("curve") or {}
    confidences, reliabilities = curve.get("confidences") or [], curve.get("reliabilities") or []
    if not confidences or len(confidences) != len(reliabilities):
        return
    moved = [_through(confidences, reliabilities, each["confidence"]) for each in bins]
    yield {
        "type": "scatter",
        "mode": "markers",
        "name": "fitted",
        "x": moved,
        "y": [each["accuracy"] for each in bins],
        "hovertext": [_bin_hover(each, "reliability", x) for each, x in zip(bins, moved, strict=True)],
        "hoverinfo": "text",
        "marker": {
            "color": ROLE_COLOURS["chosen"],
            "size": 10,
            "symbol": "diamond-open",
            "line": {"width": 2},
        },
    }
    yield {
        "type": "scatter",
        "mode": "lines",
        "name": "the curve",
        "x": list(confidences),
        "y": list(reliabilities),
        "hoverinfo": "skip",
        "line": {"color": ROLE_COLOURS["chosen"], "width": 1.5, "dash": "dash"},
    }


def _through(confidences: list[float], reliabilities: list[float], confidence: float) -> float:
    """The curve at a confidence: straight between its points, level outside (as `steps.Calibration`)."""
    import numpy as np

    return float(np.interp(confidence, confidences, reliabilities))


def _counts(bins: list[Document], colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "positions",
        "showlegend": False,
        "yaxis": "y2",
        "x": [((each.get("low") or 0) + (each.get("high") or 0)) / 2 for each in bins],
        "width": [max(0.0, (each.get("high") or 0) - (each.get("low") or 0)) * 0.92 for each in bins],
        "y": [each["count"] for each in bins],
        "hovertext": [f"{each['count']:,} positions" for each in bins],
        "hoverinfo": "text",
        "marker": {"color": colour, "opacity": 0.6},
    }
