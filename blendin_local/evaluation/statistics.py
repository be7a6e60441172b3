"""Intervals, tests and effect sizes over plain numbers. Nothing here knows a model, a task or a record.

An interval that cannot be known (no values, or a single one to resample) is None, or NaN in an array; so is
a test that the values leave undefined. Results over examples resample whole examples, never positions:
the positions of one answer belong together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Correlation",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "cohens_d",
    "covariance_of_means",
    "holm",
    "intervals",
    "mcnemar",
    "mean_and_error",
    "paired_bootstrap",
    "pearson",
    "ratios",
    "resample_counts",
    "wilson",
]

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
"""Share of the distribution that every interval covers."""

RESAMPLES = 1000
"""Bootstrap resamples: the ends of a 95 % interval then stand on 25 values each."""

_BLOCK = 1 << 21


def wilson(successes: float, n: int, level: float = LEVEL) -> Interval:
    """Wilson score interval of a share (E. B. Wilson, 1927); (0, 1) where nothing was counted.

    Raises ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and {n}, not {successes}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, more = successes / n, z * z / n
    middle = (share + more / 2) / (1 + more)
    half = z / (1 + more) * math.sqrt(share * (1 - share) / n + more / (4 * n))
    # Rounding must not push the end away from a share of exactly 0 or 1.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def resample_counts(n: int, resamples: int = RESAMPLES, *, seed: int = 0) -> Floats:
    """float64[resamples, n]: how often each of n examples was drawn, n draws with replacement in a row.

    With it the sums over any number of resamples and settings are one matrix product.
    """
    random = np.random.default_rng(seed)
    counts = np.empty((resamples, n))
    if n == 0:
        return counts
    # In blocks: the draws themselves take as much room as the counts.
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        block = counts[start : start + rows]
        draws = random.integers(0, n, block.shape)
        draws += np.arange(len(block))[:, None] * n
        block[:] = np.bincount(draws.ravel(), minlength=block.size).reshape(block.shape)
    return counts


def ratios(numerators: npt.ArrayLike, denominators: npt.ArrayLike, counts: Floats) -> Floats:
    """float64[..., r]: sum of numerators over sum of denominators in each resample, NaN over nothing.

    numerators: [..., n] or [n]. denominators: [n] or like numerators. counts: float64[r, n].
    """
    above = np.asarray(numerators, np.float64) @ counts.T
    below = np.asarray(denominators, np.float64) @ counts.T
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.asarray(np.divide(above, below, out=np.full(shape, np.nan), where=below != 0))


def intervals(values: npt.ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Percentile intervals, (low[...], high[...]), of the last axis of bootstrapped values [..., r].

    Resamples without a value (NaN) are left out; NaN where none is left.
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


def bootstrap_interval(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval of sum(numerators) / sum(denominators) over examples.

    Without denominators: of the mean. None for fewer than two examples, or where the denominators sum to 0.
    """
    above = np.asarray(numerators, np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(denominators, np.float64)
    if len(above) < 2 or below.sum() == 0:
        return None
    low, high = intervals(ratios(above, below, resample_counts(len(above), resamples, seed=seed)), level)
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
    """mean(first) - mean(second) over the same examples, by a bootstrap of the examples.

    p: twice the smaller share of resamples at or beyond zero, the observed sample counted among them (so
    never 0); 1 where both are equal everywhere. Nothing is known for no examples, and of one only the
    difference. Raises ValueError where the two are not equally many.
    """
    apart = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if np.shape(first) != np.shape(second):
        raise ValueError(f"paired values must be equally many, not {len(first)} and {len(second)}")
    if len(apart) == 0:
        return Difference(None, None, None)
    difference = float(apart.mean())
    if len(apart) == 1:
        return Difference(difference, None, None)
    # Few distinct differences (right or wrong, say) are resampled by how often each comes.
    values, times = np.unique(apart, return_counts=True)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(apart), times / len(apart), resamples) @ values / len(apart)
    # Sums of fractions that cancel out leave some 1e-17 behind: that is zero.
    drawn[np.abs(drawn) < 1e-12 * np.abs(apart).max()] = 0.0
    low, high = intervals(drawn, level)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(difference, (float(low), float(high)), min(1.0, 2 * (tail + 1) / (resamples + 1)))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p value of McNemar's test: items that only one of two arms got right.

    1 where they never differ.
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (S. Holm, 1979), in the order given; tests without a p do not count."""
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
    """Pearson's correlation. Undefined for fewer than three pairs, and where one side is constant.

    Two pairs always lie on a line, so their r says nothing. Raises ValueError where x and y are not
    equally many.
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
    """Equal but for rounding: of such values a correlation would be noise."""
    found = np.asarray(values, np.float64)
    return bool(np.ptp(found) <= 1e-12 * np.abs(found).max())


def cohens_d(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Cohen's d: mean(first) - mean(second), in pooled standard deviations.

    None where a group is empty, where both have a single value, or where nothing varies.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    freedom = len(a) + len(b) - 2
    if not len(a) or not len(b) or freedom < 1 or (_is_constant(first) and _is_constant(second)):
        return None
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    return float(a.mean() - b.mean()) / math.sqrt(squares / freedom)


def mean_and_error(values: npt.ArrayLike) -> tuple[float | None, float | None]:
    """Mean, and its standard error sqrt((E[x^2] - E[x]^2) / (n - 1)), as llama.cpp's perplexity tool has it.

    The error is None for fewer than two values (llama.cpp prints 0 for up to ten), the mean for none.
    """
    x = np.asarray(values, np.float64).ravel()
    if len(x) == 0:
        return None, None
    error = covariance_of_means(x, x)
    return float(x.mean()), None if error is None else math.sqrt(error)


def covariance_of_means(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """(E[xy] - E[x] E[y]) / (n - 1): the covariance of two paired means, None for fewer than two values.

    Computed about the means, where E[x^2] - E[x]^2 of large, close values would lose every digit.
    Raises ValueError where the two are not equally many.
    """
    x, y = (np.asarray(values, np.float64).ravel() for values in (first, second))
    if len(x) != len(y):
        raise ValueError(f"paired values must be equally many, not {len(x)} and {len(y)}")
    if len(x) < 2:
        return None
    return float(((x - x.mean()) * (y - y.mean())).mean()) / (len(x) - 1)
