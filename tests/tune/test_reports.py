"""Reports of `tune` from documents written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.html_pages import Page
from support.reports import markdown_tables, printed
from support.result_documents import TUNE_DOCUMENTS, Document, setting, tune_document, tune_report

from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import TERM_HELP
from blendin_local.presentation.setting_label import setting_flags, setting_label
from blendin_local.tune.report_page import tune_page
from blendin_local.tune.report_tables import all_settings, best_settings
from blendin_local.tune.report_terminal_plot import round_ticks
from blendin_local.tune.report_text import tune_markdown
from blendin_local.tune.report_words import gain_sentence
from blendin_local.tune.result import Setting, TuneReport

pytestmark = pytest.mark.usefixtures("short_pages")


def tuned(change: Any = None) -> TuneReport:
    document = tune_document()
    if change:
        change(document)
    return tune_report(document)


def test_the_first_thing_that_is_said_is_the_verdict() -> None:
    page = Page(tune_page(tune_report(tune_document())))
    order = [
        "These two are worth blending", "tuned b −0.25, γ 0.80", "Quality against speed",
        "Reliability of the guide", "The best setting of every method", "How it was measured",
    ]  # fmt: skip
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)


def test_a_tune_page_holds_the_numbers() -> None:
    text = Page(tune_page(tune_report(tune_document()))).text
    for part in (
        "0.859", "0.869", "0.836 to 0.883", "44.0 tokens/s", "17.5%", "14.8% to 20.1%", "73.2%",
        "--method tuned --gamma 0.8 --prior -0.25", "30.0% of the positions (1,283 in all)", "25.0%",
        "50 from the built-in set; 4,276 positions, 17,958 bytes; 25 held out", "seed 0", "20.1 ms a token",
        "llama-cpp-python 0.3.36", "a5fd3b62230a",
    ):  # fmt: skip
        assert part in text, part


def test_a_tune_page_draws_every_setting() -> None:
    document = tune_document()
    figures = Page(tune_page(tune_report(document))).data("figures")
    points = [
        (x, y)
        for trace in figures[0]["data"]
        if trace["mode"].startswith("markers") and trace["name"] != "recommended"
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]
    expected = [(each["bytes_per_second"], each["bits_per_byte"]) for each in document["settings"]]
    assert sorted(points) == sorted(expected)
    front = next(trace for trace in figures[0]["data"] if trace["name"] == "Pareto front")
    on_front = [each for each in document["settings"] if each["pareto"]]
    assert sorted(front["y"]) == sorted(each["bits_per_byte"] for each in on_front)
    assert front["x"] == sorted(front["x"])
    blendin = next(trace for trace in figures[1]["data"] if trace["name"] == "blendin")
    bars = blendin["error_y"]
    first = next(each for each in document["settings"] if each["method"] == "blendin")
    assert bars["array"][0] == pytest.approx(first["interval"][1] - first["bits_per_byte"])
    assert bars["arrayminus"][0] == pytest.approx(first["bits_per_byte"] - first["interval"][0])


def test_the_best_of_a_method_is_that_of_the_fitting_half() -> None:
    """Its held-out figure would flatter it, had the other half a part in picking the row."""

    def disagree(document: Document) -> None:
        for each in document["settings"]:
            if each["method"] == "nudge":
                each["fitting_bits_per_byte"] = 0.5 + abs(each["gamma"] - 0.2)
                each["bits_per_byte"] = 0.5 + abs(each["gamma"] - 0.9)

    rows = [row.cells[0] for row in best_settings(tuned(disagree)).rows]
    assert [name for name in rows if name.startswith("nudge")] == ["nudge γ 0.20"]


def test_every_setting_has_its_intervals_and_its_floor() -> None:
    table = all_settings(tune_report(tune_document()))
    titles = [column.title for column in table.columns]
    shown = {row.cells[0]: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
    nudge = shown["nudge γ 1.00"]
    assert (nudge["held-out 95%"], nudge["at the floor"]) == ("0.823 to 0.883", "1.23%")
    assert (nudge["interventions"], nudge["interventions 95%"]) == ("100.0%", "90.0% to 110.0%")
    assert nudge["tokens/s 95%"] == "22.6 to 23.9"
    assert TERM_HELP["at the floor"] in Page(tune_page(tune_report(tune_document()))).text
    # The guide alone asks nobody, and has no positions of the base.
    assert [shown["guide"][name] for name in ("interventions", "interventions 95%", "at the floor")] == [
        "–"
    ] * 3
    plotted = Page(tune_page(tune_report(tune_document()))).data("figures")[0]["data"]
    hovers = {trace["name"]: trace["hovertext"][0] for trace in plotted if "hovertext" in trace}
    assert "intervention rate" not in hovers["guide"] and "intervention rate" in hovers["base"]


def test_the_fitted_points_lie_where_the_curve_puts_them() -> None:
    def bend(document: Document) -> None:
        found = document["calibration"]["guide"]
        found["curve"] = {"confidences": [0.2, 0.6], "reliabilities": [0.1, 0.5]}
        found["bins"] = [
            {"low": low, "high": low + 0.2, "count": 5, "confidence": low + 0.1, "accuracy": 0.3}
            for low in (0.0, 0.3, 0.8)
        ]

    figures = Page(tune_page(tuned(bend))).data("figures")
    fitted = next(trace for trace in figures[-1]["data"] if trace["name"] == "fitted")
    # 0.1 and 0.9 lie outside the curve, 0.4 in its middle.
    assert fitted["x"] == pytest.approx([0.1, 0.3, 0.5])
    assert fitted["y"] == [0.3, 0.3, 0.3]


# Markdown


def test_markdown_says_what_was_found() -> None:
    text = tune_markdown(tune_report(tune_document()))
    assert "**These two are worth blending" in text
    assert "`--method tuned --gamma 0.8 --prior -0.25`" in text
    assert "**tuned b −0.25, γ 0.80** (recommended)" in text
    settings, *_ = markdown_tables(text)
    assert {row[0].strip(" *").split()[0] for row in settings[2:]} == {*METHODS}
    everything = markdown_tables(text)[-1]
    assert len(everything) == 2 + len(tune_document()["settings"])


# Terminal


def test_a_terminal_shows_what_matters_at_80_columns_and_all_where_it_is_wide() -> None:
    narrow, wide = printed(tune_document(), 80), printed(tune_document(), 160)
    for text in (narrow, wide):
        assert text.startswith("These two are worth blending")
        assert "Recommended: tuned b −0.25, γ 0.80  (--method tuned --gamma 0.8 --prior -0.25)" in text
        assert "★ tuned b −0.25" in text
        assert "Hint: " in text and "ECE" in text
    assert "95% interval" not in narrow.split("setting ")[1].splitlines()[0]
    assert "95% interval" in wide.split("setting ")[1].splitlines()[0]


def test_the_plot_marks_base_guide_and_the_recommended_setting() -> None:
    text = printed(tune_document(), 80)
    inside = "".join(line[line.index("│") :] for line in text.splitlines() if "│" in line)
    inside += "".join(line[line.index("┤") :] for line in text.splitlines() if "┤" in line)
    assert [inside.count(mark) for mark in "BG★"] == [1, 1, 1]
    assert "●" in inside


def test_round_ticks() -> None:
    assert round_ticks(0.69, 0.88, 4) == (
        pytest.approx([0.7, 0.75, 0.8, 0.85]),
        ["0.70", "0.75", "0.80", "0.85"],
    )
    assert round_ticks(90, 250, 5) == ([100, 150, 200, 250], ["100", "150", "200", "250"])
    assert round_ticks(1.0, 1.0000001, 3)[1]


# Words


def test_names_and_flags_of_settings() -> None:
    fixed = Setting("fixed", gamma=0.4, alpha=0.3)
    assert (setting_label(fixed), setting_flags(fixed)) == (
        "fixed α 0.30, γ 0.40",
        "--method fixed --gamma 0.4 --alpha 0.3",
    )
    assert setting_label(Setting("base")) == "base"
    assert setting_flags(Setting("$(rm -rf)")) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "17.5% fewer bits per byte than the base alone on held-out examples; of the gain, the 95% "
             "interval is 14.8% to 20.1%."),
        ({"gain": -0.01, "interval": [None, None]},
         "1.0% more bits per byte than the base alone on held-out examples."),
        ({"setting": setting("base", None, 0.859, 0.0)},
         "The base alone is recommended: no blend gains clearly over it."),
        ({"gain": None},
         "What it gains over the base alone could not be measured: no examples were held out."),
    ],
)  # fmt: skip
def test_what_the_recommended_setting_gains(change: Document, said: str) -> None:
    document = tune_document()
    document["recommendation"] |= change
    assert gain_sentence(tune_report(document).recommendation) == said


# The document


@pytest.mark.parametrize("make", TUNE_DOCUMENTS.values())
def test_a_report_is_its_document(make: Any) -> None:
    document = make()
    assert tune_report(document).to_dict() == document


def test_a_document_begins_with_what_was_measured() -> None:
    document = tune_document()
    assert json.dumps(tune_report(document).to_dict()) == json.dumps(document)
