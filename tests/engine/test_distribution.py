"""Softmax, entropy and divergence by hand, then laws."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from support import reference

from blendin_local.engine.distribution import Distribution, jensen_shannon

FULL = 262_144

# Rows around any height: where exp() would overflow or vanish, and on both sides of where it is safe.
heights = st.sampled_from((-1e4, -90, -50, -49, 0, 49, 50, 51, 90, 1e4))
logit_rows = st.builds(
    lambda row, height: row + np.float32(height),
    st_np.arrays(np.float32, st.integers(1, 40), elements=st.floats(-40, 40, width=32)),
    st.just(0) | heights,
)


def masses(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


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
