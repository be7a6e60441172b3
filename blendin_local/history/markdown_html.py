"""Render Markdown as safe HTML: no raw HTML, no images, only links to plain web addresses."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from blendin_local.safe_text import sanitize

__all__ = ["markdown_html"]

_SCHEMES = ("http://", "https://", "mailto:")


class _Harmless(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        return url.lower().startswith(_SCHEMES)


def markdown_html(text: str) -> str:
    """Render a Markdown text as HTML."""
    # After rendering, because Markdown can express any character: &#x202e;
    return sanitize(_RENDERER.render(text))


def _tame(state: StateCore) -> None:
    for block in state.tokens:
        for token in (block, *(block.children or ())):
            if token.type == "link_open":
                token.attrs["rel"] = "noreferrer noopener nofollow"
            # The page's content security policy forbids inline styles.
            if style := token.attrs.pop("style", None):
                token.attrs["class"] = f"to-{str(style).rpartition(':')[2]}"


_RENDERER = _Harmless("commonmark", {"html": False, "linkify": False})
_RENDERER.enable(["table", "strikethrough"]).disable("image")
_RENDERER.core.ruler.push("tame", _tame)
