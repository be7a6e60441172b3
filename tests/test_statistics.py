"""Statistics against SciPy and by hand, with every case in which there is nothing to compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.statistics import (
    FEW,
    Correlation,
    Difference,
    bootstrap_interval,
    cohens_d,
    expanded_intervals,
    holm,
    intervals,
    mcnemar,
    mean_and_error,
    paired_bootstrap,
    pearson,
    resample_counts,
    resampled_ratios,
    sign_flip_test,
    wilson,
)

values = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


# Shares


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 10), (571, 1319), (1, 2)]
)
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.8, method="wilson")
    assert wilson(successes, n, 0.8) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    for successes, n in ((-1, 3), (4, 3), (1, 0)):
        with pytest.raises(ValueError):
            wilson(successes, n)


# Bootstrap


def test_counts_are_draws_with_replacement() -> None:
    counts = resample_counts(7, 500, seed=3)
    assert counts.shape == (500, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == 1
    # Of a binomial count: 7 draws at 1/7 vary by 6/7.
    assert counts.var() == pytest.approx(6 / 7, rel=0.1)
    assert np.array_equal(counts, resample_counts(7, 500, seed=3))
    assert not np.array_equal(counts, resample_counts(7, 500, seed=4))
    assert resample_counts(0, 5).shape == (5, 0)
    assert (resample_counts(1, 5) == 1).all()


def test_counts_in_blocks_are_draws_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendin_local.statistics._BLOCK", 40)
    counts = resample_counts(7, 501)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.var() == pytest.approx(6 / 7, rel=0.1)
    assert len(np.unique(counts, axis=0)) > 100


def test_ratios_by_hand() -> None:
    counts = np.array([[2.0, 0, 1], [0, 0, 3]])
    # (2 * 1 + 5) / (2 * 2 + 4), 5 / 4; then the same of twice the numerators.
    found = resampled_ratios([[1, 3, 5], [2, 6, 10]], [2, 7, 4], counts)
    assert found.tolist() == [[7 / 8, 5 / 4], [14 / 8, 10 / 4]]
    # Denominators of their own, one of them zero in the second resample.
    found = resampled_ratios([[1, 3, 5], [2, 6, 10]], [[1, 1, 1], [1, 1, 0]], counts)
    assert found[0].tolist() == [7 / 3, 15 / 3]
    assert found[1, 0] == 7
    assert math.isnan(found[1, 1])


def test_intervals_are_percentiles_of_what_is_known() -> None:
    low, high = intervals(np.arange(101.0))
    assert (float(low), float(high)) == pytest.approx((2.5, 97.5))
    low, high = intervals([[*range(101), np.nan], [np.nan] * 102], 0.9)
    assert (low[0], high[0]) == pytest.approx((5, 95))
    assert np.isnan(low[1]) and np.isnan(high[1])
    low, high = intervals(np.zeros((3, 0)))
    assert low.shape == high.shape == (3,) and np.isnan(low).all() and np.isnan(high).all()


def student(n: int) -> float:
    """By how much an interval of n examples is wider than the percentiles of its bootstrap."""
    return float(scipy.stats.t.ppf(0.975, n - 1)) / 1.959963985 * math.sqrt(n / (n - 1))


def test_intervals_are_widened_about_what_was_found() -> None:
    drawn = np.array([np.arange(101.0), np.arange(101.0) * 2])
    low, high = expanded_intervals([50.0, 60.0], drawn, 10)
    assert student(10) == pytest.approx(1.217, abs=0.001)
    assert low == pytest.approx([50 - 47.5 * student(10), 60 - 55 * student(10)])
    assert high == pytest.approx([50 + 47.5 * student(10), 60 + 135 * student(10)])
    for n in (0, 1):
        assert all(np.isnan(end).all() for end in expanded_intervals([50.0, 60.0], drawn, n))


def test_bootstrap_interval_of_a_mean_equals_scipy() -> None:
    sample = np.random.default_rng(1).gamma(2.0, size=60)
    expected = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="percentile", random_state=np.random.default_rng(2)
    ).confidence_interval
    found = bootstrap_interval(sample, resamples=20_000)
    ends = [sample.mean() + student(60) * (end - sample.mean()) for end in (expected.low, expected.high)]
    assert found == pytest.approx(ends, rel=0.01)


def test_bootstrap_interval_of_a_ratio_equals_scipy() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(20, 400, 50).astype(float)
    bits = sizes * random.uniform(0.5, 1.2, 50)
    expected = scipy.stats.bootstrap(
        (bits, sizes),
        lambda above, below, axis: above.sum(axis) / below.sum(axis),
        n_resamples=20_000,
        paired=True,
        method="percentile",
        random_state=np.random.default_rng(2),
    ).confidence_interval
    found = bootstrap_interval(bits, sizes, resamples=20_000)
    ratio = bits.sum() / sizes.sum()
    ends = [ratio + student(50) * (end - ratio) for end in (expected.low, expected.high)]
    assert found == pytest.approx(ends, rel=0.005)


def test_bootstrap_interval_without_enough_to_resample() -> None:
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([1.0]) is None
    assert bootstrap_interval([1.0, 2.0], [0.0, 0.0]) is None
    # A few that are all the same do not say that others would be.
    assert bootstrap_interval([3.0] * (FEW - 1)) is None
    assert bootstrap_interval([3.0] * FEW) == (3.0, 3.0)
    # Resamples of the empty example alone have no ratio: the others count.
    assert bootstrap_interval([0.0] + [4.0] * 7, [0.0] + [2.0] * 7) == (2.0, 2.0)


@pytest.mark.parametrize("n", [3, 5, 10, 25])
def test_intervals_of_few_examples_hold_the_truth(n: int) -> None:
    """A percentile bootstrap of 3 holds it in two thirds of the cases."""
    random = np.random.default_rng(n)
    inside = [0, 0]
    for seed in range(200):
        sample = random.normal(size=n)
        single = bootstrap_interval(sample, resamples=500, seed=seed) or (math.nan, math.nan)
        paired = paired_bootstrap(sample, np.zeros(n), resamples=500, seed=seed).interval or (1, 0)
        inside[0] += single[0] <= 0 <= single[1]
        inside[1] += paired[0] <= 0 <= paired[1]
    assert min(inside) >= 200 * 0.9


def test_paired_bootstrap() -> None:
    random = np.random.default_rng(5)
    noise = random.normal(size=80)
    first, second = noise + 0.1 + random.normal(scale=0.2, size=80), noise
    found = paired_bootstrap(first, second)
    expected = scipy.stats.bootstrap(
        (first - second,), np.mean, n_resamples=10_000, method="percentile", random_state=random
    ).confidence_interval
    assert found.difference == pytest.approx(np.mean(first - second))
    assert found.interval == pytest.approx((expected.low, expected.high), abs=0.005)
    assert found.p is not None and found.p < 0.01
    swapped = paired_bootstrap(second, first)
    assert swapped.difference == pytest.approx(-(found.difference or 0))
    # Of values that are all different its p value is close to that of a t test.
    weak = first - 0.07
    expected_p = scipy.stats.ttest_rel(weak, second).pvalue
    assert paired_bootstrap(weak, second).p == pytest.approx(expected_p, abs=0.03)


def test_the_interval_of_few_pairs_is_students() -> None:
    apart = [0.3, -0.1, 0.4, 0.2, 0.25]
    expected = scipy.stats.ttest_1samp(apart, 0).confidence_interval()
    assert paired_bootstrap(apart, [0.0] * 5).interval == pytest.approx((expected.low, expected.high))


def test_paired_bootstrap_of_right_and_wrong() -> None:
    """16 against 4 discordant items: choosing their signs is McNemar's exact test, whose p is .012."""
    first = [1.0] * 16 + [0.0] * 4 + [1.0] * 30
    second = [0.0] * 16 + [1.0] * 4 + [1.0] * 30
    found = paired_bootstrap(first, second)
    assert found.difference == pytest.approx(12 / 50)
    assert found.interval is not None and 0 < found.interval[0] < 12 / 50 < found.interval[1]
    assert found.p == pytest.approx(mcnemar(16, 4), abs=0.003)


def test_paired_bootstrap_of_little() -> None:
    assert paired_bootstrap([], []) == Difference(None, None, None)
    assert paired_bootstrap([1.0], [0.25]) == Difference(0.75, None, None)
    # Few that differ by the same do not say that others would: no interval, and a p of chance.
    assert paired_bootstrap([0.1, 0.7], [0.1, 0.7]) == Difference(0.0, None, 1.0)
    assert paired_bootstrap([1.0, 1.0], [0.0, 0.0]) == Difference(1.0, None, 0.5)
    assert paired_bootstrap([1.0] * 6, [0.0] * 6) == Difference(1.0, None, 2 / 64)
    assert paired_bootstrap([0.5] * 20, [0.5] * 20) == Difference(0.0, (0.0, 0.0), 1.0)
    with pytest.raises(ValueError):
        paired_bootstrap([1.0], [1.0, 2.0])


def test_signs_by_hand() -> None:
    # Sums of 1, 2, 4: 7, 5, 3, 1 and their negatives; as far as 5 are four of eight.
    assert sign_flip_test([-1.0, 2.0, 4.0]) == 0.5
    assert sign_flip_test([1.0, 2.0, 4.0]) == 0.25
    # What does not differ has no sign to choose.
    assert sign_flip_test([1.0, 0.0, 2.0, 4.0, 0.0]) == 0.25
    assert sign_flip_test([0.0, 0.0]) == sign_flip_test([]) == 1.0


@pytest.mark.parametrize("n", [9, 14, 15, 40])
def test_signs_equal_scipy(n: int) -> None:
    apart = np.random.default_rng(n).normal(0.4, size=n)
    expected = scipy.stats.permutation_test(
        (apart,),
        np.sum,
        permutation_type="samples",
        n_resamples=50_000,
        random_state=np.random.default_rng(1),
    ).pvalue
    assert sign_flip_test(apart) == pytest.approx(expected, abs=1e-12 if n <= 14 else 0.01)


@pytest.mark.parametrize("n", [2, 3, 6, 10, 20])
def test_nothing_is_called_clear_more_often_than_one_time_in_twenty(n: int) -> None:
    """The share of resamples beyond zero called it clear 50, 26 and 12 times of 100 at n of 2, 3 and 10."""
    random = np.random.default_rng(n)
    clear = sum(sign_flip_test(random.normal(size=n), resamples=500) <= 0.05 for _ in range(400))
    assert clear <= 400 * 0.08


def test_differences_that_cancel_out_are_zero() -> None:
    """.1 + .2 - .3 is 5.6e-17: such sums counted as a difference, in tenths but not in whole numbers."""
    tenths = paired_bootstrap([0.1, 0.2, 0.0], [0.0, 0.0, 0.3])
    whole = paired_bootstrap([1.0, 2.0, 0.0], [0.0, 0.0, 3.0])
    assert tenths.p == whole.p == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_the_bootstrap_is_blind_to_which_comes_first(rows: list[tuple[float, float]]) -> None:
    first, second = zip(*rows, strict=True)
    one, other = (paired_bootstrap(a, b, resamples=200) for a, b in ((first, second), (second, first)))
    assert one.difference == pytest.approx(-(other.difference or 0), abs=1e-12)
    assert one.p is not None and 0 < one.p <= 1
    assert one.p == other.p
    if one.interval and other.interval:
        assert one.interval == pytest.approx([-end for end in reversed(other.interval)], abs=1e-9)
        assert one.interval[0] <= (one.difference or 0) <= one.interval[1]


# Tests


@pytest.mark.parametrize(("first", "second"), [(10, 2), (2, 10), (5, 5), (1, 0), (0, 6)])
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    n, fewer = first + second, min(first, second)
    both_tails = 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, both_tails))


def test_mcnemar_by_hand() -> None:
    # 2 * (1 + 12 + 66) / 4096
    assert mcnemar(10, 2) == pytest.approx(0.03857421875)
    assert mcnemar(0, 0) == 1


def test_holm_by_hand() -> None:
    # .01 * 4; .02 * 3; .03 * 2 = .06; .5.
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    # What is undefined neither counts nor is counted.
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holm_never_helps_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert all(after is not None and before <= after <= 1 for before, after in pairs)
    assert [after for _, after in pairs] == sorted(after or 0 for after in adjusted)


# Relations


def test_pearson_equals_scipy_and_the_published_table() -> None:
    """GSM8K of EVALUATION.md section 3: intervention rates and accuracies of 15 pairs, r -.65, p .009."""
    rates = [16.2, 14.4, 12.2, 10.6, 9.9, 10.0, 16.2, 13.1, 14.3, 9.2, 2.0, 14.8, 3.8, 22.2, 23.1]
    scores = [0.31, 0.58, 0.61, 0.54, 0.66, 0.76, 0.20, 0.12, 0.18, 0.67, 0.87, 0.59, 0.82, 0.27, 0.54]
    found = pearson(rates, scores)
    expected = scipy.stats.pearsonr(rates, scores)
    assert (found.r, found.p, found.n) == pytest.approx((expected.statistic, expected.pvalue, 15))
    assert (round(found.r or 0, 2), round(found.p or 0, 3)) == (-0.65, 0.009)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1.0], [2.0]),
        ([1.0, 2.0], [3.0, 5.0]),
        ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]),
        ([0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0]),
        ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]),
    ],
)
def test_pearson_is_undefined(x: list[float], y: list[float]) -> None:
    assert pearson(x, y) == Correlation(None, None, len(x))


def test_pearson_wants_pairs() -> None:
    with pytest.raises(ValueError):
        pearson([1.0], [])


def test_cohens_d_by_hand() -> None:
    # Means 2 and 5; squares 2 and 8 over 4 degrees of freedom: d = -3 / sqrt(2.5).
    assert cohens_d([1, 2, 3], [3, 5, 7]) == pytest.approx(-3 / math.sqrt(2.5))
    # A single value has no spread of its own.
    assert cohens_d([4], [1, 2, 3]) == pytest.approx(2 / math.sqrt(2 / 2))


@pytest.mark.parametrize(
    ("first", "second"), [([], [1, 2]), ([1, 2], []), ([], []), ([1], [2]), ([1, 1], [2, 2]), ([1, 1], [1])]
)
def test_cohens_d_is_undefined(first: list[float], second: list[float]) -> None:
    assert cohens_d(first, second) is None


# Standard errors


def test_standard_error_by_hand() -> None:
    # E[x] = 2, E[x^2] = 14 / 3: sqrt((14 / 3 - 4) / 2).
    assert mean_and_error([1, 2, 3]) == pytest.approx((2, math.sqrt(1 / 3)))
    assert mean_and_error([]) == (None, None)
    assert mean_and_error([5]) == (5, None)
    assert mean_and_error([5, 5, 5]) == (5, 0)


@given(values)
def test_standard_error_equals_scipy(sample: list[float]) -> None:
    mean, error = mean_and_error(sample)
    assert mean == pytest.approx(np.mean(sample))
    assert error == pytest.approx(scipy.stats.sem(sample), rel=1e-9, abs=1e-9)


def test_standard_error_keeps_its_digits() -> None:
    """E[x^2] - E[x]^2 of these is a negative number in double precision."""
    assert mean_and_error([1e9, 1e9 + 1e-6, 1e9 + 2e-6])[1] == pytest.approx(5.8e-7, rel=0.1)
