"""Describe the gain of a tune report in a sentence."""

from __future__ import annotations

from blendin_local.presentation.formatting import NOTHING, interval, percent
from blendin_local.tune.result import Recommendation

__all__ = ["gain_sentence"]


def gain_sentence(recommendation: Recommendation) -> str:
    """Describe the gain of the recommended setting over the better single model."""
    single, gain = recommendation.single, recommendation.gain
    if recommendation.setting.method == single:
        return f"The {single} alone is recommended: no blend gains clearly over it."
    if gain is None:
        return f"What it gains over the {single} alone could not be measured: no examples were held out."
    around = interval(recommendation.interval, as_percent=True, decimals=1)
    more = "more" if gain < 0 else "fewer"
    certain = "" if around == NOTHING else f"; of the gain, the 95% interval is {around}"
    return f"{percent(abs(gain))} {more} bits per byte than the {single} alone on held-out examples{certain}."
