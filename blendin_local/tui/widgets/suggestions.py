"""The list of completions above the input."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from blendin_local.safe_text import sanitize
from blendin_local.tui.completions import Completion

ROWS = 8
_BORDER = 2
_WIDEST_NAME = 30


class Suggestions(Widget, can_focus=False):
    """Overlays the widget above, so that the layout stays. owner: receives `Picked`."""

    @dataclass
    class Picked(Message):
        """A row was clicked."""

        completion: Completion

    def __init__(self, owner: Widget) -> None:
        super().__init__()
        self._owner = owner
        self._offered: list[Completion] = []
        self._at = 0
        self._top = 0

    @property
    def chosen(self) -> Completion | None:
        """The marked completion; None while the list is hidden."""
        return self._offered[self._at] if self._offered else None

    def offer(self, offered: list[Completion]) -> None:
        """Show completions with the first one marked, or hide the list if there are none."""
        self._offered, self._at, self._top = offered, 0, 0
        self.display = bool(offered)
        rows = min(len(offered), ROWS) + _BORDER
        self.styles.height = rows
        self.styles.offset = (0, -rows)
        self._draw()

    def move(self, by: int) -> None:
        """Mark another row, cyclically."""
        self._at = (self._at + by) % len(self._offered)
        self._top = min(max(self._top, self._at - ROWS + 1), self._at)
        self._draw()

    def _draw(self) -> None:
        many = len(self._offered) > ROWS
        self.border_subtitle = f"{self._at + 1} of {len(self._offered)}" if many else ""
        self.refresh()

    def render(self) -> Content:
        names = [
            Content.assemble(_line(each.text.rstrip()), " ", (each.hint, "$foreground-muted"))
            for each in self._offered
        ]
        column = min(max((name.cell_length for name in names), default=0), _WIDEST_NAME) + 1
        return Content("\n").join(
            self._row(i, names[i].pad_right(max(0, column - names[i].cell_length)))
            for i in range(self._top, min(self._top + ROWS, len(names)))
        )

    def _row(self, index: int, name: Content) -> Content:
        marked = index == self._at
        what = _line(self._offered[index].description)
        row = Content.assemble("› " if marked else "  ", name, (what, "$foreground-muted"))
        row = row.truncate(max(1, self.content_size.width), ellipsis=True, pad=True)
        return Content.styled(row.plain, "bold reverse") if marked else row

    def on_click(self, event: events.Click) -> None:
        at = self._top + event.get_content_offset_capture(self).y
        if 0 <= at < len(self._offered):
            self._owner.post_message(self.Picked(self._offered[at]))


def _line(text: str) -> str:
    return sanitize(text).replace("\n", " ")
