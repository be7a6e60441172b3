"""The page of a job: it holds the figures, draws the distributions, and nothing in it acts."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from support.batch_results import LOOP, answer, failure, figures_of, job, jobs
from support.examples import examples
from support.html_pages import Page, hostile
from support.result_documents import HOSTILE

from blendin_local.batch.job_report import JobReport
from blendin_local.batch.report_page import batch_page
from blendin_local.batch.report_plots import batch_plots
from blendin_local.errors import EvaluationError
from blendin_local.settings import RECOMMENDED_SAMPLING, GenerationSettings

MODELS = {
    role: {
        "name": name,
        "sha256": "a5fd3b62230aa5ec60212297dc9d20ea",
        "format": {"name": form, "sha256": "0" * 64},
        "calibration": None,
    }
    for role, name, form in (("base", "gemma-3-270m", "transcript"), ("guide", "SmolLM2-135M", "chatml"))
}
SETTINGS = asdict(GenerationSettings(sampling=RECOMMENDED_SAMPLING, stop=("\n\n",), seed=7)) | {
    "system": "Answer in one sentence.",
    "options": {"n_ctx": 2048},
    "versions": {"llama_cpp": "0.3.36"},
}


pytestmark = pytest.mark.usefixtures("short_pages")


def whole() -> JobReport:
    return figures_of(
        job(), settings=SETTINGS, models=MODELS, input="in.jsonl", output="out.jsonl", parallel=8, left=7
    )


def test_what_is_most_wanted_comes_first() -> None:
    text = Page(batch_page(whole())).text
    order = [
        "base gemma-3-270m · guide SmolLM2-135M · in.jsonl → out.jsonl",
        "103 rows: 102 answered, 1 failed; 7 left to do. 2,540 tokens in 2 min, 25.4 tokens/s.",
        "In short", "Reliability of the answers", "Intervention rate of the answers", "Worth a look",
        "failed: too long", "Row 101 is longer than the context.", "Why answers ended", "Failures",
        "Settings and models",
    ]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_it_holds_settings_and_models() -> None:
    text = Page(batch_page(whole())).text
    for part in (
        "gemma-3-270m (SHA-256 a5fd3b62230a, prompt format transcript, not calibrated)",
        "blendin γ 0.40", "temperature 0.7, min p 0.05", "Answer in one sentence.", "seed 7",
        "answered side by side 8", "n-ctx 2048", "llama-cpp 0.3.36", r"'\n\n'",
    ):  # fmt: skip
        assert part in text, part


def test_histograms_draw_every_answer_once() -> None:
    figures = whole()
    reliability, rates = batch_plots(figures)
    for drawn, spread in ((reliability, figures.reliability), (rates, figures.intervention_rates)):
        [trace] = drawn.figure["data"]
        assert list(trace["y"]) == list(spread.histogram.counts)
        assert sum(trace["y"]) == figures.answered
        assert trace["x"][0] == pytest.approx(0.025) and trace["x"][-1] == pytest.approx(0.975)


def test_texts_are_folded_and_whole() -> None:
    text = "First line.\n    indented <b>line</b>\n" * 3
    page = Page(batch_page(figures_of([*job()[:100], answer(200, text, interventions=20)])))
    assert "folded" in [attributes.get("class") for tag, attributes in page.tags if tag == "details"]
    assert text in page.texts


def test_confidence_that_is_not_calibrated_is_called_that() -> None:
    text = Page(batch_page(figures_of([answer(place, LOOP, calibrated=False) for place in range(3)]))).text
    assert (
        "Confidence (not calibrated) of the answers" in text
        and "mean confidence (not calibrated) 0.80" in text
    )
    assert "Reliability of the answers" not in text and "mean reliability" not in text


def test_a_job_of_which_nothing_stands_out_says_so() -> None:
    assert "No row stands out" in Page(batch_page(figures_of(job()[:100]))).text


@pytest.mark.parametrize("results", [[], [failure(0)], [answer(0, "", steps=0, interventions=0)]])
def test_jobs_with_next_to_nothing_have_a_page(results: list[dict[str, Any]]) -> None:
    assert f"{len(results)} row" in Page(batch_page(figures_of(results))).text


@given(jobs())
@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_job_has_a_page(job: list[dict[str, Any]]) -> None:
    Page(batch_page(figures_of(job)))


def test_nothing_in_a_page_acts() -> None:
    rows = [
        *job(),
        answer(299, "<img src=x onerror=alert(3)> " * 20),
        answer(300, HOSTILE, interventions=20, id=HOSTILE),
        failure(301, "model", HOSTILE),
    ]
    named = hostile({"models": MODELS, "input": "in", "output": "out"})
    settings = SETTINGS | {"system": HOSTILE, "stop": [HOSTILE]}
    figures = replace(figures_of(rows), **named, settings=settings, finish_reasons={HOSTILE: 3})
    page = Page(batch_page(figures))
    assert len(page.code) == 2
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "link", "form", "a")]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "\x1b" not in page.text and "\u202e" not in page.text
    assert page.text.count("<img src=x onerror=alert(2)>`|*{{7*7}}␛[31m") >= 8


def test_without_plotly_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(EvaluationError, match=r"blendin-local\[report\]"):
        batch_page(whole())
