"""Print tables on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from blendin_local.cli.terminal import is_terminal
from blendin_local.safe_text import sanitize

if TYPE_CHECKING:
    from rich.table import Table


def new_table(*titles: str, wrapped: bool = False) -> Table:
    """Return a table whose last column wraps in a narrow terminal; all columns do if `wrapped`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(sanitize(title), overflow="fold", no_wrap=not wrapped and title != titles[-1])
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of sanitized text."""
    table.add_row(*map(sanitize, cells))


def print_parts(*parts: Any) -> None:
    """Print tables and lines without interpreting markup."""
    from rich.console import Console

    # Outside a terminal, tables are not limited in width.
    width = None if is_terminal(sys.stdout) else 10_000
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for part in parts:
        console.print(part)
