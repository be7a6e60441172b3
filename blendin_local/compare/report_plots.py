"""Plot a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from blendin_local.compare.report_across_tables import family_means
from blendin_local.compare.report_words import KINDS, difference, score, score_interval
from blendin_local.compare.result import ArmInfo, Cell, CompareReport, FidelityRow, TaskInfo
from blendin_local.presentation.formatting import NOTHING, line, number, percent, signed_percent, size
from blendin_local.presentation.plot import (
    LABEL,
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

__all__ = ["across_plots", "fidelity_plots", "task_plots"]

_ROW = 30
_KIND_COLOURS = {
    "base": ROLE_COLOURS["base"],
    "guide": ROLE_COLOURS["guide"],
    "pair": ROLE_COLOURS["blend"],
    "model": ROLE_COLOURS["front"],
}


def task_plots(result: CompareReport) -> Iterator[Plot]:
    """Yield the metric of every arm, a plot for each task. Raises EvaluationError if Plotly is not
    installed.
    """
    for task in result.tasks:
        cells = [cell for cell in result.cells_of(task) if cell.value is not None]
        if cells:
            yield _metric(result, task, cells)


def _metric(result: CompareReport, task: TaskInfo, cells: list[Cell]) -> Plot:
    # Names may be equal or contain markup: rows are identified by their number.
    by_kind: dict[str, list[tuple[int, Cell]]] = {}
    for place, cell in enumerate(cells):
        by_kind.setdefault(result.arm(cell.arm).kind, []).append((place, cell))
    traces = []
    for kind, rows in by_kind.items():
        values = [cell.value for _, cell in rows]
        traces.append(
            scatter(
                escape_text(KINDS[kind]),
                values,
                [place for place, _ in rows],
                [_cell_hover(cell, task) for _, cell in rows],
                error_x=error_bars(values, [cell.interval for _, cell in rows]),
                marker={"size": 10, "color": _KIND_COLOURS[kind]},
            )
        )
    shapes = [] if task.chance is None else [_line_at(task.chance)]
    percents = {"tickformat": ".0%"} if task.is_share else {}
    layout = {
        "xaxis": titled_axis(escape_text(task.metric)) | {"zeroline": False} | percents,
        "yaxis": _rows_axis([cell.arm for cell in cells]),
        "shapes": shapes,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "margin": {"l": 20, "r": 16, "t": 30, "b": 44},
    }
    caption = "Bars are 95% intervals; where they overlap much, the order may be chance."
    caption += " The dotted line is what guessing scores." if shapes else ""
    name = f"{line(task.name)}: {line(task.metric)}"
    return make_plot(
        name, caption, traces, layout, height=110 + _ROW * len(cells), explained=("95% interval",)
    )


def _cell_hover(cell: Cell, task: TaskInfo) -> str:
    facts = {
        "score": score(cell.value, task),
        "95% interval": score_interval(cell.interval, task),
        "scored": f"{cell.scored} of {cell.n}",
    }
    facts |= {f"vs {role}": difference(test.difference, task) for role, test in cell.against.items() if test}
    if cell.intervention_rate is not None:
        facts["intervention rate"] = percent(cell.intervention_rate)
    return hover(cell.arm, **facts)


def _rows_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [escape_text(name, LABEL) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }


def _line_at(x: float) -> dict[str, Any]:
    """Return an upright dotted line across the plot."""
    line = {"color": ROLE_COLOURS["front"], "dash": "dot", "width": 1.5}
    return {"type": "line", "line": line, "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}


# Over several pairs


def across_plots(result: CompareReport) -> Iterator[Plot]:
    """Plot gains of blends, and the paper's figures. Raises EvaluationError if Plotly is not installed."""
    blends = {arm.name: arm for arm in result.arms if arm.kind == "pair"}
    made = (
        _heatmap(result, list(blends), "base"),
        _heatmap(result, list(blends), "guide"),
        _interventions(result, blends),
        _gap(result),
        _families(result, blends),
    )
    yield from (each for each in made if each)


def _heatmap(result: CompareReport, arms: list[str], role: str) -> Plot | None:
    """Plot the difference of every blend to its base or guide alone on every task."""
    found = {(cell.arm, cell.task): cell.difference_to(role) for cell in result.cells}
    tasks = result.tasks
    values = [[found.get((arm, task.name)) for task in tasks] for arm in arms]
    if not any(value is not None for row in values for value in row):
        return None
    # One colour scale for metrics of different ranges: differences as shares of the scale.
    relative = [
        [None if v is None else v / task.width for v, task in zip(row, tasks, strict=True)] for row in values
    ]
    most = max((abs(v) for row in relative for v in row if v is not None), default=0.0) or 1.0
    texts = [
        ["" if v is None else difference(v, task) for v, task in zip(row, tasks, strict=True)]
        for row in values
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
                hover(arm, task=line(task.name), gain=text or NOTHING)
                for task, text in zip(tasks, row, strict=True)
            ]
            for arm, row in zip(arms, texts, strict=True)
        ],
        "hoverinfo": "text",
    }
    layout = {
        "xaxis": {
            "tickvals": list(range(len(tasks))),
            "ticktext": [escape_text(task.name, 14) for task in tasks],
            "side": "top", "showgrid": False, "zeroline": False, "automargin": True,
        },
        "yaxis": _rows_axis(arms) | {"showgrid": False},
        "margin": {"l": 20, "r": 12, "t": 36, "b": 8},
    }  # fmt: skip
    caption = f"The blend's score minus that of its {role} alone: blue is better, orange is worse."
    height = 80 + _ROW * len(arms)
    return make_plot(f"Gain over the {role} alone", caption, [trace], layout, height=height)


def _interventions(result: CompareReport, blends: dict[str, ArmInfo]) -> Plot | None:
    """Plot score, as a share of the scale, over intervention rate, one point for each blend."""
    traces = []
    for place, task in enumerate(result.tasks):
        points = [
            (cell.intervention_rate, task.part_of_scale(cell.value), _cell_hover(cell, task))
            for cell in result.cells_of(task)
            if cell.arm in blends and cell.intervention_rate is not None and cell.value is not None
        ]
        traces += _points(task, points, place)
    if sum(len(trace["x"]) for trace in traces) < 2:
        return None
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "intervention rate"}, "tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": titled_axis("score, in parts of its scale") | {"tickformat": ".0%"},
        "shapes": [_line_at(result.hint_level)],
    }
    caption = (
        "Each point is a blend on a task. The dotted line is the hint level, "
        f"{percent(result.hint_level, 0)}: a hint, no verdict."
    )
    title = "Intervention rate against score"
    return make_plot(
        title, caption, traces, layout, explained=("intervention rate", "hint", "r"), narrow=True
    )


def _points(task: TaskInfo, points: Sequence[tuple[float, float, str]], place: int) -> list[Trace]:
    """Return the points (x, y, hover text) of one task as a trace; none without points."""
    if not points:
        return []
    x, y, hovers = map(list, zip(*points, strict=True))
    marker = {"size": 10, "color": colour_of("", place), "symbol": place % 8}
    return [scatter(escape_text(task.name, LABEL), x, y, hovers, marker=marker)]


def _gap(result: CompareReport) -> Plot | None:
    traces = []
    for place, task in enumerate(result.tasks):
        points = [
            (
                each.gap / task.width,
                each.gain / task.width,
                hover(each.arm, gap=difference(each.gap, task), gain=difference(each.gain, task)),
            )
            for each in (result.across.capability_gap if result.across else ())
            if each.task == task.name and each.gain is not None
        ]
        traces += _points(task, points, place)
    if sum(len(trace["x"]) for trace in traces) < 2:
        return None
    layout = {
        "xaxis": {"title": {"text": "guide alone minus base alone"}, "tickformat": "+.0%"},
        "yaxis": titled_axis("blend minus base alone") | {"tickformat": "+.0%"},
    }
    caption = "Right: the guide is the better model by itself. Up: the blend is better than its base."
    more: dict[str, Any] = {"explained": ("capability gap",), "narrow": True}
    return make_plot("Capability gap against gain", caption, traces, layout, **more)


def _families(result: CompareReport, blends: dict[str, ArmInfo]) -> Plot | None:
    """Plot gains over the base within one family and across families."""
    if not result.across or not result.across.family:
        return None
    widths = {task.name: task.width for task in result.tasks}
    by_kind: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
    for each in result.across.gain:
        if each.over_base is not None:
            gain = each.over_base / widths[each.task]
            label = hover(each.arm, task=line(each.task), gain=signed_percent(gain))
            by_kind[blends[each.arm].family.same].append((gain, label))
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
        "yaxis": titled_axis("gain over the base alone") | {"tickformat": "+.0%"},
        "showlegend": False,
    }
    means = family_means(result.across.family)
    caption = f"Means over pairs: {means}. Each point is an arm on a task."
    more: dict[str, Any] = {"explained": ("Cohen's d",), "narrow": True}
    return make_plot("Within a family and across families", caption, traces, layout, **more)


# Quantizations

_Figure = tuple[FidelityRow, float, float | None]
"""A model, a figure of it, and the figure's standard error."""


def fidelity_plots(result: CompareReport) -> Iterator[Plot]:
    """Plot fidelity over file size. Raises EvaluationError if Plotly is not installed."""
    divergences = [
        (each, each.mean_kld, (each.kld or {}).get("mean_se"))
        for each in result.fidelity
        if each.mean_kld is not None
    ]
    if divergences:
        yield _by_size("Mean KLD over file size", "mean KLD (lower is better)", divergences, "KLD")
    bits = [
        (each, each.bits_per_byte, each.bits_per_byte_se)
        for each in result.fidelity
        if each.bits_per_byte is not None
    ]
    if bits:
        yield _by_size("Bits per byte over file size", "bits per byte", bits, "bits per byte")


def _by_size(title: str, axis: str, figures: list[_Figure], explained: str) -> Plot:
    rows = sorted(figures, key=lambda row: row[0].size_bytes)
    best, front = float("inf"), []
    for model, value, _ in rows:
        if value < best:
            best = value
            front.append((model.size_bytes / 1e6, value))
    points = scatter(
        "models",
        [model.size_bytes / 1e6 for model, _, _ in rows],
        [value for _, value, _ in rows],
        [
            hover(model.model, size=size(model.size_bytes), **{axis: number(value, 5)})
            for model, value, _ in rows
        ],
        mode="markers+text",
        error_y={
            "type": "data",
            "array": [error or 0.0 for _, _, error in rows],
            "thickness": 1.5,
            "width": 4,
        },
        text=[
            escape_text(name, 18) for name in _strip_common_words([line(model.model) for model, _, _ in rows])
        ],
        textposition=["top right", *["top center"] * (len(rows) - 2), "top left"][: len(rows)],
        cliponaxis=False,
        marker={"size": 10, "color": ROLE_COLOURS["blend"]},
    )
    layout = {
        "xaxis": titled_axis("file size in MB"),
        "yaxis": titled_axis(escape_text(axis)),
        "showlegend": False,
        "margin": {"l": 56, "r": 40, "t": 28, "b": 48},
    }
    caption = "The line joins the models that no other one beats in both. Bars are one standard error."
    more: dict[str, Any] = {"explained": (explained,), "narrow": True}
    return make_plot(title, caption, [front_line(front), points], layout, **more)


def _strip_common_words(names: list[str]) -> list[str]:
    """Return the names without the words that all of them begin with."""
    if len(names) < 2:
        return names
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    # Not at "_": quantizations have one inside their names.
    cut = max(shared.rfind(mark) for mark in " -.") + 1
    return [name[cut:] or name for name in names]
