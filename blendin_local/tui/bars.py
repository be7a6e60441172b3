"""Draw bars and sparklines with characters that can be told apart without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_HEIGHTS = "▁▂▃▄▅▆▇█"
_GAP = " "


def bar(share: float, width: int) -> tuple[str, str]:
    """Return the filled and the empty part of a bar of `width` cells, rounded to half a cell.

    A share above 0 fills at least half a cell.
    """
    halves = round(min(max(share, 0.0), 1.0) * 2 * width)
    if share > 0:
        halves = max(halves, 1)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return full, "─" * (width - len(full))


def sparkline(values: Iterable[float | None]) -> str:
    """Return one character for each value from 0 to 1, a space for None."""
    return "".join(_GAP if value is None else _HEIGHTS[min(int(max(value, 0.0) * 8), 7)] for value in values)


def stack(counts: Sequence[int], width: int) -> list[int]:
    """Divide `width` cells among counts in proportion; counts above 0 get at least one cell if there is room.

    The cells add up to `width`, or are all 0 where the counts are.
    """
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    cells = [max(round(count / total * width), count > 0) for count in counts]
    while (excess := sum(cells) - width) != 0:
        largest = max(range(len(cells)), key=cells.__getitem__)
        cells[largest] -= 1 if excess > 0 else -1
    return cells
