"""Render a tune report as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.presentation.formatting import NOTHING, interval, line, number, percent
from blendin_local.presentation.html_page import Card, Page, Section, check_available, drop_missing
from blendin_local.presentation.plot import Plot
from blendin_local.presentation.setting_label import setting_flags, setting_label
from blendin_local.tune import report_tables as tables
from blendin_local.tune.report_plots import tune_plots
from blendin_local.tune.result import ScoredSetting, SingleModel, TuneReport

__all__ = ["tune_page"]


def tune_page(result: TuneReport) -> str:
    """Return the page as HTML. Raises EvaluationError if Plotly is not installed."""
    check_available()
    pair, recommendation = result.pair, result.recommendation
    plots = list(tune_plots(result))
    return Page(
        title=line(f"Tune: {pair.name or pair.base}"),
        subtitle=line(f"base {pair.base} · guide {pair.guide}"),
        verdict=[line(result.verdict)],
        cards_title="The recommended setting",
        setting=setting_label(recommendation.setting),
        flags=setting_flags(recommendation.setting),
        sentences=[line(recommendation.reason)],
        cards=list(_tune_cards(result)),
        hint=f"Hint: {line(result.hint.note)}" if result.hint.note else "",
        sections=_tune_sections(result, plots),
        facts=tables.facts(result),
    ).render()


def _tune_cards(result: TuneReport) -> Iterator[Card]:
    recommendation = result.recommendation
    setting = recommendation.setting
    shown: list[tuple[str, SingleModel | ScoredSetting]] = [
        ("base alone", result.base),
        ("guide alone", result.guide),
    ]
    if not setting.is_single:
        shown.append(("recommended", setting))
    for name, figures in shown:
        yield name, number(figures.bits_per_byte), _note(figures)
    if not setting.is_single:
        around = interval(recommendation.interval, 1, as_percent=True)
        note = f"held-out, over the {recommendation.single} alone"
        yield "gain", percent(recommendation.gain), note + ("" if around == NOTHING else f" ({around})")
        yield "intervention rate", percent(setting.intervention_rate), "how often the guide is asked"


def _note(figures: SingleModel | ScoredSetting) -> str:
    around, speed = interval(figures.interval), figures.tokens_per_second
    quality = "bits per byte" if around == NOTHING else f"bits per byte ({around})"
    return quality if speed is None else f"{quality}; {number(speed, 1)} tokens/s"


def _tune_sections(result: TuneReport, plots: Sequence[Plot]) -> Iterator[Section]:
    main = [each for each in plots if not each.narrow and each.height > 200]
    unsure = [each for each in plots if not each.narrow and each.height <= 200]
    yield Section("Every setting", plots=main)
    yield Section(
        "Where the base is unsure", lines=list(tables.uncertain_lines(result.uncertain)), plots=unsure,
        tables=drop_missing(tables.uncertain_table(result.uncertain)),
    )  # fmt: skip
    yield Section(
        "Can their confidence be believed?", plots=[each for each in plots if each.narrow],
        tables=drop_missing(tables.calibration_table(result)),
    )  # fmt: skip
    yield Section("Tables", tables=[tables.best_settings(result)])
    yield Section("All the figures", tables=[tables.all_settings(result)], folded=True)
