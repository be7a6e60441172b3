"""Markdown as styled lines of a width, with nothing in it that could act: no links, no control characters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.theme import Theme

from blendin_local.inert import inert

Lines = list[list[Segment]]


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


def markdown_lines(text: str, width: int, *, dark: bool, styles: Mapping[str, str]) -> Lines:
    """Lines of at most `width` cells. styles: Rich styles by the names that Rich's own theme has."""
    console = Console(
        file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True,
        legacy_windows=False, theme=Theme(dict(styles)),
    )  # fmt: skip
    code = "ansi_dark" if dark else "ansi_light"
    document = _Markdown(inert(text).strip(), code_theme=code, hyperlinks=False, inline_code_theme=code)
    options = console.options.update(width=width)
    lines = console.render_lines(document, options, pad=False)
    while lines and not "".join(segment.text for segment in lines[-1]).strip():
        lines.pop()
    return lines or [[]]


def code_blocks(text: str) -> list[str]:
    """The contents of the code blocks of a text, in their order."""
    return [token.content for token in MarkdownIt().parse(text) if token.type in ("fence", "code_block")]
