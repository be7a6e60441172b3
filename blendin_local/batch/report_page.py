"""Render the report of a job of offline generation as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from blendin_local.batch.job_report import FlaggedRow, JobReport
from blendin_local.batch.report_plots import batch_plots
from blendin_local.batch.report_tables import (
    ended_table,
    facts,
    failed_table,
    format_counts,
    headline,
    hints,
    reliability_name,
)
from blendin_local.presentation.formatting import NOTHING, line, number, percent
from blendin_local.presentation.html_page import Card, FoldedText, Page, Section, check_available
from blendin_local.safe_text import sanitize

__all__ = ["batch_page"]


def batch_page(report: JobReport) -> str:
    """Return the page as HTML. Raises EvaluationError if Plotly is not installed."""
    check_available()
    models = report.models
    roles = [
        f"{role} {line(models[role].get('name') or NOTHING)}" for role in ("base", "guide") if role in models
    ]
    files = [line(name) for name in (report.input, report.output) if name]
    return Page(
        title="Offline generation",
        subtitle=" · ".join([*roles, " → ".join(files)]).strip(" ·"),
        verdict=[f"{format_counts(report)}. {headline(report)}.", *hints(report)],
        cards_title="In short",
        cards=list(_cards(report)),
        sections=_sections(report),
        facts=facts(report),
        facts_title="Settings and models",
    ).render()


def _cards(report: JobReport) -> Iterator[Card]:
    yield "answered", f"{report.answered:,}", f"of {report.rows:,} rows; {report.failed:,} failed"
    yield "speed", number(report.tokens_per_second, 1), "tokens/s, all rows together"
    name, _, remark = reliability_name(report).partition(" (")
    note = f"mean over all steps, {percent(report.weak_share)} of them weak"
    yield name, number(report.reliability.mean, 2), f"{note} ({remark}" if remark else note
    yield "intervention rate", percent(report.intervention_rate), "steps at which the guide was asked"
    yield "changed tokens", percent(report.changed_token_rate), "steps at which that made a difference"
    yield "guide words", percent(report.guide_word_rate), "words that came from the guide"


def _sections(report: JobReport) -> Iterator[Section]:
    yield Section("How sure the answers are", plots=list(batch_plots(report)))
    found, name = report.worth_a_look, f"mean {reliability_name(report)}"
    said = (
        f"{len(found):,} of {report.rows:,} rows, the most remarkable of each kind "
        "first. Open one to read it; long answers show their beginning and end."
        if found
        else "No row stands out: none failed, looped, was cut off or empty, or is unusually unsure."
    )
    texts = [_folded(row, name) for row in found]
    yield Section("Worth a look", lines=[said] if report.rows else [], texts=texts)
    yield Section("How rows ended", tables=[ended_table(report), failed_table(report)])


def _folded(row: FlaggedRow, reliability: str) -> FoldedText:
    mean, reason = row.mean_reliability, row.finish_reason
    known = (
        ("place in the input", f"{row.index + 1:,}"),
        ("tokens", None if row.error else f"{row.tokens:,}"),
        ("intervention rate", None if row.intervention_rate is None else percent(row.intervention_rate)),
        (reliability, None if mean is None else number(mean, 2)),
        ("weak steps", None if row.weak_share is None else percent(row.weak_share)),
        ("ended by", None if reason is None else line(reason)),
    )
    return FoldedText(
        name=line(row.id),
        why="; ".join(map(line, row.why)),
        note=" · ".join(f"{name} {value}" for name, value in known if value is not None),
        text=sanitize(row.message or row.text or "(no text)"),
        alarm=bool(row.error),
    )
