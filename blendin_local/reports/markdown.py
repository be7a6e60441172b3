"""What `tune` and `compare` found as Markdown: for notes, issues and model cards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from blendin_local.reports import compare_tables, tune_tables
from blendin_local.reports.across_tables import across_lines, across_tables
from blendin_local.reports.fidelity_tables import fidelity_table, overview_table
from blendin_local.reports.tables import Table
from blendin_local.reports.verdicts import verdicts
from blendin_local.reports.words import Document, gained, line, setting_flags, setting_name

__all__ = ["compare_markdown", "tune_markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#&~|!])")


def tune_markdown(result: Document) -> str:
    """The verdict, the recommended setting, every table, and how it was measured."""
    pair = result.get("pair") or {}
    parts = [f"# Tune: {_line(pair.get('name') or pair.get('base') or 'a pair')}"]
    parts += [f"**{_line(result['verdict'])}**"] if result.get("verdict") else []
    recommendation = result.get("recommendation")
    if recommendation and recommendation.get("setting"):
        setting = recommendation["setting"]
        parts.append(f"Recommended: **{_line(setting_name(setting))}** (`{setting_flags(setting)}`).")
    parts.append(_line(gained(recommendation)))
    if (hint := result.get("hint") or {}).get("note"):
        parts.append(_line(hint["note"]))
    parts += ["## Settings", _table(tune_tables.interesting(result), titled=False)]
    parts += ["## Where the base is unsure", *map(_line, tune_tables.uncertain_lines(result))]
    tables = (tune_tables.uncertain_table(result), tune_tables.calibration_table(result))
    parts += [_table(table) for table in tables if table]
    parts += [_table(tune_tables.all_settings(result)), *_facts(tune_tables.facts(result))]
    return _joined(parts)


def compare_markdown(result: Document) -> str:
    """A table for each task, quantizations, what holds across pairs, and how it was measured."""
    parts = ["# Comparison", _list(verdicts(result))]
    for task in compare_tables.tasks_of(result):
        parts += [_table(compare_tables.task_table(result, task))]
        parts += [_table(compare_tables.writing_table(result, task))]
    tables = [compare_tables.overlap_table(result), overview_table(result), fidelity_table(result)]
    parts += [_table(table) for table in tables if table]
    parts += [_list(across_lines(result))]
    parts += [_table(table) for table in across_tables(result)]
    arms = compare_tables.arms_table(result)
    parts += [_table(arms)] if arms else []
    return _joined([*parts, *_facts(compare_tables.facts(result))])


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(text: object) -> str:
    """Any text as one line that no Markdown acts on."""
    return _SPECIAL.sub(r"\\\1", line(text))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_line(each)}" for each in lines)


def _table(table: Table, *, titled: bool = True) -> str:
    """A heading and a table; a mark stands behind the first cell of its row."""
    if not table.rows or len(table.columns) < 2:
        return ""
    lines = [
        _row(_line(column.title) for column in table.columns),
        _row("---:" if column.right else ":---" for column in table.columns),
    ]
    for row in table.rows:
        first = f"**{_line(row.cells[0])}** ({_line(row.mark)})" if row.mark else _line(row.cells[0])
        lines.append(_row([first, *map(_line, row.cells[1:])]))
    heading = f"### {_line(table.title)}\n\n" if titled else ""
    note = f"\n\n{_line(table.note)}" if table.note else ""
    return heading + "\n".join(lines) + note


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    if listed := [f"- {_line(name)}: {_line(value)}" for name, value in facts]:
        yield "## How it was measured"
        yield "\n".join(listed)
