"""Write the verdict and the reason of a choice, with their figures."""

from __future__ import annotations

from blendin_local.tune.recommendation import LEAST_EXAMPLES, SINGLES, WORTHWHILE, Choice, Gain
from blendin_local.tune.result import Setting

__all__ = ["reason", "setting_phrase", "verdict"]


def setting_phrase(setting: Setting) -> str:
    """Name a setting inside a sentence: "blendin at γ 0.4", "the base alone"."""
    if setting.method in SINGLES:
        return f"the {setting.method} alone"
    extras = "" if setting.alpha is None else f" with α {setting.alpha:g}"
    extras += "" if setting.prior is None else f" with prior {setting.prior:g}"
    return setting.method + ("" if setting.gamma is None else f" at γ {setting.gamma:g}") + extras


def verdict(choice: Choice, settings: tuple[Setting, ...]) -> str:
    """Write one of four verdicts, in one to three sentences.

    Blend; use the base alone; use the guide alone; too little data to say. It depends on the gain over both
    single models on the held-out half, and states when the two halves contradict each other.
    """
    chosen = setting_phrase(settings[choice.chosen])
    if choice.is_tiny:
        fitted, judged = choice.examples
        return (
            f"Too little data to say: of {fitted + judged} answers {fitted} choose and {judged} judge, and "
            f"at least {LEAST_EXAMPLES} of each are needed. Until there are more, use {chosen}."
        )
    if choice.is_refuted:
        refuted = setting_phrase(settings[choice.preferred])
        return (
            f"Use {chosen}: half of the answers recommend {refuted}, but the other half refutes it: "
            f"{_held_out_phrase(choice, 'it')}."
        )
    if choice.chosen > 1:
        if choice.over_base.is_clear and choice.over_guide.is_clear:
            return f"Blend: {_held_out_phrase(choice, chosen)}."
        held_out = _held_out_phrase(choice, "it")
        return f"Too little data to say: half of the answers recommend {chosen}, but {held_out}."
    if choice.other_single.is_worth_it:
        other = setting_phrase(settings[1 - choice.single])
        return (
            f"Too little data to say: half of the answers recommend {chosen}, but on {choice.examples[1]} "
            f"held-out answers {other} needs {_gain_phrase(choice.other_single, chosen)}."
        )
    if choice.blend is None:
        return f"Use {chosen}: the base is sure everywhere and never asks the guide."
    judged_blend = _held_out_phrase(choice, setting_phrase(settings[choice.blend]))
    over_chosen = choice.over_guide if choice.chosen else choice.over_base
    if not choice.clear.is_clear and (over_chosen.high or 0) > WORTHWHILE:
        return (
            f"Too little data to say: {judged_blend}, which may be chance. Until there is more, use {chosen}."
        )
    return f"Use {chosen}: no blend is clearly better. Of the best one found: {judged_blend}."


def reason(choice: Choice, settings: tuple[Setting, ...]) -> str:
    """Explain the recommendation by the fitting half, in one or two sentences."""
    best, single = setting_phrase(settings[choice.best]), setting_phrase(settings[choice.single])
    figures = (
        "chosen anew in resamples of it and judged on the answers that these left out, the best setting "
        f"needs {_gain_phrase(choice.clear, single)}"
    )
    if choice.is_refuted:
        return f"The fitting half prefers {best}, but on the held-out half it is worse, beyond chance."
    if choice.chosen > 1:
        return f"On the fitting half {best} needs fewest bits of all; {figures}."
    if choice.best == choice.single:
        return f"On the fitting half no setting needs fewer bits than {single}."
    if choice.is_tiny:
        return f"There are too few answers to prefer {best} to {single}."
    hardly = "hardly" if choice.clear.is_clear else "not clearly"
    return f"On the fitting half {best} is {hardly} better; {figures}."


def _held_out_phrase(choice: Choice, what: str) -> str:
    over_base = _gain_phrase(choice.over_base, "the base alone")
    over_guide = _gain_phrase(choice.over_guide, "the guide alone", again=True)
    return f"on {choice.examples[1]} held-out answers {what} needs {over_base} and {over_guide}"


def _gain_phrase(gain: Gain, than: str, *, again: bool = False) -> str:
    """ "11.2% fewer bits than the base alone (95% interval 8.1% to 13.9%)"; of a loss, more bits.

    again: omit the unit and the level, which an earlier gain of the sentence states.
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
