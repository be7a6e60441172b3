"""Reports of `compare` from documents written by hand, also where figures are missing."""

from __future__ import annotations

import csv
import io
import re
from itertools import pairwise
from typing import Any

import pytest
from support.html_pages import Page
from support.reports import printed
from support.result_documents import COMPARE_DOCUMENTS, answers, compare_document, compare_report

from blendin_local.compare.report_csv import compare_csv, fidelity_csv
from blendin_local.compare.report_fidelity_tables import overview_table
from blendin_local.compare.report_page import compare_page
from blendin_local.compare.report_plots import across_plots, fidelity_plots, task_plots
from blendin_local.compare.report_text import compare_markdown
from blendin_local.compare.report_verdicts import verdicts

pytestmark = pytest.mark.usefixtures("short_pages")


def of_text(**changes: Any) -> Any:
    """A comparison that had a text and no task."""
    document = compare_document()
    for entry in document["fidelity"]:
        entry |= changes
    return document | {"tasks": [], "cells": [], "across": None, "arms": []}


def test_a_comparison_on_a_text_alone_ends_with_a_sentence() -> None:
    text = " ".join(printed(of_text(), 100).split())
    assert text.endswith("mean KLD 0.0312, the same top token at 93.5%.")
    two = of_text()
    two["fidelity"] = two["fidelity"][:2]
    assert list(verdicts(compare_report(two))) == [
        "On the text SmolLM2-135M-Instruct Q4_1 is 0.0312 from SmolLM2-135M-Instruct Q8_0 (mean KLD), the "
        "same top token at 93.5%."
    ]
    alone = of_text()
    alone["fidelity"] = alone["fidelity"][:1]
    assert list(verdicts(compare_report(alone))) == [
        "SmolLM2-135M-Instruct Q8_0 has on the text 1.020 bits per byte."
    ]
    other = of_text(kld=None)
    assert list(verdicts(compare_report(other))) == [
        "SmolLM2-135M-Instruct Q8_0 foresees the text best, 1.020 bits per byte."
    ]
    unknown = of_text(kld=None, bits_per_byte=None)
    assert list(verdicts(compare_report(unknown))) == []


def test_the_table_says_over_which_bytes_its_bits_are() -> None:
    document = compare_document()
    table = overview_table(compare_report(document))
    assert table and table.note == "Bits per byte are over the same 40,800 bytes of the text."
    document["fidelity"][2]["bytes"] = 40_798
    table = overview_table(compare_report(document))
    assert table and "40,798 to 40,800 bytes" in table.note


def test_intervals_and_tests_that_are_not_known_are_dashes() -> None:
    """A few examples that are all alike have neither; no output may stumble over that."""
    document = compare_document()
    for cell in document["cells"]:
        cell["interval"] = None
        for found in (*cell["against"].values(), cell["options"]):
            if found:
                found |= {"interval": None}
                found |= {"p": None, "p_holm": None} if "p" in found else {}
    result = compare_report(document, answers())
    for row in csv.DictReader(io.StringIO(compare_csv(result))):
        assert row["interval_low"] == row["against_base_low"] == row["against_base_p"] == ""
    assert "demo blendin" in printed(document, 100) and "demo blendin" in compare_markdown(result)
    assert compare_page(result)
    assert [*task_plots(result), *across_plots(result), *fidelity_plots(result)]
    assert not any("clearly better than each" in said for said in verdicts(result))


def test_the_hint_in_the_plot_is_the_level_of_the_preferences() -> None:
    (found,) = (
        each
        for each in across_plots(compare_report(compare_document()))
        if each.title == "Intervention rate against score"
    )
    assert "hint level, 25%" in found.caption
    assert found.figure["layout"]["shapes"][0]["x0"] == 0.25


def test_a_compare_page_holds_the_numbers_and_every_plot() -> None:
    page = Page(compare_page(compare_report(compare_document(), answers())))
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
    titles = re.findall(r"<figcaption><h3>(.*?)</h3>", compare_page(compare_report(compare_document())))
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
    data = Page(compare_page(compare_report(compare_document(), answers()))).data("answers-data")
    assert data["tasks"] == ["gsm8k"]
    assert data["arms"] == ["gemma-3-270m Q4_K_M", "SmolLM2-135M-Instruct Q4_1", "demo blendin γ 0.40"]
    assert [(each["item"], each["disagree"]) for each in data["questions"]] == [("q2", True), ("q1", False)]
    replies = data["questions"][0]["replies"]
    assert [each["value"] for each in replies] == [0.0, 1.0, 1.0]
    assert (replies[0]["arm"], replies[0]["reply"], replies[0]["high"]) == (0, "She has 3 left.", 1)


def test_without_answers_there_is_no_place_for_them() -> None:
    source = compare_page(compare_report(compare_document()))
    assert "answers-data" not in source and "Answers side by side" not in source


def test_csv_read_again_is_the_table() -> None:
    document = compare_document()
    rows = list(csv.DictReader(io.StringIO(compare_csv(compare_report(document)))))
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
    rows = list(csv.DictReader(io.StringIO(fidelity_csv(compare_report(compare_document())))))
    assert [row["kld_mean"] for row in rows] == ["", "0.0312", "0.214"]
    assert rows[1]["delta_p_rms"] == str(0.031 + 0.0312 / 5)
    only = compare_report(compare_document() | {"cells": [], "tasks": []})
    assert compare_csv(only) == fidelity_csv(only)


@pytest.mark.parametrize("make", COMPARE_DOCUMENTS.values())
def test_csv_has_as_many_fields_in_every_row(make: Any) -> None:
    for text in (compare_csv(compare_report(make())), fidelity_csv(compare_report(make()))):
        assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a,"b"\nc', "\ud83d"])
def test_no_name_in_a_csv_is_a_formula(name: str) -> None:
    document = compare_document()
    document["arms"] = [document["arms"][0] | {"name": name}]
    document["cells"] = [document["cells"][0] | {"arm": name}]
    text = compare_csv(compare_report(document))
    text.encode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text))
    assert not row["arm"].startswith(("=", "+", "-", "@", "\t"))
    if name.startswith("a"):
        assert row["arm"] == name


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


def test_verdicts_of_a_comparison() -> None:
    first, second, third, text = verdicts(compare_report(compare_document()))
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
        for said in verdicts(compare_report(document | {"fidelity": []}))
    )


def test_a_difference_is_clear_by_the_corrected_p_alone() -> None:
    document = compare_document()
    for cell in document["cells"]:
        for found in cell["against"].values():
            if found:
                found |= {"p": 0.001, "p_holm": 0.2}
    assert not any("is clearly better than each" in said for said in verdicts(compare_report(document)))


def test_quantizations_are_held_against_the_first() -> None:
    document = compare_document()
    document["arms"] = [arm | {"kind": "model"} for arm in document["arms"][:3]]
    document["tasks"] = document["tasks"][:1]
    cells = [cell for cell in document["cells"] if cell["task"] == "gsm8k"][:3]
    for cell, (difference, p) in zip(cells[1:], ((-0.2, 0.01), (0.01, 0.9)), strict=True):
        cell["against"] = {
            "base": None, "guide": None,
            "reference": {"arm": cells[0]["arm"], "difference": difference, "p": p, "p_holm": p,
                          "interval": None, "test": "McNemar"},
        }  # fmt: skip
    document["cells"] = cells
    said, _ = verdicts(compare_report(document))
    assert said.endswith("Clearly worse than gemma-3-270m Q4_K_M: SmolLM2-135M-Instruct Q4_1.")
    assert "−20.0%*" in printed(document, 80)


def test_markdown_says_what_was_found() -> None:
    text = compare_markdown(compare_report(compare_document()))
    assert "- gsm8k: demo blendin γ 0.40 scores highest, 20.0%" in text.replace("\\", "")
    assert "22.1814 ± 0.4100" in text


def test_a_terminal_shows_what_matters_at_80_columns_and_all_where_it_is_wide() -> None:
    narrow, wide = printed(compare_document(), 80), printed(compare_document(), 200)
    for text in (narrow, wide):
        assert "+14.0%*" in text and "10.0% to 30.0%" in text
        assert "Same top p" in text and "Mean KLD" in text
        assert "No blend is clearly better" in " ".join(text.split())
        # Every model has its column, side by side or under one another.
        assert "0.031200 ± 0.000347" in text and "0.214000 ± 0.002378" in text
    assert "stop 31, stop string 12, length 7" in wide


@pytest.mark.parametrize("make", COMPARE_DOCUMENTS.values())
def test_a_report_is_its_document(make: Any) -> None:
    document = make()
    assert compare_report(document, answers()).to_dict() == document
