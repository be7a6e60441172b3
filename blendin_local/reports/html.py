"""A tuning or a comparison as one page that needs nothing else: plots, tables, and answers side by side.

The page holds Plotly whole and asks no network for anything. Whatever a model, a file or a data set is
called, and whatever a model wrote, is text: in HTML it is escaped, in the embedded JSON no tag can end the
script, and Plotly gets it without its own markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blendin_local.inert import encodable, inert
from blendin_local.pages import page_template
from blendin_local.reports import across_tables, compare_tables, tune_tables
from blendin_local.reports.compare_plots import across_plots, fidelity_plots, task_plots
from blendin_local.reports.fidelity_tables import fidelity_table, overview_table
from blendin_local.reports.plots import Plot, check_available, script
from blendin_local.reports.tables import Table
from blendin_local.reports.tune_plots import tune_plots
from blendin_local.reports.verdicts import verdicts
from blendin_local.reports.words import (
    EXPLAINED,
    NOTHING,
    Document,
    gained,
    interval,
    line,
    number,
    percent,
    setting_flags,
    setting_name,
)

__all__ = ["Card", "Folded", "Page", "Section", "check_available", "compare_page", "tune_page"]

Card = tuple[str, str, str]
"""A figure at a glance: its name, its value, and a quiet note."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A text under a line that says what it is. note: a quiet line; alarm: whether something failed."""

    name: str
    why: str
    note: str
    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """folded: tables are shown when asked for. texts: to be read, each folded."""

    title: str
    lines: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    folded: bool = False
    texts: Sequence[Folded] = ()


@dataclass(slots=True)
class Page:
    """What the template gets; sections without content are left out."""

    title: str
    subtitle: str
    verdict: Sequence[str]
    sections: Iterable[Section]
    facts: Sequence[tuple[str, str]]
    cards_title: str = ""
    cards: Sequence[Card] = ()
    setting: str = ""
    flags: str = ""
    said: Sequence[str] = ()
    hint: str = ""
    last: Sequence[Table] = ()
    answers: Mapping[str, Any] | None = None
    facts_title: str = "How it was measured"
    figures: list[Mapping[str, Any]] = field(default_factory=list)

    def render(self) -> str:
        numbered = []
        for section in self.sections:
            # A table that names its rows and has no figures says nothing.
            tables = [table for table in section.tables if table.rows and len(table.columns) > 1]
            if not (section.lines or section.plots or tables or section.texts):
                continue
            first = len(self.figures)
            self.figures += [plot.figure for plot in section.plots]
            plots = list(enumerate(section.plots, first))
            numbered.append(
                {"title": section.title, "lines": section.lines, "plots": plots, "folded": section.folded}
                | {"tables": tables, "texts": section.texts}
            )
        values = {name: getattr(self, name) for name in self.__slots__} | {"sections": numbered}
        return encodable(page_template("reports").render(plotly=script(), help=EXPLAINED, **values))


# Tune


def tune_page(result: Document) -> str:
    """The page of a `tune` document, as HTML. Raises EvaluationError where Plotly is missing."""
    check_available()
    pair = result.get("pair") or {}
    plots = list(tune_plots(result))
    recommendation = result.get("recommendation") or {}
    setting = recommendation.get("setting") or {}
    hint = (result.get("hint") or {}).get("note")
    return Page(
        title=line(f"Tune: {pair.get('name') or pair.get('base') or 'a pair'}"),
        subtitle=line(f"base {pair.get('base') or NOTHING} · guide {pair.get('guide') or NOTHING}"),
        verdict=[line(result["verdict"])] if result.get("verdict") else ["There is no verdict."],
        cards_title="The recommended setting",
        setting=setting_name(setting) if setting else "",
        flags=setting_flags(setting),
        said=[line(recommendation.get("reason") or gained(recommendation))],
        cards=list(_tune_cards(result)),
        hint=f"Hint: {line(hint)}" if hint else "",
        sections=_tune_sections(result, plots),
        facts=tune_tables.facts(result),
    ).render()


def _tune_cards(result: Document) -> Iterator[Card]:
    recommendation = result.get("recommendation") or {}
    setting = recommendation.get("setting") or {}
    blended = setting.get("method") not in ("base", "guide", None)
    shown = [(f"{role} alone", result.get(role) or {}) for role in ("base", "guide")]
    for name, figures in [*shown, ("recommended", setting)] if blended else shown:
        yield name, number(figures.get("bits_per_byte")), _note(figures)
    if blended:
        single = recommendation.get("single") or "better model"
        around = interval(recommendation.get("interval"), 1, as_percent=True)
        note = f"held-out, over the {single} alone" + ("" if around == NOTHING else f" ({around})")
        yield "gain", percent(recommendation.get("gain")), note
        yield "intervention rate", percent(setting.get("intervention_rate")), "how often the guide is asked"


def _note(figures: Document) -> str:
    around, speed = interval(figures.get("interval")), figures.get("tokens_per_second")
    quality = "bits per byte" if around == NOTHING else f"bits per byte ({around})"
    return quality if speed is None else f"{quality}; {number(speed, 1)} tokens/s"


def _tune_sections(result: Document, plots: Sequence[Plot]) -> Iterator[Section]:
    main = [each for each in plots if not each.narrow and each.height > 200]
    unsure = [each for each in plots if not each.narrow and each.height <= 200]
    yield Section("Every setting", plots=main)
    yield Section(
        "Where the base is unsure", lines=list(tune_tables.uncertain_lines(result)), plots=unsure,
        tables=_kept(tune_tables.uncertain_table(result)),
    )  # fmt: skip
    yield Section(
        "Can their confidence be believed?", plots=[each for each in plots if each.narrow],
        tables=_kept(tune_tables.calibration_table(result)),
    )  # fmt: skip
    tables = [tune_tables.interesting(result), tune_tables.all_settings(result)]
    yield Section("Tables", tables=tables[:1])
    yield Section("All the figures", tables=tables[1:], folded=True)


def _kept(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None]


# Compare


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
        last=_kept(compare_tables.arms_table(result)),
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
        tables=_kept(overview_table(result), fidelity_table(result)),
    )  # fmt: skip
    writing = [compare_tables.writing_table(result, task) for task in tasks]
    overlap = _kept(compare_tables.overlap_table(result))
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
                "prompt": inert(str(row.get("prompt") or "")),
                "expected": line(row.get("expected") or ""),
                "replies": [],
            },
        )
        low, high = scales.get(task, (0, 1))
        question["replies"].append(
            {
                "arm": arm_names.setdefault(name, len(arm_names)),
                "reply": inert(str(row.get("reply") or "")),
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
