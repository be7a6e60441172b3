"""Text in tagged pieces that grows at its end, and its lines at some width.

A tag is the name of a style or the index of a step; what it looks like is the widget's business. Growing
costs in proportion to the new text and the last line, however long the text already is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from rich.cells import cell_len, split_graphemes

Tag = str | int

Line = tuple[int, int]
"""Where a line starts and ends in its text."""

# Ideographs, kana, hangul and full-width forms: lines may break before and after each.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_SPACE = " \u1680\u2000-\u2006\u2008-\u200a\u205f\u3000"
_CHUNK = re.compile(
    rf"([{_SPACE}]*)((?![{_SPACE}])[{_WIDE}][\ufe00-\ufe0f\u3099\u309a]*|[^{_SPACE}{_WIDE}]+)?"
)


class TaggedText:
    """Pieces of text, each with a tag, and their lines once a width is set."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: list[Line] = [(0, 0)]
        self._width = 0
        self._starts: list[int] = []
        self._tags: list[Tag] = []

    def append(self, piece: str, tag: Tag) -> None:
        """Add a piece at the end; it must be sanitized already."""
        if not piece:
            return
        if not self._tags or self._tags[-1] != tag:
            self._starts.append(len(self.text))
            self._tags.append(tag)
        self.text += piece
        if self._width:
            last = self.lines.pop()[0]
            self.lines += wrap(self.text, last, self._width)

    def layout(self, width: int) -> None:
        """Wrap everything at a width of at least two cells."""
        if width != self._width:
            self._width = width
            self.lines = wrap(self.text, 0, width)

    def place_of(self, tag: Tag) -> int | None:
        """Return where the first piece with a tag begins, None where there is none."""
        return self._starts[self._tags.index(tag)] if tag in self._tags else None

    def line_at(self, place: int) -> int:
        """Return the line that has the character at a place."""
        return max(0, bisect_right(self.lines, place, key=lambda line: line[0]) - 1)

    def runs(self, start: int, end: int) -> Iterator[tuple[str, Tag]]:
        """Yield the pieces of one line with their tags, cut only between characters as a reader sees them."""
        if start >= end:
            return
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1)
        cuts = [start, *self._starts[first + 1 : last], end]
        if not self.text[start:end].isascii():
            cuts = _between_graphemes(self.text, cuts)
        for place, tag in enumerate(self._tags[first:last]):
            if cuts[place] < cuts[place + 1]:
                yield self.text[cuts[place] : cuts[place + 1]], tag


def _between_graphemes(text: str, cuts: list[int]) -> list[int]:
    """Move cuts that fall inside a grapheme to its end: a terminal draws it as one."""
    start, end = cuts[0], cuts[-1]
    borders = [start + span[0] for span in split_graphemes(text[start:end])[0]] + [end]
    inner = [borders[bisect_right(borders, cut - 1)] for cut in cuts[1:-1]]
    return [start, *inner, end]


def cells(text: str) -> int:
    """Terminal cells of sanitized text."""
    return len(text) if text.isascii() else cell_len(text)


def wrap(text: str, start: int, width: int) -> list[Line]:
    """Return the lines of `text[start:]`, at most `width` cells each; there is always at least one.

    `start` must be the start of a line. Spaces at which a line breaks belong to no line. Wrapping on from
    the start of the last line gives the same lines as wrapping all of it.
    """
    lines: list[Line] = []
    while True:
        end = text.find("\n", start)
        if end < 0:
            _wrap_paragraph(text, start, len(text), width, lines)
            return lines
        _wrap_paragraph(text, start, end, width, lines)
        start = end + 1


def _wrap_paragraph(text: str, start: int, end: int, width: int, lines: list[Line]) -> None:
    if end - start <= 4 * width and cells(text[start:end]) <= width:
        lines.append((start, end))
        return
    used, line_end = 0, start
    for chunk in _CHUNK.finditer(text, start, end):
        word_start, word_end = chunk.start(2), chunk.end()
        if word_start < 0:  # white space at the very end
            if line_end > start and used + cells(chunk[1]) <= width:
                line_end = word_end
            break
        word = cells(chunk[2])
        if used + cells(chunk[1]) + word <= width:
            used += cells(chunk[1]) + word
            line_end = word_end
            continue
        if line_end > start:
            lines.append((start, line_end))
        start, used = word_start, word
        while used > width:
            cut = _fold(text, start, word_end, width)
            lines.append((start, cut))
            start, used = cut, cells(text[cut:word_end])
        line_end = word_end
    lines.append((start, line_end))


def _fold(text: str, start: int, end: int, width: int) -> int:
    """Return where a word that is wider than a line must be cut; at least one grapheme stays before it."""
    # No grapheme is wider than two cells or, without being hostile, longer than this many characters.
    part = text[start : min(end, start + 16 * width)]
    if part.isascii():
        return min(start + width, end)
    used = 0
    for place, (grapheme_start, _, size) in enumerate(split_graphemes(part)[0]):
        if place and used + size > width:
            return start + grapheme_start
        used += size
    return start + len(part)
