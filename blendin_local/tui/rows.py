"""The rows of the panel's sections, all of one width."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from blendin_local.safe_text import sanitize
from blendin_local.tui.bars import bar, sparkline
from blendin_local.tui.metrics import MetricSeries

UNKNOWN = "–"
MUTED = "$foreground-muted"
WARNING = "$text-warning"
_LABEL, _NUMBER = 12, 6


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that stand together, and the figure of `explanation.FIGURE_HELP` that they show; "" for none."""

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
        """One part at each edge."""
        left, right = Content(left) if isinstance(left, str) else left, Content("") + right
        gap = max(self.width - left.cell_length - right.cell_length, 1)
        return Content.assemble(left, " " * gap, right)

    def heading(self, text: str, *columns: str) -> Content:
        """Return a section's title, with the titles of its columns of numbers."""
        titles = "".join(f"{column:>{_NUMBER}}" for column in columns)
        return self.apart(Content.styled(text, "bold"), Content.styled(titles, MUTED))

    def fact(self, label: str, value: Content | str) -> Content:
        return self.apart(Content.styled(label, MUTED), value)

    def gauge(
        self, label: str, series: MetricSeries, style: str, weak_below: float = 0.0
    ) -> tuple[Content, Content]:
        """Return a share as a bar with its last value and its mean, and its course below."""
        numbers = (number(value, weak_below) for value in (series.last, series.mean))
        line = Content.assemble(f"{label:{_LABEL}}", self._bar(series.last, style), *numbers)
        return line, Content.styled(sparkline(series.columns(self.width)), style)

    def rate(
        self, label: str, reply: Content, chat: Content, share: float | None, tick: float | None
    ) -> Content:
        """Return a share of the reply as a bar, in per cent of the reply and of the conversation."""
        return Content.assemble(f"{label:{_LABEL}}", self._bar(share, "$source-guide", tick), reply, chat)

    def fill(self, label: str, share: float, style: str, numbers: str) -> Content:
        """Return a bar with as many cells of numbers as two columns have."""
        return Content.assemble(f"{label:{_LABEL}}", self._bar(share, style), f"{numbers:>{2 * _NUMBER}}")

    def _bar(self, share: float | None, style: str, tick: float | None = None) -> Content:
        full, rest = bar(share or 0.0, self.bar_width)
        line = Content.assemble((full, style), (rest, "$foreground-disabled"))
        if tick is None:
            return line
        place = min(int(tick * self.bar_width), self.bar_width - 1)
        return Content.assemble(line[:place], ("╂", WARNING), line[place + 1 :])


def number(value: float | None, weak_below: float = 0.0, width: int = _NUMBER) -> Content:
    text = UNKNOWN.rjust(width) if value is None else f"{value:{width or ''}.2f}"
    return Content.styled(text, WARNING if value is not None and value < weak_below else "")


def percentage(share: float | None, marked: bool = False) -> Content:
    """Return a share in per cent; a marked one has a sign and a colour."""
    text = UNKNOWN if share is None else f"{share:.0%}"
    return Content.styled(f"{text:>{_NUMBER - 1}}{'!' if marked else ' '}", WARNING if marked else "")


def name(text: str, width: int) -> Content:
    """Return a name that somebody else gave, on one line."""
    return Content(" ".join(sanitize(text).split())).truncate(width, ellipsis=True)
