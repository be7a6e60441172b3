"""The diagnosis of made-up pairs whose truth is known: who should be recommended, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.records import records

from blendin_local.engine.steps import Calibration
from blendin_local.errors import EvaluationError
from blendin_local.presentation.plain_data import to_json, to_plain
from blendin_local.statistics import resample_counts
from blendin_local.tune.costs import Costs
from blendin_local.tune.diagnosis import analyse, hint, uncertain_figures
from blendin_local.tune.recommendation import LEAST_EXAMPLES, gain
from blendin_local.tune.record import Record, empty_record, join_records
from blendin_local.tune.result import Analysis, GuideRank, Setting, UncertainPositions
from blendin_local.tune.setting_scores import halves, score_settings

COSTS = Costs(
    base_s=0.020, guide_s=((1, 0.010), (3, 0.014)), base_only_s=0.001, blend_s=0.002, guide_only_s=0.001
)
WORDS = 8
"""Outcomes of the made-up vocabularies, which both models share."""

Table = npt.NDArray[np.float64]


def sharp(random: np.random.Generator, n: int) -> Table:
    """float64[n, WORDS]: distributions of a model that mostly knows what comes."""
    return random.dirichlet(np.full(WORDS, 0.15), n)


def vague(random: np.random.Generator, n: int) -> Table:
    return random.dirichlet(np.full(WORDS, 20.0), n)


def recorded(truth: Table, base: Table, guide: Table, examples: int, seed: int = 0) -> Record:
    """The record of two models over words of four bytes drawn from `truth`; all are float64[n, WORDS]."""
    n = len(truth)
    random = np.random.default_rng(seed)
    drawn = np.minimum((random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1), WORDS - 1)
    base, guide = base.astype(np.float32), guide.astype(np.float32)
    at = np.arange(n)
    top_b, top_g = base.argmax(axis=1), guide.argmax(axis=1)
    agreement = base[at, top_g]
    above = base > agreement[:, None]
    example = (at * examples // n).astype(np.int32)
    sizes = np.bincount(example, minlength=examples)
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    ones = np.ones(n, np.float32)
    middle = (base + guide) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log2(p / middle), 0).sum(axis=1) for p in (base, guide)]
        entropies = [np.where(p > 0, -p * np.log2(p), 0).sum(axis=1) for p in (base, guide)]
        guide_bits = -np.log2(np.maximum(guide[at, drawn], 2.0**-40)).astype(np.float64)
    return Record(
        example=example,
        n_bytes=np.full(n, 4, np.int32),
        p_base=base[at, drawn],
        p_outcome=base[at, drawn],
        p_guide=guide[at, drawn],
        guide_mass=ones,
        c_b=base.max(axis=1),
        c_g=guide.max(axis=1),
        agreement=agreement,
        guide_rank=above.sum(axis=1).astype(np.int32),
        mass_above=np.where(above, base, 0).sum(axis=1).astype(np.float32),
        base_entropy=entropies[0].astype(np.float32),
        guide_entropy=entropies[1].astype(np.float32),
        divergence=(sum(terms) / 2).astype(np.float32),
        base_right=top_b == drawn,
        guide_right=top_g == drawn,
        consultable=np.ones(n, np.bool_),
        guide_length=(at - starts[example]).astype(np.int32),
        ids=tuple(f"example {place}" for place in range(examples)),
        guide_bits=np.bincount(example, guide_bits, minlength=examples),
        guide_tokens=sizes.astype(np.int32),
        bytes=(4 * sizes).astype(np.int32),
    )


def complementary(n: int = 3000, examples: int = 60, seed: int = 1) -> Record:
    """At each position one model knows the truth, and the other knows nothing and says so."""
    random = np.random.default_rng(seed)
    truth = sharp(random, n)
    knows = random.random((n, 1)) < 0.6
    base, guide = np.where(knows, truth, vague(random, n)), np.where(knows, vague(random, n), truth)
    return recorded(truth, base, guide, examples, seed)


def harmful(n: int = 3000, examples: int = 60, seed: int = 1) -> Record:
    """The base knows the truth; the guide is as sure of something else."""
    random = np.random.default_rng(seed)
    truth = sharp(random, n)
    return recorded(truth, truth, sharp(random, n), examples, seed)


def equal(n: int = 3000, examples: int = 60, seed: int = 1) -> Record:
    """One model twice."""
    random = np.random.default_rng(seed)
    truth = sharp(random, n)
    model = 0.7 * truth + 0.3 / WORDS
    return recorded(truth, model, model, examples, seed)


def superior_guide(n: int = 3000, examples: int = 60, seed: int = 1) -> Record:
    """The guide knows the truth; the base is sure of something else."""
    random = np.random.default_rng(seed)
    truth = sharp(random, n)
    return recorded(truth, sharp(random, n), truth, examples, seed)


def chosen(result: Analysis) -> Setting:
    return result.recommendation.setting.setting


# What is recommended


def test_two_that_complete_each_other_are_blended() -> None:
    result = analyse(complementary(), COSTS, seed=0)
    recommendation = result.recommendation
    assert recommendation.setting == result.best
    assert chosen(result).method not in ("base", "guide")
    assert (recommendation.interval[0] or 0) > 0.2
    assert result.verdict.startswith("Blend: on 30 held-out answers ")
    assert "fewer bits than the base alone (95% interval " in result.verdict
    assert "fewer than the guide alone (" in result.verdict
    held = recommendation.held_out_bits_per_byte / recommendation.held_out_single
    assert recommendation.gain == pytest.approx(1 - held)


def test_a_guide_that_only_harms_is_left_out() -> None:
    result = analyse(harmful(), COSTS, seed=0)
    assert chosen(result) == Setting("base")
    assert result.recommendation.single == "base"
    assert result.recommendation.gain == 0
    assert result.recommendation.interval == (0, 0)
    assert result.verdict.startswith("Use the base alone: no blend is clearly better.")
    assert "fewer than the guide alone" in result.verdict


def test_a_base_that_is_sure_of_the_wrong_thing_is_left_out() -> None:
    result = analyse(superior_guide(), COSTS, seed=0)
    assert chosen(result) == Setting("guide")
    assert result.recommendation.single == "guide"
    assert result.verdict.startswith("Use the guide alone: ")


def test_one_model_twice_is_not_worth_a_second() -> None:
    record = equal()
    result = analyse(record, COSTS, seed=0)
    assert chosen(result) == result.best.setting == Setting("base")
    assert result.verdict.startswith("Use the base alone: ")
    assert result.prior.value == 0
    # Bytes that are several tokens let every blend gain a little, and always: clear, but worth nothing.
    folded = replace(record, p_outcome=np.minimum(record.p_outcome * np.float32(1.0005), 1))
    result = analyse(replace(folded, p_guide=folded.p_outcome), COSTS, seed=0)
    assert result.best.setting != Setting("base")
    assert chosen(result) == Setting("base")
    assert " is hardly better; " in result.recommendation.reason
    assert result.verdict.startswith("Use the base alone: ")


@pytest.mark.parametrize("examples", [1, 2, 4, 2 * LEAST_EXAMPLES - 1])
def test_a_few_answers_are_too_few(examples: int) -> None:
    result = analyse(complementary(n=50 * examples, examples=examples), COSTS, seed=0)
    assert chosen(result).method in ("base", "guide")
    assert result.verdict.startswith("Too little data to say: ")
    to_json(to_plain(result))


def test_enough_answers_are_enough() -> None:
    result = analyse(complementary(n=1000, examples=2 * LEAST_EXAMPLES), COSTS, seed=0)
    assert result.verdict.startswith("Blend: on 10 held-out answers ")


def test_what_may_be_chance_is_said_to_be() -> None:
    """A few short answers of two models that are nearly one: nothing is clear, and much is possible."""
    random = np.random.default_rng(3)
    truth = sharp(random, 120)
    base, guide = (0.6 * truth + 0.4 * vague(random, 120) for _ in range(2))
    verdicts = {analyse(recorded(truth, base, guide, 24, seed), COSTS, seed=0).verdict for seed in range(8)}
    assert any("Too little data to say" in words and "may be chance" in words for words in verdicts)


@pytest.mark.parametrize("make", [complementary, harmful, equal, superior_guide])
@pytest.mark.parametrize("seed", range(4))
def test_no_blend_that_the_other_half_refutes_is_recommended(make: Any, seed: int) -> None:
    record = make(n=600, examples=24, seed=seed)
    result = analyse(record, COSTS, seed=seed)
    fitting, held_out = halves(record.examples, seed)
    scores = score_settings(record, COSTS, fitting)
    place = scores.settings.index(chosen(result))
    counts = resample_counts(len(held_out), seed=99)
    for single in (0, 1):
        high = gain(scores, place, single, held_out, counts).high
        assert high is not None and (place < 2 or high > -0.005)


# The whole result


KEYS = {
    "base": ("bits_per_byte", "interval", "tokens_per_second", "bytes_per_second", "accuracy"),
    "guide": ("bits_per_byte", "interval", "tokens_per_second", "bytes_per_second", "accuracy"),
    "settings": None,
    "best": (
        "method",
        "gamma",
        "alpha",
        "prior",
        "bits_per_byte",
        "interval",
        "fitting_bits_per_byte",
        "held_out_bits_per_byte",
        "held_out_interval",
        "intervention_rate",
        "intervention_rate_interval",
        "tokens_per_second",
        "tokens_per_second_interval",
        "bytes_per_second",
        "floored",
        "pareto",
    ),
    "recommendation": (
        "setting",
        "single",
        "held_out_bits_per_byte",
        "held_out_single",
        "gain",
        "interval",
        "reason",
    ),
    "prior": ("value", "per_gamma"),
    "calibration": ("base", "guide"),
    "uncertain": (
        "gamma",
        "positions",
        "share",
        "base_right",
        "guide_right",
        "both_right",
        "only_base_right",
        "only_guide_right",
        "neither_right",
        "mean_divergence",
        "guide_rank",
    ),
    "hint": ("intervention_rate", "level", "above", "note"),
    "verdict": None,
}


def test_the_result_has_the_keys_that_reports_read() -> None:
    result = analyse(complementary(n=600, examples=20), COSTS, seed=0)
    document = to_plain(result)
    assert list(document) == list(KEYS)
    for name, inner in KEYS.items():
        if inner is not None:
            assert tuple(document[name]) == inner, name
    assert tuple(document["uncertain"]["guide_rank"]) == (
        "mean",
        "median",
        "top_10",
        "top_50",
        "top_100",
        "top_90_mass",
    )
    assert all(tuple(row) == KEYS["best"] for row in document["settings"])
    assert result.best in result.settings
    assert result.recommendation.setting in result.settings
    to_json(document)


def test_the_same_seed_gives_the_same_result() -> None:
    record = complementary(n=400, examples=20)
    assert analyse(record, COSTS, seed=5) == analyse(record, COSTS, seed=5)
    assert analyse(record, COSTS, seed=5) != analyse(record, COSTS, seed=6)


def test_the_best_is_chosen_on_the_fitting_half_alone() -> None:
    """Another held-out half changes neither the best setting, nor the priors, nor the curves."""
    fitting, held_out = halves(20, 0)
    good, bad = complementary(n=1000, examples=20), harmful(n=1000, examples=20)
    mixed_places = [good.select(fitting), bad.select(held_out)]
    order = np.argsort(np.concatenate([fitting, held_out]))
    joined = join_records(mixed_places)
    mixed = join_records([joined.select([place]) for place in order])
    one, other = analyse(good, COSTS, seed=0), analyse(mixed, COSTS, seed=0)
    assert one.best.setting == other.best.setting
    assert one.prior == other.prior
    for model in ("base", "guide"):
        assert one.calibration[model].curve == other.calibration[model].curve
    assert one.recommendation.gain != other.recommendation.gain


def test_singles_are_over_all_examples() -> None:
    record = complementary(n=400, examples=20)
    result = analyse(record, COSTS, seed=0)
    bits = float(-np.log2(record.p_base.astype(np.float64)).sum())
    assert result.base.bits_per_byte == pytest.approx(bits / 1600)
    assert result.base.accuracy == pytest.approx(record.base_right.mean())
    assert result.guide.bits_per_byte == pytest.approx(record.guide_bits.sum() / 1600)
    assert result.guide.tokens_per_second == pytest.approx(1 / 0.011)
    # Inside a character only one of them has something to say.
    masked = analyse(replace(record, consultable=record.base_right), COSTS, seed=0)
    assert masked.base.accuracy == 1
    for model in ("base", "guide"):
        found = masked.calibration[model]
        assert found.fitted_on + found.measured_on == record.base_right.sum()


def test_the_curves_are_what_the_chat_reads() -> None:
    result = analyse(complementary(), COSTS, seed=0)
    for model in ("base", "guide"):
        found = result.calibration[model]
        curve = Calibration(found.curve.confidences, found.curve.reliabilities)
        assert 0 <= curve(0.1) <= curve(0.9) <= 1
        assert found.fitted_on == found.measured_on == 1500
        # Both models know what they know: the curve is about the diagonal.
        assert curve(0.5) == pytest.approx(0.5, abs=0.12)
        assert found.ece_raw < 0.06
        assert found.ece_fitted < 0.06


def test_a_record_without_text_is_an_error() -> None:
    record = complementary(n=40, examples=4)
    for nothing in (empty_record(), replace(record, bytes=np.zeros(4, np.int32)), record.select([])):
        with pytest.raises(EvaluationError):
            analyse(nothing, COSTS, seed=0)


def test_empty_answers_do_no_harm() -> None:
    record = complementary(n=400, examples=20)
    padded = replace(
        record,
        ids=(*record.ids, *"abcdefgh"),
        guide_bits=np.concatenate([record.guide_bits, np.zeros(8)]),
        guide_tokens=np.concatenate([record.guide_tokens, np.zeros(8, np.int32)]),
        bytes=np.concatenate([record.bytes, np.zeros(8, np.int32)]),
    )
    result = analyse(padded, COSTS, seed=0)
    to_json(to_plain(result))
    assert result.base.bits_per_byte == pytest.approx(analyse(record, COSTS, seed=0).base.bits_per_byte)


@examples(20)
@given(records(), st.integers(0, 3))
def test_whatever_a_pass_leaves_has_a_diagnosis(record: Record, seed: int) -> None:
    if not len(record) or not record.bytes.sum():
        with pytest.raises(EvaluationError):
            analyse(record, COSTS, seed=seed)
        return
    result = analyse(record, COSTS, seed=seed)
    to_json(to_plain(result))
    assert result.verdict.startswith(("Blend: ", "Use the ", "Too little data to say: "))
    assert result.recommendation.reason.endswith(".")
    assert any(row.pareto for row in result.settings)


# Where the base is unsure


def test_who_is_right_where_the_base_is_unsure() -> None:
    n = 5
    record = recorded(*(np.full((n, WORDS), 1 / WORDS) for _ in range(3)), 1)
    record = replace(
        record,
        c_b=np.array([0.1, 0.39, 0.2, 0.4, 0.3], np.float32),
        consultable=np.array([True, True, True, True, False]),
        base_right=np.array([True, False, False, True, True]),
        guide_right=np.array([True, True, False, True, True]),
        divergence=np.array([0.25, 0.5, 0.75, 9, 9], np.float32),
        guide_rank=np.array([0, 10, 200, 0, 0], np.int32),
        mass_above=np.array([0.0, 0.5, 0.95, 0, 0], np.float32),
    )
    third = pytest.approx(1 / 3)
    two_thirds = pytest.approx(2 / 3)
    assert uncertain_figures(record) == UncertainPositions(
        gamma=0.4,
        positions=3,
        share=3 / 5,
        base_right=third,
        guide_right=two_thirds,
        both_right=third,
        only_base_right=0,
        only_guide_right=third,
        neither_right=third,
        mean_divergence=0.5,
        guide_rank=GuideRank(70, 10, third, two_thirds, two_thirds, two_thirds),
    )
    assert uncertain_figures(record, 0.15).positions == 1
    nowhere = uncertain_figures(record, 0.0)
    assert (nowhere.positions, nowhere.share) == (0, 0)
    assert nowhere.base_right is nowhere.guide_rank.median is None


def test_the_hint_is_the_papers_rate() -> None:
    record = recorded(*(np.full((10, WORDS), 1 / WORDS) for _ in range(3)), 1)
    record = replace(record, c_b=np.array([0.1] * 2 + [0.4] * 8, np.float32))
    found = hint(record)
    assert (found.intervention_rate, found.level, found.above) == (0.2, 0.2, False)
    assert "20.0% of the tokens, within the hint's level of 20%" in found.note
    found = hint(record, 0.15)
    assert found.above
    assert "above the hint's level of 15%" in found.note


def test_the_hint_is_no_part_of_the_verdict() -> None:
    record = complementary(n=600, examples=20)
    low, high = (analyse(record, COSTS, seed=0, hint_level=level) for level in (0.0, 1.0))
    assert (low.hint.above, high.hint.above) == (True, False)
    assert low.verdict == high.verdict
