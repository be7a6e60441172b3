"""Render Markdown to styled lines, without links and control characters."""

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
"""Letters of a text that rendering may drop: names of code languages, entities, image addresses."""

# HTML tags are parsed as text: Rich would drop them.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


class _PlainHeading(Heading):
    """A left-aligned heading without a frame."""

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
        # Sanitized again, because the parser has replaced entities by characters.
        for each in (token, *(token.children or ())):
            each.content = sanitize(each.content)
    return tokens


def markdown_lines(text: str, width: int, *, dark: bool, styles: Mapping[str, str]) -> Lines:
    """Render Markdown to lines of at most `width` cells. styles: Rich styles by the names of Rich's theme.

    If the renderer fails or drops much of the text, the text is wrapped without rendering.
    """
    try:
        lines = _rendered(text, width, dark, styles)
    except Exception:
        # An error in the library must neither hide the reply nor end the chat.
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
    """Count the letters and digits of a text."""
    return sum(map(str.isalnum, text))


def _plain(text: str, width: int) -> Lines:
    shown = sanitize(text).strip()
    return [[Segment(shown[start:end])] for start, end in wrap(shown, 0, width)]


def code_blocks(text: str) -> list[str]:
    """Return the contents of the code blocks of a Markdown text, in order."""
    return [token.content for token in _PARSER.parse(text) if token.type in ("fence", "code_block")]
