"""The conversation as one scrolling widget that draws only the lines in view.

Each entry is text in tagged pieces; a tag is the name of a component class in app.tcss. An update costs
the lines that changed, however long the conversation is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from blendin_local.tui.tagged_text import TaggedText

_NEAR_BOTTOM = 2
"""Rows above the bottom at which the view still follows what is written."""


class Kind(StrEnum):
    """What an entry is, and the mark in front of its first line."""

    USER = "user"
    REPLY = "reply"
    ERROR = "error"


_MARKS = {Kind.USER: "❯ ", Kind.REPLY: "  ", Kind.ERROR: "! "}
_GUTTER = 2


class Entry:
    """A message, a reply or an error. It takes its lines and one empty line after them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.body = TaggedText()

    @property
    def height(self) -> int:
        return len(self.body.lines) + 1


class Transcript(ScrollView, can_focus=True):
    """Entries one below the other; follows its end while the view is near it."""

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--user",
        "transcript--base",
        "transcript--guide",
        "transcript--both",
        "transcript--blend",
        "transcript--note",
        "transcript--error",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[Entry] = []
        self._tops: list[int] = []
        self._wrap_width = 0
        self._styles_of: dict[str, Style] = {}
        self._following = True

    # Entries

    @property
    def is_empty(self) -> bool:
        return not self._entries

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    @property
    def last_reply(self) -> Entry | None:
        return next((entry for entry in reversed(self._entries) if entry.kind is Kind.REPLY), None)

    def add(self, kind: Kind, pieces: Iterable[tuple[str, str]] = ()) -> Entry:
        """Add an entry at the end and show it."""
        entry = Entry(kind)
        self.put(entry)
        self.write(entry, pieces)
        return entry

    def put(self, entry: Entry) -> None:
        """Add an entry that has been taken out before at the end, and show it."""
        if self._wrap_width:
            entry.body.layout(self._wrap_width)
        self._tops.append(self._height)
        self._entries.append(entry)
        self._following = True
        self._resized(len(self._entries) - 1)

    def write(self, entry: Entry, pieces: Iterable[tuple[str, str]]) -> None:
        """Add inert text, as (text, tag), to the end of an entry."""
        place = self._entries.index(entry) if self._entries[-1] is not entry else len(self._entries) - 1
        before = entry.height
        for piece, tag in pieces:
            entry.body.append(piece, tag)
        self.refresh_lines(self._tops[place] + before - 2, entry.height - before + 2)
        self._resized(place)

    def take_out(self, entry: Entry) -> None:
        place = self._entries.index(entry)
        del self._entries[place], self._tops[place]
        self._resized(place - 1)
        self.refresh()

    def clear(self) -> None:
        self._entries.clear()
        self._tops.clear()
        self._measured()
        self.refresh()

    @property
    def _height(self) -> int:
        return self._tops[-1] + self._entries[-1].height if self._entries else 0

    def _resized(self, place: int) -> None:
        """The entry at `place` has a new height: move those after it, and keep the end in view."""
        for later in range(max(place, -1) + 1, len(self._entries)):
            above = self._tops[later - 1] + self._entries[later - 1].height if later else 0
            if self._tops[later] != above:
                self._tops[later] = above
                self.refresh()
        self._measured()
        self._follow()

    def _measured(self) -> None:
        """Tell the scrollbar the height of everything.

        Assigning `virtual_size` would lay out the whole screen for every new line; nothing else depends on
        it here, because the space of the scrollbar is always reserved.
        """
        size = Size(self._wrap_width, self._height)
        if size != self.virtual_size:
            self.set_reactive(Transcript.virtual_size, size)
            self._scroll_update(size)

    # Scrolling

    @property
    def following(self) -> bool:
        """Whether the view stays at the end: it does until someone scrolls up."""
        return self._following

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = self.max_scroll_y - self.scroll_offset.y <= _NEAR_BOTTOM

    def _follow(self) -> None:
        if self._following and not self.is_vertical_scrollbar_grabbed:
            # Forced, because the scrollbar may not be there yet.
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    # Lines

    def on_resize(self, event: events.Resize) -> None:
        width = max(2, self.scrollable_content_region.width - _GUTTER)
        if width != self._wrap_width:
            self._wrap_width = width
            for entry in self._entries:
                entry.body.layout(width)
            self._resized(-1)
            self.refresh()
        self._follow()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        base = self.rich_style
        width = self.scrollable_content_region.width
        place, line = self._locate(row)
        if place < 0 or line >= len(self._entries[place].body.lines):
            return Strip.blank(width, base).apply_offsets(0, row)
        entry = self._entries[place]
        start, end = entry.body.lines[line]
        mark = _MARKS[entry.kind] if line == 0 else " " * _GUTTER
        body = [Segment(text, self._style_of(tag)) for text, tag in entry.body.runs(start, end)]
        strip = Strip(body).apply_offsets(0, row)
        if (selection := self.text_selection) and (span := selection.get_span(row)):
            strip = self._highlighted(strip, *span)
        gutter = Segment(mark, self._style_of(entry.kind if entry.kind != Kind.REPLY else "note"))
        return Strip([gutter, *strip]).adjust_cell_length(width, base)

    def _locate(self, row: int) -> tuple[int, int]:
        """The entry that has a row, and which of its lines that is; (-1, 0) without entries."""
        place = bisect_right(self._tops, row) - 1
        return place, row - self._tops[place] if place >= 0 else 0

    def _style_of(self, tag: str) -> Style:
        if tag not in self._styles_of:
            self._styles_of[tag] = self.get_component_rich_style(f"transcript--{tag}")
        return self._styles_of[tag]

    # Copying

    def _highlighted(self, strip: Strip, start: int, end: int) -> Strip:
        """The strip with its characters from start to end, -1 being the last, shown as selected."""
        style = self.screen.get_component_rich_style("screen--selection")
        segments: list[Segment] = []
        place = 0
        for text, own, _ in strip:
            first = min(max(start - place, 0), len(text))
            last = len(text) if end < 0 else min(max(end - place, first), len(text))
            parts = ((text[:first], own), (text[first:last], (own or Style()) + style), (text[last:], own))
            segments += [Segment(part, look) for part, look in parts if part]
            place += len(text)
        return Strip(segments)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text without the line breaks that only the width of the view made."""
        if not self._entries:
            return None
        first = self._position(*(selection.start.transpose if selection.start else (0, 0)))
        last = self._position(*(selection.end.transpose if selection.end else (self._height, 0)))
        texts = [entry.body.text for entry in self._entries[first[0] : last[0] + 1]]
        texts[-1] = texts[-1][: last[1]]
        texts[0] = texts[0][first[1] :]
        return "\n\n".join(texts), "\n"

    def _position(self, row: int, column: int) -> tuple[int, int]:
        """The entry at a row, and the character of it at a column."""
        place, line = self._locate(row)
        lines = self._entries[place].body.lines
        if line >= len(lines):
            return place, len(self._entries[place].body.text)
        start, end = lines[line]
        return place, min(start + column, end)
