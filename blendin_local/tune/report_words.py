"""Settings and gains of a tune report in words."""

from __future__ import annotations

from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import NOTHING, interval, line, number, percent
from blendin_local.tune.result import Recommendation, ScoredSetting, Setting

__all__ = ["gain_sentence", "setting_flags", "setting_label"]


def setting_label(setting: Setting | ScoredSetting) -> str:
    """The method and the parameters that it uses: "fixed α 0.30, γ 0.40"."""
    parameters = (("α", setting.alpha), ("γ", setting.gamma), ("b", setting.prior))
    shown = [f"{symbol} {number(value, 2)}" for symbol, value in parameters if value is not None]
    return f"{line(setting.method)} {', '.join(shown)}".rstrip()


def setting_flags(setting: Setting | ScoredSetting) -> str:
    """The options of `chat` and `generate` that select it: "--method blendin --gamma 0.4"."""
    parameters = (("gamma", setting.gamma), ("alpha", setting.alpha), ("prior", setting.prior))
    flags = [f"--method {setting.method}"] if setting.method in METHODS else []
    flags += [f"--{name} {value:.4g}" for name, value in parameters if value is not None]
    return " ".join(flags)


def gain_sentence(recommendation: Recommendation) -> str:
    """One sentence: the gain of the recommended setting over the better single model."""
    single, gain = recommendation.single, recommendation.gain
    if recommendation.setting.method == single:
        return f"The {single} alone is recommended: no blend gains clearly over it."
    if gain is None:
        return f"What it gains over the {single} alone could not be measured: no examples were held out."
    around = interval(recommendation.interval, as_percent=True, decimals=1)
    more = "more" if gain < 0 else "fewer"
    certain = "" if around == NOTHING else f"; of the gain, the 95% interval is {around}"
    return f"{percent(abs(gain))} {more} bits per byte than the {single} alone on held-out examples{certain}."
