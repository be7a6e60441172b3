"""The plots of a `compare` document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from blendin_local.compare.report_across_tables import family_means, gains
from blendin_local.compare.report_tables import KINDS, arm_of, cells_of, tasks_of
from blendin_local.presentation.formatting import (
    NOTHING,
    Document,
    difference,
    interval,
    is_share,
    line,
    measured,
    number,
    percent,
    signed_percent,
    size,
)
from blendin_local.presentation.plot import LABEL, ROLE_COLOURS, Plot, colour_of, errors, hover, plot, shown

__all__ = ["across_plots", "fidelity_plots", "task_plots"]

_ROW = 30
_KIND_COLOURS = {"base": ROLE_COLOURS["base"], "guide": ROLE_COLOURS["guide"], "pair": ROLE_COLOURS["blend"]}


def task_plots(result: Document) -> Iterator[Plot]:
    """The metric of every arm, a plot for each task. Raises EvaluationError where Plotly is missing."""
    for task in tasks_of(result):
        cells = [cell for cell in cells_of(result, task) if cell.get("value") is not None]
        if cells:
            yield _metric(result, task, cells)


def _metric(result: Document, task: Document, cells: list[Document]) -> Plot:
    scale = task.get("scale")
    share = is_share(scale)
    traces = []
    kinds = dict.fromkeys(arm_of(result, cell.get("arm")).get("kind") or "model" for cell in cells)
    for kind in kinds:
        # Names may be hostile or alike: a row is known by its number.
        rows = [
            (place, cell)
            for place, cell in enumerate(cells)
            if (arm_of(result, cell.get("arm")).get("kind") or "model") == kind
        ]
        values = [cell["value"] for _, cell in rows]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": shown(KINDS.get(kind, kind)),
                "x": values,
                "y": [place for place, _ in rows],
                "error_x": errors(values, [cell.get("interval") for _, cell in rows]),
                "hovertext": [_cell_hover(cell, scale) for _, cell in rows],
                "hoverinfo": "text",
                "marker": {"size": 10, "color": _KIND_COLOURS.get(kind, ROLE_COLOURS["front"])},
            }
        )
    shapes = [] if task.get("chance") is None else [_line_at(task["chance"])]
    layout = {
        "xaxis": {
            "title": {"text": shown(task.get("metric") or "score")},
            "automargin": True,
            "zeroline": False,
        }
        | ({"tickformat": ".0%"} if share else {}),
        "yaxis": _rows_axis([cell.get("arm") for cell in cells]),
        "shapes": shapes,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "margin": {"l": 20, "r": 16, "t": 30, "b": 44},
    }
    caption = "Bars are 95% intervals; where they overlap much, the order may be chance."
    caption += " The dotted line is what guessing scores." if shapes else ""
    name = f"{line(task.get('name'))}: {line(task.get('metric') or 'score')}"
    return plot(name, caption, traces, layout, height=110 + _ROW * len(cells), explained=("95% interval",))


def _cell_hover(cell: Document, scale: Sequence[float] | None) -> str:
    share = is_share(scale)
    facts = {
        "score": measured(cell.get("value"), scale),
        "95% interval": interval(cell.get("interval"), 1 if share else 2, as_percent=share),
        "scored": f"{cell.get('scored')} of {cell.get('n')}",
    }
    for role in ("base", "guide", "reference"):
        found = (cell.get("against") or {}).get(role)
        if found and found.get("difference") is not None:
            facts[f"vs {role}"] = difference(found["difference"], scale)
    if cell.get("intervention_rate") is not None:
        facts["intervention rate"] = percent(cell["intervention_rate"])
    return hover(cell.get("arm"), **facts)


def _rows_axis(names: Sequence[object]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [shown(name, LABEL) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }


def _line_at(x: float, *, upright: bool = True) -> dict[str, Any]:
    """A dotted line across the plot at x, or at a height."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    across = {"y0": x, "y1": x, "x0": 0, "x1": 1, "xref": "paper"}
    return {"type": "line", "line": {"color": ROLE_COLOURS["front"], "dash": "dot", "width": 1.5}} | (
        ends if upright else across
    )


# Over several pairs


def across_plots(result: Document) -> Iterator[Plot]:
    """Gains of blends, and the paper's figures. Raises EvaluationError where Plotly is missing."""
    for role in ("base", "guide"):
        if made := _heatmap(result, role):
            yield made
    for make in (_interventions, _gap, _families):
        if made := make(result):
            yield made


def _heatmap(result: Document, role: str) -> Plot | None:
    arms, tasks, found = gains(result, role)
    if not any(value is not None for row in found for value in row):
        return None
    # One colour scale for metrics of different ranges: a difference in parts of the range.
    relative = [
        [None if v is None else v / _width(task) for v, task in zip(row, tasks, strict=True)] for row in found
    ]
    most = max((abs(v) for row in relative for v in row if v is not None), default=0.0) or 1.0
    texts = [
        ["" if v is None else difference(v, task.get("scale")) for v, task in zip(row, tasks, strict=True)]
        for row in found
    ]
    trace = {
        "type": "heatmap",
        "z": relative,
        "x": list(range(len(tasks))),
        "y": list(range(len(arms))),
        "text": texts,
        "texttemplate": "%{text}",
        "textfont": {"color": "#000000"},
        "zmin": -most,
        "zmax": most,
        "colorscale": [[0, "#e07b39"], [0.5, "#e9e9e9"], [1, "#4f9fdc"]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertext": [
            [
                hover(arm, task=line(task.get("name")), gain=text or NOTHING)
                for task, text in zip(tasks, row, strict=True)
            ]
            for arm, row in zip(arms, texts, strict=True)
        ],
        "hoverinfo": "text",
    }  # fmt: skip
    layout = {
        "xaxis": {
            "tickvals": list(range(len(tasks))),
            "ticktext": [shown(task.get("name"), 14) for task in tasks],
            "side": "top", "showgrid": False, "zeroline": False, "automargin": True,
        },
        "yaxis": _rows_axis(arms) | {"showgrid": False},
        "margin": {"l": 20, "r": 12, "t": 36, "b": 8},
    }  # fmt: skip
    caption = f"The blend's score minus that of its {role} alone: blue is better, orange is worse."
    height = 80 + _ROW * len(arms)
    return plot(f"Gain over the {role} alone", caption, [trace], layout, height=height)


def _width(task: Document) -> float:
    low, high = task.get("scale") or (0, 1)
    return float(high - low) or 1.0


def _blends(result: Document) -> dict[object, Document]:
    return {arm.get("name"): arm for arm in result.get("arms") or [] if arm.get("kind") == "pair"}


def _interventions(result: Document) -> Plot | None:
    """Every blend as a point: how often its guide was asked, and its score in parts of the scale."""
    blends = _blends(result)
    traces = []
    for place, task in enumerate(tasks_of(result)):
        cells = [
            cell
            for cell in cells_of(result, task)
            if cell.get("arm") in blends and None not in (cell.get("intervention_rate"), cell.get("value"))
        ]
        low = (task.get("scale") or (0, 1))[0]
        heights = [(cell["value"] - low) / _width(task) for cell in cells]
        hovers = [_cell_hover(cell, task.get("scale")) for cell in cells]
        if cells:
            rates = [cell["intervention_rate"] for cell in cells]
            traces.append(_points(shown(task.get("name"), LABEL), rates, heights, hovers, place))
    if sum(len(trace["x"]) for trace in traces) < 2:
        return None
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "intervention rate"}, "tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"title": {"text": "score, in parts of its scale"}, "tickformat": ".0%", "automargin": True},
    }
    caption = "Each point is a blend on a task."
    if (level := result.get("hint_level")) is not None:
        layout["shapes"] = [_line_at(level)]
        caption += f" The dotted line is the hint level, {percent(level, 0)}: a hint, no verdict."
    title = "Intervention rate against score"
    return plot(title, caption, traces, layout, explained=("intervention rate", "hint", "r"), narrow=True)


def _points(name: str, x: list[float], y: list[float], hovers: list[str], place: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": y,
        "hovertext": hovers,
        "hoverinfo": "text",
        "marker": {"size": 10, "color": colour_of("", place), "symbol": place % 8},
    }


def _gap(result: Document) -> Plot | None:
    found = (result.get("across") or {}).get("capability_gap") or []
    traces = []
    for place, task in enumerate(tasks_of(result)):
        wide, scale = _width(task), task.get("scale")
        rows = [
            each
            for each in found
            if each.get("task") == task.get("name") and None not in (each.get("gap"), each.get("gain"))
        ]
        hovers = [
            hover(row.get("arm"), gap=difference(row["gap"], scale), gain=difference(row["gain"], scale))
            for row in rows
        ]
        gaps, gained = [row["gap"] / wide for row in rows], [row["gain"] / wide for row in rows]
        if rows:
            traces.append(_points(shown(task.get("name"), LABEL), gaps, gained, hovers, place))
    if sum(len(trace["x"]) for trace in traces) < 2:
        return None
    layout = {
        "xaxis": {"title": {"text": "guide alone minus base alone"}, "tickformat": "+.0%"},
        "yaxis": {"title": {"text": "blend minus base alone"}, "tickformat": "+.0%", "automargin": True},
    }
    caption = "Right: the guide is the better model by itself. Up: the blend is better than its base."
    more: dict[str, Any] = {"explained": ("capability gap",), "narrow": True}
    return plot("Capability gap against gain", caption, traces, layout, **more)


def _families(result: Document) -> Plot | None:
    """Gains over the base, pairs of one family beside pairs of two."""
    family = (result.get("across") or {}).get("family")
    blends = _blends(result)
    widths = {task.get("name"): _width(task) for task in tasks_of(result)}
    by_kind: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
    for each in (result.get("across") or {}).get("gain") or []:
        arm = blends.get(each.get("arm")) or {}
        if each.get("over_base") is not None and arm.get("family"):
            gain = each["over_base"] / widths.get(each.get("task"), 1.0)
            label = hover(each.get("arm"), task=line(each.get("task")), gain=signed_percent(gain))
            by_kind[bool(arm["family"].get("same"))].append((gain, label))
    if not family or not all(by_kind.values()):
        return None
    traces = [
        {
            "type": "box",
            "name": label,
            "y": [gain for gain, _ in by_kind[same]],
            "hovertext": [text for _, text in by_kind[same]],
            "hoverinfo": "text",
            "hoveron": "points",
            "boxpoints": "all",
            "jitter": 0.4,
            "pointpos": 0,
            "boxmean": True,
            "marker": {"color": colour, "size": 7},
            "line": {"width": 1.5},
        }
        for same, label, colour in (
            (True, "within one family", ROLE_COLOURS["chosen"]),
            (False, "across families", ROLE_COLOURS["blend"]),
        )
    ]
    layout = {
        "yaxis": {"title": {"text": "gain over the base alone"}, "tickformat": "+.0%", "automargin": True},
        "showlegend": False,
    }
    caption = f"Means over pairs: {family_means(family)}. Each point is an arm on a task."
    more: dict[str, Any] = {"explained": ("Cohen's d",), "narrow": True}
    return plot("Within a family and across families", caption, traces, layout, **more)


# Quantizations


def fidelity_plots(result: Document) -> Iterator[Plot]:
    """What a smaller file costs. Raises EvaluationError where Plotly is missing."""
    models = [each for each in result.get("fidelity") or [] if each.get("size_bytes") is not None]
    known = [each for each in models if (each.get("kld") or {}).get("mean") is not None]
    if known:
        figures = [(each["kld"]["mean"], each["kld"].get("mean_se")) for each in known]
        yield _by_size("Mean KLD over file size", "mean KLD (lower is better)", known, figures, ("KLD",))
    if known := [each for each in models if each.get("bits_per_byte") is not None]:
        figures = [(each["bits_per_byte"], each.get("bits_per_byte_se")) for each in known]
        yield _by_size("Bits per byte over file size", "bits per byte", known, figures, ("bits per byte",))


def _by_size(
    title: str,
    axis: str,
    models: list[Document],
    figures: list[tuple[float, float | None]],
    explained: tuple[str, ...],
) -> Plot:
    rows = sorted(zip(models, figures, strict=True), key=lambda row: row[0]["size_bytes"])
    best, front = float("inf"), []
    for model, (value, _) in rows:
        if value < best:
            best = value
            front.append((model["size_bytes"] / 1e6, value))
    points = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "models",
        "x": [model["size_bytes"] / 1e6 for model, _ in rows],
        "y": [value for _, (value, _) in rows],
        "error_y": {
            "type": "data",
            "array": [error or 0.0 for _, (_, error) in rows],
            "thickness": 1.5,
            "width": 4,
        },
        "text": [shown(name, 18) for name in _told_apart([line(model.get("model")) for model, _ in rows])],
        "textposition": ["top right", *["top center"] * (len(rows) - 2), "top left"][: len(rows)],
        "cliponaxis": False,
        "hovertext": [
            hover(model.get("model"), size=size(model["size_bytes"]), **{axis: number(value, 5)})
            for model, (value, _) in rows
        ],
        "hoverinfo": "text",
        "marker": {"size": 10, "color": ROLE_COLOURS["blend"]},
    }
    line_of = {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [x for x, _ in front],
        "y": [y for _, y in front],
        "hoverinfo": "skip",
        "line": {"color": ROLE_COLOURS["front"], "width": 1.5, "dash": "dot"},
    }
    layout = {
        "xaxis": {"title": {"text": "file size in MB"}, "automargin": True},
        "yaxis": {"title": {"text": shown(axis)}, "automargin": True},
        "showlegend": False,
        "margin": {"l": 56, "r": 40, "t": 28, "b": 48},
    }
    caption = "The line joins the models that no other one beats in both. Bars are one standard error."
    more: dict[str, Any] = {"explained": explained, "narrow": True}
    return plot(title, caption, [line_of, points], layout, **more)


def _told_apart(names: list[str]) -> list[str]:
    """The names without the words that all of them begin with."""
    if len(names) < 2:
        return names
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    # Not at "_": quantizations have one inside their names.
    cut = max(shared.rfind(mark) for mark in " -.") + 1
    return [name[cut:] or name for name in names]
