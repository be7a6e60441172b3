"""A `tune` document as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.presentation.formatting import (
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
from blendin_local.presentation.html_page import Card, Page, Section, check_available, present_tables
from blendin_local.presentation.plot import Plot
from blendin_local.tune import report_tables as tune_tables
from blendin_local.tune.report_plots import tune_plots

__all__ = ["tune_page"]


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
        tables=present_tables(tune_tables.uncertain_table(result)),
    )  # fmt: skip
    yield Section(
        "Can their confidence be believed?", plots=[each for each in plots if each.narrow],
        tables=present_tables(tune_tables.calibration_table(result)),
    )  # fmt: skip
    tables = [tune_tables.interesting(result), tune_tables.all_settings(result)]
    yield Section("Tables", tables=tables[:1])
    yield Section("All the figures", tables=tables[1:], folded=True)
