"""What a comparison says where figures are missing or there is only a text, and what its hints rest on."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from rich.console import Console
from support.result_documents import answers, compare_document

from blendin_local.compare.report_csv import compare_csv
from blendin_local.compare.report_fidelity_tables import overview_table
from blendin_local.compare.report_page import compare_page
from blendin_local.compare.report_plots import across_plots, fidelity_plots, task_plots
from blendin_local.compare.report_text import compare_markdown, print_compare
from blendin_local.compare.report_verdicts import verdicts


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendin_local.presentation.html_page.script", lambda: "var Plotly;")


def printed(document: Any, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for part in print_compare(document, width, color=False):
        console.print(part)
    return stream.getvalue()


def of_text(**changes: Any) -> Any:
    """A comparison that had a text and no task."""
    document = compare_document()
    for entry in document["fidelity"]:
        entry |= changes
    return document | {"tasks": [], "cells": [], "across": None, "arms": []}


def test_a_comparison_on_a_text_alone_ends_with_a_sentence() -> None:
    text = " ".join(printed(of_text()).split())
    assert text.endswith("mean KLD 0.0312, the same top token at 93.5%.")
    two = of_text()
    two["fidelity"] = two["fidelity"][:2]
    assert list(verdicts(two)) == [
        "On the text SmolLM2-135M-Instruct Q4_1 is 0.0312 from SmolLM2-135M-Instruct Q8_0 (mean KLD), the "
        "same top token at 93.5%."
    ]
    alone = of_text()
    alone["fidelity"] = alone["fidelity"][:1]
    assert list(verdicts(alone)) == ["SmolLM2-135M-Instruct Q8_0 has on the text 1.020 bits per byte."]
    other = of_text(kld=None)
    assert list(verdicts(other)) == [
        "SmolLM2-135M-Instruct Q8_0 foresees the text best, 1.020 bits per byte."
    ]
    unknown = of_text(kld=None, bits_per_byte=None)
    assert list(verdicts(unknown)) == []


def test_the_table_says_over_which_bytes_its_bits_are() -> None:
    document = compare_document()
    table = overview_table(document)
    assert table and table.note == "Bits per byte are over the same 40,800 bytes of the text."
    document["fidelity"][2]["bytes"] = 40_798
    table = overview_table(document)
    assert table and "40,798 to 40,800 bytes" in table.note
    for entry in document["fidelity"]:
        del entry["bytes"]
    table = overview_table(document)
    assert table and table.note == ""


def test_intervals_and_tests_that_are_not_known_are_dashes() -> None:
    """A few examples that are all alike have neither; no output may stumble over that."""
    document = compare_document()
    for cell in document["cells"]:
        cell["interval"] = None
        for found in (*cell["against"].values(), cell["options"]):
            if found:
                found |= {"interval": None}
                found |= {"p": None, "p_holm": None} if "p" in found else {}
    for row in csv.DictReader(io.StringIO(compare_csv(document))):
        assert row["interval_low"] == row["against_base_low"] == row["against_base_p"] == ""
    assert "demo blendin" in printed(document) and "demo blendin" in compare_markdown(document)
    assert compare_page(document, answers())
    assert [*task_plots(document), *across_plots(document), *fidelity_plots(document)]
    assert not any("clearly better than each" in said for said in verdicts(document))


def test_the_hint_in_the_plot_is_the_level_of_the_preferences() -> None:
    def of(document: Any) -> Any:
        return next(
            each for each in across_plots(document) if each.title == "Intervention rate against score"
        )

    found = of(compare_document())
    assert "hint level, 25%" in found.caption
    assert found.figure["layout"]["shapes"][0]["x0"] == 0.25
    none = of({key: value for key, value in compare_document().items() if key != "hint_level"})
    assert not none.figure["layout"].get("shapes") and "dotted" not in none.caption
