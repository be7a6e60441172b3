"""A job's figures: the same in whatever order its rows end, and the rows that a person should see."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batch_results import answer, failure, jobs
from support.clock import Clock

from blendin_local.batch import flagged_rows as attention
from blendin_local.batch.flagged_rows import MAX_LISTED
from blendin_local.batch.histogram import Histogram
from blendin_local.batch.job_stats import JobStats, Pace
from blendin_local.batch.loops import find_loop


def tallied(results: list[dict[str, Any]], *, kept: int = 0) -> dict[str, Any]:
    """The figures of a job of ten seconds; kept: so many of its first rows are from an earlier run."""
    clock = Clock()
    stats = JobStats(clock)
    for place, result in enumerate(results):
        stats.add(result, kept=place < kept)
    clock.now += 10
    stats.stop()
    return stats.report().to_dict()


def looks(results: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Which rows are worth a look, and the reasons."""
    return {row["id"]: row["reasons"] for row in tallied(results)["worth_a_look"]}


# Counts and rates


def test_rates_are_over_all_steps_and_not_means_of_rows() -> None:
    found = tallied(
        [
            answer(
                0, "one two three four", steps=100, interventions=50, changed=20, weak=10, reliability=0.9
            ),
            answer(1, "one two three four", steps=10, interventions=0, changed=0, weak=1, reliability=0.1),
            failure(2),
        ]
    )
    assert (found["rows"], found["answered"], found["failed"], found["kept"]) == (3, 2, 1, 0)
    assert (found["tokens"], found["prompt_tokens"]) == (110, 24)
    assert found["intervention_rate"] == pytest.approx(50 / 110)
    assert found["changed_token_rate"] == pytest.approx(20 / 110)
    assert found["weak_share"] == pytest.approx(11 / 110)
    assert found["guide_word_rate"] == pytest.approx(2 / 8)
    assert found["reliability"]["mean"] == pytest.approx((90 + 1) / 110)
    assert (found["reliability"]["lowest"], found["reliability"]["highest"]) == (0.1, 0.9)
    assert found["tokens_per_second"] == pytest.approx(11.0)
    assert found["seconds"] == 10.0
    assert found["finish_reasons"] == {"stop": 2}
    assert found["errors"] == {"bad row": 1}
    assert found["calibrated"] is True


def test_kept_rows_count_in_everything_but_speed() -> None:
    rows = [answer(place, steps=50) for place in range(4)]
    found, fresh = tallied(rows, kept=3), tallied(rows)
    assert (found["kept"], found["new_tokens"], found["tokens_per_second"]) == (3, 50, 5.0)
    assert fresh["tokens_per_second"] == 20.0
    for name in ("kept", "new_tokens", "tokens_per_second"):
        del found[name], fresh[name]
    assert found == fresh


def test_a_job_without_rows_has_figures_too() -> None:
    found = tallied([])
    assert found["rows"] == 0 and found["worth_a_look"] == []
    for name in ("tokens_per_second", "intervention_rate", "guide_word_rate", "calibrated"):
        assert found[name] is None
    assert found["reliability"]["deciles"] == [] and sum(found["reliability"]["histogram"]["counts"]) == 0
    assert tallied([failure(n) for n in range(3)])["tokens_per_second"] is None


def test_one_answer_that_is_not_calibrated_makes_the_job_so() -> None:
    assert tallied([answer(0), answer(1, calibrated=False)])["calibrated"] is False


@given(jobs(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_end_makes_no_difference(
    job: list[dict[str, Any]], shuffle: random.Random
) -> None:
    other = job.copy()
    shuffle.shuffle(other)
    assert tallied(job) == tallied(other)


@given(jobs())
def test_figures_are_json_and_add_up(job: list[dict[str, Any]]) -> None:
    found = tallied(job)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["answered"] == sum(found["finish_reasons"].values())
    assert found["failed"] == sum(found["errors"].values())
    assert found["rows"] == len(job) == found["answered"] + found["failed"]
    reliability = found["reliability"]
    assert sum(reliability["histogram"]["counts"]) == sum(
        1 for row in job if row.get("summary") and row["summary"]["mean_reliability"] is not None
    )
    assert reliability["deciles"] == sorted(reliability["deciles"])
    assert len(found["worth_a_look"]) <= MAX_LISTED
    assert len({(row["index"], row["id"]) for row in found["worth_a_look"]}) == len(found["worth_a_look"])


def test_what_the_caller_knows_is_beside_it() -> None:
    found = JobStats().report(left=7, output="answers.jsonl")
    assert (found.left, found.output) == (7, "answers.jsonl")


# Distribution


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_quantiles_are_right_to_a_bin(values: list[float]) -> None:
    spread = Histogram()
    for value in values:
        spread.add(value)
    ordered = sorted(values)
    for share in (0.1, 0.5, 0.9):
        found = spread.quantile(share)
        assert found is not None and ordered[0] <= found <= ordered[-1]
        # So much of them lies below, to the width of a bin.
        assert sum(value < found - 0.0011 for value in values) <= share * len(values) + 1e-6
        assert sum(value <= found + 0.0011 for value in values) >= share * len(values) - 1e-6


def test_a_value_at_an_edge_is_in_the_bin_above() -> None:
    spread = Histogram()
    for value in (0.0, 0.55, 0.4, 1.0):
        spread.add(value)
    shown = spread.distribution().histogram
    filled = [shown.edges[place] for place, count in enumerate(shown.counts) if count]
    assert filled == [0.0, 0.4, 0.55, 0.95]


# Worth a look


def usual(n: int = 100) -> list[dict[str, Any]]:
    return [answer(place, f"Answer number {place}.", reliability=0.8) for place in range(n)]


def test_of_usual_rows_none_stands_out() -> None:
    assert looks(usual()) == {}
    assert looks([answer(place, steps=20, interventions=20) for place in range(50)]) == {}


def test_each_reason_is_found_among_usual_rows() -> None:
    loop = "It is the soul that is the essence of humanity. " * 6
    odd = [
        failure(200, "too long"),
        answer(201, loop),
        answer(202, " \n "),
        answer(203, finish_reason="context"),
        answer(204, finish_reason="length"),
        answer(205, interventions=9),
        answer(206, reliability=0.35, weak=12),
        answer(207, loop, reliability=0.2, finish_reason="length"),
    ]
    assert looks([*usual(), *odd]) == {
        "row-201": ["failed"],
        "row-202": ["loop"],
        "row-203": ["empty"],
        "row-204": ["context"],
        "row-205": ["length"],
        "row-206": ["interventions"],
        "row-207": ["unsure"],
        "row-208": ["loop", "length", "unsure"],
    }
    said = {row["id"]: row["why"] for row in tallied([*usual(), *odd])["worth_a_look"]}
    assert said["row-201"] == ["failed: too long"]
    assert said["row-202"] == ["repeats “It is the soul that is the essence of humanity.” 6 times"]
    assert said["row-204"] == ["cut off after 20 tokens: the context is full"]
    assert said["row-206"] == ["intervention rate 45%"]
    assert said["row-207"] == ["mean reliability 0.35, 60% weak steps"]


def test_a_loop_is_taken_from_whoever_wrote_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """To search each answer again would take as long as the search beside the model."""
    looping = "It is the soul that is the essence of humanity. " * 6
    found = find_loop(looping)
    assert found
    told = [answer(0, looping) | {"loop": asdict(found)}, answer(1) | {"loop": None}]
    searched = [answer(0, looping), answer(1)]
    assert tallied(told) == tallied(searched)
    with monkeypatch.context() as patch:
        patch.setattr(attention, "find_loop", lambda text: pytest.fail("searched again"))
        assert tallied(told)["looped"] == 1
    for odd in ({}, "a loop", {"unit": 5, "times": 3, "share": 0.5}, {"unit": "", "times": "b", "share": 1}):
        assert tallied([answer(0, looping) | {"loop": odd}])["looped"] == 1


def test_what_is_unusual_in_its_job_stands_out_below_the_thresholds() -> None:
    """A rate of 15% is a lot where others have 2%; so is a reliability of 0.6 where others have 0.95."""
    sure = [answer(place, steps=50, interventions=1, weak=0, reliability=0.95) for place in range(60)]
    odd = [answer(60, steps=50, interventions=7, reliability=0.95), answer(61, steps=50, reliability=0.6)]
    assert looks([*sure, *odd]) == {"row-61": ["interventions"], "row-62": ["unsure"]}


def test_rates_of_very_short_answers_say_little() -> None:
    assert looks([*usual(), answer(200, "4", steps=3, interventions=3, reliability=0.1)]) == {}


def test_the_worst_of_a_kind_are_kept() -> None:
    rows = [answer(place, steps=100, interventions=5 + place % 90) for place in range(900)]
    found = tallied(rows)["worth_a_look"]
    assert len(found) == MAX_LISTED
    assert {row["intervention_rate"] for row in found} == {0.93, 0.94}
    assert [row["index"] for row in found] == [*range(89, 900, 90), *range(88, 900, 90)]


def test_one_kind_does_not_hide_the_others() -> None:
    rows = [*(failure(place) for place in range(500)), failure(500, "model"), *usual()]
    found = looks([*rows, answer(900, interventions=15), answer(901, "")])
    assert len(found) == MAX_LISTED
    assert {"row-501", "row-901", "row-902"} <= set(found)


def test_a_low_token_limit_is_a_matter_of_settings() -> None:
    """Where a quarter was cut off, no single answer is remarkable for it."""
    few = [answer(place, finish_reason="length") for place in range(3)]
    many = [answer(place, finish_reason="length") for place in range(60)]
    assert len(looks([*few, *usual()[3:]])) == 3
    assert looks([*many, *usual()[60:]]) == {}
    assert tallied(many)["finish_reasons"] == {"length": 60}


def test_an_excerpt_has_both_ends() -> None:
    text = "Beginning. " + "".join(f"{n} " for n in range(3000)) + " End."
    [row] = tallied([*usual(), answer(200, text, interventions=15)])["worth_a_look"]
    assert row["text"].startswith("Beginning.") and row["text"].endswith(" End.") and len(row["text"]) < 900


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    def feed(stats: JobStats, rows: range) -> None:
        for place in rows:
            clock.now += 0.7
            text = f"{place} " + "It is the soul that is the essence of humanity. " * (place % 7)
            stats.add(failure(place) if place % 50 == 0 else answer(place, text, interventions=place % 20))

    clock = Clock()
    stats = JobStats(clock)
    feed(stats, range(1500))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        feed(stats, range(1500, 6000))
        assert tracemalloc.get_traced_memory()[0] - before < 300_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("rows", "listed"), [(3, 3), (24, 5), (60, 12), (400, MAX_LISTED)])
def test_of_a_small_job_few_rows_are_listed(rows: int, listed: int) -> None:
    """If all are remarkable, none is."""
    stats = JobStats()
    for place in range(rows):
        stats.add(failure(place))
    assert len(stats.report().worth_a_look) == listed


# Speed


def test_the_pace_is_that_of_the_last_minute() -> None:
    clock = Clock()
    stats = JobStats(clock)
    assert stats.pace is None and stats.eta_s(100) is None
    for place in range(100):
        clock.now += 10
        stats.add(answer(place, steps=20))
    for place in range(100, 400):
        clock.now += 1
        stats.add(answer(place, steps=20))
    assert stats.pace == Pace(pytest.approx(1.0), pytest.approx(20.0))
    assert stats.eta_s(700) == pytest.approx(300)
    assert stats.eta_s(None) is None
    assert stats.eta_s(10) == 0.0
    assert stats.tokens_per_second == pytest.approx(400 * 20 / 1300)


def test_rows_under_way_count_in_the_pace_and_nowhere_else() -> None:
    clock = Clock()
    stats = JobStats(clock)
    for second in range(1, 11):
        clock.now += 1
        stats.count_unfinished(30 * second)
    assert stats.pace == Pace(0.0, pytest.approx(30.0))
    assert stats.eta_s(100) is None and stats.tokens_per_second is None and stats.tokens == 0
    # A row that ends takes its tokens with it: they count once.
    before = stats.pace
    stats.add(answer(0, steps=100))
    assert stats.pace == Pace(pytest.approx(0.1), before.tokens_per_s)
    stats.count_unfinished(200)
    assert stats.pace.tokens_per_s == before.tokens_per_s
    assert stats.eta_s(11) == pytest.approx(100.0)


def test_slow_rows_have_a_pace_of_several() -> None:
    """Two at a time every 100 seconds: the last minute alone would say none, or two."""
    clock = Clock()
    stats = JobStats(clock)
    for place in range(40):
        clock.now += 100 * (place % 2)
        stats.add(answer(place, steps=10))
    clock.now += 50
    assert stats.pace and stats.pace.rows_per_s == pytest.approx(0.02, rel=0.25)


def test_loading_and_kept_rows_are_no_time_of_the_job() -> None:
    clock = Clock()
    stats = JobStats(clock)
    for place in range(50):
        stats.add(answer(place), kept=True)
    clock.now += 1000
    stats.start()
    assert stats.pace is None and stats.last is None
    clock.now += 2
    stats.add(answer(50, steps=10))
    assert stats.seconds == 2 and stats.tokens_per_second == 5.0
    assert stats.eta_s(61) == pytest.approx(20)
    assert stats.last and stats.last.id == "row-51"
