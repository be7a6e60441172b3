"""Bars and courses drawn in characters; without colour they differ by weight and height."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_HEIGHTS = "▁▂▃▄▅▆▇█"
_GAP = " "


def bar(share: float, width: int) -> tuple[str, str]:
    """Return a bar of `width` cells as (the part for the share, the rest), exact to half a cell."""
    halves = round(min(max(share, 0.0), 1.0) * 2 * width)
    if share > 0:
        halves = max(halves, 1)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return full, "─" * (width - len(full))


def sparkline(values: Iterable[float | None]) -> str:
    """Values between 0 and 1 as columns of one line; a gap where there is none."""
    return "".join(_GAP if value is None else _HEIGHTS[min(int(max(value, 0.0) * 8), 7)] for value in values)


def stack(counts: Sequence[int], width: int) -> list[int]:
    """Return how many of `width` cells each count gets: none lost by rounding, one at least for what there
    is.
    """
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    cells = [max(round(count / total * width), count > 0) for count in counts]
    while (excess := sum(cells) - width) != 0:
        largest = max(range(len(cells)), key=cells.__getitem__)
        cells[largest] -= 1 if excess > 0 else -1
    return cells
