"""Bars and courses drawn in characters; without colour they differ by weight and height."""

from __future__ import annotations

from collections.abc import Iterable

_HEIGHTS = "▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> tuple[str, str]:
    """A bar of `width` cells as (the part for the share, the rest), exact to half a cell."""
    halves = round(min(max(share, 0.0), 1.0) * 2 * width)
    if share > 0:
        halves = max(halves, 1)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return full, "─" * (width - len(full))


def course(values: Iterable[float], width: int) -> str:
    """The latest values, each between 0 and 1, as columns of one line."""
    latest = list(values)[-width:]
    return "".join(_HEIGHTS[min(int(max(value, 0.0) * 8), 7)] for value in latest)
