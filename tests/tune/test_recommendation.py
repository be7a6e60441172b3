"""The choice of a setting by scores made by hand, what noise is taken for, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from blendin_local.statistics import resample_counts
from blendin_local.tune.recommendation import (
    LEAST_EXAMPLES,
    LEAST_GAIN,
    Choice,
    Gain,
    choose,
    gain,
    gain_of_choosing,
)
from blendin_local.tune.result import Setting
from blendin_local.tune.setting_scores import SettingScores
from blendin_local.tune.verdict import reason, setting_phrase, verdict

Bits = npt.NDArray[np.float64] | list[list[float]]

HALF = LEAST_EXAMPLES
FITTING, HELD_OUT = np.arange(HALF), np.arange(HALF, 2 * HALF)


def scores_of(bits: Bits, asking: tuple[bool, ...] = ()) -> SettingScores:
    """Prices of base, guide and blends, bits float[s, e]; asking: whether a setting ever asks the guide."""
    spent = np.array(bits, np.float64)
    blends = len(spent) - 2
    settings = (Setting("base"), Setting("guide"), *(Setting("nudge", k / 10) for k in range(1, blends + 1)))
    asked = np.array(asking or (False, False, *[True] * blends), np.float64)
    ones = np.ones(spent.shape)
    return SettingScores(settings, spent, ones * asked[:, None], ones, ones, asked * 0, (0.0,) * 11)


def by_half(*bits: tuple[float, float]) -> SettingScores:
    """Prices of settings that spend so much on each example of the half that chooses, and of the other."""
    return scores_of([[one] * HALF + [other] * HALF for one, other in bits])


def chosen(scores: SettingScores) -> Choice:
    return choose(scores, FITTING, HELD_OUT, seed=0)


# The choice


def test_what_the_other_half_refutes_is_not_recommended() -> None:
    """The blend is best where it is chosen, and clearly worse where it is judged."""
    scores = by_half((10, 10), (20, 20), (5, 15))
    choice = chosen(scores)
    assert (choice.best, choice.single, choice.preferred, choice.chosen) == (2, 0, 2, 0)
    assert choice.is_refuted
    assert choice.clear == Gain(0.5, 0.5, 0.5)
    assert choice.over_base == Gain(-0.5, -0.5, -0.5)
    assert verdict(choice, scores.settings) == (
        "Use the base alone: half of the answers recommend nudge at γ 0.1, but the other half refutes it: on "
        "10 held-out answers it needs 50.0% more bits than the base alone (95% interval 50.0% to 50.0%) and "
        "25.0% fewer than the guide alone (25.0% to 25.0%)."
    )
    assert reason(choice, scores.settings) == (
        "The fitting half prefers nudge at γ 0.1, but on the held-out half it is worse, beyond chance."
    )


def test_the_other_half_does_not_choose_the_single_model() -> None:
    """It contradicts the fitting half, and that is said; what is recommended stays."""
    scores = by_half((10, 30), (20, 20), (25, 25))
    choice = chosen(scores)
    assert (choice.best, choice.single, choice.chosen) == (0, 0, 0)
    assert verdict(choice, scores.settings) == (
        "Too little data to say: half of the answers recommend the base alone, but on 10 held-out answers "
        "the guide alone needs 33.3% fewer bits than the base alone (95% interval 33.3% to 33.3%)."
    )


def test_a_gain_must_be_clear_and_worth_it() -> None:
    unclear = scores_of([[10.0] * 20, [20.0] * 20, [2.0, *[10.8] * 4, 2.0, *[10.8] * 4] * 2])
    choice = chosen(unclear)
    assert (choice.best, choice.blend, choice.chosen) == (2, 2, 0)
    assert (choice.clear.low or 0) < 0 < (choice.clear.high or 0)
    for share, expected in ((LEAST_GAIN / 2, 0), (LEAST_GAIN * 2, 2)):
        better = 10.0 * (1 - share)
        assert chosen(by_half((10, 10), (20, 20), (better, better))).chosen == expected


def test_too_few_answers_recommend_no_blend() -> None:
    scores = by_half((10, 10), (20, 20), (5, 5))
    assert chosen(scores).chosen == 2
    for fitting, held_out in ((FITTING[1:], HELD_OUT), (FITTING, HELD_OUT[1:])):
        choice = choose(scores, fitting, held_out, seed=0)
        assert choice.is_tiny
        assert choice.chosen == 0


def test_of_equal_settings_the_simplest_is_best() -> None:
    choice = chosen(by_half(*[(10, 10)] * 4))
    assert (choice.best, choice.single, choice.chosen, choice.blend) == (0, 0, 0, 2)


def test_the_last_digits_of_float32_make_no_setting_better() -> None:
    noise = 10.0 * (1 - 1e-8)
    choice = chosen(by_half((10, 10), (noise, noise), (noise, noise)))
    assert (choice.best, choice.single) == (0, 0)


def test_a_base_that_never_asks() -> None:
    scores = scores_of([[10.0] * 20, [20.0] * 20, [10.0] * 20], asking=(False, False, False))
    choice = chosen(scores)
    assert choice.blend is None
    assert verdict(choice, scores.settings) == (
        "Use the base alone: the base is sure everywhere and never asks the guide."
    )


def test_nothing_judges_where_nothing_is_held_out() -> None:
    scores = scores_of([[10.0], [20.0], [5.0]])
    choice = choose(scores, np.array([0]), np.array([], np.intp), seed=0)
    assert choice.clear == choice.over_base == Gain(None, None, None)
    assert choice.chosen == 0


# Gains


def test_gains_by_hand() -> None:
    scores = scores_of([[10.0, 30.0], [4.0, 6.0], [0.0, 0.0]])
    counts = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    found = gain(scores, 1, 0, np.arange(2), counts)
    # 1 - 10/40; resamples 1 - 8/20, .75, 1 - 12/60: from near .6 to .8, and two examples know nearly nothing.
    assert found.value == pytest.approx(0.75)
    assert found.low == pytest.approx(0.75 - 9.168 * (0.15 - 0.05 * 0.15), rel=1e-3)
    assert found.high == 1
    assert gain(scores, 1, 1, np.arange(2), counts) == Gain(0, 0, 0)
    assert gain(scores, 1, 0, np.array([0]), np.ones((3, 1))) == Gain(0.6, None, None)
    assert gain(scores, 1, 2, np.arange(2), counts) == Gain(None, None, None)
    assert gain(scores, 1, 0, np.array([], np.intp), np.zeros((3, 0))) == Gain(None, None, None)


def test_a_gain_that_is_the_same_in_a_few_examples_is_not_certain() -> None:
    scores = scores_of([[10.0] * 8, [5.0] * 8])
    assert gain(scores, 1, 0, np.arange(7), resample_counts(7)) == Gain(0.5, None, None)
    assert gain(scores, 1, 0, np.arange(8), resample_counts(8)) == Gain(0.5, 0.5, 0.5)


def test_the_gain_of_choosing_by_hand() -> None:
    """Each resample chooses by what it drew, and is judged on what it did not draw."""
    scores = scores_of([[10.0, 10, 10], [20.0, 20, 20], [4.0, 12, 12], [12.0, 5, 12]])
    # Draws the first: the first blend, worse on the rest. The second: the second one, worse on the third.
    counts = np.array([[3.0, 0, 0], [1, 2, 0], [1, 1, 1]])
    found = gain_of_choosing(scores, 0, np.arange(3), counts)
    # 1 - 24/20 and 1 - 12/10; the third leaves nothing to judge by.
    assert (found.value, found.low, found.high) == pytest.approx((-0.2, -0.2, -0.2))
    assert gain_of_choosing(scores, 0, np.array([0]), np.ones((3, 1))) == Gain(None, None, None)


def made_up(random: np.random.Generator, gains: npt.ArrayLike) -> SettingScores:
    """80 answers; a guide that is worse than the base; a blend for each gain, with a noise of its own."""
    base = random.uniform(50, 400, 80) * random.gamma(8, 1 / 8, 80)
    guide = base * (1.1 + 0.1 * random.normal(size=80))
    noise = 0.2 * random.normal(size=(np.size(gains), 80))
    return scores_of(np.vstack([base, guide, base * (1 - np.ravel(gains)[:, None] + noise)]))


def test_noise_is_not_taken_for_a_gain() -> None:
    """The best of 23 blends, none of them better than the base: by its own interval it was often clear."""
    random = np.random.default_rng(2)
    places = np.random.default_rng(0).permutation(80)
    halves = np.sort(places[:40]), np.sort(places[40:])
    made = [choose(made_up(random, np.zeros(23)), *halves, seed=seed) for seed in range(40)]
    assert sum(each.preferred > 1 for each in made) <= 2
    made = [choose(made_up(random, np.linspace(0, 0.25, 23)), *halves, seed=seed) for seed in range(10)]
    assert all(each.chosen > 1 for each in made)


# In words


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting("base"), "the base alone"),
        (Setting("guide"), "the guide alone"),
        (Setting("ensemble"), "ensemble"),
        (Setting("blendin", 0.4), "blendin at γ 0.4"),
        (Setting("fixed", 1.0, 0.3), "fixed at γ 1 with α 0.3"),
        (Setting("tuned", 0.9, prior=-1.75), "tuned at γ 0.9 with prior -1.75"),
    ],
)
def test_settings_in_words(setting: Setting, words: str) -> None:
    assert setting_phrase(setting) == words


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (8.0, "20.0% fewer bits than the base alone (95% interval 20.0% to 20.0%)"),
        (12.0, "20.0% more bits than the base alone (95% interval 20.0% to 20.0%)"),
        (10.0, "as many bits as the base alone (95% interval 0.0% to 0.0%)"),
    ],
)
def test_gains_in_words(bits: float, words: str) -> None:
    scores = by_half((9, 10), (20, 20), (8, bits))
    assert words in verdict(chosen(scores), scores.settings)


def test_an_interval_across_zero_names_both_sides() -> None:
    scores = scores_of([[10.0] * 20, [20.0] * 20, [5.0] * 10 + [4.0, 12.0, 12.0, 8.0, 9.0] * 2])
    words = verdict(chosen(scores), scores.settings)
    assert words.startswith(
        "Too little data to say: half of the answers recommend nudge at γ 0.1, but on 10 "
    )
    assert "10.0% fewer bits than the base alone (95% interval " in words
    low = words.split("95% interval ")[1].split(" to ")[0]
    assert low.endswith("% more") and math.isfinite(float(low.split("%")[0]))


def test_the_reason_says_how_the_gain_was_found() -> None:
    scores = by_half((10, 10), (20, 20), (8, 8))
    assert reason(chosen(scores), scores.settings) == (
        "On the fitting half nudge at γ 0.1 needs fewest bits of all; chosen anew in resamples of it and "
        "judged on the answers that these left out, the best setting needs 20.0% fewer bits than the base "
        "alone (95% interval 20.0% to 20.0%)."
    )
