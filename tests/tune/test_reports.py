"""Reports of hand-written documents: what stands in them, and that nothing in them acts."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sys
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.html_pages import STAND_IN, Page, hostile
from support.result_documents import (
    answers,
    compare_degenerate,
    compare_document,
    compare_nothing,
    tune_degenerate,
    tune_document,
)

from blendin_local.compare.report_csv import compare_csv, fidelity_csv
from blendin_local.compare.report_page import compare_page
from blendin_local.compare.report_text import compare_markdown, print_compare
from blendin_local.compare.report_verdicts import verdicts
from blendin_local.errors import EvaluationError
from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import (
    EXPLAINED,
    gained,
    interval,
    percent,
    setting_flags,
    setting_name,
    shortened,
)
from blendin_local.presentation.html_page import check_available
from blendin_local.presentation.plot import colour_of, script
from blendin_local.tune.report_page import tune_page
from blendin_local.tune.report_tables import all_settings, interesting
from blendin_local.tune.report_terminal_plot import round_ticks
from blendin_local.tune.report_text import print_tune, tune_markdown

Document = dict[str, Any]

TUNE = {"whole": tune_document, "degenerate": tune_degenerate}
COMPARE = {"whole": compare_document, "degenerate": compare_degenerate, "nothing": compare_nothing}


def tuned(change: Any = None) -> Document:
    document = tune_document()
    if change:
        change(document)
    return document


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendin_local.presentation.html_page.script", lambda: STAND_IN)


@pytest.fixture(params=[*(f"tune {name}" for name in TUNE), *(f"compare {name}" for name in COMPARE)])
def page(request: pytest.FixtureRequest) -> Page:
    command, name = request.param.split()
    if command == "tune":
        return Page(tune_page(TUNE[name]()))
    return Page(compare_page(COMPARE[name](), answers() if name == "whole" else []))


# Pages


def test_a_page_asks_no_network_for_anything(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        for name in ("src", "href", "action", "data", "srcset"):
            assert name not in attributes, (tag, name)
    plotly, own = page.code
    assert plotly == STAND_IN
    for part in (own, *page.styles, *(text for attributes, text in page.scripts if attributes.get("type"))):
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|eval\(", part)


def test_a_page_holds_plotly_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    page = Page(tune_page(tune_degenerate()))
    assert page.code[0] == script()
    assert len(page.code[0]) > 1_000_000
    policy = (
        next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    )
    assert base64.b64encode(hashlib.sha256(page.code[0].encode()).digest()).decode() in policy


def test_a_page_forbids_itself_what_it_does_not_need(page: Page) -> None:
    policy = (
        next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    )
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.code]
    assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert "connect-src" not in rules and "unsafe" not in rules["script-src"]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]


def test_a_plot_cannot_be_shared_on_a_server(page: Page) -> None:
    """Plotly's own tool bar has a button for that, and a server that it would send the data to."""
    own = page.code[1]
    assert 'plotlyServerURL: ""' in own
    assert re.findall(r"modeBarButtons: (\[\[.*?\]\])", own) == [
        '[["toImage", "zoom2d", "pan2d", "resetScale2d"]]'
    ]


def test_every_plot_has_its_place_and_its_data(page: Page) -> None:
    figures = page.data("figures")
    places = [a["data-plot"] for _, a in page.tags if "data-plot" in a]
    assert places == [str(number) for number in range(len(figures))]
    for figure in figures:
        assert figure["data"]
        assert "template" not in figure["layout"]
        assert "color" not in figure["layout"].get("font", {})


def test_the_first_thing_that_is_said_is_the_verdict() -> None:
    page = Page(tune_page(tune_document()))
    order = [
        "These two are worth blending", "tuned γ 0.80, b −0.25", "Quality against speed",
        "Reliability of the guide", "The best setting of every method", "How it was measured",
    ]  # fmt: skip
    places = [page.text.index(part) for part in order]
    assert places == sorted(places)


def test_a_tune_page_holds_the_numbers() -> None:
    text = Page(tune_page(tune_document())).text
    for part in (
        "0.859", "0.869", "0.836 to 0.883", "44.0 tokens/s", "17.5%", "14.8% to 20.1%", "73.2%",
        "--method tuned --gamma 0.8 --prior -0.25", "30.0% of the positions (1,283 in all)", "25.0%",
        "50 from the built-in set; 4,276 positions, 17,958 bytes; 25 held out", "seed 0", "20.1 ms a token",
        "llama-cpp-python 0.3.36", "a5fd3b62230a",
    ):  # fmt: skip
        assert part in text, part


def test_a_tune_page_draws_every_setting() -> None:
    document = tune_document()
    figures = Page(tune_page(document)).data("figures")
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

    rows = [row.cells[0] for row in interesting(tuned(disagree)).rows]
    assert [name for name in rows if name.startswith("nudge")] == ["nudge γ 0.20"]


def test_every_setting_has_its_intervals_and_its_floor() -> None:
    table = all_settings(tune_document())
    titles = [column.title for column in table.columns]
    shown = {row.cells[0]: dict(zip(titles, row.cells, strict=True)) for row in table.rows}
    nudge = shown["nudge γ 1.00"]
    assert (nudge["held-out 95%"], nudge["at the floor"]) == ("0.823 to 0.883", "1.23%")
    assert (nudge["interventions"], nudge["interventions 95%"]) == ("100.0%", "90.0% to 110.0%")
    assert nudge["tokens/s 95%"] == "22.6 to 23.9"
    assert EXPLAINED["at the floor"] in Page(tune_page(tune_document())).text
    # The guide alone asks nobody, and has no positions of the base.
    assert [shown["guide"][name] for name in ("interventions", "interventions 95%", "at the floor")] == [
        "–"
    ] * 3
    plotted = Page(tune_page(tune_document())).data("figures")[0]["data"]
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


def test_a_compare_page_holds_the_numbers_and_every_plot() -> None:
    page = Page(compare_page(compare_document(), answers()))
    for part in (
        "+14.0%*",
        "0.012",
        "34.0%",
        "24.0% to 44.0%",
        "22.1814 ± 0.4100",
        "0.031200 ± 0.000347",
        "−1.10",
    ):
        assert part in page.text, part
    titles = re.findall(r"<figcaption><h3>(.*?)</h3>", compare_page(compare_document()))
    assert titles == [
        "gsm8k: accuracy",
        "arc_challenge: accuracy",
        "xstest: compliance",
        "Gain over the base alone",
        "Gain over the guide alone",
        "Intervention rate against score",
        "Capability gap against gain",
        "Within a family and across families",
        "Mean KLD over file size",
        "Bits per byte over file size",
    ]
    figures = page.data("figures")
    heat = figures[3]["data"][0]
    assert heat["z"][0] == pytest.approx([0.14, 0.06, 0.3])
    assert heat["text"][0] == ["+14.0%", "+6.0%", "+30.0%"]
    metric = [value for trace in figures[0]["data"] for value in trace["x"]]
    assert sorted(metric) == sorted(c["value"] for c in compare_document()["cells"] if c["task"] == "gsm8k")


def test_answers_stand_side_by_side_the_disagreements_first() -> None:
    data = Page(compare_page(compare_document(), answers())).data("answers-data")
    assert data["tasks"] == ["gsm8k"]
    assert data["arms"] == ["gemma-3-270m Q4_K_M", "SmolLM2-135M-Instruct Q4_1", "demo blendin γ 0.40"]
    assert [(each["item"], each["disagree"]) for each in data["questions"]] == [("q2", True), ("q1", False)]
    replies = data["questions"][0]["replies"]
    assert [each["value"] for each in replies] == [0.0, 1.0, 1.0]
    assert (replies[0]["arm"], replies[0]["reply"], replies[0]["high"]) == (0, "She has 3 left.", 1)


def test_without_answers_there_is_no_place_for_them() -> None:
    source = compare_page(compare_document())
    assert "answers-data" not in source and "Answers side by side" not in source


@pytest.mark.parametrize("kind", ["tune", "compare"])
def test_hostile_names_and_answers_act_nowhere(kind: str) -> None:
    if kind == "tune":
        plain, source = tune_page(tune_document()), tune_page(hostile(tune_document()))
    else:
        written = [hostile(row) | {"value": row["value"]} for row in answers()]
        plain, source = (
            compare_page(compare_document(), answers()),
            compare_page(hostile(compare_document()), written),
        )
    was, page = Page(plain), Page(source)
    assert "</script><script>alert(1)" not in source
    # Not one tag more than without it, and it stands there to be read.
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in was.tags]
    assert "</script><script>alert(1)</script><img src=x" in page.text
    assert "\x1b" not in source and "\u202e" not in source
    assert "{{7*7}}" in page.text
    # Plotly shows tags of its own, such as links, unless they are escaped; its line breaks are ours.
    drawn = json.dumps(page.data("figures"))
    assert not re.search(r"<(?!/?b>|br>)", drawn)
    assert ("&lt;img" in drawn) == (kind == "compare")


def test_halves_of_characters_can_be_written_to_a_file() -> None:
    rows = [answers()[0] | {"reply": "half \ud83d of one", "prompt": "\udcff"}]
    compare_page(compare_document(), rows).encode("utf-8")


def test_what_is_not_self_evident_is_explained() -> None:
    text = Page(tune_page(tune_document())).text + Page(compare_page(compare_document())).text
    for name in (
        "bits per byte",
        "ECE",
        "pair prior",
        "Pareto front",
        "KLD",
        "loops",
        "Cohen's d",
        "by options",
    ):
        assert EXPLAINED[name] in text, name


def test_without_plotly_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    for make in (
        check_available,
        lambda: tune_page(tune_document()),
        lambda: compare_page(compare_nothing(), []),
    ):
        with pytest.raises(EvaluationError, match=r"pip install 'blendin-local\[report\]'\.$") as caught:
            make()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("paper", ["#ffffff", "#16181b"])
def test_lines_and_points_can_be_seen_on_both_papers(paper: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for method in METHODS:
        bright, dark = sorted((luminance(colour_of(method)), luminance(paper)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, method
    assert len({colour_of(method) for method in METHODS}) == len(METHODS)


# Markdown


def markdown_tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append(re.split(r"(?<!\\)\|", line)[1:-1])
        before = line
    return found


@pytest.mark.parametrize("make", [*TUNE.values(), *COMPARE.values()])
@pytest.mark.parametrize("evil", [False, True])
def test_markdown_tables_are_well_formed(make: Any, evil: bool) -> None:
    document = hostile(make()) if evil else make()
    text = tune_markdown(document) if "settings" in document else compare_markdown(document)
    for table in markdown_tables(text):
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(r" (:---|---:) ", cell) for cell in table[1])
        assert len(table) > 2
    assert not re.search(r"(?<!\\)<", text)
    assert "\x1b" not in text
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert "None" not in text


def test_markdown_says_what_was_found() -> None:
    text = tune_markdown(tune_document())
    assert "**These two are worth blending" in text
    assert "`--method tuned --gamma 0.8 --prior -0.25`" in text
    assert "**tuned γ 0.80, b −0.25** (recommended)" in text
    settings, *_ = markdown_tables(text)
    assert {row[0].strip(" *").split()[0] for row in settings[2:]} == {*METHODS}
    everything = markdown_tables(text)[-1]
    assert len(everything) == 2 + len(tune_document()["settings"])
    compared = compare_markdown(compare_document())
    assert "- gsm8k: demo blendin γ 0.40 scores highest, 20.0%" in compared.replace("\\", "")
    assert "22.1814 ± 0.4100" in compared


# CSV


def test_csv_read_again_is_the_table() -> None:
    document = compare_document()
    rows = list(csv.DictReader(io.StringIO(compare_csv(document))))
    assert len(rows) == len(document["cells"])
    for row, cell in zip(rows, document["cells"], strict=True):
        assert (row["arm"], row["task"]) == (cell["arm"], cell["task"])
        expected = {
            "value": cell["value"],
            "interval_low": cell["interval"][0],
            "intervention_rate": cell["intervention_rate"],
            "against_base_p_holm": (cell["against"]["base"] or {}).get("p_holm"),
            "against_guide_high": ((cell["against"]["guide"] or {}).get("interval") or [None] * 2)[1],
            "options_value": (cell["options"] or {}).get("value"),
            "options_normalised": ((cell["options"] or {}).get("normalised") or {}).get("value"),
            "shortened": cell.get("shortened"),
            "against_reference_p": None,
            "rank_top_90_mass": (cell["guide_rank"] or {}).get("top_90_mass"),
            "mean_tokens": cell["length"]["mean_tokens"],
            "ended_by_stop string": 12,
        }
        assert {name: float(row[name]) if row[name] else None for name in expected} == expected
    blend = next(row for row in rows if row["kind"] == "pair")
    assert (blend["size_bytes"], blend["guide"]) == ("506000000", "SmolLM2-135M-Instruct Q4_1")


def test_csv_of_quantizations() -> None:
    rows = list(csv.DictReader(io.StringIO(fidelity_csv(compare_document()))))
    assert [row["kld_mean"] for row in rows] == ["", "0.0312", "0.214"]
    assert rows[1]["delta_p_rms"] == str(0.031 + 0.0312 / 5)
    only = compare_document() | {"cells": [], "tasks": []}
    assert compare_csv(only) == fidelity_csv(only)


@pytest.mark.parametrize("make", COMPARE.values())
def test_csv_has_as_many_fields_in_every_row(make: Any) -> None:
    for text in (compare_csv(make()), fidelity_csv(make())):
        assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a,"b"\nc', "\ud83d"])
def test_no_name_in_a_csv_is_a_formula(name: str) -> None:
    document = compare_document()
    document["cells"] = [document["cells"][0] | {"arm": name}]
    text = compare_csv(document)
    text.encode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text))
    assert not row["arm"].startswith(("=", "+", "-", "@", "\t"))
    if name.startswith("a"):
        assert row["arm"] == name


# Terminal


def printed(document: Document, width: int, color: bool = False) -> str:
    system = "truecolor" if color else None
    # Rich would obey NO_COLOR by itself; it is the reports that must.
    console = Console(
        width=width, file=io.StringIO(), force_terminal=color, color_system=system, no_color=False
    )
    for part in (print_tune if "settings" in document else print_compare)(document, width, color):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("make", [*TUNE.values(), *COMPARE.values()])
@pytest.mark.parametrize("evil", [False, True])
def test_what_is_printed_fits(make: Any, width: int, evil: bool) -> None:
    text = printed(hostile(make()) if evil else make(), width)
    assert text.strip()
    for line in text.splitlines():
        assert cell_len(line.rstrip()) <= width, line
    assert "\x1b" not in text
    assert "None" not in text


def test_a_terminal_shows_what_matters_at_80_columns_and_all_where_it_is_wide() -> None:
    narrow, wide = printed(tune_document(), 80), printed(tune_document(), 160)
    for text in (narrow, wide):
        assert text.startswith("These two are worth blending")
        assert "Recommended: tuned γ 0.80, b −0.25  (--method tuned --gamma 0.8 --prior -0.25)" in text
        assert "★ tuned γ 0.80" in text
        assert "Hint: " in text and "ECE" in text
    assert "95% interval" not in narrow.split("setting ")[1].splitlines()[0]
    assert "95% interval" in wide.split("setting ")[1].splitlines()[0]
    narrow, wide = printed(compare_document(), 80), printed(compare_document(), 200)
    for text in (narrow, wide):
        assert "+14.0%*" in text and "10.0% to 30.0%" in text
        assert "Same top p" in text and "Mean KLD" in text
        assert "No blend is clearly better" in " ".join(text.split())
        # Every model has its column, side by side or under one another.
        assert "0.031200 ± 0.000347" in text and "0.214000 ± 0.002378" in text
    assert "stop 31, stop string 12, length 7" in wide


def test_fidelity_stands_in_the_order_of_the_perplexity_tool() -> None:
    text = printed(compare_document(), 140)
    order = [
        "Mean PPL(Q) ", "Mean PPL(reference)", "Cor(ln PPL(Q), ln PPL(reference))",
        "Mean ln(PPL(Q)/PPL(reference))", "Mean PPL(Q)/PPL(reference)", "Mean PPL(Q)-PPL(reference)",
        "Mean KLD ", "Maximum KLD", "99.9% KLD", "99.0% KLD", "95.0% KLD",
        "90.0% KLD", "Median KLD", "10.0% KLD", "5.0% KLD", "1.0% KLD", "0.1% KLD", "Minimum KLD",
        "Mean Δp", "Maximum Δp", "99.9% Δp", "99.0% Δp", "95.0% Δp", "90.0% Δp", "75.0% Δp", "Median Δp",
        "25.0% Δp", "10.0% Δp", "5.0% Δp", "1.0% Δp", "0.1% Δp", "Minimum Δp", "RMS Δp", "Same top p",
    ]  # fmt: skip
    table = text.split("Against the reference")[1]
    places = [table.index(f"\n{name}") for name in order]
    assert all(one < other for one, other in pairwise(places))
    # The second model has a KLD of 0.214, and its perplexity is e to that times the reference's 21.5.
    assert "0.214000 ± 0.002503" in table and "5.1304 ± 0.0723" in table and "21.5000 ± 0.4000" in table
    # Fractions of 1 in the document, percents here.
    assert "93.540 ± 0.210%" in table and "−14.000%" in table


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(tune_document(), 80, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed(tune_document(), 80, color=True))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed(compare_document(), 80, color=True))


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


def test_verdicts_of_a_comparison() -> None:
    first, second, third, text = verdicts(compare_document())
    assert first == (
        "gsm8k: demo blendin γ 0.40 scores highest, 20.0% (95% interval 10.0% to 30.0%). demo blendin γ 0.40 "
        "is clearly better than each of its models alone."
    )
    assert "No blend is clearly better than both of its models alone" in second
    assert third.startswith("xstest: SmolLM2-135M-Instruct Q8_0 and 1 more score highest, 70.0%")
    assert text == (
        "On the text SmolLM2-135M-Instruct Q4_1 is nearest to SmolLM2-135M-Instruct Q8_0: mean KLD 0.0312, "
        "the same top token at 93.5%."
    )


def test_a_blend_that_only_harms_is_said_to() -> None:
    document = compare_document()
    for cell in document["cells"]:
        for found in cell["against"].values():
            if found:
                found |= {"difference": -0.2, "p_holm": 0.001}
    assert all(
        "Every blend is clearly worse than one of its models alone." in said
        for said in verdicts(document | {"fidelity": []})
    )


def test_a_difference_is_clear_by_the_corrected_p_alone() -> None:
    document = compare_document()
    for cell in document["cells"]:
        for found in cell["against"].values():
            if found:
                found |= {"p": 0.001, "p_holm": 0.2}
    assert not any("is clearly better than each" in said for said in verdicts(document))


def test_quantizations_are_held_against_the_first() -> None:
    document = compare_document()
    document["arms"] = [arm | {"kind": "model"} for arm in document["arms"][:3]]
    document["tasks"] = document["tasks"][:1]
    cells = [cell for cell in document["cells"] if cell["task"] == "gsm8k"][:3]
    for cell, (difference, p) in zip(cells[1:], ((-0.2, 0.01), (0.01, 0.9)), strict=True):
        cell["against"] = {
            "base": None, "guide": None,
            "reference": {"arm": cells[0]["arm"], "difference": difference, "p_holm": p, "interval": None},
        }  # fmt: skip
    document["cells"] = cells
    said, _ = verdicts(document)
    assert said.endswith("Clearly worse than gemma-3-270m Q4_K_M: SmolLM2-135M-Instruct Q4_1.")
    assert "−20.0%*" in printed(document, 80)


def test_names_and_flags_of_settings() -> None:
    fixed = {"method": "fixed", "gamma": 0.4, "alpha": 0.3, "prior": None}
    assert (setting_name(fixed), setting_flags(fixed)) == (
        "fixed α 0.30, γ 0.40",
        "--method fixed --gamma 0.4 --alpha 0.3",
    )
    assert setting_name({"method": "base", "gamma": None}) == "base"
    assert setting_flags({"method": "$(rm -rf)", "gamma": None}) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "17.5% fewer bits per byte than the base alone on held-out examples; of the gain, the 95% "
             "interval is 14.8% to 20.1%."),
        ({"gain": -0.01, "interval": None},
         "1.0% more bits per byte than the base alone on held-out examples."),
        ({"setting": {"method": "base"}}, "The base alone is recommended: no blend gains clearly over it."),
        ({"gain": None},
         "What it gains over the base alone could not be measured: no examples were held out."),
    ],
)  # fmt: skip
def test_what_the_recommended_setting_gains(change: Document, said: str) -> None:
    assert gained(tune_document()["recommendation"] | change) == said


def test_numbers() -> None:
    assert (percent(None), percent(-0.0123), percent(0.5, 0)) == ("–", "−1.2%", "50%")
    assert (interval(None), interval([None, 1.0]), interval([0.5, 0.25], 2)) == ("–", "–", "0.50 to 0.25")
    assert shortened("SmolLM2-135M-Instruct Q4_1", 12) == "SmolLM… Q4_1"
    assert (shortened("two\nlines", 20), shortened("abc", 1)) == ("two lines", "…")


def test_documents_are_only_read() -> None:
    for make, outputs in (
        (tune_document, (tune_page, tune_markdown)),
        (compare_document, (compare_page, compare_markdown, compare_csv)),
    ):
        document = make()
        before = deepcopy(document)
        for output in outputs:
            output(document)
        printed(document, 80)
        assert document == before
