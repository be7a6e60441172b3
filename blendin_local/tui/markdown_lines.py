"""Markdown as styled lines of a width, with nothing in it that could act: no links, no control characters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.theme import Theme

from blendin_local.safe_text import sanitize
from blendin_local.tui.tagged_text import wrap

Lines = list[list[Segment]]

_MARKS = 60
"""Letters that may stand in marks alone: languages of code, entities, addresses of pictures."""

# Tags are shown as they are: Rich would leave them out.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


class _PlainHeading(Heading):
    """To the left and without a frame: a reply is no poster."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _PlainHeading,
    }

    def __init__(self, text: str, theme: str) -> None:
        super().__init__("", code_theme=theme, inline_code_theme=theme, hyperlinks=False)
        self.parsed = _parse(text)


def _parse(text: str) -> list[Token]:
    tokens = _PARSER.parse(sanitize(text).strip())
    for token in tokens:
        # Once more, because entities have become characters.
        for each in (token, *(token.children or ())):
            each.content = sanitize(each.content)
    return tokens


def markdown_lines(text: str, width: int, *, dark: bool, styles: Mapping[str, str]) -> Lines:
    """Lines of at most `width` cells. styles: Rich styles by the names that Rich's own theme has.

    A text that is no sensible Markdown, so that much of it would not be seen, stands as it was written.
    """
    try:
        lines = _rendered(text, width, dark, styles)
    except Exception:
        # A defect in a library must not cost the reply, nor the chat.
        lines = []
    said = "".join(segment.text for line in lines for segment in line)
    lost = _words(text) - _words(said)
    return lines if said.strip() and lost <= max(_MARKS, _words(text) // 2) else _plain(text, width)


def _rendered(text: str, width: int, dark: bool, styles: Mapping[str, str]) -> Lines:
    console = Console(
        file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True,
        legacy_windows=False, theme=Theme(dict(styles)),
    )  # fmt: skip
    document = _Markdown(text, "ansi_dark" if dark else "ansi_light")
    lines = console.render_lines(document, console.options.update(width=width), pad=False)
    while lines and not "".join(segment.text for segment in lines[-1]).strip():
        lines.pop()
    return lines


def _words(text: str) -> int:
    """Return how much a text says: its letters and digits."""
    return sum(map(str.isalnum, text))


def _plain(text: str, width: int) -> Lines:
    shown = sanitize(text).strip()
    return [[Segment(shown[start:end])] for start, end in wrap(shown, 0, width)]


def code_blocks(text: str) -> list[str]:
    """Return the contents of the code blocks of a text, in their order."""
    return [token.content for token in _PARSER.parse(text) if token.type in ("fence", "code_block")]
