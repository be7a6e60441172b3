"""Intervals, tests and effect sizes over plain numbers.

An interval that is unknown (no values, a single value, or a few equal values) is None, or NaN in an array; so
is a test that is undefined. Results over examples resample whole examples, never positions: the positions of
one answer depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = [
    "FEW",
    "LEVEL",
    "RESAMPLES",
    "Correlation",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "cohens_d",
    "expanded_intervals",
    "holm",
    "intervals",
    "mcnemar",
    "mean_and_error",
    "paired_bootstrap",
    "pearson",
    "resample_counts",
    "resampled_ratios",
    "sign_flip_test",
    "wilson",
]

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
"""Share of the distribution that every interval covers."""

RESAMPLES = 1000
"""Bootstrap resamples, which leave 25 values beyond each end of a 95 % interval."""

FEW = 8
"""Fewer equal values than this have no interval: their variance is unknown."""

_SMALL = 20
"""Below so many pairs a difference gets Student's interval: a bootstrap interval would be too narrow."""

_EXACT = 14
"""Up to so many differences the sign-flip test enumerates all 2^n signs; above, it draws random ones."""

_BLOCK = 1 << 21


def wilson(successes: float, n: int, level: float = LEVEL) -> Interval:
    """Wilson score interval of a proportion (E. B. Wilson, 1927); (0, 1) for n = 0.

    Raises ValueError unless 0 <= successes <= n.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and {n}, not {successes}")
    if n == 0:
        return 0.0, 1.0
    found = binomtest(int(successes), n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def resample_counts(n: int, resamples: int = RESAMPLES, *, seed: int = 0) -> Floats:
    """Draw bootstrap resamples; return float64[resamples, n], how often each example was drawn.

    Sums over all resamples and settings are then one matrix product.
    """
    random = np.random.default_rng(seed)
    counts = np.empty((resamples, n))
    if n == 0:
        return counts
    # In blocks, because the draws take as much memory as the counts.
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        block = counts[start : start + rows]
        draws = random.integers(0, n, block.shape)
        draws += np.arange(len(block))[:, None] * n
        block[:] = np.bincount(draws.ravel(), minlength=block.size).reshape(block.shape)
    return counts


def resampled_ratios(numerators: npt.ArrayLike, denominators: npt.ArrayLike, counts: Floats) -> Floats:
    """Return float64[..., r]: sum of numerators / sum of denominators per resample, NaN for 0 / 0.

    numerators: [..., n] or [n]. denominators: [n] or like numerators. counts: float64[r, n].
    """
    above = np.asarray(numerators, np.float64) @ counts.T
    below = np.asarray(denominators, np.float64) @ counts.T
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.asarray(np.divide(above, below, out=np.full(shape, np.nan), where=below != 0))


def intervals(values: npt.ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Percentile intervals (low[...], high[...]) over the last axis of bootstrapped values [..., r].

    NaN values are ignored; the interval is NaN if all are.
    """
    drawn = np.asarray(values, np.float64)
    tails = ((1 - level) / 2, (1 + level) / 2)
    if drawn.shape[-1] == 0:
        nothing = np.full(drawn.shape[:-1], np.nan)
        return nothing, nothing.copy()
    if not np.isnan(drawn).any():
        low, high = np.quantile(drawn, tails, axis=-1)
        return np.asarray(low), np.asarray(high)
    rows = drawn.reshape(-1, drawn.shape[-1])
    kept = [row[~np.isnan(row)] for row in rows]
    ends = np.array([np.quantile(row, tails) if len(row) else (np.nan, np.nan) for row in kept])
    return ends[:, 0].reshape(drawn.shape[:-1]), ends[:, 1].reshape(drawn.shape[:-1])


def expanded_intervals(
    found: npt.ArrayLike, drawn: npt.ArrayLike, n: int, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Percentile intervals of drawn[..., r], expanded about the estimate found[...] for small samples.

    A bootstrap of n examples underestimates the standard error by sqrt((n - 1) / n) and ignores its
    uncertainty. Both ends are therefore moved away from the estimate by the ratio of Student's t with n - 1
    degrees of freedom to the normal quantile (T. Hesterberg, 2015, expands the percentiles instead): 19 times
    at n = 2, by a fifth at 10, by a fiftieth at 100. NaN for fewer than two examples, and for fewer than
    `FEW` equal ones.
    """
    middle = np.asarray(found, np.float64)
    low, high = intervals(drawn, level)
    if n < 2:
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    stretch = _student(n - 1, level) / NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(n / (n - 1))
    low, high = middle - (middle - low) * stretch, middle + (high - middle) * stretch
    if n < FEW:
        same = high - low <= 1e-12 * np.abs(middle)
        low, high = np.where(same, np.nan, low), np.where(same, np.nan, high)
    return low, high


@cache
def _student(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def bootstrap_interval(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Expanded bootstrap interval of sum(numerators) / sum(denominators) over examples.

    Without denominators: of the mean. It may exceed the range of the scale. None for fewer than two
    examples, for fewer than `FEW` equal ones, or if the denominators sum to 0.
    """
    above = np.asarray(numerators, np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(denominators, np.float64)
    if len(above) < 2 or below.sum() == 0:
        return None
    drawn = resampled_ratios(above, below, resample_counts(len(above), resamples, seed=seed))
    low, high = expanded_intervals(above.sum() / below.sum(), drawn, len(above), level)
    if np.isnan(low) or np.isnan(high):
        return None
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two paired means, with its interval and two-sided p value; None where undefined."""

    difference: float | None
    interval: Interval | None
    p: float | None


def paired_bootstrap(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    *,
    resamples: int = 10_000,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """mean(first) - mean(second) over the same examples, with its interval and the p of `sign_flip_test`.

    The interval is Student's for fewer than 20 examples, else bootstrapped; None if fewer than 20 differences
    are all equal. One example has only a difference, none has nothing. Raises ValueError for arguments of
    different lengths.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"paired values must be equally many, not {len(first)} and {len(second)}")
    apart = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if len(apart) == 0:
        return Difference(None, None, None)
    difference = float(apart.mean())
    if len(apart) == 1:
        return Difference(difference, None, None)
    p = sign_flip_test(apart, resamples=resamples, seed=seed)
    return Difference(difference, _interval_of_mean(apart, resamples, level, seed), p)


def _interval_of_mean(values: Floats, resamples: int, level: float, seed: int) -> Interval | None:
    n = len(values)
    if n < _SMALL:
        if np.ptp(values) <= 1e-12 * np.abs(values).max():
            return None
        half = _student(n - 1, level) * float(values.std(ddof=1)) / math.sqrt(n)
        return float(values.mean()) - half, float(values.mean()) + half
    low, high = expanded_intervals(values.mean(), _resampled_means(values, resamples, seed), n, level)
    return float(low), float(high)


def _resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Return float64[resamples]: bootstrapped means of the values."""
    n, random = len(values), np.random.default_rng(seed)
    # Few distinct values, such as right and wrong, are drawn as multinomial counts.
    distinct, times = np.unique(values, return_counts=True)
    if len(distinct) * 8 <= n:
        return np.asarray(random.multinomial(n, times / n, resamples) @ distinct / n)
    rows = max(1, _BLOCK // n)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([values[random.integers(0, n, (size, n))].mean(axis=1) for size in sizes])


def sign_flip_test(differences: npt.ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p value of the sign-flip permutation test for paired differences (R. A. Fisher, 1935).

    Exact for up to `_EXACT` nonzero differences, else over random signs and the observed ones. At least
    2^(1-n) for n nonzero differences, 1 for none. Packed random bits make it about ten times as fast as
    `scipy.stats.permutation_test`.
    """
    found = np.asarray(differences, np.float64)
    sizes = np.abs(found[found != 0])
    if not len(sizes):
        return 1.0
    # Allow for rounding errors in equal sums.
    far = abs(float(found.sum())) - 1e-12 * float(sizes.sum())
    if len(sizes) <= _EXACT:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums + size, sums - size])
        return float((np.abs(sums) >= far).mean())
    random = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(sizes))
    beyond = 0
    for start in range(0, resamples, rows):
        shape = min(rows, resamples - start), len(sizes)
        minus = np.unpackbits(random.integers(0, 256, (shape[0], (shape[1] + 7) // 8), np.uint8), axis=1)
        sums = sizes.sum() - 2 * (minus[:, : shape[1]].astype(np.float64) @ sizes)
        beyond += int((np.abs(sums) >= far).sum())
    return (beyond + 1) / (resamples + 1)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p value of McNemar's test; 1 for no discordant items.

    only_first, only_second: number of items that only one of two arms got right.
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values by Holm's step-down method (S. Holm, 1979), in the given order; None is skipped."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r of n pairs of values, and its two-sided p value; None where undefined."""

    r: float | None
    p: float | None
    n: int


def pearson(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Pearson's correlation. Undefined for fewer than three pairs, and if one side is constant.

    Raises ValueError if x and y differ in length.
    """
    if len(x) != len(y):
        raise ValueError(f"x and y must be equally many, not {len(x)} and {len(y)}")
    n = len(x)
    if n < 3 or _is_constant(x) or _is_constant(y):
        return Correlation(None, None, n)
    from scipy.stats import pearsonr

    found = pearsonr(x, y)
    return Correlation(float(found.statistic), float(found.pvalue), n)


def _is_constant(values: Sequence[float]) -> bool:
    """Return whether the values are equal up to rounding; their correlation would be noise."""
    found = np.asarray(values, np.float64)
    return bool(np.ptp(found) <= 1e-12 * np.abs(found).max())


def cohens_d(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Cohen's d: mean(first) - mean(second), in pooled standard deviations.

    None for an empty group, for two single values, and if all values are equal.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    freedom = len(a) + len(b) - 2
    if not len(a) or not len(b) or freedom < 1 or (_is_constant(first) and _is_constant(second)):
        return None
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    return float(a.mean() - b.mean()) / math.sqrt(squares / freedom)


def mean_and_error(values: npt.ArrayLike) -> tuple[float | None, float | None]:
    """Mean and its standard error, as llama.cpp's perplexity tool computes them.

    The error is None for fewer than two values (llama.cpp prints 0 for up to ten), the mean for none.
    """
    x = np.asarray(values, np.float64).ravel()
    if len(x) == 0:
        return None, None
    return float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else None
