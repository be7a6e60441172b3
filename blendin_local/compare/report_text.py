"""Format a comparison for the terminal and as Markdown."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from blendin_local.compare import report_tables as tables
from blendin_local.compare.report_across_tables import across_lines, across_tables
from blendin_local.compare.report_fidelity_tables import fidelity_table, overview_table
from blendin_local.compare.report_verdicts import verdicts
from blendin_local.compare.result import CompareReport
from blendin_local.presentation.markdown_table import (
    join_parts,
    markdown_facts,
    markdown_list,
    markdown_table,
)
from blendin_local.presentation.terminal_table import (
    render_tables,
    split_columns,
    styled_line,
    table_title,
    use_colour,
)

__all__ = ["compare_markdown", "print_compare"]


def print_compare(result: CompareReport, console_width: int, color: bool = True) -> list[RenderableType]:
    """Return the parts to print: tasks, quantizations, figures across pairs, verdicts."""
    color = use_colour(color)
    parts: list[RenderableType] = []
    for table in (tables.task_table, tables.writing_table):
        parts += render_tables([table(result, task) for task in result.tasks], console_width, color)
    overview, figures = overview_table(result), fidelity_table(result)
    parts += render_tables([table for table in (overview,) if table], console_width, color)
    if figures:
        parts += render_tables(split_columns(figures, console_width), console_width, color)
    if overlap := tables.overlap_table(result):
        parts += render_tables([overlap], console_width, color)
    if lines := list(across_lines(result)):
        parts += [table_title("Across pairs", color), *map(styled_line, lines), Text()]
    parts += [styled_line(each, "bold" if color else "") for each in verdicts(result)]
    if not parts:
        parts = [Text("Nothing was compared.")]
    return parts


def compare_markdown(result: CompareReport) -> str:
    """Return a table for each task, quantizations, what holds across pairs, and how it was measured."""
    parts = ["# Comparison", markdown_list(verdicts(result))]
    for task in result.tasks:
        parts += [markdown_table(tables.task_table(result, task))]
        parts += [markdown_table(tables.writing_table(result, task))]
    optional = (tables.overlap_table(result), overview_table(result), fidelity_table(result))
    parts += [markdown_table(table) for table in optional if table]
    parts += [markdown_list(across_lines(result))]
    parts += [markdown_table(table) for table in across_tables(result)]
    arms = tables.arms_table(result)
    parts += [markdown_table(arms)] if arms else []
    return join_parts([*parts, *markdown_facts(tables.facts(result))])
