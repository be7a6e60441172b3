"""A job of offline generation as one page that needs nothing else, made like that of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from blendin_local.batch.report_plots import batch_plots
from blendin_local.batch.report_tables import (
    counted,
    ended_table,
    facts,
    failed_table,
    headline,
    hints,
    reliability_name,
)
from blendin_local.presentation.formatting import NOTHING, Document, line, number, percent
from blendin_local.presentation.html_page import Card, Folded, Page, Section, check_available
from blendin_local.safe_text import sanitize

__all__ = ["batch_page"]


def batch_page(figures: Document) -> str:
    """The page of a job's figures (`JobStats.as_dict`; `batch_tables` says what else they may hold), as HTML.

    Raises EvaluationError, one sentence, where Plotly is missing.
    """
    check_available()
    models = figures.get("models") or {}
    roles = [
        f"{role} {line(models[role].get('name') or NOTHING)}" for role in ("base", "guide") if role in models
    ]
    files = [line(figures[name]) for name in ("input", "output") if figures.get(name)]
    return Page(
        title="Offline generation",
        subtitle=" · ".join([*roles, " → ".join(files)]).strip(" ·"),
        verdict=[f"{counted(figures)}. {headline(figures)}.", *hints(figures)],
        cards_title="In short",
        cards=list(_cards(figures)),
        sections=_sections(figures),
        facts=facts(figures),
        facts_title="Settings and models",
    ).render()


def _cards(figures: Document) -> Iterator[Card]:
    rows, failed = figures.get("rows") or 0, figures.get("failed") or 0
    yield "answered", f"{figures.get('answered') or 0:,}", f"of {rows:,} rows; {failed:,} failed"
    yield "speed", f"{number(figures.get('tokens_per_second'), 1)}", "tokens/s, all rows together"
    name, _, remark = reliability_name(figures).partition(" (")
    note = f"mean over all steps, {percent(figures.get('weak_share'))} of them weak"
    mean = (figures.get("reliability") or {}).get("mean")
    yield name, number(mean, 2), f"{note} ({remark}" if remark else note
    yield "intervention rate", percent(figures.get("intervention_rate")), "steps at which the guide was asked"
    yield (
        "changed tokens",
        percent(figures.get("changed_token_rate")),
        "steps at which that made a difference",
    )
    yield "guide words", percent(figures.get("guide_word_rate")), "words that came from the guide"


def _sections(figures: Document) -> Iterator[Section]:
    yield Section("How sure the answers are", plots=list(batch_plots(figures)))
    found = figures.get("worth_a_look") or []
    name = f"mean {reliability_name(figures)}"
    texts = [_folded(row, name) for row in found]
    said = (
        f"{len(found):,} of {figures.get('rows') or len(found):,} rows, the most remarkable of each kind "
        "first. Open one to read it; long answers show their beginning and end."
        if found
        else "No row stands out: none failed, looped, was cut off or empty, or is unusually unsure."
    )
    yield Section("Worth a look", lines=[said] if figures.get("rows") else [], texts=texts)
    yield Section("How rows ended", tables=[ended_table(figures), failed_table(figures)])


def _folded(row: Document, reliability: str) -> Folded:
    error = row.get("error") or {}
    known = [
        (name, shown(row[key]))
        for name, key, shown in (
            ("place in the input", "index", lambda place: f"{place + 1:,}"),
            ("tokens", "tokens", lambda count: f"{count:,}"),
            ("intervention rate", "intervention_rate", percent),
            (reliability, "mean_reliability", lambda mean: number(mean, 2)),
            ("weak steps", "weak_share", percent),
            ("ended by", "finish_reason", line),
        )
        if row.get(key) is not None and not (error and key == "tokens")
    ]
    return Folded(
        name=line(row.get("id")),
        why="; ".join(map(line, row.get("why") or ())),
        note=" · ".join(f"{name} {value}" for name, value in known),
        text=sanitize(str(error.get("message") or row.get("text") or "(no text)")),
        alarm=bool(error),
    )
