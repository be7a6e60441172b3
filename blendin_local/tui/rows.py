"""The rows of the panel's sections, all of one width."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from blendin_local.steps import WEAK_BELOW
from blendin_local.tui.bars import bar, course

WIDTH = 32
_LABEL, _NUMBER, _BAR = 7, 6, 13
_UNKNOWN = "–"


def heading(text: str, *columns: str) -> Content:
    """A section's title, with the titles of its columns of numbers."""
    titles = "".join(f"{column:>{_NUMBER}}" for column in columns)
    return Content.assemble((text, "bold"), (titles.rjust(WIDTH - len(text)), "$foreground-muted"))


def gauge(label: str, last: float | None, mean: float | None, style: str) -> Content:
    """A share as a bar, its last value and its mean."""
    full, rest = bar(last or 0.0, _BAR)
    return Content.assemble(
        f"{label:{_LABEL}}", (full, style), (rest, "$foreground-disabled"), number(last), number(mean)
    )


def line_of(values: Iterable[float], style: str) -> Content:
    """The course of a figure, under its gauge."""
    return Content.assemble(" " * _LABEL, (course(values, WIDTH - _LABEL), style))


def rate(label: str, share: float | None, style: str) -> Content:
    """A share of the reply as a bar and in per cent."""
    full, rest = bar(share or 0.0, _BAR)
    percent = _UNKNOWN if share is None else f"{share:.0%}"
    bar_and_rest = ((full, style), (rest, "$foreground-disabled"))
    return Content.assemble(f"{label:{WIDTH - _BAR - _NUMBER}}", *bar_and_rest, f"{percent:>{_NUMBER}}")


def fact(label: str, value: str) -> Content:
    """A label on the left and its value on the right."""
    return Content.assemble((label, "$foreground-muted"), value.rjust(WIDTH - len(label)))


def number(value: float | None) -> Content:
    text = f"{_UNKNOWN if value is None else f'{value:.2f}':>{_NUMBER}}"
    weak = value is not None and value < WEAK_BELOW
    return Content.styled(text, "$text-warning" if weak else "")


def stacked(*rows: Content) -> Content:
    return Content("\n").join(rows)
