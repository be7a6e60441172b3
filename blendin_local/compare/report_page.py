"""A `compare` document and its answers as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from blendin_local.compare import report_across_tables as across_tables
from blendin_local.compare import report_tables as compare_tables
from blendin_local.compare.report_fidelity_tables import fidelity_table, overview_table
from blendin_local.compare.report_plots import across_plots, fidelity_plots, task_plots
from blendin_local.compare.report_verdicts import verdicts
from blendin_local.presentation.formatting import Document, line, number, percent
from blendin_local.presentation.html_page import Page, Section, check_available, present_tables
from blendin_local.safe_text import sanitize

__all__ = ["compare_page"]


def compare_page(result: Document, answers: Sequence[Document] = ()) -> str:
    """The page of a `compare` document and its answers, as HTML.

    answers: as `compare.reading.answer_rows` gives them, in the order in which they are to be read; each a
    mapping of task, item, arm, prompt, expected, reply, value, extracted, note, finish_reason. Raises
    EvaluationError, one sentence, where Plotly is missing.
    """
    check_available()
    arms, tasks = result.get("arms") or [], compare_tables.tasks_of(result)
    counts = {"arm": arms, "task": tasks, "quantization": result.get("fidelity") or []}
    counted = [f"{len(each)} {name}{'s' * (len(each) > 1)}" for name, each in counts.items() if each]
    return Page(
        title="Comparison",
        subtitle=" · ".join(counted) or "nothing was compared",
        verdict=list(verdicts(result)) or list(_fidelity_verdict(result)) or ["Nothing was compared."],
        sections=_compare_sections(result, tasks),
        facts=compare_tables.facts(result),
        last=present_tables(compare_tables.arms_table(result)),
        answers=_questions(answers, tasks) if answers else None,
    ).render()


def _fidelity_verdict(result: Document) -> Iterator[str]:
    """Without tasks: which quantization stays closest to the reference."""
    known = [each for each in result.get("fidelity") or [] if (each.get("kld") or {}).get("mean") is not None]
    if known:
        best = min(known, key=lambda each: each["kld"]["mean"])
        yield (
            f"{line(best.get('model'))} stays closest to {line(best.get('reference'))}: mean KLD "
            f"{number(best['kld']['mean'], 5)}, the same top token at {percent(best.get('same_top'))}."
        )


def _compare_sections(result: Document, tasks: Sequence[Document]) -> Iterator[Section]:
    scores = [compare_tables.task_table(result, task) for task in tasks]
    yield Section("Scores", plots=list(task_plots(result)), tables=scores)
    yield Section(
        "Across arms and pairs", lines=list(across_tables.across_lines(result)),
        plots=list(across_plots(result)), tables=list(across_tables.across_tables(result)),
    )  # fmt: skip
    yield Section(
        "Quantizations", plots=list(fidelity_plots(result)),
        tables=present_tables(overview_table(result), fidelity_table(result)),
    )  # fmt: skip
    writing = [compare_tables.writing_table(result, task) for task in tasks]
    overlap = present_tables(compare_tables.overlap_table(result))
    yield Section("How the replies were written", tables=[*writing, *overlap], folded=True)


def _questions(rows: Sequence[Document], tasks: Sequence[Document]) -> dict[str, Any]:
    """Answers by question for the page's script, in their order; those on which scores differ come first."""
    scales = {task.get("name"): task.get("scale") or (0, 1) for task in tasks}
    task_names: dict[Any, int] = {}
    arm_names: dict[Any, int] = {}
    questions: dict[tuple[Any, Any], dict[str, Any]] = {}
    for row in rows:
        task, name = row.get("task"), row.get("arm")
        question = questions.setdefault(
            (task, row.get("item")),
            {
                "task": task_names.setdefault(task, len(task_names)),
                "item": line(row.get("item") or ""),
                "prompt": sanitize(str(row.get("prompt") or "")),
                "expected": line(row.get("expected") or ""),
                "replies": [],
            },
        )
        low, high = scales.get(task, (0, 1))
        question["replies"].append(
            {
                "arm": arm_names.setdefault(name, len(arm_names)),
                "reply": sanitize(str(row.get("reply") or "")),
                "value": row.get("value"),
                "low": low,
                "high": high,
                "extracted": line(row.get("extracted") or ""),
                "note": line(row.get("note") or ""),
                "ended": line(row.get("finish_reason") or ""),
            }
        )
    for question in questions.values():
        question["disagree"] = len({reply["value"] for reply in question["replies"]} - {None}) > 1
    ordered = sorted(questions.values(), key=lambda question: not question["disagree"])
    return {"tasks": [*map(line, task_names)], "arms": [*map(line, arm_names)], "questions": ordered}
