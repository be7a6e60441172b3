"""Reports as a terminal and a reader of Markdown show them."""

from __future__ import annotations

import io
import re

from rich.console import Console

from blendin_local.compare.report_text import print_compare
from blendin_local.tune.report_text import print_tune
from support.result_documents import Document, compare_report, tune_report


def markdown_tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append(re.split(r"(?<!\\)\|", line)[1:-1])
        before = line
    return found


def printed(document: Document, width: int, color: bool = False) -> str:
    system = "truecolor" if color else None
    # Rich would obey NO_COLOR by itself; it is the reports that must.
    console = Console(
        width=width, file=io.StringIO(), force_terminal=color, color_system=system, no_color=False
    )
    if "settings" in document:
        parts = print_tune(tune_report(document), width, color)
    else:
        parts = print_compare(compare_report(document), width, color)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
