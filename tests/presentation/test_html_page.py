"""Pages of both reports: nothing in them acts, and they ask no network for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys

import pytest
from support.html_pages import STAND_IN, Page, hostile
from support.result_documents import (
    COMPARE_DOCUMENTS,
    TUNE_DOCUMENTS,
    answers,
    compare_document,
    compare_nothing,
    compare_report,
    tune_degenerate,
    tune_document,
    tune_report,
)

from blendin_local.compare.report_page import compare_page
from blendin_local.errors import EvaluationError
from blendin_local.presentation.formatting import TERM_HELP
from blendin_local.presentation.html_page import check_available
from blendin_local.presentation.plot import plotly_script
from blendin_local.tune.report_page import tune_page

pytestmark = pytest.mark.usefixtures("short_pages")


@pytest.fixture(
    params=[*(f"tune {name}" for name in TUNE_DOCUMENTS), *(f"compare {name}" for name in COMPARE_DOCUMENTS)]
)
def page(request: pytest.FixtureRequest) -> Page:
    command, name = request.param.split()
    if command == "tune":
        return Page(tune_page(tune_report(TUNE_DOCUMENTS[name]())))
    return Page(compare_page(compare_report(COMPARE_DOCUMENTS[name](), answers() if name == "whole" else [])))


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
    page = Page(tune_page(tune_report(tune_degenerate())))
    assert page.code[0] == plotly_script()
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


@pytest.mark.parametrize("kind", ["tune", "compare"])
def test_hostile_names_and_answers_act_nowhere(kind: str) -> None:
    if kind == "tune":
        reports = tune_report(tune_document()), tune_report(hostile(tune_document()))
        plain, source = map(tune_page, reports)
    else:
        written = [hostile(row) | {"value": row["value"]} for row in answers()]
        plain, source = (
            compare_page(compare_report(compare_document(), answers())),
            compare_page(compare_report(hostile(compare_document()), written)),
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
    compare_page(compare_report(compare_document(), rows)).encode("utf-8")


def test_what_is_not_self_evident_is_explained() -> None:
    text = Page(tune_page(tune_report(tune_document()))).text
    text += Page(compare_page(compare_report(compare_document()))).text
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
        assert TERM_HELP[name] in text, name


def test_without_plotly_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    for make in (
        check_available,
        lambda: tune_page(tune_report(tune_document())),
        lambda: compare_page(compare_report(compare_nothing())),
    ):
        with pytest.raises(EvaluationError, match=r"pip install 'blendin-local\[report\]'\.$") as caught:
            make()
        assert "\n" not in str(caught.value)
