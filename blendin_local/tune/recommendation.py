"""Choose a setting on the fitting half of the examples, and evaluate it on the held-out half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blendin_local.statistics import expanded_intervals, intervals, resample_counts, resampled_ratios
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
"""The first two settings of every `SettingScores`."""

LEAST_EXAMPLES = 10
"""Examples that each half needs before a blend is recommended."""

LEAST_GAIN = 0.002
"""A smaller gain is not worth a second model, even if it is certain."""

WORTHWHILE = 0.02
"""If an unclear gain may still be this large, more data could change the verdict."""

_NO_BITS = 1e-9
"""A gain over fewer bits is undefined: they are rounding errors of a model that is certain."""

_TIE = 1e-6
"""Relative tolerance of ties: the record's numbers are float32."""


@dataclass(frozen=True, slots=True)
class Gain:
    """The share of bits that a setting saves over another, with its 95 % interval; None where unknown."""

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
    """Indices into the settings of a `SettingScores`, and gains.

    On the fitting half: best: fewest bits. single: the better single model. blend: the best setting that ever
    consults the guide, or None. preferred: the recommendation of this half. clear: the gain of choosing the
    best setting over `single`, on examples that had no part in the choice (`gain_of_choosing`). chosen: the
    recommendation: `preferred`, or `single` if the held-out half refutes a blend. examples: numbers of
    examples in the fitting and the held-out half. On the held-out half: over_base, over_guide: gains of
    `preferred`, or of the best blend if `preferred` is a single model. over_single: gain of `chosen` over
    `single`. other_single: that of the other single model.
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


def choose(scores: SettingScores, fitting: Integers, held_out: Integers, *, seed: int) -> Choice:
    """Choose the best setting of the fitting half if its gain is clear, else a single model.

    fitting, held_out: indices of examples. The held-out half only evaluates, with one exception: if it shows
    a blend to need more bits than a single model, beyond chance, the single model of the fitting half is
    recommended instead, and the held-out figures of that model are then not independent of the choice.
    """
    spent = scores.bits[:, fitting].sum(axis=1)
    best, single = fewest(spent), fewest(spent[:2])
    blends = np.flatnonzero(scores.consultations.sum(axis=1) > 0)
    blend = int(blends[fewest(spent[blends])]) if len(blends) else None
    counts = resample_counts(len(held_out), seed=seed + 1)

    def held(setting: int, over: int) -> Gain:
        return gain(scores, setting, over, held_out, counts)

    clear = gain_of_choosing(scores, single, fitting, resample_counts(len(fitting), seed=seed))
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


def gain(scores: SettingScores, setting: int, over: int, examples: Integers, counts: Floats) -> Gain:
    """Compute the share of bits that `setting` saves over the setting `over` on some examples.

    counts: float64[r, len(examples)] of `resample_counts`. The resamples are paired.
    """
    mine, theirs = scores.bits[setting][examples], scores.bits[over][examples]
    if not theirs.sum() > _NO_BITS:
        return Gain(None, None, None)
    if setting == over:
        return Gain(0.0, 0.0, 0.0)
    value = 1 - float(mine.sum() / theirs.sum())
    low, high = expanded_intervals(value, 1 - resampled_ratios(mine, theirs, counts), len(examples))
    if np.isnan(low) or np.isnan(high):
        return Gain(value, None, None)
    return Gain(value, float(low), min(1.0, float(high)))


def gain_of_choosing(scores: SettingScores, over: int, examples: Integers, counts: Floats) -> Gain:
    """Compute the out-of-bag gain of the best of all settings over one.

    The gain of the best of a hundred settings is overestimated on the examples that it was chosen by, and so
    is its interval. Each resample therefore chooses again and is evaluated on the examples that it left out
    (about 37 of 100). The value is the mean of these gains and the interval holds 95 % of them; both are
    conservative, since fewer examples choose and evaluate. The pair priors stay as fitted on all of these
    examples. counts: float64[r, len(examples)] of `resample_counts`.
    """
    bits = scores.bits[:, examples]
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
    """Index of the fewest bits, float64[s]; of ties the first, since simple methods come first."""
    return int(np.flatnonzero(bits <= bits.min() * (1 + _TIE))[0])
