"""The transcript of a conversation, in which a message and a token can be selected.

The screen implements the actions of most of its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from blendin_local.history.tree import Turn
from blendin_local.presentation.colour_scale import Mode, band
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.number_keys import number_keys
from blendin_local.tui.reply_text import Piece
from blendin_local.tui.tagged_text import Tag
from blendin_local.tui.widgets.entry_list import GUTTER, EntryList

_MARKS = {Kind.USER: "❯ ", Kind.THINKING: "∴ ", Kind.REPLY: "  ", Kind.ERROR: "! ", Kind.NOTE: "  "}

_TAGS = ("user", "base", "guide", "both", "blend", "chosen", "note", "error", "selected")


class Transcript(EntryList, can_focus=True):
    """An entry list with a selected entry and a pointer to one of its steps."""

    ALLOW_SELECT = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step_entry(-1)", "Message", show=False, id="transcript.previous_message"),
        Binding("down,j", "step_entry(1)", "Message", show=False, id="transcript.next_message"),
        Binding("left,h", "step_token(-1)", "Token", show=False, id="transcript.previous_token"),
        Binding("right,l", "step_token(1)", "Token", show=False, id="transcript.next_token"),
        Binding("enter,i", "screen.command('inspect')", "Inspect", id="transcript.inspect"),
        Binding("m", "screen.toggle_view", "View", show=False, id="transcript.view"),
        Binding("t", "screen.toggle_thinking", "Thinking", show=False, id="transcript.thinking"),
        Binding("v", "screen.next_colours", "Colours", show=False, id="transcript.colours"),
        Binding("n", "screen.weak(1)", "Weak", show=False, id="transcript.next_weak"),
        Binding("N", "screen.weak(-1)", "Weak before", show=False, id="transcript.previous_weak"),
        Binding("left_square_bracket", "screen.sibling(-1)", "Version", show=False, id="transcript.previous"),
        Binding("right_square_bracket", "screen.sibling(1)", "Version", show=False, id="transcript.next"),
        Binding("r", "screen.command('again')", "Again", show=False, id="transcript.again"),
        Binding("c", "screen.command('continue')", "Continue", show=False, id="transcript.continue"),
        Binding("e", "screen.command('edit')", "Edit", id="transcript.edit"),
        Binding("d,delete", "screen.remove", "Delete", show=False, id="transcript.delete"),
        Binding("u", "screen.command('undo')", "Undo", show=False, id="transcript.undo"),
        Binding("y", "screen.command('copy')", "Copy", show=False, id="transcript.copy"),
        Binding("Y", "screen.command('copy', 'code')", "Copy code", show=False, id="transcript.copy_code"),
        *number_keys("screen.branch", "Branch to candidate", "transcript.branch"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"transcript--{tag}" for tag in _TAGS),
        *(f"transcript--band-{number}" for number in range(4)),
    }

    @dataclass
    class Pointed(Message):
        """Another message or token was selected. index: of the step, None for the whole message."""

        transcript: Transcript
        entry: Entry | None
        index: int | None

        @property
        def control(self) -> Transcript:
            return self.transcript

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Transcript.Pointed)

    def __init__(self, fill: Callable[[Turn], Iterable[Piece]], *, id: str | None = None) -> None:
        super().__init__(fill, id=id)
        self.colours: Mode = "source"
        self.selected: Entry | None = None
        self.pointer: int | None = None

    def show(self, entries: Iterable[Entry], *, keep: bool = False) -> None:
        super().show(entries, keep=keep)
        if self.selected is not None and self.selected not in self._entries:
            self.select(None)

    # Selecting

    def select(self, entry: Entry | None, pointer: int | None = None) -> None:
        """Select a message or a token of it, and scroll to it."""
        self._point(entry, pointer)
        self.show_pointer()

    def show_pointer(self) -> None:
        """Scroll to the selected message or token."""
        if self.selected is not None:
            self._bring_into_view(self.selected, self.pointer)

    def on_focus(self) -> None:
        if self.selected is None and self._entries:
            self._point(self._entries[-1], None)

    def _point(self, entry: Entry | None, pointer: int | None) -> None:
        if entry is not None and entry not in self._entries:
            entry = None
        self.selected, self.pointer = entry, pointer if entry is not None else None
        if entry is not None and pointer is not None and entry.as_markdown:
            # Markdown has no tokens to select.
            entry.view = View.TOKENS
            self.changed(entry)
        self.refresh()
        self.post_message(self.Pointed(self, self.selected, self.pointer))

    def _bring_into_view(self, entry: Entry, pointer: int | None) -> None:
        place = self._entries.index(entry)
        self._make(entry)
        self._resized(place)
        top = self._tops[place] + ((entry.line_of(pointer) or 0) if pointer is not None else 0)
        height = 1 if pointer is not None else entry.height - 1
        view = self.scrollable_content_region.height
        y = self.scroll_offset.y
        if top < y or height > view:
            self.scroll_to(y=top, force=True)
        elif top + height > y + view:
            self.scroll_to(y=top + height - view, force=True)

    def action_step_entry(self, by: int) -> None:
        """Select the message before (-1) or after (1); the last one if none is selected."""
        if not self._entries:
            return
        if self.selected is None:
            self.select(self._entries[-1])
            return
        place = self._entries.index(self.selected) + by
        if 0 <= place < len(self._entries):
            self.select(self._entries[place])
        elif by > 0:
            self.scroll_end()

    def action_step_token(self, by: int) -> None:
        """Move the pointer along the tokens of the selected reply."""
        parts = (Kind.REPLY, Kind.THINKING)
        entry = self.selected if self.selected and self.selected.kind in parts else self.last_reply
        if entry is None or entry.turn is None:
            return
        if not entry.filled:
            entry.append(self._fill(entry.turn))
        steps = entry.turn.steps
        own = [i for i, step in enumerate(steps) if step.thinking == (entry.kind is Kind.THINKING)]
        if not own:
            self.select(entry)
            return
        start = -1 if by > 0 else len(own)
        pointed = entry is self.selected and self.pointer in own
        here = own.index(self.pointer) if pointed and self.pointer is not None else start
        self.select(entry, own[min(max(here + by, 0), len(own) - 1)])

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        place, line = self._locate(self.scroll_offset.y + offset.y)
        if place < 0:
            return
        # Without scrolling: the entry is in view.
        entry = self._entries[place]
        self._point(entry, entry.step_at(line, max(0, offset.x - GUTTER)))

    # Lines

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
            body = [Segment(text, self._piece_style(entry, tag)) for text, tag in entry.runs(line)]
        strip = Strip(body).apply_offsets(0, row)
        if (selection := self.text_selection) and (span := selection.get_span(row)):
            strip = self._highlighted(strip, *span)
        return Strip([self._gutter(entry, line), *strip]).adjust_cell_length(width, base)

    def _gutter(self, entry: Entry, line: int) -> Segment:
        if entry is self.selected and self.has_focus:
            return Segment("▌ ", self._style_of("selected"))
        mark = _MARKS[entry.kind] if line == 0 else " " * GUTTER
        plain = entry.kind in (Kind.REPLY, Kind.THINKING)
        return Segment(mark, self._style_of("note" if plain else entry.kind))

    def _piece_style(self, entry: Entry, tag: Tag) -> Style:
        """Return the style of a piece of text: of its tag, or of its step under the colour mode."""
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
        if step.thinking:
            style += Style(dim=True)
        if entry is self.selected and tag == self.pointer:
            style += Style(reverse=True)
        return style

    # Copying

    def _highlighted(self, strip: Strip, start: int, end: int) -> Strip:
        """Return the strip with its characters from `start` to `end` highlighted; end -1 is its end."""
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
        """Return the selected text without the line breaks of wrapping."""
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
        """Return (index of the entry at a row, line of the entry, column)."""
        place, line = self._locate(row)
        return place, line, column


__all__ = ["Entry", "Kind", "Transcript", "View"]
