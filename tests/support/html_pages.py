"""Pages of HTML as a browser without scripts reads them, and documents that attack them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from blendin_local.methods import METHODS
from support.result_documents import HOSTILE

STAND_IN = "var Plotly; // in place of the library, which is 5 MB to read"


class Page(HTMLParser):
    """A page as a browser without scripts reads it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, "tags are left open"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        match self.open[-1] if self.open else "":
            case "script":
                attributes, before = self.scripts[-1]
                self.scripts[-1] = attributes, before + data
            case "style":
                self.styles.append(data)
            case _:
                self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def data(self, name: str) -> Any:
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name)

    @property
    def code(self) -> list[str]:
        """What is run: Plotly, then the page's own script."""
        return [text for attributes, text in self.scripts if attributes.get("type") is None]


def hostile(value: Any) -> Any:
    """The document with every text in it replaced, apart from those that decide what is drawn."""
    kept = {*METHODS, "pair", "model", "McNemar", "blend"}
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{HOSTILE}{value}" if isinstance(value, str) and value not in kept else value
