"""Render a comparison and its answers as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blendin_local.compare import report_tables as tables
from blendin_local.compare.report_across_tables import across_lines, across_tables
from blendin_local.compare.report_fidelity_tables import fidelity_table, overview_table
from blendin_local.compare.report_plots import across_plots, fidelity_plots, task_plots
from blendin_local.compare.report_verdicts import verdicts
from blendin_local.compare.result import CompareReport
from blendin_local.presentation.formatting import line
from blendin_local.presentation.html_page import Page, Section, check_available, drop_missing
from blendin_local.safe_text import sanitize

__all__ = ["compare_page"]


def compare_page(result: CompareReport) -> str:
    """Return the page as HTML. Raises EvaluationError, one sentence, if Plotly is not installed."""
    check_available()
    counts = {"arm": result.arms, "task": result.tasks, "quantization": result.fidelity}
    counted = [f"{len(each)} {name}{'s' * (len(each) > 1)}" for name, each in counts.items() if each]
    return Page(
        title="Comparison",
        subtitle=" · ".join(counted) or "nothing was compared",
        verdict=list(verdicts(result)) or ["Nothing was compared."],
        sections=_sections(result),
        facts=tables.facts(result),
        last=drop_missing(tables.arms_table(result)),
        answers=_questions(result) if result.answers else None,
    ).render()


def _sections(result: CompareReport) -> Iterator[Section]:
    scores = [tables.task_table(result, task) for task in result.tasks]
    yield Section("Scores", plots=list(task_plots(result)), tables=scores)
    yield Section(
        "Across arms and pairs", lines=list(across_lines(result)),
        plots=list(across_plots(result)), tables=list(across_tables(result)),
    )  # fmt: skip
    yield Section(
        "Quantizations", plots=list(fidelity_plots(result)),
        tables=drop_missing(overview_table(result), fidelity_table(result)),
    )  # fmt: skip
    writing = [tables.writing_table(result, task) for task in result.tasks]
    overlap = drop_missing(tables.overlap_table(result))
    yield Section("How the replies were written", tables=[*writing, *overlap], folded=True)


def _questions(result: CompareReport) -> dict[str, Any]:
    """Group answers by question for the page's script; questions with different scores come first."""
    scales = {task.name: task.scale for task in result.tasks}
    task_places: dict[str, int] = {}
    arm_places: dict[str, int] = {}
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for row in result.answers:
        question = questions.setdefault(
            (row.task, row.item),
            {
                "task": task_places.setdefault(row.task, len(task_places)),
                "item": line(row.item),
                "prompt": sanitize(row.prompt),
                "expected": line(row.expected),
                "replies": [],
            },
        )
        low, high = scales[row.task]
        question["replies"].append(
            {
                "arm": arm_places.setdefault(row.arm, len(arm_places)),
                "reply": sanitize(row.reply),
                "value": row.value,
                "low": low,
                "high": high,
                "extracted": line(row.extracted),
                "note": line(row.note),
                "ended": line(row.finish_reason),
            }
        )
    for question in questions.values():
        question["disagree"] = len({reply["value"] for reply in question["replies"]} - {None}) > 1
    ordered = sorted(questions.values(), key=lambda question: not question["disagree"])
    return {"tasks": [*map(line, task_places)], "arms": [*map(line, arm_places)], "questions": ordered}
