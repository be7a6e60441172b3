"""The summary of a job: readable at any width, true to its figures, and nothing in it acts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.batch_results import LOOP, answer, failure, figures_of, job, jobs
from support.result_documents import HOSTILE

from blendin_local.batch.job_report import Bins, JobReport
from blendin_local.batch.job_stats import JobStats
from blendin_local.cli.batch_summary import histogram, print_summary, summary_parts


def printed(figures: JobReport, width: int = 80) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    for part in summary_parts(figures):
        console.print(part)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_it_says_what_was_done_and_how_sure_the_answers_are() -> None:
    lines = printed(figures_of(job(), output="answers.jsonl", left=7), 120)
    assert lines[0] == (
        "103 rows: 102 answered, 1 failed; 7 left to do. 2,540 tokens in 2 min, 25.4 tokens/s."
    )
    assert lines[1].startswith("intervention rate 8.4% · changed tokens 4.0% · guide words 25.0% · weak")
    assert "Mean reliability of an answer: median 0.70, eight of ten from 0.62 to 0.78" in lines
    assert "Ended by: stop 101, length 1" in lines
    assert "Failed: too long 1" in lines
    assert "Worth a look: 3 of 103 rows" in lines
    assert lines[-1] == "Answers: answers.jsonl"


def test_rows_worth_a_look_have_their_reason_and_their_text() -> None:
    lines = printed(figures_of(job()), 120)
    listed = [line.strip() for line in lines[lines.index("Worth a look: 3 of 103 rows") + 1 :]]
    assert listed[:2] == ["row-101  failed: too long", "Row 101 is longer than the context."]
    assert listed[2].startswith("row-102  repeats “It is the soul that is the essence of humanity.” 6 times")
    assert listed[3].startswith("It is the soul that is") and listed[3].endswith("…")
    assert listed[4] == "row-103  intervention rate 55%; mean reliability 0.31, 10% weak steps"


def test_confidence_that_is_not_calibrated_is_called_that() -> None:
    calibrated = "\n".join(printed(figures_of([answer(place) for place in range(3)])))
    plain = "\n".join(printed(figures_of([answer(place, calibrated=False) for place in range(3)])))
    assert "Mean reliability of an answer" in calibrated and "calibrated" not in calibrated
    assert "Mean confidence (not calibrated) of an answer" in plain and "reliability" not in plain


def test_of_many_the_first_ten_are_listed() -> None:
    lines = printed(figures_of([failure(place) for place in range(100)]))
    assert "Worth a look: 20 of 100 rows" in lines
    assert sum("failed: bad row" in line for line in lines) == 10
    assert "and 10 more in --json and --report" in lines


def test_hints_say_what_to_do() -> None:
    cut = "\n".join(printed(figures_of([answer(n, finish_reason="length") for n in range(9)]), 120))
    assert "9 answers were cut off at the token limit: raise --max-tokens" in cut
    full = "\n".join(printed(figures_of([answer(0, finish_reason="context")]), 120))
    assert "1 answer was cut off because the context was full: to have them whole, give a larger" in full
    assert "a larger --n-ctx and another --output, or --overwrite." in " ".join(full.split())
    long = "\n".join(printed(figures_of([failure(n, "too long") for n in range(2)]), 120))
    assert "2 rows were too long for the context: give --retry-failed and a larger --n-ctx." in long
    greedy = {"settings": {"sampling": {"temperature": 0.0}}}
    looped = "\n".join(printed(figures_of([answer(0, LOOP)], **greedy), 120))
    assert "1 answer was caught in a loop: sample with --temperature 0.7" in looped
    assert not any("raise" in line or "give" in line for line in printed(figures_of(job()[:100])))


@pytest.mark.parametrize("width", [60, 80, 120])
@given(jobs())
def test_it_fits_any_terminal(width: int, job: list[dict[str, Any]]) -> None:
    lines = printed(figures_of(job, output="a" * 150), width)
    assert max(map(cell_len, lines)) <= width
    assert "\x1b" not in "".join(lines) and "\u202e" not in "".join(lines)


def test_nothing_in_it_acts() -> None:
    rows = [answer(0, HOSTILE, interventions=20, id=HOSTILE), failure(1, "model", HOSTILE)]
    text = "\n".join(printed(figures_of([*(answer(n) for n in range(2, 30)), *rows], output=HOSTILE), 300))
    assert "\x1b" not in text and "\u202e" not in text
    assert text.count("␛[31m") == 3


def test_a_job_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(JobStats(lambda: 0.0).report(output="answers.jsonl"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "0 rows: 0 answered. 0 tokens in 0 s.",
        "Answers: answers.jsonl",
    ]


def test_in_a_log_lines_are_whole_and_have_no_trailing_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(figures_of(job(), output="a" * 150))
    lines = capsys.readouterr().err.splitlines()
    assert f"Answers: {'a' * 150}" in lines
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in "".join(lines)


# The histogram


@given(st.lists(st.integers(0, 10**6), min_size=20, max_size=20).filter(any))
def test_a_histogram_shows_every_bin_that_has_answers(counts: list[int]) -> None:
    edges = [place / 20 for place in range(21)]
    *columns, scale = histogram(Bins(tuple(edges), tuple(counts))).plain.split("\n")
    assert len(columns) == 3 and scale.startswith("0") and scale.index("0.4") == 16 and scale[39] == "1"
    blocks = " ▁▂▃▄▅▆▇█"
    heights = [sum(blocks.index(line[2 * place]) for line in columns) for place in range(20)]
    assert [bool(height) for height in heights] == [bool(count) for count in counts]
    assert max(heights) == heights[counts.index(max(counts))] == 24
    assert all(
        abs(height - 24 * count / max(counts)) < 1 for height, count in zip(heights, counts, strict=True)
    )
