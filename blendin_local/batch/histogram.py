"""Estimate quantiles of values from 0 to 1 in constant memory, from counts in narrow bins."""

from __future__ import annotations

from itertools import accumulate, pairwise

from blendin_local.batch.job_report import Bins, Distribution

__all__ = ["Histogram"]

_BINS = 1000
"""Quantiles are accurate to the width of a bin and independent of the order of the values."""
_SHOWN = 20


class Histogram:
    """Counts of values from 0 to 1."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS
        self.n = 0
        self.lowest: float | None = None
        self.highest: float | None = None

    def add(self, value: float) -> None:
        self._counts[min(max(int(value * _BINS), 0), _BINS - 1)] += 1
        self.n += 1
        self.lowest = value if self.lowest is None else min(self.lowest, value)
        self.highest = value if self.highest is None else max(self.highest, value)

    def quantile(self, share: float) -> float | None:
        """Return the quantile at a share from 0 to 1; None without values."""
        if self.lowest is None or self.highest is None:
            return None
        wanted, below = share * self.n, 0
        for place, count in enumerate(self._counts):
            if count and below + count >= wanted:
                value = (place + (wanted - below) / count) / _BINS
                return min(max(value, self.lowest), self.highest)
            below += count
        return self.highest

    def distribution(self) -> Distribution:
        """Return lowest and highest value, median, nine deciles, and a histogram of 20 bins."""
        deciles = (self.quantile(tenth / 10) for tenth in range(1, 10))
        sums = [0, *accumulate(self._counts)][:: _BINS // _SHOWN]
        return Distribution(
            self.lowest,
            self.highest,
            median=self.quantile(0.5),
            deciles=tuple(value for value in deciles if value is not None),
            histogram=Bins(
                tuple(place / _SHOWN for place in range(_SHOWN + 1)),
                tuple(end - begin for begin, end in pairwise(sums)),
            ),
        )
