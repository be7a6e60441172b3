"""Append-only text in tagged pieces, wrapped to lines.

A tag is the name of a style or the index of a step; widgets decide how it looks. Appending takes time in
proportion to the new text and the last line, not to the whole text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from rich.cells import cell_len, split_graphemes

Tag = str | int

Line = tuple[int, int]
"""Start and end of a line as indices of the text."""

# Ideographs, kana, hangul and full-width forms: a line may break before and after each of them.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_SPACE = " \u1680\u2000-\u2006\u2008-\u200a\u205f\u3000"
_CHUNK = re.compile(
    rf"([{_SPACE}]*)((?![{_SPACE}])[{_WIDE}][\ufe00-\ufe0f\u3099\u309a]*|[^{_SPACE}{_WIDE}]+)?"
)


class TaggedText:
    """Pieces of text with tags, and their lines once `layout` has set a width."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: list[Line] = [(0, 0)]
        self._width = 0
        self._starts: list[int] = []
        self._tags: list[Tag] = []

    def append(self, piece: str, tag: Tag) -> None:
        """Append a sanitized piece."""
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
        """Wrap the text at a width of at least two cells."""
        if width != self._width:
            self._width = width
            self.lines = wrap(self.text, 0, width)

    def place_of(self, tag: Tag) -> int | None:
        """Return the index at which the first piece with a tag begins, None if there is none."""
        return self._starts[self._tags.index(tag)] if tag in self._tags else None

    def line_at(self, place: int) -> int:
        """Return the number of the line with the character at an index."""
        return max(0, bisect_right(self.lines, place, key=lambda line: line[0]) - 1)

    def runs(self, start: int, end: int) -> Iterator[tuple[str, Tag]]:
        """Yield the tagged pieces of a line, cut only between graphemes."""
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
    """Move cuts inside a grapheme to its end, because a terminal draws it as one."""
    start, end = cuts[0], cuts[-1]
    borders = [start + span[0] for span in split_graphemes(text[start:end])[0]] + [end]
    inner = [borders[bisect_right(borders, cut - 1)] for cut in cuts[1:-1]]
    return [start, *inner, end]


def cells(text: str) -> int:
    """Return the width of sanitized text in terminal cells."""
    return len(text) if text.isascii() else cell_len(text)


def wrap(text: str, start: int, width: int) -> list[Line]:
    """Wrap `text[start:]` to one or more lines of at most `width` cells.

    start: the start of a line. Spaces at line breaks belong to no line. Wrapping again from the start of the
    last line gives the same lines as wrapping the whole text.
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
    """Return the index at which to cut a word that is wider than a line, after at least one grapheme."""
    # Enough characters for a line: no grapheme of honest text is longer than 16 characters.
    part = text[start : min(end, start + 16 * width)]
    if part.isascii():
        return min(start + width, end)
    used = 0
    for place, (grapheme_start, _, size) in enumerate(split_graphemes(part)[0]):
        if place and used + size > width:
            return start + grapheme_start
        used += size
    return start + len(part)
