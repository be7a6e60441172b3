"""The conversation as one scrolling widget that draws only the lines in view.

An update costs the lines that changed, however long the conversation is. A message can be selected, and
in it a token; what the keys mean for either is the screen's business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from blendin_local.history.tree import Turn
from blendin_local.tui.bands import Mode, band
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.markdown_lines import Lines, markdown_lines
from blendin_local.tui.reply_text import Piece
from blendin_local.tui.tagged_text import Tag

_NEAR_BOTTOM = 2
"""Rows above the bottom at which the view still follows what is written."""

_MARKS = {Kind.USER: "❯ ", Kind.REPLY: "  ", Kind.ERROR: "! ", Kind.NOTE: "  "}
_GUTTER = 2

_TAGS = ("user", "base", "guide", "both", "blend", "chosen", "note", "error", "selected")
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


class Transcript(ScrollView, can_focus=True):
    """Entries one below the other; follows its end while the view is near it."""

    ALLOW_SELECT = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step_entry(-1)", "Message", show=False, id="transcript.previous_message"),
        Binding("down,j", "step_entry(1)", "Message", show=False, id="transcript.next_message"),
        Binding("left,h", "step_token(-1)", "Token", show=False, id="transcript.previous_token"),
        Binding("right,l", "step_token(1)", "Token", show=False, id="transcript.next_token"),
        Binding("enter,i", "screen.inspect", "Inspect", id="transcript.inspect"),
        Binding("m", "screen.toggle_view", "View", show=False, id="transcript.view"),
        Binding("v", "screen.next_colours", "Colours", show=False, id="transcript.colours"),
        Binding("n", "screen.weak(1)", "Weak", show=False, id="transcript.next_weak"),
        Binding("N", "screen.weak(-1)", "Weak before", show=False, id="transcript.previous_weak"),
        Binding("left_square_bracket", "screen.sibling(-1)", "Version", show=False, id="transcript.previous"),
        Binding("right_square_bracket", "screen.sibling(1)", "Version", show=False, id="transcript.next"),
        Binding("r", "screen.again", "Again", show=False, id="transcript.again"),
        Binding("c", "screen.go_on", "Continue", show=False, id="transcript.continue"),
        Binding("e", "screen.edit", "Edit", id="transcript.edit"),
        Binding("d,delete", "screen.remove", "Delete", show=False, id="transcript.delete"),
        Binding("u", "screen.undo", "Undo", show=False, id="transcript.undo"),
        Binding("y", "screen.copy", "Copy", show=False, id="transcript.copy"),
        Binding("Y", "screen.copy_code", "Copy code", show=False, id="transcript.copy_code"),
        *(
            Binding(str(n), f"screen.branch({n})", "Branch", show=False, id=f"transcript.branch_{n}")
            for n in range(1, 10)
        ),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"transcript--{tag}" for tag in _TAGS),
        *(f"transcript--{name}" for name in ("heading", "code", "bullet", "quote")),
        *(f"transcript--band-{number}" for number in range(4)),
    }

    @dataclass
    class Pointed(Message):
        """Another message or token is selected; index is that of a step, None for the message as a whole."""

        transcript: Transcript
        entry: Entry | None
        index: int | None

        @property
        def control(self) -> Transcript:
            return self.transcript

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Transcript.Pointed)

    def __init__(self, fill: Callable[[Turn], Iterable[Piece]], *, id: str | None = None) -> None:
        """fill: the pieces of a reply that was kept."""
        super().__init__(id=id)
        self.colours: Mode = "source"
        self.selected: Entry | None = None
        self.pointer: int | None = None
        self._fill = fill
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

    def entry_of(self, turn: Turn | None) -> Entry | None:
        return next((entry for entry in self._entries if turn is not None and entry.turn is turn), None)

    def add(self, entry: Entry) -> Entry:
        """Add an entry at the end and show it."""
        if self._wrap_width:
            entry.resize(self._wrap_width)
        self._tops.append(self._height)
        self._entries.append(entry)
        self._following = True
        self._resized(len(self._entries) - 1)
        return entry

    def write(self, entry: Entry, pieces: Iterable[Piece]) -> None:
        """Add inert text to the end of an entry, also of one that is not shown now."""
        if entry not in self._entries:
            entry.append(pieces)
            return
        place = self._entries.index(entry) if self._entries[-1] is not entry else len(self._entries) - 1
        before = entry.height
        entry.append(pieces)
        self.refresh_lines(self._tops[place] + before - 2, entry.height - before + 2)
        self._resized(place)

    def changed(self, entry: Entry) -> None:
        """The view, the foot or the words of an entry are others now."""
        if entry in self._entries:
            self._resized(self._entries.index(entry))
            self.refresh()

    def show(self, entries: Iterable[Entry], *, keep: bool = False) -> None:
        """Show other entries, from the end; keep: from where the view is."""
        self._entries = list(entries)
        if self._wrap_width:
            for entry in self._entries:
                if not entry.prepared:
                    entry.resize(self._wrap_width)
        self._tops = [0] * len(self._entries)
        self._following = self._following if keep else True
        if self.selected not in self._entries:
            self.selected, self.pointer = None, None
        self._resized(-1)
        self.refresh()

    def take_out(self, entry: Entry) -> None:
        self.show([each for each in self._entries if each is not entry], keep=True)

    def clear(self) -> None:
        self.show(())

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
        self._prepare()

    def _measured(self) -> None:
        """Tell the scrollbar the height of everything.

        Assigning `virtual_size` would lay out the whole screen for every new line; nothing else depends on
        it here, because the space of the scrollbar is always reserved.
        """
        size = Size(self._wrap_width, self._height)
        if size != self.virtual_size:
            self.set_reactive(Transcript.virtual_size, size)
            self._scroll_update(size)

    def _prepare(self) -> None:
        """Make the lines of the entries in view; what was seen before stays where it is."""
        if not self._wrap_width or not self._entries:
            return
        while unprepared := [place for place in self._in_view() if not self._entries[place].prepared]:
            seen = [place for place in self._in_view() if self._entries[place].prepared]
            anchor = seen[0] if seen else unprepared[0]
            row = self._tops[anchor] - self.scroll_offset.y
            for place in unprepared:
                self._entries[place].prepare(self._wrap_width, self._fill, self._render_markdown)
            for later in range(unprepared[0] + 1, len(self._entries)):
                self._tops[later] = self._tops[later - 1] + self._entries[later - 1].height
            self._measured()
            if self._following:
                self._follow()
            else:
                self.set_reactive(Transcript.scroll_target_y, float(self._tops[anchor] - row))
                self.scroll_to(y=self._tops[anchor] - row, animate=False, force=True)
            self.refresh()

    def _in_view(self) -> range:
        first, _ = self._locate(self.scroll_offset.y)
        last, _ = self._locate(self.scroll_offset.y + max(0, self.scrollable_content_region.height - 1))
        return range(max(0, first), last + 1)

    def _render_markdown(self, text: str, width: int) -> Lines:
        styles = {
            name: str(self._style_of(ours).without_color + Style(color=self._style_of(ours).color))
            for name, ours in _MARKDOWN_STYLES.items()
        }
        return markdown_lines(text, width, dark=self.app.current_theme.dark, styles=styles)

    # Selecting

    def select(self, entry: Entry | None, pointer: int | None = None) -> None:
        """Select a message, and a token of it, and bring it into view."""
        if entry is not None and entry not in self._entries:
            entry = None
        self.selected, self.pointer = entry, pointer if entry is not None else None
        if entry is not None:
            self._bring_into_view(entry, pointer)
        self.refresh()
        self.post_message(self.Pointed(self, self.selected, self.pointer))

    def _bring_into_view(self, entry: Entry, pointer: int | None) -> None:
        place = self._entries.index(entry)
        if pointer is not None and entry.as_markdown:
            return
        if not entry.prepared and self._wrap_width:
            entry.prepare(self._wrap_width, self._fill, self._render_markdown)
            self._resized(place)
        top = self._tops[place] + ((entry.line_of(pointer) or 0) if pointer is not None else 0)
        height = 1 if pointer is not None else entry.height - 1
        view = self.scrollable_content_region.height
        y = self.scroll_offset.y
        if top < y or height > view:
            self.scroll_to(y=top, animate=False, force=True)
        elif top + height > y + view:
            self.scroll_to(y=top + height - view, animate=False, force=True)

    def action_step_entry(self, by: int) -> None:
        """Select the message before or after; the last one first."""
        if not self._entries:
            return
        if self.selected is None:
            self.select(self._entries[-1])
            return
        place = self._entries.index(self.selected) + by
        if 0 <= place < len(self._entries):
            self.select(self._entries[place])
        elif by > 0:
            self.scroll_end(animate=False)

    def action_step_token(self, by: int) -> None:
        """Walk along the tokens of the selected reply."""
        entry = self.selected if self.selected and self.selected.kind is Kind.REPLY else self.last_reply
        if entry is None or entry.turn is None:
            return
        if not entry.filled:
            entry.append(self._fill(entry.turn))
        count = len(entry.turn.steps)
        if not count:
            self.select(entry)
            return
        start = -1 if by > 0 else count
        here = self.pointer if entry is self.selected and self.pointer is not None else start
        self.select(entry, min(max(here + by, 0), count - 1))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        place, line = self._locate(self.scroll_offset.y + offset.y)
        if place < 0:
            return
        entry = self._entries[place]
        self.select(entry, entry.step_at(line, max(0, offset.x - _GUTTER)))

    # Scrolling

    @property
    def following(self) -> bool:
        """Whether the view stays at the end: it does until someone scrolls up."""
        return self._following

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = self.max_scroll_y - self.scroll_offset.y <= _NEAR_BOTTOM
        self._prepare()

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
                entry.resize(width)
            self._resized(-1)
            self.refresh()
        self._follow()
        self._prepare()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()
        for entry in self._entries:
            entry.restyle()
        self._prepare()

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        base = self.rich_style
        width = self.scrollable_content_region.width
        place, line = self._locate(row)
        if place < 0 or line >= self._entries[place].height - 1:
            return Strip.blank(width, base).apply_offsets(0, row)
        entry = self._entries[place]
        if entry.is_markdown_line(line):
            body = [Segment(text, base + (style or Style())) for text, style, _ in entry.segments(line)]
        else:
            body = [Segment(text, self._look(entry, tag)) for text, tag in entry.runs(line)]
        strip = Strip(body).apply_offsets(0, row)
        if (selection := self.text_selection) and (span := selection.get_span(row)):
            strip = self._highlighted(strip, *span)
        return Strip([self._gutter(entry, line), *strip]).adjust_cell_length(width, base)

    def _gutter(self, entry: Entry, line: int) -> Segment:
        if entry is self.selected and self.has_focus:
            return Segment("▌ ", self._style_of("selected"))
        mark = _MARKS[entry.kind] if line == 0 else " " * _GUTTER
        return Segment(mark, self._style_of(entry.kind if entry.kind is not Kind.REPLY else "note"))

    def _look(self, entry: Entry, tag: Tag) -> Style:
        """How a piece of text looks: by its tag, or by what its step is under the colours chosen."""
        if isinstance(tag, str):
            return self._style_of(tag)
        steps = entry.turn.steps if entry.turn else []
        if tag >= len(steps):
            return self._style_of("base")
        step = steps[tag]
        if self.colours == "source":
            source = str(step.source)
            style = self._style_of({"user": "chosen", "stop": "base"}.get(source, source))
        else:
            style = self._style_of(f"band-{band(self.colours, step)}")
        if entry is self.selected and tag == self.pointer:
            style += Style(reverse=True)
        return style

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
        texts = []
        for place in range(first[0], last[0] + 1):
            start = first[1:] if place == first[0] else None
            end = last[1:] if place == last[0] else None
            texts.append(self._entries[place].cut(start, end))
        return "\n\n".join(texts), "\n"

    def _position(self, row: int, column: int) -> tuple[int, int, int]:
        """The entry at a row, its line, and the column."""
        place, line = self._locate(row)
        return place, line, column


__all__ = ["Entry", "Kind", "Transcript", "View"]
