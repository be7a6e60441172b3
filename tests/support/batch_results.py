"""Results of offline generation, written by hand or any that there could be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from blendin_local.batch.job_report import JobReport
from blendin_local.batch.job_stats import JobStats

LOOP = "It is the soul that is the essence of humanity. " * 6

Result = dict[str, Any]


def answer(
    index: int = 0,
    text: str = "The tide is drawn by the moon.",
    *,
    steps: int = 20,
    interventions: int = 2,
    changed: int = 1,
    weak: int = 2,
    reliability: float | None = 0.8,
    finish_reason: str = "stop",
    calibrated: bool = True,
    id: str | None = None,
) -> Result:
    """A row that was answered."""
    return {
        "id": f"row-{index + 1}" if id is None else id,
        "index": index,
        "text": text,
        "finish_reason": finish_reason,
        "usage": {"base": {"prompt_tokens": 12}, "guide": {"prompt_tokens": 15}},
        "summary": {
            "steps": steps,
            "tokens": steps,
            "interventions": interventions,
            "intervention_rate": interventions / steps if steps else 0.0,
            "changed_token_rate": changed / steps if steps else 0.0,
            "guide_word_rate": 0.25,
            "weak_share": weak / steps if steps else 0.0,
            "mean_reliability": reliability,
            "lowest_reliability": reliability,
            "calibrated": calibrated,
        },
        "error": None,
    }


def failure(index: int = 0, kind: str = "bad row", message: str = "This row has no prompt.") -> Result:
    """A row that was not."""
    error = {"kind": kind, "message": message, "where": f"line {index + 1}"}
    return {"id": f"row-{index + 1}", "index": index, "text": None, "finish_reason": None, "error": error}


TEXTS = (
    "",
    "The tide is drawn by the moon.",
    "It is the soul that is the essence of humanity. " * 6,
    "水はどこから来るのか。" * 3,
    "</script><img src=x onerror=alert(1)>\x1b[31m\u202e %{x} {{7*7}}",
    "A poem " + "\n" * 80,
)


@st.composite
def results(draw: st.DrawFn, index: int) -> Result:
    """What could become of the row at this place."""
    if draw(st.integers(0, 5)) == 0:
        return failure(index, draw(st.sampled_from(("bad row", "too long", "model"))), draw(st.text()))
    steps = draw(st.integers(0, 200))
    return answer(
        index,
        draw(st.sampled_from(TEXTS) | st.text()),
        steps=steps,
        interventions=draw(st.integers(0, steps)),
        changed=draw(st.integers(0, steps)),
        weak=draw(st.integers(0, steps)),
        reliability=draw(st.floats(0, 1)) if steps else None,
        finish_reason=draw(st.sampled_from(("stop", "stop string", "length", "context"))),
        calibrated=draw(st.booleans()),
        id=draw(st.none() | st.text(max_size=8).map(lambda text: f"{text}{index}")),
    )


@st.composite
def jobs(draw: st.DrawFn, most: int = 40) -> list[Result]:
    return [draw(results(index)) for index in range(draw(st.integers(0, most)))]


def figures_of(results: list[dict[str, Any]], **more: Any) -> JobReport:
    stats = JobStats(lambda: 0.0)
    for result in results:
        stats.add(result)
    report = stats.report(**more)
    return replace(report, seconds=100.0, tokens_per_second=report.new_tokens / 100)


def job() -> list[dict[str, Any]]:
    return [
        *(answer(place, steps=25, reliability=0.6 + place / 500) for place in range(100)),
        failure(100, "too long", "Row 101 is longer than the context."),
        answer(101, LOOP, finish_reason="length"),
        answer(102, interventions=11, reliability=0.31),
    ]
