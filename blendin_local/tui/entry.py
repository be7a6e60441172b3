"""A message in the transcript: its body and its footer, wrapped to lines on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from rich.segment import Segment

from blendin_local.history.tree import Turn
from blendin_local.safe_text import sanitize
from blendin_local.tui.markdown_lines import Lines
from blendin_local.tui.reply_text import Piece
from blendin_local.tui.tagged_text import Tag, TaggedText, cells


class Kind(StrEnum):
    """Type of an entry."""

    USER = "user"
    THINKING = "thinking"
    REPLY = "reply"
    ERROR = "error"
    NOTE = "note"


class View(StrEnum):
    """Display of a finished reply; a reply that is being written is always shown as tokens."""

    MARKDOWN = "markdown"
    TOKENS = "tokens"


class Entry:
    """A message, a reply, an error or a note, followed by one empty line.

    Lines are wrapped when they are first shown; until then `height` is an estimate, so that a long
    conversation opens at once. filled: whether `body` holds the text of the turn.
    """

    def __init__(self, kind: Kind, turn: Turn | None = None, view: View = View.TOKENS) -> None:
        self.kind = kind
        self.turn = turn
        self.view = view
        self.body = TaggedText()
        self.foot = TaggedText()
        self.filled = kind is not Kind.REPLY
        self._markdown: Lines | None = None
        self._width = 0
        self._estimate = 1

    # Text

    def append(self, pieces: Iterable[Piece]) -> None:
        """Append sanitized text to the body."""
        self.filled = True
        for piece, tag in pieces:
            self.body.append(piece, tag)

    def begin_again(self) -> None:
        """Clear the body and the footer for a reply that is written again, shown as tokens."""
        self.finish(View.TOKENS)
        self.filled, self.foot = True, TaggedText()
        if self._width:
            self.body.layout(self._width)

    def replace(self, pieces: Iterable[Piece]) -> None:
        """Replace the text of the body."""
        width, self.body = self._width, TaggedText()
        self.append(pieces)
        if width:
            self.body.layout(width)

    def finish(self, view: View) -> None:
        """Show a finished reply as `view`; its body is filled from its turn again."""
        self.restyle()
        self.body, self.filled, self.view = TaggedText(), False, view

    def set_foot(self, text: str, tag: str = "note") -> None:
        """Set the footer below the body."""
        self.foot = TaggedText()
        self.foot.append(sanitize(text), tag)
        if self._width:
            self.foot.layout(self._width)

    @property
    def text(self) -> str:
        """The sanitized text of the message."""
        return self.body.text if self.filled or self.turn is None else sanitize(self.turn.text).strip()

    # Lines

    @property
    def as_markdown(self) -> bool:
        return self.kind is Kind.REPLY and self.view is View.MARKDOWN

    @property
    def prepared(self) -> bool:
        """Whether the lines are wrapped and `height` is exact."""
        return bool(self._width) and (self._markdown is not None if self.as_markdown else self.filled)

    @property
    def height(self) -> int:
        foot = len(self.foot.lines) if self.foot.text else 0
        return (self.body_height if self.prepared else self._estimate) + foot + 1

    @property
    def body_height(self) -> int:
        return len(self._markdown or ()) if self.as_markdown else len(self.body.lines)

    def resize(self, width: int) -> None:
        """Discard the lines and estimate the height at a new width."""
        self._width, self._markdown = 0, None
        self._estimate = sum(max(1, -(-cells(line) // width)) for line in self.text.split("\n"))
        self.foot.layout(width)

    def prepare(
        self, width: int, fill: Callable[[Turn], Iterable[Piece]], render: Callable[[str, int], Lines]
    ) -> None:
        """Wrap the lines at a width. fill: returns the pieces of a saved reply. render: renders Markdown."""
        self._width = width
        if self.as_markdown:
            if self._markdown is None:
                self._markdown = render(self.turn.text if self.turn else self.body.text, width)
        elif not self.filled and self.turn is not None:
            self.append(fill(self.turn))
        self.body.layout(width)
        self.foot.layout(width)

    def restyle(self) -> None:
        """Discard rendered Markdown lines, which contain their colours."""
        if self.prepared:
            self._estimate = self.body_height
        self._markdown = None

    def segments(self, line: int) -> list[Segment]:
        """Return the segments of a line of Markdown."""
        return self._markdown[line] if self._markdown and line < len(self._markdown) else []

    def runs(self, line: int) -> Iterable[tuple[str, Tag]]:
        """Yield the tagged pieces of a line of the body or, after its last line, of the footer."""
        part, place = (self.body, line) if line < self.body_height else (self.foot, line - self.body_height)
        if place < len(part.lines) and part.text:
            yield from part.runs(*part.lines[place])

    def is_markdown_line(self, line: int) -> bool:
        return self.as_markdown and line < self.body_height

    # Copying

    def cut(self, first: tuple[int, int] | None, last: tuple[int, int] | None) -> str:
        """Return the text between two (line, column) positions without wrapping; None is the start or end."""
        if not self.prepared:
            # The entry was never in view, so both positions lie outside it.
            return self.text
        if self.as_markdown:
            lines = ["".join(segment.text for segment in line) for line in self._markdown or ()]
            end = len(lines) if last is None else last[0] + 1
            chosen = lines[first[0] if first else 0 : end]
            if last is not None and chosen and last[0] < len(lines):
                chosen[-1] = chosen[-1][: last[1]]
            if first is not None and chosen:
                chosen[0] = chosen[0][first[1] :]
            return "\n".join(line.rstrip() for line in chosen)
        start = 0 if first is None else self._place(*first)
        return self.body.text[start : None if last is None else self._place(*last)]

    def step_at(self, line: int, column: int) -> int | None:
        """Return the index of the step at a cell of a line, None where there is none."""
        if self.as_markdown or line >= len(self.body.lines):
            return None
        for text, tag in self.body.runs(*self.body.lines[line]):
            column -= cells(text)
            if column < 0:
                return tag if isinstance(tag, int) else None
        return None

    def line_of(self, step: int) -> int | None:
        """Return the line on which a step's text begins, None if it has none or Markdown is shown."""
        place = self.body.place_of(step)
        return None if self.as_markdown or place is None else self.body.line_at(place)

    def _place(self, line: int, column: int) -> int:
        if line >= len(self.body.lines):
            return len(self.body.text)
        start, end = self.body.lines[line]
        return min(start + column, end)
