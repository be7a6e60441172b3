"""Lay out rows of text and bars, for the panel's sections and other lists."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from blendin_local.tui.bars import bar, sparkline
from blendin_local.tui.metrics import MetricSeries

UNKNOWN = "–"
MUTED = "$foreground-muted"
WARNING = "$text-warning"
_LABEL, _NUMBER = 12, 6


@dataclass(frozen=True, slots=True)
class Row:
    """Adjacent lines that show one metric of `explanation.FIGURE_HELP`, or "" for none."""

    metric: str
    lines: tuple[Content, ...]

    @classmethod
    def of(cls, metric: str, *lines: Content) -> Row:
        return cls(metric, lines)


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Lays out lines of `width` cells."""

    width: int

    @property
    def bar_width(self) -> int:
        return max(self.width - _LABEL - 2 * _NUMBER, 1)

    def apart(self, left: Content | str, right: Content | str) -> Content:
        """Return a line with one part at each edge."""
        left, right = Content(left) if isinstance(left, str) else left, Content("") + right
        gap = max(self.width - left.cell_length - right.cell_length, 1)
        return Content.assemble(left, " " * gap, right)

    def heading(self, text: str, *columns: str) -> Content:
        """Return a section's title and the titles of its columns of numbers."""
        titles = "".join(f"{column:>{_NUMBER}}" for column in columns)
        return self.apart(Content.styled(text, "bold"), Content.styled(titles, MUTED))

    def fact(self, label: str, value: Content | str) -> Content:
        return self.apart(Content.styled(label, MUTED), value)

    def gauge(
        self, label: str, series: MetricSeries, style: str, weak_below: float = 0.0
    ) -> tuple[Content, Content]:
        """Return two lines: the last value as a bar and a number with the mean, and a sparkline."""
        numbers = (number(value, weak_below) for value in (series.last, series.mean))
        line = Content.assemble(f"{label:{_LABEL}}", self._bar(series.last, style), *numbers)
        return line, Content.styled(sparkline(series.columns(self.width)), style)

    def rate(
        self, label: str, reply: Content, chat: Content, share: float | None, tick: float | None
    ) -> Content:
        """Return a share of the reply as a bar with two columns: of the reply and of the conversation.

        tick: a share that is marked in the bar.
        """
        return Content.assemble(f"{label:{_LABEL}}", self._bar(share, "$source-guide", tick), reply, chat)

    def fill(self, label: str, share: float, style: str, numbers: str) -> Content:
        """Return a bar with a text as wide as two columns of numbers."""
        return Content.assemble(f"{label:{_LABEL}}", self._bar(share, style), f"{numbers:>{2 * _NUMBER}}")

    def _bar(self, share: float | None, style: str, tick: float | None = None) -> Content:
        full, rest = bar(share or 0.0, self.bar_width)
        line = Content.assemble((full, style), (rest, "$foreground-disabled"))
        if tick is None:
            return line
        place = min(int(tick * self.bar_width), self.bar_width - 1)
        return Content.assemble(line[:place], ("╂", WARNING), line[place + 1 :])


def number(value: float | None, weak_below: float = 0.0, width: int = _NUMBER) -> Content:
    """Format a value with two decimals, as a warning if it is below `weak_below`."""
    text = UNKNOWN.rjust(width) if value is None else f"{value:{width or ''}.2f}"
    return Content.styled(text, WARNING if value is not None and value < weak_below else "")


def percentage(share: float | None, marked: bool = False) -> Content:
    """Format a share in per cent, with an exclamation mark and a colour if marked."""
    text = UNKNOWN if share is None else f"{share:.0%}"
    return Content.styled(f"{text:>{_NUMBER - 1}}{'!' if marked else ' '}", WARNING if marked else "")


def shorten(text: str, width: int) -> str:
    """Shorten a text to `width` cells with an ellipsis; "" for a width below 1."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def fit(text: str, width: int) -> str:
    """Pad or shorten a text to exactly `width` cells; "" for a width below 1."""
    return set_cell_size(shorten(text, width), max(width, 0))
