"""Format the numbers and names of reports, and explain their terms. None is formatted as a dash."""

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
    "bits per byte": "Cross-entropy of the reference answers: −log2 of their probability, divided by their "
    "bytes. Lower is better; comparable across models with different vocabularies.",
    "95% interval": "Bootstrap interval over the examples, widened for small samples. With other examples, "
    "the figure would lie in it about 19 times of 20. Where two intervals overlap much, the order may be "
    "chance.",
    "held-out": "Measured on the half of the examples that was not used for fitting or choosing. One check "
    "does use it: a blend that is significantly worse there than a single model is not recommended. The "
    "held-out figure of that single model is then slightly too good.",
    "at the floor": "Share of positions where the reference's token has nearly zero probability. Such a "
    "position counts 40 bits instead of infinitely many: of two settings with similar bits, the one with "
    "fewer such positions is better. Unknown for the guide alone.",
    "gain": "Relative reduction of bits per byte against the better single model, on held-out examples.",
    "intervention rate": FIGURE_HELP["intervention rate"],
    "changed-token rate": FIGURE_HELP["changed-token rate"],
    "guide-word rate": FIGURE_HELP["guide-word rate"],
    "mean α": FIGURE_HELP["alpha"],
    "tokens/s": "Generated tokens per second; `tune` estimates it from decode costs measured in the same "
    "run. Tokens of different models differ in length; bytes/s are comparable.",
    "bytes/s": "UTF-8 bytes of text per second, which does not depend on the vocabulary.",
    "Pareto front": "Settings that no other setting beats in both quality and speed.",
    "pair prior": "b, the shift of the paper's weight for this pair in the method tuned. 0 is the paper's "
    "rule; below 0 the guide gets less weight.",
    "reliability diagram": "Accuracy at each level of confidence. On the diagonal, confidence equals the "
    "probability of being right; below it the model is overconfident.",
    "reliability of an answer": f"{FIGURE_HELP['reliability']} Each step counts that of the model whose "
    "token was chosen. Repetition is predictable, so loops have a high reliability.",
    "ECE": "Expected calibration error: mean difference between confidence and accuracy. 0 is perfect.",
    "fitted": "With the calibration curve, on examples that it was not fitted on. Chat shows the calibrated "
    "confidence as reliability.",
    "where the base is unsure": "Positions with a base confidence below γ, where the guide is asked. "
    "It helps where it is right and the base is wrong.",
    "rank of the guide's token": "Number of tokens to which the base gives more probability than to the "
    "guide's top token. Low: the two models agree.",
    "top-90% mass": "The guide's top token is among the base's most probable tokens that sum to 90% of its "
    "probability.",
    "divergence": FIGURE_HELP["divergence"],
    "hint": "The paper warns of pairs with an intervention rate above about 20%. Its own data support "
    "that only weakly: the measured gain decides, not this rate.",
    "vs base, vs guide": "Difference to the pair's base or guide alone (vs reference: to the first model "
    "named) on the same questions. A star marks a significant paired test.",
    "p": "Probability of so large a difference if there were none, corrected for the number of tests in the "
    "table (Holm). Below 0.05 the difference is called clear.",
    "loops": "Share of 4-word sequences that occurred earlier in the reply. High: the reply repeats itself.",
    "by options": "The same questions, answered by the most probable option instead of generated text; per "
    "byte: normalized by the length of the options.",
    "chance": "The score of random guessing.",
    "finish reasons": "Why replies ended: by the model, at a stop string, or at the token limit (length). If "
    "many hit the limit, raise --max-tokens, or the scores mean little.",
    "KLD": "Kullback-Leibler divergence from the reference at each token, in nats. 0 means equal "
    "distributions; the mean and the highest percentiles matter most.",
    "Δp": "Change of the probability of the true next token against the reference. A mean below 0 means "
    "lost quality; RMS is the typical size of the change.",
    "same top": "Share of positions where both models have the same top token.",
    "PPL": "Perplexity: exp of the mean −ln probability of the true token. Comparable only within one "
    "vocabulary; use bits per byte across vocabularies.",
    "capability gap": "The guide's score alone minus the base's alone. With a large gap no blend beats the "
    "better model.",
    "r": "Pearson's correlation, −1 to 1. With few points it means little, whatever its p.",
    "Cohen's d": "Difference of the means in pooled standard deviations: 0.2 is small, 0.8 large.",
    "peak memory": "Peak resident memory of the process with these models loaded.",
}
"""Explanation of each term of the reports."""


def line(text: object) -> str:
    """Return a text as one line without control characters."""
    return " ".join(sanitize(str(text)).split())


def shorten(text: object, width: int) -> str:
    """Shorten a text to one line of at most `width` characters, by an ellipsis in its middle."""
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
    """Format a fraction as a percentage."""
    return NOTHING if value is None else f"{value:.{decimals}%}".replace("-", _MINUS)


def signed_percent(value: float | None, decimals: int = 1) -> str:
    return NOTHING if value is None else f"{value:+.{decimals}%}".replace("-", _MINUS)


def interval(bounds: Sequence[float | None] | None, decimals: int = 3, *, as_percent: bool = False) -> str:
    """Format the bounds of an interval: "0.741 to 0.779"."""
    if not bounds or bounds[0] is None or bounds[1] is None:
        return NOTHING
    low, high = (percent(b, decimals) if as_percent else number(b, decimals) for b in bounds)
    return f"{low} to {high}"


def duration(seconds: float) -> str:
    """Format a duration: "45 s", "3 min", "2 h 10 min"."""
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
    """Yield names and values of the software versions of a result."""
    for name, value in versions.items():
        yield line(name).replace("_", "-"), line(value)
