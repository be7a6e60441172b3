"""A `tune` document for a terminal and as Markdown."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from blendin_local.presentation.formatting import Document, gained, setting_flags, setting_name
from blendin_local.presentation.markdown_table import (
    join_parts,
    markdown_facts,
    markdown_line,
    markdown_table,
)
from blendin_local.presentation.terminal_table import coloured, render_tables, styled_line
from blendin_local.tune import report_tables as tune_tables
from blendin_local.tune.report_terminal_plot import speed_plot

__all__ = ["print_tune", "tune_markdown"]


def print_tune(result: Document, console_width: int, color: bool = True) -> list[RenderableType]:
    """What to print after `tune`, in order; color: whether the terminal shows colours (NO_COLOR forbids)."""
    color = coloured(color)
    parts: list[RenderableType] = []
    if result.get("verdict"):
        parts += [styled_line(result["verdict"], "bold" if color else ""), Text()]
    recommendation = result.get("recommendation") or {}
    if recommendation.get("setting"):
        setting = recommendation["setting"]
        said = Text("Recommended: ").append(setting_name(setting), style="bold green" if color else "")
        parts += [said.append(f"  ({setting_flags(setting)})", style="dim" if color else "")]
    if not result.get("verdict"):
        parts.append(styled_line(gained(recommendation)))
    parts.append(Text())
    parts += [*render_tables([tune_tables.interesting(result)], console_width, color, titled=False), Text()]
    if plot := speed_plot(result, console_width, color):
        parts += [plot, Text()]
    parts += [styled_line(each) for each in tune_tables.uncertain_lines(result)]
    if said_of := tune_tables.calibration_line(result):
        parts.append(styled_line(said_of))
    if (hint := result.get("hint") or {}).get("note"):
        parts.append(styled_line(f"Hint: {hint['note']}", "dim" if color else ""))
    return parts


def tune_markdown(result: Document) -> str:
    """The verdict, the recommended setting, every table, and how it was measured."""
    pair = result.get("pair") or {}
    parts = [f"# Tune: {markdown_line(pair.get('name') or pair.get('base') or 'a pair')}"]
    parts += [f"**{markdown_line(result['verdict'])}**"] if result.get("verdict") else []
    recommendation = result.get("recommendation")
    if recommendation and recommendation.get("setting"):
        setting = recommendation["setting"]
        parts.append(f"Recommended: **{markdown_line(setting_name(setting))}** (`{setting_flags(setting)}`).")
    parts.append(markdown_line(gained(recommendation)))
    if (hint := result.get("hint") or {}).get("note"):
        parts.append(markdown_line(hint["note"]))
    parts += ["## Settings", markdown_table(tune_tables.interesting(result), titled=False)]
    parts += ["## Where the base is unsure", *map(markdown_line, tune_tables.uncertain_lines(result))]
    tables = (tune_tables.uncertain_table(result), tune_tables.calibration_table(result))
    parts += [markdown_table(table) for table in tables if table]
    parts += [markdown_table(tune_tables.all_settings(result)), *markdown_facts(tune_tables.facts(result))]
    return join_parts(parts)
