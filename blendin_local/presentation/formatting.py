"""Format the numbers and names of results for readers, and explain what each figure means.

No figure is computed here. None is written as a dash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blendin_local.presentation.explanation import FIGURE_HELP
from blendin_local.safe_text import sanitize

__all__ = [
    "TERM_HELP",
    "duration",
    "interval",
    "line",
    "number",
    "p_value",
    "percent",
    "shorten",
    "signed_number",
    "size",
    "version_facts",
]

NOTHING = "–"
_MINUS = "−"

TERM_HELP = {
    "bits per byte": "How badly a model foresaw the reference answers: −log2 of the probability that it gave "
    "to them, over their bytes. Lower is better, and models of different vocabularies can be compared by it.",
    "95% interval": "Drawn from the same examples over and over (bootstrap), and widened for few of them: "
    "were others taken, the figure would lie in here about 19 times of 20. Where two intervals overlap much, "
    "the order may be chance.",
    "held-out": "Measured on the half of the examples that had no part in fitting or choosing. One check "
    "does use it: a blend that it shows to be worse than a single model, beyond chance, is not recommended. "
    "The held-out figure of the single model in its place then flatters it a little.",
    "at the floor": "Share of positions at which the setting holds the reference's token all but impossible. "
    "Such a position is counted with 40 bits, where infinitely many would be due: of two settings with like "
    "bits the one with fewer is better. Of the guide alone it is not known.",
    "gain": "Relative: how many fewer bits per byte than the better single model need, on held-out examples.",
    "intervention rate": FIGURE_HELP["intervention rate"],
    "changed-token rate": FIGURE_HELP["changed-token rate"],
    "guide-word rate": FIGURE_HELP["guide-word rate"],
    "mean α": FIGURE_HELP["alpha"],
    "tokens/s": "Tokens of the writing model per second; in `tune` it is expected from decode costs measured "
    "in the same run. Tokens of different models differ in length, bytes/s can be compared.",
    "bytes/s": "UTF-8 bytes of text per second: speed that does not depend on a model's tokens.",
    "Pareto front": "Settings that no other one beats in both quality and speed.",
    "pair prior": "b, the one number that shifts the paper's weight for this pair in the method tuned. 0 is "
    "the paper's rule; the lower, the less the guide is trusted.",
    "reliability diagram": "Of the positions where a model was so sure, how many did it get right? On the "
    "diagonal, confidence can be read as the chance of being right; below it the model claims too much.",
    "reliability of an answer": f"{FIGURE_HELP['reliability']} Each step counts that of the model whose "
    "token was chosen. A model that repeats itself is sure of that: a loop has a high one.",
    "ECE": "Expected calibration error: the mean distance between confidence and how often it was right. "
    "0 is perfect.",
    "fitted": "After the calibration curve, measured on examples that the curve was not fitted on. The curve "
    "is what chat shows as reliability.",
    "where the base is unsure": "Positions with a base confidence under γ: only there is the guide asked. It "
    "helps where it is right and the base is not.",
    "rank of the guide's token": "How many tokens the base holds more probable than the guide's favourite. "
    "Low: the two want similar things.",
    "top-90% mass": "The guide's favourite is among the base's likeliest tokens that make up 90% of its "
    "probability.",
    "divergence": FIGURE_HELP["divergence"],
    "hint": "The paper warns of pairs that are asked at more than about 20% of the steps. Its own data "
    "support that only weakly: the measured gain decides, this stands beside it.",
    "vs base, vs guide": "The difference to the pair's base or guide alone (vs reference: to the first model "
    "named) on the same questions. Starred where a paired test calls it clear.",
    "p": "How likely so large a difference would be if there were none, corrected for the number of tests in "
    "the table (Holm). Under 0.05 it is called clear.",
    "loops": "Share of runs of four words that had come before in the same reply. High: it goes in circles.",
    "by options": "The same questions answered by the option that the model holds most probable, not by what "
    "it wrote; per byte: with the options' lengths taken out.",
    "chance": "What guessing would score.",
    "finish reasons": "Why replies ended: by themselves, at a stop string, or cut off at the limit (length). "
    "Many cut off: raise --max-tokens, or their scores mean little.",
    "KLD": "Kullback-Leibler divergence from the reference at each token, in nats: how different the whole "
    "distribution is. 0 is the same; the mean and the highest percents say most.",
    "Δp": "How much probability of the true next token was gained or lost against the reference. A mean "
    "below 0 is lost confidence; RMS is its typical size.",
    "same top": "Share of tokens at which both hold the same token most probable.",
    "PPL": "Perplexity: e to the mean −ln of the probability of the true token. Only within one vocabulary; "
    "use bits per byte across vocabularies.",
    "capability gap": "The guide's score alone minus the base's alone. With a large gap no blend beats the "
    "better model.",
    "r": "Pearson's correlation, −1 to 1. With few points it says little, whatever its p.",
    "Cohen's d": "The difference of the means in units of their spread: 0.2 is small, 0.8 large.",
    "peak memory": "The most that the process held with these models loaded.",
}
"""What each figure means, for readers who meet it for the first time."""


def line(text: object) -> str:
    """Any text as one line that moves no cursor and hides nothing."""
    return " ".join(sanitize(str(text)).split())


def shorten(text: object, width: int) -> str:
    """The text as one line of at most so many characters; what is left out is left out of its middle."""
    shown = line(text)
    if len(shown) <= width:
        return shown
    tail = (width - 1) // 2
    return f"{shown[: width - 1 - tail]}…{shown[len(shown) - tail :] if tail else ''}"


def number(value: float | None, decimals: int = 3) -> str:
    return NOTHING if value is None else f"{value:,.{decimals}f}".replace("-", _MINUS)


def signed_number(value: float | None, decimals: int = 3) -> str:
    return NOTHING if value is None else f"{value:+,.{decimals}f}".replace("-", _MINUS)


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction of 1 as percents."""
    return NOTHING if value is None else f"{value:.{decimals}%}".replace("-", _MINUS)


def signed_percent(value: float | None, decimals: int = 1) -> str:
    return NOTHING if value is None else f"{value:+.{decimals}%}".replace("-", _MINUS)


def interval(bounds: Sequence[float | None] | None, decimals: int = 3, *, as_percent: bool = False) -> str:
    """ "0.741 to 0.779", or a dash where there is none."""
    if not bounds or bounds[0] is None or bounds[1] is None:
        return NOTHING
    low, high = (percent(b, decimals) if as_percent else number(b, decimals) for b in bounds)
    return f"{low} to {high}"


def duration(seconds: float) -> str:
    """ "45 s", "3 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def p_value(p: float | None) -> str:
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def size(n_bytes: float | None) -> str:
    if n_bytes is None:
        return NOTHING
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def version_facts(versions: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and values of the versions that a result was computed with."""
    for name, value in versions.items():
        yield line(name).replace("_", "-"), line(value)
