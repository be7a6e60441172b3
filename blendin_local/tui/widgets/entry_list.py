"""A scrolling list of entries that wraps only those in view.

Updates take time in proportion to the changed lines, not to the length of the conversation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView

from blendin_local.history.tree import Turn
from blendin_local.tui.entry import Entry, Kind
from blendin_local.tui.markdown_lines import Lines, markdown_lines
from blendin_local.tui.reply_text import Piece

_NEAR_BOTTOM = 2
"""Largest distance from the bottom, in rows, at which the view follows new text."""
GUTTER = 2
"""Width of the margin before the lines of every entry."""

_MARKDOWN_STYLES = {
    "markdown.h1": "heading",
    "markdown.h2": "heading",
    "markdown.h3": "heading",
    "markdown.h4": "heading",
    "markdown.code": "code",
    "markdown.item.bullet": "bullet",
    "markdown.item.number": "bullet",
    "markdown.block_quote": "quote",
    "markdown.link_url": "quote",
}

_SAME = 3
"""Largest change of an entry's height, in lines, that is attributed to its footer rather than to its body."""

_Here = tuple[Entry, int, int]
"""(entry at the top of the view, number of its lines above the view, its height)."""


class EntryList(ScrollView):
    """Stays at the end while the view is near it; otherwise keeps the entry at the top of the view there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"transcript--{name}" for name in set(_MARKDOWN_STYLES.values())}

    def __init__(self, fill: Callable[[Turn], Iterable[Piece]], *, id: str | None = None) -> None:
        """fill: returns the pieces of a saved reply."""
        super().__init__(id=id)
        self._fill = fill
        self._entries: list[Entry] = []
        self._tops: list[int] = []
        self._wrap_width = 0
        self._styles_of: dict[str, Style] = {}
        self._markdown_styles: tuple[bool, dict[str, str]] = (True, {})
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

    def add(self, entry: Entry) -> Entry:
        """Append an entry, and scroll to it."""
        if self._wrap_width:
            entry.resize(self._wrap_width)
        self._tops.append(self._height)
        self._entries.append(entry)
        self._following = True
        self._resized(len(self._entries) - 1)
        return entry

    def write(self, entry: Entry, pieces: Iterable[Piece]) -> None:
        """Append sanitized text to an entry, which need not be in the list."""
        if entry not in self._entries[-1:] and entry not in self._entries:
            entry.append(pieces)
            return
        place = self._place_of(entry)
        before = entry.height
        entry.append(pieces)
        self.refresh_lines(self._tops[place] + before - 2, entry.height - before + 2)
        self._resized(place)

    def changed(self, entry: Entry) -> None:
        """Update the layout after a change of an entry's view, footer or body."""
        if entry in self._entries:
            self._settle(self._here)

    def show(self, entries: Iterable[Entry], *, keep: bool = False) -> None:
        """Replace the entries and scroll to the end; keep: keep the scroll position instead."""
        here = self._here if keep else None
        self._entries = list(entries)
        if self._wrap_width:
            for entry in self._entries:
                if not entry.prepared:
                    entry.resize(self._wrap_width)
        self._tops = [0] * len(self._entries)
        self._following = self._following if keep else True
        self._settle(here)

    # Positions

    @property
    def _height(self) -> int:
        return self._tops[-1] + self._entries[-1].height if self._entries else 0

    def _place_of(self, entry: Entry) -> int:
        last = len(self._entries) - 1
        return last if self._entries[last] is entry else self._entries.index(entry)

    def _locate(self, row: int) -> tuple[int, int]:
        """Return (index of the entry at a row, line of the entry); (-1, 0) without entries."""
        place = bisect_right(self._tops, row) - 1
        return place, row - self._tops[place] if place >= 0 else 0

    @property
    def _here(self) -> _Here | None:
        """The scroll position in the last layout; None at the end."""
        place, line = self._locate(self.scroll_offset.y)
        if self._following or place < 0:
            return None
        end = self._tops[place + 1] if place + 1 < len(self._tops) else self.virtual_size.height
        return self._entries[place], line, end - self._tops[place]

    def _settle(self, here: _Here | None) -> None:
        """Update the layout of all entries, and restore the scroll position `here`."""
        self._resized(-1)
        if here is not None and here[0] in self._entries:
            entry, line, height = here
            self._make(entry)
            self._resized(-1)
            if abs(entry.height - height) > _SAME:
                line = round(line * entry.height / height)
            self.scroll_to(y=self._tops[self._place_of(entry)] + line, force=True)
            # The scroll positions in between have changed it.
            self._following = self._near_end
            self._prepare()
        self.refresh()

    def _resized(self, place: int) -> None:
        """Update the layout after a change of the height of the entry at `place`; -1 updates all."""
        if self._move(place + 1):
            self.refresh()
        self._measured()
        self._follow()
        self._prepare()

    def _move(self, first: int) -> bool:
        """Recompute the tops of the entries from `first` on; return whether any changed."""
        moved = False
        for place in range(first, len(self._entries)):
            above = self._tops[place - 1] + self._entries[place - 1].height if place else 0
            moved |= self._tops[place] != above
            self._tops[place] = above
        return moved

    def _measured(self) -> None:
        """Set the virtual size and update the scrollbar.

        Assigning `virtual_size` would lay out the whole screen for every new line. That is not needed,
        because the space of the scrollbar is always reserved.
        """
        size = Size(self._wrap_width, self._height)
        if size != self.virtual_size:
            self.set_reactive(EntryList.virtual_size, size)
            self._scroll_update(size)

    # Lines

    def _make(self, entry: Entry) -> None:
        """Wrap the lines of an entry, if the width is known."""
        if self._wrap_width and not entry.prepared:
            entry.prepare(self._wrap_width, self._fill, self._render_markdown)

    def _prepare(self) -> None:
        """Wrap the lines of the entries in view, without moving those that were shown already."""
        if not self._wrap_width or not self._entries:
            return
        while unprepared := [place for place in self._in_view() if not self._entries[place].prepared]:
            seen = [place for place in self._in_view() if self._entries[place].prepared]
            anchor = seen[0] if seen else unprepared[0]
            row = self._tops[anchor] - self.scroll_offset.y
            for place in unprepared:
                self._make(self._entries[place])
            self._move(unprepared[0] + 1)
            self._measured()
            if self._following:
                self._follow()
            else:
                self.set_reactive(EntryList.scroll_target_y, float(self._tops[anchor] - row))
                self.scroll_to(y=self._tops[anchor] - row, force=True)
            self.refresh()

    def _in_view(self) -> range:
        first, _ = self._locate(self.scroll_offset.y)
        last, _ = self._locate(self.scroll_offset.y + max(0, self.scrollable_content_region.height - 1))
        return range(max(0, first), last + 1)

    def _render_markdown(self, text: str, width: int) -> Lines:
        dark, styles = self._markdown_styles
        return markdown_lines(text, width, dark=dark, styles=styles)

    def on_resize(self, event: events.Resize) -> None:
        width = max(2, self.scrollable_content_region.width - GUTTER)
        here = self._here
        if width != self._wrap_width:
            if not self._wrap_width:
                self._restyle()
            self._wrap_width = width
            for entry in self._entries:
                entry.resize(width)
        self._settle(here)

    # Styles

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()
        if self._wrap_width:
            # Component styles are updated after those of the widget.
            self.call_after_refresh(self._restyle)

    def _restyle(self) -> None:
        """Discard rendered Markdown lines if their colours have changed."""
        if not self.is_attached:
            return
        self._styles_of.clear()
        looks = {name: self._style_of(ours) for name, ours in _MARKDOWN_STYLES.items()}
        styles = {name: str(look.without_color + Style(color=look.color)) for name, look in looks.items()}
        if self._markdown_styles != (now := (self.app.current_theme.dark, styles)):
            self._markdown_styles = now
            for entry in self._entries:
                entry.restyle()
            self._prepare()
        self.refresh()

    def _style_of(self, tag: str) -> Style:
        if tag not in self._styles_of:
            self._styles_of[tag] = self.get_component_rich_style(f"transcript--{tag}")
        return self._styles_of[tag]

    # Scrolling

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        # Without animation, which layouts on the way would stop.
        super().scroll_to(x, y, **options | {"animate": False})

    def scroll_end(self, **options: Any) -> None:
        self._following = True
        self._follow()
        self._prepare()

    @property
    def following(self) -> bool:
        """Whether the view stays at the end: until the user scrolls up."""
        return self._following

    @property
    def _near_end(self) -> bool:
        return self.max_scroll_y - self.scroll_offset.y <= _NEAR_BOTTOM

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = self._near_end
        self._prepare()

    def _follow(self) -> None:
        if self._following and not self.is_vertical_scrollbar_grabbed:
            # Forced, because scrolling may not be enabled before the scrollbar is shown.
            self.scroll_to(y=self.max_scroll_y, force=True)
