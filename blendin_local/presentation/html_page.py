"""One HTML page that needs nothing else: figures at a glance, plots, tables, and texts to read.

The page holds Plotly whole and asks no network for anything. Whatever a model, a file or a data set is
called, and whatever a model wrote, is text: in HTML it is escaped, in the embedded JSON no tag can end the
script, and Plotly gets it without its own markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blendin_local.presentation.formatting import TERM_HELP
from blendin_local.presentation.html_template import page_template
from blendin_local.presentation.plot import Plot, check_available, plotly_script
from blendin_local.presentation.table import Table
from blendin_local.safe_text import encodable

__all__ = ["Card", "FoldedText", "Page", "Section", "check_available", "drop_missing"]

Card = tuple[str, str, str]
"""A figure at a glance: its name, its value, and a quiet note."""


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A text under a line that says what it is. note: a quiet line; alarm: whether something failed."""

    name: str
    why: str
    note: str
    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """folded: tables are shown when asked for. texts: to be read, each folded."""

    title: str
    lines: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    folded: bool = False
    texts: Sequence[FoldedText] = ()


@dataclass(slots=True)
class Page:
    """What the template gets; sections without content are left out."""

    title: str
    subtitle: str
    verdict: Sequence[str]
    sections: Iterable[Section]
    facts: Sequence[tuple[str, str]]
    cards_title: str = ""
    cards: Sequence[Card] = ()
    setting: str = ""
    flags: str = ""
    said: Sequence[str] = ()
    hint: str = ""
    last: Sequence[Table] = ()
    answers: Mapping[str, Any] | None = None
    facts_title: str = "How it was measured"
    figures: list[Mapping[str, Any]] = field(default_factory=list)

    def render(self) -> str:
        numbered = []
        for section in self.sections:
            # A table that names its rows and has no figures says nothing.
            tables = [table for table in section.tables if table.rows and len(table.columns) > 1]
            if not (section.lines or section.plots or tables or section.texts):
                continue
            first = len(self.figures)
            self.figures += [plot.figure for plot in section.plots]
            plots = list(enumerate(section.plots, first))
            numbered.append(
                {"title": section.title, "lines": section.lines, "plots": plots, "folded": section.folded}
                | {"tables": tables, "texts": section.texts}
            )
        values = {name: getattr(self, name) for name in self.__slots__} | {"sections": numbered}
        return encodable(
            page_template("presentation").render(plotly=plotly_script(), help=TERM_HELP, **values)
        )


def drop_missing(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None]
