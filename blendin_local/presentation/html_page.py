"""Render a self-contained HTML page of key figures, plots, tables and foldable texts.

The page embeds Plotly and makes no network requests. Names and generated text are escaped in HTML, in the
embedded JSON, and for Plotly's own markup.
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
"""A key figure: name, value, and a note in small print."""


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A foldable text. name, why: its heading; note: small print; alarm: whether to highlight a failure."""

    name: str
    why: str
    note: str
    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page. folded: tables are folded. texts: foldable texts after the tables."""

    title: str
    lines: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    folded: bool = False
    texts: Sequence[FoldedText] = ()


@dataclass(slots=True)
class Page:
    """The values of the template; sections without content are left out."""

    title: str
    subtitle: str
    verdict: Sequence[str]
    sections: Iterable[Section]
    facts: Sequence[tuple[str, str]]
    cards_title: str = ""
    cards: Sequence[Card] = ()
    setting: str = ""
    flags: str = ""
    sentences: Sequence[str] = ()
    hint: str = ""
    last: Sequence[Table] = ()
    answers: Mapping[str, Any] | None = None
    facts_title: str = "How it was measured"
    figures: list[Mapping[str, Any]] = field(default_factory=list)

    def render(self) -> str:
        numbered = []
        for section in self.sections:
            # A table with only its first column has no figures.
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
    """Return the tables that are not None."""
    return [table for table in tables if table is not None]
