"""Analyse a record of measured positions: the setting to use, its gain over either model alone, and why.

The fitting half of the examples determines the pair prior, the calibration curves, the best setting and the
better single model. The held-out half only evaluates them, with one exception (`recommendation.choose`).
No model is needed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.settings import BlendSettings
from blendin_local.tune.calibration import calibrate
from blendin_local.tune.costs import Costs
from blendin_local.tune.grid import summarize_settings
from blendin_local.tune.recommendation import LEAST_EXAMPLES, SINGLES, choose, fewest
from blendin_local.tune.record import Record
from blendin_local.tune.result import (
    Analysis,
    CalibrationFit,
    FittedPrior,
    GammaPrior,
    GuideRank,
    Hint,
    Recommendation,
    ScoredSetting,
    SingleModel,
    UncertainPositions,
    mean_or_none,
)
from blendin_local.tune.setting_scores import GAMMAS, SettingScores, consultation_mask, halves, score_settings
from blendin_local.tune.verdict import reason, verdict

__all__ = ["LEAST_EXAMPLES", "analyse", "hint", "uncertain_figures"]

Integers = npt.NDArray[np.intp]


def analyse(record: Record, costs: Costs, *, seed: int, hint_level: float = HINT_RATE) -> Analysis:
    """Analyse a record of measured positions.

    hint_level: the intervention rate above which the hint warns. Raises EvaluationError for a record without
    text.
    """
    if not len(record) or not record.bytes.sum():
        raise EvaluationError("The reference answers hold no text: give examples with a response.")
    fitting, held_out = halves(record.examples, seed)
    scores = score_settings(record, costs, fitting)
    settings = summarize_settings(scores, record, fitting, held_out, seed=seed)
    choice = choose(scores, fitting, held_out, seed=seed)
    chosen = settings[choice.chosen]
    return Analysis(
        base=_single_model(settings[0], record.base_right, record),
        guide=_single_model(settings[1], record.guide_right, record),
        settings=settings,
        best=settings[choice.best],
        recommendation=Recommendation(
            chosen,
            single=SINGLES[choice.single],
            held_out_bits_per_byte=chosen.held_out_bits_per_byte,
            held_out_single=settings[choice.single].held_out_bits_per_byte,
            gain=choice.over_single.value,
            interval=(choice.over_single.low, choice.over_single.high),
            reason=reason(choice, scores.settings),
        ),
        prior=_priors(scores, fitting),
        calibration={
            "base": _calibrate_model(record, fitting, record.c_b, record.base_right),
            "guide": _calibrate_model(record, fitting, record.c_g, record.guide_right),
        },
        uncertain=uncertain_figures(record),
        hint=hint(record, hint_level),
        verdict=verdict(choice, scores.settings),
    )


def _single_model(row: ScoredSetting, right: npt.NDArray[np.bool_], record: Record) -> SingleModel:
    """Figures of one model. Its accuracy is measured where the guide could be consulted."""
    accuracy = mean_or_none(right[record.consultable])
    return SingleModel(row.bits_per_byte, row.interval, row.tokens_per_second, row.bytes_per_second, accuracy)


def _priors(scores: SettingScores, fitting: Integers) -> FittedPrior:
    """Return the prior at every threshold, and at the one where `tuned` needs fewest bits on the fitting
    half.
    """
    tuned = [k for k, each in enumerate(scores.settings) if each.method == "tuned"]
    best = fewest(scores.bits[tuned][:, fitting].sum(axis=1))
    return FittedPrior(scores.priors[best], tuple(map(GammaPrior, GAMMAS, scores.priors)))


def _calibrate_model(
    record: Record,
    fitting: Integers,
    confidences: npt.NDArray[np.float32],
    right: npt.NDArray[np.bool_],
) -> CalibrationFit:
    asked = record.consultable
    of_fitting = np.isin(record.example, fitting)
    parts = [asked & of_fitting, asked & ~of_fitting]
    return calibrate(*((confidences[part], right[part]) for part in parts))


# Where the base is unsure


def uncertain_figures(record: Record, gamma: float | None = None) -> UncertainPositions:
    """Compare the top tokens of both models where the base's confidence is below gamma (default: 0.4)."""
    settings = BlendSettings(method="blendin", gamma=BlendSettings().gamma if gamma is None else gamma)
    unsure = consultation_mask(record, settings)
    base, guide = record.base_right[unsure], record.guide_right[unsure]
    return UncertainPositions(
        gamma=settings.gamma,
        positions=len(base),
        share=mean_or_none(unsure),
        base_right=mean_or_none(base),
        guide_right=mean_or_none(guide),
        both_right=mean_or_none(base & guide),
        only_base_right=mean_or_none(base & ~guide),
        only_guide_right=mean_or_none(~base & guide),
        neither_right=mean_or_none(~base & ~guide),
        mean_divergence=mean_or_none(record.divergence[unsure]),
        guide_rank=GuideRank.of(record.guide_rank[unsure], record.mass_above[unsure]),
    )


def hint(record: Record, level: float = HINT_RATE) -> Hint:
    """Compare the intervention rate at the default threshold with the paper's warning level.

    The verdict does not use it: the paper counts words of the guide, this rate counts tokens, and the paper's
    own pairs support the level only in part (docs/tune.md).
    """
    gamma = BlendSettings().gamma
    rate = mean_or_none(consultation_mask(record, BlendSettings(method="blendin", gamma=gamma))) or 0.0
    above = rate > level
    place = "above" if above else "within"
    note = (
        f"At γ {gamma:g} the base asks at {100 * rate:.1f}% of the tokens, {place} the hint's "
        f"level of {100 * level:g}%. This is a hint only; the measured gain decides."
    )
    return Hint(rate, level, above, note)
