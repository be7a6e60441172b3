"""Plot quality against speed with characters."""

from __future__ import annotations

import math
import re

from rich.text import Text

from blendin_local.tune.result import ScoredSetting, TuneReport

__all__ = ["speed_plot"]

_WIDEST = 120
_HEIGHT = 16
_OTHER, _FRONT, _BASE, _GUIDE, _CHOSEN = "·", "●", "B", "G", "★"
_STYLES = {_FRONT: "cyan", _BASE: "bold blue", _GUIDE: "bold yellow", _CHOSEN: "bold green"}
_KEY = "B base alone  G guide alone  ★ recommended  ● Pareto front  · other settings"


def speed_plot(result: TuneReport, width: int, color: bool) -> Text | None:
    """Plot bits per byte over bytes per second of every setting; None if fewer than two have both."""
    points: dict[str, list[tuple[float, float]]] = {
        mark: [] for mark in (_OTHER, _FRONT, _BASE, _GUIDE, _CHOSEN)
    }
    for setting in result.settings:
        speed, bits = setting.bytes_per_second, setting.bits_per_byte
        if speed is not None and bits is not None:
            points[_mark(setting, result)].append((speed, bits))
    if len({point for listed in points.values() for point in listed}) < 2:
        return None
    drawn = _draw(points, min(width, _WIDEST))
    text = Text(no_wrap=True)
    text.append("bits per byte (lower is better)\n")
    for place, line in enumerate(drawn):
        for part in re.split(f"([{''.join(_STYLES)}])", line):
            # Only inside the frame is a letter a mark.
            styled = color and "│" in line and place < len(drawn) - 2
            text.append(part, style=_STYLES.get(part, "") if styled else "")
        text.append("\n")
    text.append("bytes per second (higher is better)".rjust(min(width, _WIDEST) - 1) + "\n")
    text.append(_KEY, style="dim" if color else "")
    return text


def _mark(setting: ScoredSetting, result: TuneReport) -> str:
    if setting.setting == result.recommendation.setting.setting:
        return _CHOSEN
    alone = {"base": _BASE, "guide": _GUIDE}.get(setting.method)
    return alone or (_FRONT if setting.pareto else _OTHER)


def _draw(points: dict[str, list[tuple[float, float]]], width: int) -> list[str]:
    """Return the lines of the plot; later marks cover earlier ones."""
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, _HEIGHT)
    for mark, listed in points.items():
        if listed:
            speeds, bits = zip(*listed, strict=True)
            figure.draw(figure.signal(list(speeds), list(bits), marker=mark))
    every = [point for listed in points.values() for point in listed]
    for axis, place, wanted in (("x", 0, width // 14), ("y", 1, 4)):
        values = [point[place] for point in every]
        margin = (max(values) - min(values)) * 0.04 or abs(max(values)) * 0.04 or 1.0
        low, high = min(values) - margin, max(values) + margin
        ticks, labels = round_ticks(low, high, wanted)
        figure.ruler(axis).lim(low, high)
        figure.ruler(axis).ticks(ticks, labels)
    drawn: str = figure.build().string(colorless=True)
    figure.clear()
    return [line.rstrip() for line in drawn.rstrip("\n").split("\n")]


def round_ticks(low: float, high: float, wanted: int) -> tuple[list[float], list[str]]:
    """Return about `wanted` round numbers between `low` and `high`, and their labels."""
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    decimals = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step), math.floor(high / step)
    ticks = [place * step for place in range(first, last + 1)]
    return ticks, [f"{tick:.{decimals}f}" for tick in ticks]
