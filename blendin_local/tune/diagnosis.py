"""What a record says of a pair: the setting to use, what it gains over either model alone, and why.

Half of the examples choose: the pair prior, the calibration curves, the best setting and the better single
model. The other half only judges, with one exception (`choice.choose`). Nothing here knows a model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.settings import BlendSettings
from blendin_local.tune.calibration import calibrate
from blendin_local.tune.costs import Costs
from blendin_local.tune.grid import rows
from blendin_local.tune.recommendation import LEAST_EXAMPLES, SINGLES, choose, fewest
from blendin_local.tune.record import Record
from blendin_local.tune.setting_scores import GAMMAS, SettingScores, consulted, halves, price
from blendin_local.tune.verdict import reason, verdict

__all__ = ["LEAST_EXAMPLES", "analyse", "hint", "uncertain_figures"]

Integers = npt.NDArray[np.intp]


def analyse(record: Record, costs: Costs, *, seed: int, hint_level: float = HINT_RATE) -> dict[str, Any]:
    """Everything that follows from a record: the result of `tune` from "base" to "verdict" (docs/tune.md).

    hint_level: the intervention rate above which the hint says so. All values are ready for JSON. Raises
    EvaluationError for a record without text.
    """
    if not len(record) or not record.bytes.sum():
        raise EvaluationError("The reference answers hold no text: give examples with a response.")
    fitting, held_out = halves(record.examples, seed)
    prices = price(record, costs, fitting)
    table = rows(prices, record, fitting, held_out, seed=seed)
    choice = choose(prices, fitting, held_out, seed=seed)
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
            "reason": reason(choice, prices.settings),
        },
        "prior": _priors(prices, fitting),
        "calibration": {
            "base": _calibrated(record, fitting, record.c_b, record.base_right),
            "guide": _calibrated(record, fitting, record.c_g, record.guide_right),
        },
        "uncertain": uncertain_figures(record),
        "hint": hint(record, hint_level),
        "verdict": verdict(choice, prices.settings),
    }


def _alone(row: dict[str, Any], right: npt.NDArray[np.bool_], record: Record) -> dict[str, Any]:
    """A model by itself. Its accuracy is over the positions at which both can be asked."""
    names = ("bits_per_byte", "interval", "tokens_per_second", "bytes_per_second")
    return {name: row[name] for name in names} | {"accuracy": _mean(right[record.consultable])}


def _priors(prices: SettingScores, fitting: Integers) -> dict[str, Any]:
    """The prior at the threshold where `tuned` needs fewest bits on the fitting half, and at every other."""
    tuned = [k for k, each in enumerate(prices.settings) if each.method == "tuned"]
    best = fewest(prices.bits[tuned][:, fitting].sum(axis=1))
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
        "note": f"At γ {gamma:g} the base asks at {100 * rate:.1f}% of the tokens, {place} the hint's "
        f"level of {100 * level:g}%. This is a hint only; the measured gain decides.",
    }


def _mean(values: npt.ArrayLike) -> float | None:
    found = np.asarray(values, np.float64)
    return float(found.mean()) if len(found) else None
