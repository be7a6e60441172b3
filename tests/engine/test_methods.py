"""Weights by hand, then laws: softmax, divergence, thresholds and the cap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from support import reference

from blendin_local.engine.methods import (
    METHODS,
    Distribution,
    Evidence,
    is_uncertain,
    jensen_shannon,
    may_consult,
    threshold,
)
from blendin_local.settings import BlendSettings

FULL = 262_144
UNCERTAIN = ("nudge", "blendin", "tuned", "fixed", "compete", "moderate", "doubt", "tiered")

shares = st.floats(0, 1)
confidences = st.floats(1 / FULL, 1)
# Rows around any height: where exp() would overflow or vanish, and on both sides of where it is safe.
heights = st.sampled_from((-1e4, -90, -50, -49, 0, 49, 50, 51, 90, 1e4))
logit_rows = st.builds(
    lambda row, height: row + np.float32(height),
    st_np.arrays(np.float32, st.integers(1, 40), elements=st.floats(-40, 40, width=32)),
    st.just(0) | heights,
)
blend_settings = st.builds(
    BlendSettings,
    alpha=shares,
    prior=st.floats(-50, 50),
    compete_k=st.integers(1, 8),
    tau=shares,
)


def masses(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def alpha(
    method: str, c_b: float, c_g: float, agreement: float = 0.0, rank: int = 0, **options: Any
) -> float:
    settings = BlendSettings(method=method, **options)
    return float(METHODS[method].rule(Evidence(c_b, c_g, agreement, rank), settings))


# Weighting rules


def test_the_table_of_methods_is_kept() -> None:
    assert {name: method.trigger for name, method in METHODS.items()} == {
        "base": "never",
        # The guide writes alone: nobody is asked whether to consult it.
        "guide": "never",
        **dict.fromkeys(UNCERTAIN, "uncertain"),
        "ensemble": "always",
    }
    assert [name for name, method in METHODS.items() if method.writer == "guide"] == ["guide"]


@pytest.mark.parametrize("c_b", [0.0, 0.1, 0.399])
@pytest.mark.parametrize(("method", "expected"), [("base", 0), ("guide", 1), ("nudge", 1), ("ensemble", 0.5)])
def test_constant_weights(method: str, c_b: float, expected: float) -> None:
    assert alpha(method, c_b, 0.7, 0.2, 3) == expected


def test_blendin() -> None:
    # Both examples of EVALUATION.md section 3: .9 / 1.29, and .3 / .69 + .1 * .1.
    assert round(alpha("blendin", 0.39, 0.9), 2) == 0.70
    assert round(alpha("blendin", 0.39, 0.3, 0.1), 3) == 0.445
    # .3 / .6 + .1 * .2
    assert alpha("blendin", 0.3, 0.3, 0.2) == pytest.approx(0.52)
    # .99 / 1 + .1 * .5 = 1.04, clipped.
    assert alpha("blendin", 0.01, 0.99, 0.5) == 1
    # Nobody knows anything: no weight, and no division by zero.
    assert alpha("blendin", 0.0, 0.0) == 0


def test_tuned() -> None:
    # logit(.3 / .4 = .75) = ln 3; a prior of -ln 3 brings it to 0, of ln 3 to ln 9.
    assert alpha("tuned", 0.1, 0.3, prior=-math.log(3)) == pytest.approx(0.5)
    assert alpha("tuned", 0.1, 0.3, prior=math.log(3)) == pytest.approx(0.9)
    # The demo of DESIGN.md section 6: logit(.9 / 1.29) = ln(.9 / .39) = .8362; -1.75 leaves -.9138.
    assert alpha("tuned", 0.39, 0.9, prior=-1.75) == pytest.approx(0.28623, abs=1e-4)
    # Whole weights cannot be shifted.
    assert alpha("tuned", 0.01, 0.99, 0.5, prior=-50) == 1
    assert alpha("tuned", 0.3, 0.0, prior=50) == 0


@given(shares, shares, shares)
def test_without_a_prior_tuned_is_blendin(c_b: float, c_g: float, agreement: float) -> None:
    assert alpha("tuned", c_b, c_g, agreement) == alpha("blendin", c_b, c_g, agreement)


def test_fixed() -> None:
    assert alpha("fixed", 0.1, 0.9, alpha=0.3) == pytest.approx(0.3)
    assert alpha("fixed", 0.1, 0.9, alpha=0.0) == 0
    assert alpha("fixed", 0.1, 0.9, alpha=1.0) == 1


def test_compete() -> None:
    # Four outcomes of the base stand before it: it is the fifth of its top five.
    assert alpha("compete", 0.3, 0.31, 0.05, 4) == 1
    assert alpha("compete", 0.3, 0.31, 0.05, 5) == 0
    assert alpha("compete", 0.3, 0.31, 0.05, 5, compete_k=6) == 1
    # The guide must be surer, not as sure.
    assert alpha("compete", 0.3, 0.3, 0.05, 0) == 0
    assert alpha("compete", 0.3, 0.31, 0.3, 0, compete_k=1) == 1


def test_moderate() -> None:
    # .1 + .7 * .8 * .5 * 1.1
    assert alpha("moderate", 0.2, 0.5, 0.1) == pytest.approx(0.408)
    # .1 + .7 * .95 * .98 * 1.9 = 1.338
    assert alpha("moderate", 0.05, 0.98, 0.9) == pytest.approx(0.9)
    assert alpha("moderate", 0.3, 0.0) == pytest.approx(0.1)


def test_doubt() -> None:
    # .8 * .5 * 1.1
    assert alpha("doubt", 0.2, 0.5, 0.1) == pytest.approx(0.44)
    # .95 * .98 * 1.9 = 1.769
    assert alpha("doubt", 0.05, 0.98, 0.9) == 1
    assert alpha("doubt", 1.0, 1.0, 1.0) == 0


@pytest.mark.parametrize(
    ("c_b", "tau", "expected"),
    # Each limit belongs to the weight below it.
    [(0.299, 0.3, 0.7), (0.3, 0.3, 0.5), (0.499, 0.3, 0.5), (0.5, 0.3, 0.3), (0.9, 0.3, 0.3)],
)
def test_tiered(c_b: float, tau: float, expected: float) -> None:
    assert alpha("tiered", c_b, 0.9, tau=tau) == expected


@given(confidences, confidences, shares, st.integers(0, 8), blend_settings)
def test_weights_equal_the_second_implementation(
    c_b: float, c_g: float, agreement: float, rank: int, settings: BlendSettings
) -> None:
    for name, method in METHODS.items():
        rules = reference.Rules(name, alpha=settings.alpha, prior=settings.prior, tau=settings.tau)
        expected = reference.weight(rules, c_b, c_g, agreement, rank < settings.compete_k)
        found = float(method.rule(Evidence(c_b, c_g, agreement, rank), settings))
        assert found == pytest.approx(expected, abs=1e-9), name
        assert 0 <= found <= 1


@given(st.lists(st.tuples(shares, shares, shares, st.integers(0, 8)), min_size=1, max_size=8), blend_settings)
def test_rules_on_arrays_equal_rules_on_numbers(
    rows: list[tuple[float, float, float, int]], settings: BlendSettings
) -> None:
    """Tuning prices thousands of recorded steps with one call of the rule that the engine calls per step."""
    columns = Evidence(*(np.array(column) for column in zip(*rows, strict=True)))
    for name, method in METHODS.items():
        found = np.asarray(method.rule(columns, settings))
        assert found.shape == (len(rows),), name
        assert found.tolist() == [float(method.rule(Evidence(*row), settings)) for row in rows], name


# When the guide is consulted


@pytest.mark.parametrize(
    ("gamma", "gap", "expected"),
    [
        (0.4, 0.0, 0.4),
        # .4 * 1.1, .4 * 1.5 and its limit, .4 * .75
        (0.4, 0.2, 0.44),
        (0.4, 1.0, 0.6),
        (0.5, 1.0, 0.6),
        (0.4, -0.5, 0.3),
        # The limit belongs to the adjustment: without one, any threshold stands.
        (0.9, 0.0, 0.9),
        (0.9, 0.1, 0.6),
        (0.0, 1.0, 0.0),
    ],
)
def test_threshold(gamma: float, gap: float, expected: float) -> None:
    assert threshold(BlendSettings(gamma=gamma, capability_gap=gap)) == pytest.approx(expected)


def test_uncertain_is_strictly_below_the_threshold() -> None:
    settings = BlendSettings(gamma=0.4)
    assert is_uncertain(settings, math.nextafter(0.4, 0), 0, 0)
    assert not is_uncertain(settings, 0.4, 0, 0)
    assert not is_uncertain(BlendSettings(gamma=0), 0.0, 0, 0)
    assert is_uncertain(BlendSettings(gamma=1), 0.999, 0, 0)
    assert is_uncertain(BlendSettings(gamma=0.4, capability_gap=0.2), 0.43, 0, 0)
    assert not is_uncertain(BlendSettings(gamma=0.4, capability_gap=0.2), 0.45, 0, 0)


def test_triggers_never_and_always() -> None:
    for name in ("base", "guide"):
        assert not is_uncertain(BlendSettings(method=name, gamma=1), 0.0, 0, 0)
        assert not may_consult(BlendSettings(method=name, gamma=1))
    assert is_uncertain(BlendSettings(method="ensemble", gamma=0), 1.0, 0, 0)
    assert may_consult(BlendSettings(method="ensemble", gamma=0))
    for name in UNCERTAIN:
        assert may_consult(BlendSettings(method=name, gamma=0.01))
        assert not may_consult(BlendSettings(method=name, gamma=0))


@pytest.mark.parametrize(
    ("cap", "steps", "interventions", "expected"),
    [
        # It does not count before more than 20 tokens are out.
        (0.1, 20, 20, True),
        (0.1, 21, 21, False),
        (0.0, 20, 0, True),
        (0.0, 21, 0, False),
        # At the cap is too many, one below is not.
        (0.15, 40, 6, False),
        (0.15, 40, 5, True),
        (1.0, 40, 40, True),
    ],
)
def test_cap(cap: float, steps: int, interventions: int, expected: bool) -> None:
    for method in ("blendin", "ensemble"):
        settings = BlendSettings(method=method, max_intervention_rate=cap)
        assert is_uncertain(settings, 0.1, steps, interventions) is expected


@given(st.integers(21, 400), st.integers(0, 400))
@example(100, 7)
def test_at_the_cap_is_too_many_whatever_the_rounding(steps: int, interventions: int) -> None:
    """.07 * 100 is 7.000000000000001: compared by multiplying, 7 of 100 were below a cap of .07."""
    assume(interventions < steps)
    settings = BlendSettings(max_intervention_rate=interventions / steps)
    assert not is_uncertain(settings, 0.1, steps, interventions)


# Distributions


@given(logit_rows)
def test_softmax_equals_the_second_implementation(row: npt.NDArray[np.float32]) -> None:
    distribution, before = Distribution(len(row)), row.copy()
    distribution.update(row)
    expected = np.array(reference.softmax(row.tolist()))
    assert distribution.probabilities() == pytest.approx(expected, abs=1e-6)
    assert distribution.probabilities().sum() == pytest.approx(1, abs=1e-5)
    assert distribution.top == int(row.argmax())
    assert distribution.confidence == pytest.approx(expected.max(), abs=1e-6)
    assert distribution.probability(0) == pytest.approx(expected[0], abs=1e-6)
    # Read to two decimals; without a shift of the logits, their height costs some.
    assert distribution.entropy == pytest.approx(reference.entropy(expected.tolist()), abs=1e-4)
    # The row is llama.cpp's own memory.
    assert np.array_equal(row, before)


@given(st.lists(st.integers(0, 1 << 30), min_size=2, max_size=2))
def test_buffers_are_reused_without_a_trace(seeds: list[int]) -> None:
    first, second = (np.random.default_rng(seed).normal(size=9).astype(np.float32) for seed in seeds)
    reused, fresh = Distribution(9), Distribution(9)
    reused.update(first * 40)
    reused.update(second)
    fresh.update(second)
    assert np.array_equal(reused.masses, fresh.masses)
    assert (reused.total, reused.top, reused.entropy) == (fresh.total, fresh.top, fresh.entropy)


@pytest.mark.parametrize("height", [-100.0, -49.0, 0.0, 49.0, 100.0])
@pytest.mark.parametrize("spread", [0.0, 2.0, 9.0])
def test_a_large_vocabulary_loses_no_precision(spread: float, height: float) -> None:
    row = np.random.default_rng(1).normal(scale=spread, size=FULL).astype(np.float32)
    row += np.float32(height - row.max())
    distribution = Distribution(FULL)
    distribution.update(row)
    exact = np.exp(row.astype(np.float64) - float(row.max()))
    exact /= exact.sum()
    assert np.abs(distribution.probabilities() - exact).max() < 1e-6
    assert distribution.confidence == pytest.approx(exact.max(), rel=1e-5)
    entropy = -(exact * np.log2(np.maximum(exact, 1e-300))).sum()
    assert distribution.entropy == pytest.approx(entropy, abs=2e-3)


def test_forbidden_tokens_are_all_but_impossible() -> None:
    """A logit of -inf made exp() and the entropy NaN; far below the rest, exp() turns slow."""
    distribution = Distribution(4)
    distribution.update(masses(-np.inf, 0, math.log(3), -1e30))
    assert distribution.probabilities() == pytest.approx([0, 0.25, 0.75, 0], abs=1e-12)
    # 2 - .75 * log2 3
    assert distribution.entropy == pytest.approx(0.811278, abs=1e-5)
    distribution.update(masses(-np.inf, -np.inf, 5, -np.inf))
    assert distribution.confidence == 1
    assert distribution.entropy == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bad", [(1, np.nan, 2), (np.nan,) * 3, (-np.inf,) * 3, (0, np.inf, 1)])
def test_rubbish_logits_are_an_error(bad: tuple[float, ...]) -> None:
    with pytest.raises(FloatingPointError):
        Distribution(3).update(masses(*bad))


def test_entropy_by_hand() -> None:
    distribution = Distribution(4)
    distribution.update(masses(7, 7, 7, 7))
    assert distribution.entropy == pytest.approx(2)
    # 1/2, 1/4, 1/8, 1/8
    distribution.update(np.log(masses(8, 4, 2, 2)))
    assert distribution.entropy == pytest.approx(1.75)


# Jensen-Shannon divergence


@st.composite
def two_distributions(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two distributions over the same outcomes, with zeros."""
    n = draw(st.integers(1, 12))
    some = st.sampled_from((0.0, 1.0)) | st.floats(0, 1, width=32)
    rows = [draw(st_np.arrays(np.float64, n, elements=some)) for _ in range(2)]
    assume(all(row.sum() > 0 for row in rows))
    p, q = ((row / row.sum()).astype(np.float32) for row in rows)
    return p, q


def test_divergence_by_hand() -> None:
    assert jensen_shannon(masses(0.5, 0.5), masses(0.5, 0.5)) == 0
    assert jensen_shannon(masses(1, 0), masses(0, 1)) == 1
    # Middle (.75, .25): half of log2(4/3), and half of .5 * log2(2/3) + .5 * log2(2).
    assert jensen_shannon(masses(1, 0), masses(0.5, 0.5)) == pytest.approx(0.311278, abs=1e-6)
    # Where the arrays leave mass out, it is mass of one alone: a quarter of q agrees with a quarter of p.
    assert jensen_shannon(masses(0.25), masses(0.25)) == pytest.approx(0.75)


@given(two_distributions())
def test_divergence_equals_the_second_implementation(
    rows: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> None:
    p, q = rows
    divergence = jensen_shannon(p, q)
    as_dicts = (dict(zip("abcdefghijkl", row.tolist(), strict=False)) for row in rows)
    assert divergence == pytest.approx(reference.jensen_shannon(*as_dicts), abs=1e-6)
    assert 0 <= divergence <= 1
    assert jensen_shannon(q, p) == pytest.approx(divergence, abs=1e-9)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-6)
