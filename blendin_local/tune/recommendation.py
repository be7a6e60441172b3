"""Which setting to use: chosen on the fitting half of the examples, judged on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blendin_local.statistics import intervals, ratios, resample_counts, wide_intervals
from blendin_local.tune.setting_scores import SettingScores

__all__ = [
    "LEAST_EXAMPLES",
    "LEAST_GAIN",
    "SINGLES",
    "WORTHWHILE",
    "Choice",
    "Gain",
    "choose",
    "fewest",
    "gain",
    "gain_of_choosing",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

SINGLES = ("base", "guide")
"""The first two settings of all prices."""

LEAST_EXAMPLES = 10
"""Each half must hold so many examples before a blend is recommended: fewer say too little of others."""

LEAST_GAIN = 0.002
"""A smaller share of bits is not worth a second model, however certain it is."""

WORTHWHILE = 0.02
"""Where a gain that is not clear could still be as large as this, more data could change the verdict."""

_NO_BITS = 1e-9
"""A gain over fewer bits than this is undefined: they are rounding errors of a model that is certain."""

_TIE = 1e-6
"""Bits that differ by a smaller share are equal: the record's numbers are float32."""


@dataclass(frozen=True, slots=True)
class Gain:
    """By which share a setting needs fewer bits than another, with its 95 % interval; None where unknown."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def is_clear(self) -> bool:
        return self.low is not None and self.low > 0

    @property
    def is_worth_it(self) -> bool:
        return self.is_clear and (self.value or 0) >= LEAST_GAIN

    @property
    def is_clear_loss(self) -> bool:
        return self.high is not None and self.high < 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Places in the prices' settings, and gains.

    best: fewest bits on the fitting half. single: the better single model there. blend: the best setting
    there that ever consults the guide, or None. preferred: what the fitting half recommends. chosen: what is
    recommended: `preferred`, or `single` where the held-out half refutes a blend. examples: in the fitting
    half and in the other. clear: what choosing the best setting gains over `single`, on examples of the
    fitting half that had no part in it (`gain_of_choosing`).
    over_base, over_guide: on the held-out half, the gains of `preferred`, or where that is a single model,
    those of the best blend. over_single: the chosen setting's gain over `single` there, other_single: that of
    the other single model.
    """

    best: int
    single: int
    blend: int | None
    preferred: int
    chosen: int
    examples: tuple[int, int]
    clear: Gain
    over_base: Gain
    over_guide: Gain
    over_single: Gain
    other_single: Gain

    @property
    def is_tiny(self) -> bool:
        return min(self.examples) < LEAST_EXAMPLES

    @property
    def is_refuted(self) -> bool:
        return self.chosen != self.preferred


def choose(prices: SettingScores, fitting: Integers, held_out: Integers, *, seed: int) -> Choice:
    """The setting to use: the best of the fitting half if choosing it gains clearly, else a single model.

    The held-out half only judges, with one exception: a blend that it shows to need more bits than a single
    model, beyond chance, is not recommended. The single model of the fitting half is, and the figures that
    the held-out half then gives of it are no longer independent of the choice.
    """
    spent = prices.bits[:, fitting].sum(axis=1)
    best, single = fewest(spent), fewest(spent[:2])
    blends = np.flatnonzero(prices.consultations.sum(axis=1) > 0)
    blend = int(blends[fewest(spent[blends])]) if len(blends) else None
    counts = resample_counts(len(held_out), seed=seed + 1)

    def held(setting: int, over: int) -> Gain:
        return gain(prices, setting, over, held_out, counts)

    clear = gain_of_choosing(prices, single, fitting, resample_counts(len(fitting), seed=seed))
    examples = (len(fitting), len(held_out))
    preferred = best if clear.is_worth_it and min(examples) >= LEAST_EXAMPLES else single
    judged = preferred if preferred > 1 or blend is None else blend
    over_base, over_guide = held(judged, 0), held(judged, 1)
    is_refuted = preferred > 1 and (over_base.is_clear_loss or over_guide.is_clear_loss)
    chosen = single if is_refuted else preferred
    return Choice(
        best,
        single,
        blend,
        preferred,
        chosen,
        examples,
        clear,
        over_base,
        over_guide,
        held(chosen, single),
        held(1 - single, single),
    )


def gain(prices: SettingScores, setting: int, over: int, examples: Integers, counts: Floats) -> Gain:
    """How much fewer bits one setting needs than another on some examples, as a share of the other's.

    counts: float64[r, len(examples)] of `resample_counts`. Both are resampled together: they are paired.
    """
    mine, theirs = prices.bits[setting][examples], prices.bits[over][examples]
    if not theirs.sum() > _NO_BITS:
        return Gain(None, None, None)
    if setting == over:
        return Gain(0.0, 0.0, 0.0)
    value = 1 - float(mine.sum() / theirs.sum())
    low, high = wide_intervals(value, 1 - ratios(mine, theirs, counts), len(examples))
    if np.isnan(low) or np.isnan(high):
        return Gain(value, None, None)
    return Gain(value, float(low), min(1.0, float(high)))


def gain_of_choosing(prices: SettingScores, over: int, examples: Integers, counts: Floats) -> Gain:
    """What the best of all settings gains over one, judged on examples that had no part in choosing it.

    The best of a hundred settings looks better than it is on the examples that it was chosen by, and its
    interval with it. So the choice is made anew in every resample, and judged on the examples that this left
    out (about 37 of 100). The interval holds 95 % of these gains, its middle is their mean: both are on the
    careful side, since fewer examples choose and judge. The pair priors stay as they were fitted on all of
    these examples. counts: float64[r, len(examples)] of `resample_counts`.
    """
    bits = prices.bits[:, examples]
    if len(examples) < 2:
        return Gain(None, None, None)
    spent = bits @ counts.T
    chosen = (spent <= spent.min(axis=0) * (1 + _TIE)).argmax(axis=0)
    left_out = bits @ (counts.T == 0)
    mine, theirs = left_out[chosen, np.arange(len(counts))], left_out[over]
    judged = theirs > _NO_BITS
    if not judged.any():
        return Gain(None, None, None)
    gains = 1 - mine[judged] / theirs[judged]
    low, high = intervals(gains)
    return Gain(float(gains.mean()), float(low), float(high))


def fewest(bits: Floats) -> int:
    """The place of the fewest bits; of ties the first, since simple methods come first."""
    return int(np.flatnonzero(bits <= bits.min() * (1 + _TIE))[0])
