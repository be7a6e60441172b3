"""Render tables, lists and lines of a report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from blendin_local.presentation.formatting import line
from blendin_local.presentation.table import Table

__all__ = ["join_parts", "markdown_facts", "markdown_line", "markdown_list", "markdown_table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#&~|!])")


def join_parts(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_line(text: object) -> str:
    """Return a text as one line with Markdown escaped."""
    return _SPECIAL.sub(r"\\\1", line(text))


def markdown_list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_line(each)}" for each in lines)


def markdown_table(table: Table, *, titled: bool = True) -> str:
    """Render a table with its title as heading; a row's mark follows its first cell."""
    if not table.rows or len(table.columns) < 2:
        return ""
    lines = [
        _row(markdown_line(column.title) for column in table.columns),
        _row("---:" if column.right else ":---" for column in table.columns),
    ]
    for row in table.rows:
        first = (
            f"**{markdown_line(row.cells[0])}** ({markdown_line(row.mark)})"
            if row.mark
            else markdown_line(row.cells[0])
        )
        lines.append(_row([first, *map(markdown_line, row.cells[1:])]))
    heading = f"### {markdown_line(table.title)}\n\n" if titled else ""
    note = f"\n\n{markdown_line(table.note)}" if table.note else ""
    return heading + "\n".join(lines) + note


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_facts(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    if listed := [f"- {markdown_line(name)}: {markdown_line(value)}" for name, value in facts]:
        yield "## How it was measured"
        yield "\n".join(listed)
