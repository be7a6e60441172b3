"""Format a tune report for the terminal and as Markdown."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from blendin_local.presentation.markdown_table import (
    join_parts,
    markdown_facts,
    markdown_line,
    markdown_table,
)
from blendin_local.presentation.setting_label import setting_flags, setting_label
from blendin_local.presentation.terminal_table import render_tables, styled_line, use_colour
from blendin_local.tune import report_tables as tables
from blendin_local.tune.report_terminal_plot import speed_plot
from blendin_local.tune.report_words import gain_sentence
from blendin_local.tune.result import TuneReport

__all__ = ["print_tune", "tune_markdown"]


def print_tune(result: TuneReport, console_width: int, color: bool = True) -> list[RenderableType]:
    """Parts to print after `tune`, in order. color: whether the terminal shows colours (NO_COLOR forbids)."""
    color = use_colour(color)
    chosen = result.recommendation.setting
    recommended = Text("Recommended: ").append(setting_label(chosen), style="bold green" if color else "")
    parts: list[RenderableType] = [
        styled_line(result.verdict, "bold" if color else ""),
        Text(),
        recommended.append(f"  ({setting_flags(chosen)})", style="dim" if color else ""),
        Text(),
        *render_tables([tables.best_settings(result)], console_width, color, titled=False),
        Text(),
    ]
    if plot := speed_plot(result, console_width, color):
        parts += [plot, Text()]
    parts += [styled_line(each) for each in tables.uncertain_lines(result.uncertain)]
    if calibration := tables.calibration_line(result):
        parts.append(styled_line(calibration))
    if result.hint.note:
        parts.append(styled_line(f"Hint: {result.hint.note}", "dim" if color else ""))
    return parts


def tune_markdown(result: TuneReport) -> str:
    """Return the verdict, the recommended setting, every table, and how it was measured."""
    chosen = result.recommendation.setting
    optional = (tables.uncertain_table(result.uncertain), tables.calibration_table(result))
    return join_parts(
        [
            f"# Tune: {markdown_line(result.pair.name or result.pair.base)}",
            f"**{markdown_line(result.verdict)}**",
            f"Recommended: **{markdown_line(setting_label(chosen))}** (`{setting_flags(chosen)}`).",
            markdown_line(gain_sentence(result.recommendation)),
            markdown_line(result.hint.note),
            "## Settings",
            markdown_table(tables.best_settings(result), titled=False),
            "## Where the base is unsure",
            *map(markdown_line, tables.uncertain_lines(result.uncertain)),
            *(markdown_table(table) for table in optional if table),
            markdown_table(tables.all_settings(result)),
            *markdown_facts(tables.facts(result)),
        ]
    )
