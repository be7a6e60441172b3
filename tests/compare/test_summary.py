"""From hand-made scores and answers to cells: every figure computed by hand or by SciPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.compare_fakes import answer_of, blend, item_of, results_of, run_of, single, task_of
from support.plain_data import from_plain
from support.result_documents import cell as cell_document

from blendin_local.compare.across import across_pairs, families
from blendin_local.compare.reading import answer_rows, disagreements, side_by_side
from blendin_local.compare.result import Cell, Families, MeanLength, OptionScores, PairedTest, ScoreInterval
from blendin_local.compare.summary import Results, loop_counts, mean_and_interval, summarise
from blendin_local.presentation.plain_data import to_plain
from blendin_local.statistics import wilson
from blendin_local.tune.result import GuideRank

BASE, GUIDE = single("base"), single("guide", "guide")
PAIR = blend(BASE, GUIDE)
ARMS = (BASE, GUIDE, PAIR)
Cells = dict[str, Cell]


def cells_of(
    table: dict[str, list[float | None]], arms: Any = ARMS, task: Any = None, **answers: Any
) -> Cells:
    """Cells by arm, of one task."""
    n = len(next(iter(table.values())))
    run = run_of([item_of(str(place)) for place in range(n)], task)
    results = results_of({arm: {"made": values} for arm, values in table.items()}, **answers)
    return {cell.arm: cell for cell in summarise(arms, [run], results)}


RIGHT_8 = [1.0] * 8 + [0.0] * 2
TABLE: dict[str, list[float | None]] = {
    "base": [1.0] * 3 + [0.0] * 7,
    "guide": [0.0] * 5 + [1.0] * 5,
    PAIR.name: [*RIGHT_8],
}


def test_right_or_wrong() -> None:
    """The pair is right on 8, the base on 3 of these, the guide on 5, of which the pair misses 2."""
    cells = cells_of(TABLE)
    pair = cells[PAIR.name]
    assert (pair.n, pair.scored, pair.value) == (10, 10, 0.8)
    assert pair.interval == pytest.approx(wilson(8, 10))
    base, guide = pair.tests
    assert (base.arm, base.test, base.difference) == ("base", "McNemar", pytest.approx(0.5))
    # 5 against 0: p = 2 / 2^5. 5 against 2: two-sided binomial of 2 in 7.
    assert base.p == pytest.approx(2 / 32)
    assert guide.p == pytest.approx(stats.binomtest(2, 7).pvalue)
    assert guide.difference == pytest.approx(0.3)
    # Holm: the smaller of two p counts twice.
    assert base.p_holm == pytest.approx(4 / 32)
    assert guide.p_holm == pytest.approx(max(4 / 32, guide.p))
    assert base.interval[0] < 0.5 < base.interval[1]
    assert cells["base"].against == {"base": None, "guide": None}


def test_scores_from_one_to_five_are_bootstrapped() -> None:
    cells = cells_of(
        {"base": [2.0, 3.0, 2.0, 4.0], "guide": [3.0] * 4, PAIR.name: [4.0, 4.0, 3.0, 5.0]},
        task=task_of(scale=(1.0, 5.0)),
    )
    against, _ = cells[PAIR.name].tests
    assert (against.test, against.difference) == ("sign flips", pytest.approx(1.25))
    assert cells[PAIR.name].value == 4.0
    assert against.p == 0.125, "4 differences of one sign: 2 of 16 choices of signs"
    low, high = cells[PAIR.name].interval
    assert 1 <= low < 4 < high <= 5
    assert cells["guide"].value == 3.0


def test_a_judge_that_always_gives_one_point_is_not_counted_as_right() -> None:
    """1 of 1 to 5 is the worst score, not a success: no Wilson interval up to 1, no McNemar."""
    ones = {"base": [1.0] * 4, "guide": [1.0] * 4, PAIR.name: [1.0] * 4}
    pair = cells_of(ones, task=task_of(scale=(1.0, 5.0)))[PAIR.name]
    assert (pair.value, pair.interval) == mean_and_interval([1.0] * 4, (1.0, 5.0))
    assert pair.interval != mean_and_interval([1.0] * 4)[1]
    assert all(test.test != "McNemar" for test in pair.tests)


def test_what_could_not_be_scored_is_left_out_of_both_sides() -> None:
    cells = cells_of({"base": [1.0, None, 0.0, 0.0], "guide": [None] * 4, PAIR.name: [None, 1.0, 1.0, 0.0]})
    pair = cells[PAIR.name]
    assert (pair.n, pair.scored, pair.value) == (4, 3, pytest.approx(2 / 3))
    # Of the questions that both could be scored on: 1 against 0, and a tie.
    assert [(test.arm, test.difference, test.p) for test in pair.tests] == [("base", 0.5, 1.0)]
    assert pair.against["guide"] is None
    assert (cells["guide"].value, cells["guide"].interval) == (None, None)


def test_holm_counts_all_tests_of_the_table() -> None:
    runs = [run_of([item_of(str(place)) for place in range(10)], name=name) for name in ("a", "b")]
    table = {arm: {"a": values, "b": values} for arm, values in TABLE.items()}
    cells = summarise(ARMS, runs, results_of(table))
    tests = [test for cell in cells for test in cell.against.values() if test]
    assert len(tests) == 4
    assert tests[0].p_holm == pytest.approx(4 * 2 / 32)


def test_models_named_for_themselves_are_tested_against_the_first() -> None:
    first, second = single("q8", "model"), single("q2", "model")
    cells = cells_of({"q8": [1.0, 1.0], "q2": [1.0, 0.0]}, (first, second))
    assert "reference" not in cells["q8"].against
    assert cells["q2"].difference_to("reference") == -0.5
    assert [test.p_holm for test in cells["q2"].tests] == [1.0]


def test_no_questions() -> None:
    assert mean_and_interval([]) == (None, None)
    assert mean_and_interval([0.5]) == (0.5, None)


def test_figures_of_writing_are_sums_over_sums() -> None:
    """Two answers of a pair: 10 steps with 5 interventions at 0.8, and 30 with 1 at 0.2."""
    run = run_of([item_of("0"), item_of("1")])
    first = answer_of(
        "a b c d a b c d", interventions=5, mean_alpha=0.8, changed=4, words=8, guide_words=2,
        ranks=(0, 9, 60, 3), masses=(0.0, 0.5, 0.95, 0.2),
    )  # fmt: skip
    second = answer_of(
        "é", "length", steps=30, tokens=30, interventions=1, mean_alpha=0.2, changed=0, words=2,
        guide_words=2, ranks=(200,), masses=(0.99,),
    )  # fmt: skip
    results = results_of({arm.name: {"made": [1.0, 0.0]} for arm in ARMS})
    answers = dict(results.answers) | {(PAIR.name, "made", "0"): first, (PAIR.name, "made", "1"): second}
    cell = summarise(ARMS, [run], Results(answers, results.scores, {}))[2]
    assert cell.intervention_rate == 6 / 40
    assert cell.changed_rate == 4 / 40
    assert cell.guide_word_rate == 4 / 10
    assert cell.mean_alpha == pytest.approx((5 * 0.8 + 0.2) / 6)
    # The runs of the first: abcd, bcda, cdab, dabc, abcd. The second has none.
    assert cell.loop_share == 1 / 5
    assert cell.length == MeanLength(mean_tokens=20.0, mean_bytes=(15 + 2) / 2)
    assert cell.finish_reasons == {"stop": 1, "length": 1}
    # 9 and 29 steps after the first, in one second each.
    assert cell.tokens_per_second == 38 / 2
    assert cell.guide_rank == GuideRank(pytest.approx(272 / 5), 9.0, 3 / 5, 3 / 5, 4 / 5, 3 / 5)
    alone = summarise(ARMS, [run], Results(answers, results.scores, {}))[0]
    assert (alone.intervention_rate, alone.mean_alpha, alone.guide_rank) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", (0, 0)),
        ("a b c", (0, 0)),
        ("a b c d", (0, 1)),
        ("a a a a a a", (2, 3)),
        ("a b c d e f g", (0, 4)),
    ],
)
def test_loops(text: str, counts: tuple[int, int]) -> None:
    assert loop_counts(text) == counts


@given(st.lists(st.sampled_from("ab"), max_size=30))
def test_a_run_can_repeat_only_after_it_occurred(words: list[str]) -> None:
    repeated, runs = loop_counts(" ".join(words))
    assert runs == max(0, len(words) - 3)
    assert 0 <= repeated <= max(0, runs - 1)


def test_choices_by_likelihood() -> None:
    run = run_of([item_of(str(place)) for place in range(4)])
    whole, by_bytes = np.array([1.0, 0.0, 1.0, np.nan]), np.array([1.0, 1.0, 1.0, np.nan])
    results = results_of({arm.name: {"made": [1.0] * 4} for arm in ARMS})
    choices = {("base", "made"): (whole, by_bytes), ("guide", "made"): (whole * np.nan, whole * np.nan)}
    cells = summarise(ARMS, [run], Results(results.answers, results.scores, choices))
    assert cells[0].options == OptionScores(
        pytest.approx(2 / 3),
        pytest.approx(wilson(2, 3)),
        ScoreInterval(1.0, pytest.approx(wilson(3, 3))),
    )
    assert cells[1].options is None and cells[2].options is None


# Across pairs


def many_pairs() -> tuple[Any, Any, list[Cell]]:
    """Three pairs, two of them within one family."""
    bases = [single(f"base {n}", title=title) for n, title in enumerate(("Gemma a", "Qwen a", "Gemma b"))]
    guides = [
        single(f"guide {n}", "guide", title=title) for n, title in enumerate(("Gemma", "Qwen", "Llama"))
    ]
    pairs = [
        blend(base, guide, f"pair {n}") for n, (base, guide) in enumerate(zip(bases, guides, strict=True))
    ]
    others = [
        blend(base, guide, f"other {n}", gamma=0.6)
        for n, (base, guide) in enumerate(zip(bases, guides, strict=True))
    ]
    arms = (*bases, *guides, *pairs, *others)
    values = {
        "base": (0.1, 0.2, 0.3),
        "guide": (0.5, 0.1, 0.4),
        "pair": (0.6, 0.4, 0.5),
        "other": (0.2, 0.2, 0.2),
    }
    rates = {"pair": (0.1, 0.2, 0.3), "other": (0.5, 0.5, 0.5)}
    cells = []
    for arm in arms:
        kind, number = arm.name.split()
        rate = rates[kind][int(number)] if kind in rates else None
        value = values[kind][int(number)]
        against = {
            role: PairedTest(role, value - values[role][int(number)], None, None, None, "")
            if arm.is_pair
            else None
            for role in ("base", "guide")
        }
        plain: Cell = from_plain(Cell, cell_document(arm.name, "made", value, rate))
        cells.append(replace(plain, against=against))
    return arms, [run_of([item_of("0")])], cells


def test_across_pairs_by_hand() -> None:
    found = across_pairs(*many_pairs())
    assert found and found.pairs == 3
    (correlation,) = found.intervention_vs_metric
    expected = stats.pearsonr([0.1, 0.2, 0.3], [0.6, 0.4, 0.5])
    assert (correlation.task, correlation.method, correlation.n) == ("made", "blendin", 3)
    assert (correlation.r, correlation.p) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )
    gains = {gain.arm: gain for gain in found.gain}
    assert gains["pair 0"].over_base == pytest.approx(0.5)
    assert gains["pair 0"].over_guide == pytest.approx(0.1)
    gaps = {gap.arm: gap for gap in found.capability_gap}
    assert (gaps["pair 1"].gap, gaps["pair 1"].gain) == (pytest.approx(-0.1), pytest.approx(0.2))
    # One value for each pair, over both of its arms: within 0.3 and 0.1, across 0.05.
    family = found.family
    assert (family.within_mean, family.cross_mean) == (pytest.approx(0.2), pytest.approx(0.05))
    assert (family.n_within, family.n_cross) == (2, 1)
    assert family.cohens_d == pytest.approx(0.15 / np.sqrt(0.02))


def test_one_pair_is_no_comparison_of_pairs() -> None:
    cells = list(cells_of(TABLE).values())
    assert across_pairs(ARMS, [run_of([item_of("0")])], cells) is None


def test_gains_are_shares_of_the_scale_where_tasks_are_averaged() -> None:
    arms, _, cells = many_pairs()
    found = across_pairs(arms, [run_of([item_of("0")], task_of(scale=(1.0, 5.0)))], cells)
    assert found and found.family.within_mean == pytest.approx(0.2 / 4)


def test_what_has_no_value_says_nothing_across() -> None:
    arms, runs, cells = many_pairs()
    cells = [replace(cell, value=None, against={"base": None, "guide": None}) for cell in cells]
    found = across_pairs(arms, runs, cells)
    assert found and found.intervention_vs_metric == () and found.family is None
    assert found.capability_gap == ()


def test_gains_across_pairs_are_the_paired_differences_of_the_table() -> None:
    """What only one of two arms could be scored on counts in neither."""
    arms = (*ARMS, other := single("other"), blend(other, GUIDE))
    run = run_of([item_of(str(place)) for place in range(4)])
    table: Any = {arm.name: {"made": [1.0, 0.0, 1.0, None]} for arm in arms}
    table[PAIR.name]["made"] = [None, 1.0, 1.0, 1.0]
    cells = summarise(arms, [run], results_of(table))
    found = across_pairs(arms, [run], cells)
    gains = {gain.arm: gain for gain in found.gain} if found else {}
    assert gains[PAIR.name].over_base == gains[PAIR.name].over_guide == 0.5
    by_name = {cell.arm: cell for cell in cells}
    assert by_name[PAIR.name].difference_to("base") == 0.5


def test_a_model_alone_is_its_own_family() -> None:
    assert families(single("x", title="Gemma")) == Families("gemma", None, True)
    assert families(many_pairs()[0][8]).same is False


# Reading


def test_disagreements_come_first() -> None:
    """All alike on 0 and 3; one against two on 1; alike but from other answers on 2."""
    items = [item_of(str(place)) for place in range(4)]
    table: Any = {
        "base": [1.0, 0.0, 0.0, None],
        "guide": [1.0, 1.0, 0.0, None],
        PAIR.name: [1.0, 1.0, 0.0, None],
    }
    results = results_of({arm: {"made": values} for arm, values in table.items()})
    assert disagreements(ARMS, [run_of(items)], results) == {"made": ["1"]}
    rows = answer_rows(ARMS, [run_of(items)], results)
    assert [row.item for row in rows[::3]] == ["1", "0", "2", "3"]
    assert [row.arm for row in rows[:3]] == ["base", "guide", PAIR.name]
    assert (rows[0].prompt, rows[0].expected, rows[0].value) == ("question 1", "yes", 0.0)
    assert to_plain(rows[0]).keys() == {
        "task", "item", "arm", "prompt", "expected", "reply", "value", "extracted", "note", "finish_reason",
    }  # fmt: skip


def test_answers_are_shown_side_by_side_and_harmless() -> None:
    items = [item_of("0", "what \x1b[2J is"), item_of("1")]
    results = results_of({arm.name: {"made": [1.0, 0.0]} for arm in ARMS})
    results = Results({key: answer_of("a\x1b[31m\nb") for key in results.answers}, results.scores, {})
    shown = list(side_by_side(answer_rows(ARMS, [run_of(items)], results), 1))
    text = "\n".join(shown)
    assert "\x1b" not in text
    assert text.count("━━") == 1 and text.count("── ") == 3
    assert "what ␛[2J is" in text and "   b" in shown
    assert len(list(side_by_side(answer_rows(ARMS, [run_of(items)], results), 9))) > len(shown)
