"""What a record says of a pair: the setting to use, what it gains over either model alone, and why.

Half of the examples choose: the pair prior, the calibration curves, the best setting and the better single
model. The other half only judges. Nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blendin_local.errors import EvaluationError
from blendin_local.evaluation.calibration import calibrate
from blendin_local.evaluation.costs import Costs
from blendin_local.evaluation.pricing import GAMMAS, Prices, Setting, consulted, halves, price, rows
from blendin_local.evaluation.record import Record
from blendin_local.evaluation.statistics import intervals, ratios, resample_counts
from blendin_local.settings import BlendSettings
from blendin_local.steps import HINT_RATE

__all__ = [
    "LEAST_EXAMPLES",
    "LEAST_GAIN",
    "SINGLES",
    "WORTHWHILE",
    "Choice",
    "Gain",
    "analyse",
    "choose",
    "described",
    "gain",
    "hint",
    "uncertain_figures",
    "verdict",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

SINGLES = ("base", "guide")
"""The first two settings of all prices."""

LEAST_EXAMPLES = 5
"""Each half must hold so many examples before a blend is recommended: a bootstrap of fewer is too narrow."""

LEAST_GAIN = 0.002
"""A smaller share of bits is not worth a second model, however certain it is."""

WORTHWHILE = 0.02
"""Where a gain that is not clear could still be as large as this, more data could change the verdict."""

_NO_BITS = 1e-9
"""Nobody saves a share of so few: what a certain model spends is rounding."""

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
    there that ever consults the guide, or None. chosen: what is recommended. examples: in the fitting half
    and in the other. clear: the best setting's gain over `single` on the fitting half.
    over_base, over_guide: on the held-out half, the gains of the chosen setting, or where that is a single
    model, those of the best blend. over_single: the chosen setting's gain over `single`.
    """

    best: int
    single: int
    blend: int | None
    chosen: int
    examples: tuple[int, int]
    clear: Gain
    over_base: Gain
    over_guide: Gain
    over_single: Gain

    @property
    def is_tiny(self) -> bool:
        return min(self.examples) < LEAST_EXAMPLES


def analyse(record: Record, costs: Costs, *, seed: int, hint_level: float = HINT_RATE) -> dict[str, Any]:
    """Everything that follows from a record: the result of `tune` from "base" to "verdict" (docs/tune.md).

    hint_level: the intervention rate above which the hint says so. All values are ready for JSON. Raises
    EvaluationError for a record without text.
    """
    if not len(record) or not record.bytes.sum():
        raise EvaluationError("The reference answers hold no text: give examples with a response.")
    fitting, held_out = halves(record.examples, seed)
    prices = price(record, costs, fitting)
    table = rows(prices, record, held_out, resample_counts(record.examples, seed=seed))
    choice = choose(prices, record, fitting, held_out, seed=seed)
    chosen = table[choice.chosen]
    return {
        "base": _alone(table[0], record.base_right, record),
        "guide": _alone(table[1], record.guide_right, record),
        "settings": table,
        "best": table[choice.best],
        "recommendation": {
            "setting": chosen,
            "single": SINGLES[choice.single],
            "held_out_bits_per_byte": chosen["held_out_bits_per_byte"],
            "held_out_single": table[choice.single]["held_out_bits_per_byte"],
            "gain": choice.over_single.value,
            "interval": [choice.over_single.low, choice.over_single.high],
            "reason": _reason(choice, prices.settings),
        },
        "prior": _priors(prices, fitting),
        "calibration": {
            "base": _calibrated(record, fitting, record.c_base, record.base_right),
            "guide": _calibrated(record, fitting, record.c_guide, record.guide_right),
        },
        "uncertain": uncertain_figures(record),
        "hint": hint(record, hint_level),
        "verdict": verdict(choice, prices.settings),
    }


def _alone(row: dict[str, Any], right: npt.NDArray[np.bool_], record: Record) -> dict[str, Any]:
    """A model by itself. Its accuracy is over the positions at which both can be asked."""
    names = ("bits_per_byte", "interval", "tokens_per_second", "bytes_per_second")
    return {name: row[name] for name in names} | {"accuracy": _mean(right[record.consultable])}


def _priors(prices: Prices, fitting: Integers) -> dict[str, Any]:
    """The prior at the threshold where `tuned` needs fewest bits on the fitting half, and at every other."""
    tuned = [k for k, each in enumerate(prices.settings) if each.method == "tuned"]
    best = _fewest(prices.bits[tuned][:, fitting].sum(axis=1))
    per_gamma = [{"gamma": gamma, "value": b} for gamma, b in zip(GAMMAS, prices.priors, strict=True)]
    return {"value": prices.priors[best], "per_gamma": per_gamma}


def _calibrated(
    record: Record,
    fitting: Integers,
    confidences: npt.NDArray[np.float32],
    right: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    asked = record.consultable
    of_fitting = np.isin(record.example, fitting)
    parts = [asked & of_fitting, asked & ~of_fitting]
    return calibrate(*((confidences[part], right[part]) for part in parts))


# The choice


def gain(prices: Prices, setting: int, over: int, examples: Integers, counts: Floats) -> Gain:
    """How much fewer bits one setting needs than another on some examples, as a share of the other's.

    counts: float64[r, len(examples)] of `resample_counts`. Both are resampled together: they are paired.
    """
    mine, theirs = prices.bits[setting][examples], prices.bits[over][examples]
    if not theirs.sum() > _NO_BITS:
        return Gain(None, None, None)
    value = 1 - float(mine.sum() / theirs.sum())
    if len(examples) < 2:
        return Gain(value, None, None)
    low, high = intervals(1 - ratios(mine, theirs, counts))
    return Gain(value, float(low), float(high))


def choose(prices: Prices, record: Record, fitting: Integers, held_out: Integers, *, seed: int) -> Choice:
    """The setting to use: the best of the fitting half, if that half shows it clearly, else a single model.

    What the held-out half shows to be worse than a single model, beyond the interval, is not recommended:
    the next in line is.
    """
    spent = prices.bits[:, fitting].sum(axis=1)
    best, single = _fewest(spent), _fewest(spent[:2])
    blends = np.flatnonzero(prices.consultations > 0)
    blend = int(blends[_fewest(spent[blends])]) if len(blends) else None
    counts = resample_counts(len(fitting), seed=seed), resample_counts(len(held_out), seed=seed + 1)

    def held(setting: int, over: int) -> Gain:
        return gain(prices, setting, over, held_out, counts[1])

    clear = gain(prices, best, single, fitting, counts[0])
    examples = (len(fitting), len(held_out))
    in_line = [best] if clear.is_worth_it and min(examples) >= LEAST_EXAMPLES else []
    in_line += [single, 1 - single]
    chosen = next(
        (each for each in in_line if not any(held(each, over).is_clear_loss for over in (0, 1))), single
    )
    judged = chosen if chosen > 1 or blend is None else blend
    return Choice(
        best,
        single,
        blend,
        chosen,
        examples,
        clear,
        held(judged, 0),
        held(judged, 1),
        held(chosen, single),
    )


def _fewest(bits: Floats) -> int:
    """The first of those that need fewest: simple methods stand before others that give the same."""
    return int(np.flatnonzero(bits <= bits.min() * (1 + _TIE))[0])


# Where the base is unsure


def uncertain_figures(record: Record, gamma: float | None = None) -> dict[str, Any]:
    """Who is right where the base's confidence is below gamma (by default the paper's 0.4).

    Shares are of these positions, `share` itself of all. guide_rank: places of the guide's top token in the
    base's ranking, 0 for the first; shares of them in its top 10, 50, 100, and among the outcomes that hold
    the base's top 90 % of mass. None where there is nothing to average.
    """
    settings = BlendSettings(method="blendin", gamma=BlendSettings().gamma if gamma is None else gamma)
    unsure = consulted(record, settings)
    base, guide = record.base_right[unsure], record.guide_right[unsure]
    rank = record.guide_rank[unsure]
    return {
        "gamma": settings.gamma,
        "positions": len(rank),
        "share": _mean(unsure),
        "base_right": _mean(base),
        "guide_right": _mean(guide),
        "both_right": _mean(base & guide),
        "only_base_right": _mean(base & ~guide),
        "only_guide_right": _mean(~base & guide),
        "neither_right": _mean(~base & ~guide),
        "mean_divergence": _mean(record.divergence[unsure]),
        "guide_rank": {
            "mean": _mean(rank),
            "median": float(np.median(rank)) if len(rank) else None,
            "top_10": _mean(rank < 10),
            "top_50": _mean(rank < 50),
            "top_100": _mean(rank < 100),
            "top_90_mass": _mean(record.mass_above[unsure] < 0.9),
        },
    }


def hint(record: Record, level: float = HINT_RATE) -> dict[str, Any]:
    """The paper's early warning: a high intervention rate. A hint only, never part of the verdict.

    The rate is that of consulted tokens at the default threshold; the paper's tables count words of the
    guide, and their own pairs bear the level out only in part (docs/tune.md).
    """
    gamma = BlendSettings().gamma
    rate = _mean(consulted(record, BlendSettings(method="blendin", gamma=gamma))) or 0.0
    above = rate > level
    place = "above" if above else "within"
    return {
        "intervention_rate": rate,
        "level": level,
        "above": above,
        "note": f"At γ {gamma:g} the base asks at {_percent(rate)} of the tokens, {place} the hint's "
        f"level of {100 * level:g}%. This is a hint only; the measured gain decides.",
    }


def _mean(values: npt.ArrayLike) -> float | None:
    found = np.asarray(values, np.float64)
    return float(found.mean()) if len(found) else None


# In words


def described(setting: Setting) -> str:
    """A setting in a few words: "blendin at γ 0.4", "the base alone"."""
    if setting.method in SINGLES:
        return f"the {setting.method} alone"
    extras = "" if setting.alpha is None else f" with α {setting.alpha:g}"
    extras += "" if setting.prior is None else f" with prior {setting.prior:g}"
    return setting.method + ("" if setting.gamma is None else f" at γ {setting.gamma:g}") + extras


def verdict(choice: Choice, settings: tuple[Setting, ...]) -> str:
    """One of four, in one to three sentences, with the figures it rests on.

    Blend; use the base alone; use the guide alone; too little data to say. It rests on the gain over both
    single models on the held-out half.
    """
    chosen = described(settings[choice.chosen])
    if choice.is_tiny:
        fitted, judged = choice.examples
        return (
            f"Too little data to say: of {fitted + judged} answers {fitted} choose and {judged} judge, and "
            f"at least {LEAST_EXAMPLES} of each are needed. Until there are more, use {chosen}."
        )
    if choice.chosen > 1:
        if choice.over_base.is_clear and choice.over_guide.is_clear:
            return f"Blend: {_judged(choice, chosen)}."
        return f"Too little data to say: half of the answers recommend {chosen}, but {_judged(choice, 'it')}."
    if choice.blend is None:
        return f"Use {chosen}: the base is sure everywhere and never asks the guide."
    judged_blend = _judged(choice, described(settings[choice.blend]))
    over_chosen = choice.over_guide if choice.chosen else choice.over_base
    if not choice.clear.is_clear and (over_chosen.high or 0) > WORTHWHILE:
        return (
            f"Too little data to say: {judged_blend}, which may be chance. Until there is more, use {chosen}."
        )
    return f"Use {chosen}: no blend is clearly better. Of the best one found: {judged_blend}."


def _reason(choice: Choice, settings: tuple[Setting, ...]) -> str:
    best, single = described(settings[choice.best]), described(settings[choice.single])
    chosen = described(settings[choice.chosen])
    figures = _fewer(choice.clear, single)
    if choice.chosen > 1:
        return f"On the fitting half {chosen} needs fewest bits of all: {figures}."
    if choice.chosen != choice.single:
        return f"On the held-out half {single} is worse than {chosen}, beyond chance."
    if choice.best == choice.single:
        return f"On the fitting half no setting needs fewer bits than {single}."
    if choice.is_tiny:
        return f"There are too few answers to prefer {best} to {single}."
    if not choice.clear.is_worth_it:
        hardly = "hardly" if choice.clear.is_clear else "not clearly"
        return f"On the fitting half {best} is {hardly} better: {figures}."
    return f"The fitting half prefers {best}, but on the held-out half it is worse, beyond chance."


def _judged(choice: Choice, what: str) -> str:
    return (
        f"on {choice.examples[1]} held-out answers {what} needs {_fewer(choice.over_base, 'the base alone')} "
        f"and {_fewer(choice.over_guide, 'the guide alone', again=True)}"
    )


def _fewer(gain: Gain, than: str, *, again: bool = False) -> str:
    """ "11.2% fewer bits than the base alone (95% interval 8.1% to 13.9%)"; of a loss, more bits.

    again: the unit and the level were said before.
    """
    unit, level = ("", "") if again else (" bits", "95% interval ")
    if gain.value is None:
        return f"bits that do not compare with {than}"
    amount = round(100 * gain.value, 1)
    how = f"as many{unit} as" if amount == 0 else f"{_more_or_fewer(amount)}{unit} than"
    if gain.low is None or gain.high is None:
        return f"{how} {than}"
    low, high = round(100 * gain.low, 1), round(100 * gain.high, 1)
    if low >= 0 < amount:
        span = f"{abs(low):.1f}% to {high:.1f}%"
    elif high <= 0 > amount:
        span = f"{abs(high):.1f}% to {-low:.1f}%"
    else:
        span = f"{_more_or_fewer(low)} to {_more_or_fewer(high)}"
    return f"{how} {than} ({level}{span})"


def _more_or_fewer(percent: float) -> str:
    direction = " more" if percent < 0 else " fewer" if percent > 0 else ""
    return f"{abs(percent):.1f}%{direction}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
