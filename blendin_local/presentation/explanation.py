"""Explain how the α of a step was computed, and what the figures of a reply mean.

The input is recorded steps and summaries. α is recomputed by the rules of `blendin_local.methods` and shown
as the method's formula with the numbers of the step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from blendin_local.engine.blended_response import GUIDE_STOP_ABOVE
from blendin_local.engine.steps import WEAK_BELOW, Source, Step, Summary
from blendin_local.engine.trigger import CAP_AFTER_STEPS, GAP_THRESHOLD_LIMIT, threshold
from blendin_local.methods import METHODS, Evidence
from blendin_local.setting_spec import settings_of
from blendin_local.settings import BlendSettings

FEW_STEPS = 8
"""A reply needs this many steps for its figures to be described."""

_MANY_WEAK = 0.25
"""Share of weak steps from which a warning is shown."""
_FEW = 0.1
"""Highest rate that counts as low."""
_PASSAGE_GAP = 2
"""Most steps between two weak steps of one passage."""
_SAME_ALPHA = 0.005
"""Largest difference between stored and recomputed α that rounding explains."""
_OTHER_SETTINGS = "this step was written under other settings"
"""Such as a step that a branched reply shares with another reply."""

SPEAKERS = {
    Source.BASE: "the base's choice",
    Source.GUIDE: "the guide's choice",
    Source.BOTH: "the choice of both",
    Source.BLEND: "only the mixture's choice",
    Source.STOP: "the end of the reply",
    Source.USER: "your choice",
}

FIGURE_HELP = {
    "confidence": "The probability that a model gives to its top token. Where the base's, c_b, is below γ, "
    "the guide is asked.",
    "reliability": "How often a model of this pair was right at such a confidence. Only calibrated pairs "
    "have it; others show the confidence instead.",
    "agreement": "The base's probability of the guide's top token. Near 0 the two models disagree.",
    "alpha": "α, the guide's share in the mixture: 0 is the base alone, 1 the guide alone.",
    "intervention rate": "Share of steps at which the base was unsure and the guide was blended in. If the "
    "changed-token rate is high too, try another base or a lower γ.",
    "changed-token rate": "Share of steps at which the mixture's top token was not the base's: what the "
    "guide really changed.",
    "guide-word rate": "Share of words that began with the guide's top token. High: the guide, not the base, "
    "writes the reply.",
    "who spoke": "Whose top token was chosen: the base's, the guide's, both, or only the mixture's. "
    "Many of the mixture alone: the two models disagree, so check the reply.",
    "divergence": "Distance of the two distributions, from 0 (equal) to 1 bit (disjoint). High throughout: "
    "the two models suit each other badly.",
    "mean and lowest reliability": "Of the model whose token was chosen. A low minimum points at one bad "
    "passage, a low mean at the whole reply.",
    "weak passages": f"Steps with a reliability below {WEAK_BELOW}. Check facts there, or branch to another "
    "token.",
    "tokens/s": "Tokens per second, after the first. Asking the guide costs time: lower γ for speed.",
    "time to first token": "Time until both models had read the conversation and the first token was "
    "chosen. Cached messages are not read again.",
    "context fill": "Tokens of the conversation in each model's context. When one is full, the oldest "
    "messages are dropped, and the reply says so.",
    "memory": "Memory that the program uses now. If it nears that of the machine, use a shorter context or "
    "smaller quantizations.",
    "hint level": "The intervention rate above which a hint is shown, by default 20%. Compare it with the "
    "changed-token and guide-word rates.",
}
"""Explanation of each figure and, where one helps, the remedy."""


# One step


def is_guide_stop(step: Step) -> bool:
    """Return whether guide stop ended the reply: the guide was consulted about stopping only, and chose
    to.
    """
    stops = step.source is Source.STOP and not step.intervened
    return stops and step.stop_mass is not None and math.isclose(step.probability, step.stop_mass)


def explain_alpha(step: Step, blend: BlendSettings) -> list[str]:
    """Explain how alpha was computed at a step, with the step's numbers, one statement per line.

    blend: the settings of the step. Lines with "α =" occur only at steps where alpha was computed and at
    those of the methods `base` and `guide`; the last such line ends with alpha.
    """
    return list(_statements(step, blend))


def _statements(step: Step, blend: BlendSettings) -> Iterator[str]:
    method = METHODS[blend.method]
    if step.source is Source.USER:
        if step.c_b is None and step.c_g is None:
            yield "you wrote this; no model was asked"
            return
        yield "you chose this token"
    if method.trigger == "never":
        alpha = 1.0 if method.writer == "guide" else 0.0
        yield f"the {method.writer} writes alone: α = {_number(alpha)}"
        yield from _mismatch(step, alpha)
    else:
        yield from _trigger(step, blend)
        if step.intervened:
            yield from _weight(step, blend)
        elif step.consulted:
            yield _question(step, blend)
    if step.source is Source.STOP and not is_guide_stop(step):
        if step.intervened:
            yield f"the stop was chosen from the mixture (probability {step.probability:.2f})"
        else:
            yield f"the {method.writer} itself ended the reply"


def _trigger(step: Step, blend: BlendSettings) -> Iterator[str]:
    """Yield why the guide was consulted, or why it was not."""
    if METHODS[blend.method].trigger == "always":
        unsure, because = True, f"{blend.method} asks the guide at every step"
    elif step.c_b is None:
        yield _OTHER_SETTINGS
        return
    else:
        gamma, name = threshold(blend), "γ"
        if blend.capability_gap:
            name = "γ'"
            raised = f"{_number(blend.gamma)}·(1 {_signed_number(blend.capability_gap)}/2)"
            limit = GAP_THRESHOLD_LIMIT
            yield f"γ' = min(γ·(1 + gap/2), {limit}) = min({raised}, {limit}) = {_number(gamma)}"
        unsure = step.c_b < gamma
        because = (
            f"{_compare_values('c_b', step.c_b, name, gamma)}: the base was {'unsure' if unsure else 'sure'}"
        )
    if step.intervened:
        inside = "the guide was inside its word" if blend.unit == "word" else _OTHER_SETTINGS
        yield because + (", so the guide was asked" if unsure else f", but {inside}")
    elif unsure and not is_guide_stop(step):
        yield f"{because}, but {_obstacle(step, blend)}"
    else:
        yield because + ("" if step.consulted else "; the guide was not asked")


def _obstacle(step: Step, blend: BlendSettings) -> str:
    """Return why the guide was not consulted although the base was unsure."""
    if not step.consulted and 0x80 <= (step.data or b"\0")[0] < 0xC0:
        return "half a character was written: the guide cannot be asked there"
    if blend.max_intervention_rate < 1 and step.index > CAP_AFTER_STEPS:
        return f"the cap on interventions ({_percent(blend.max_intervention_rate)}) was reached"
    return f"{_OTHER_SETTINGS}, or inside a character"


def _question(step: Step, blend: BlendSettings) -> str:
    """Return why the guide was consulted without being blended in."""
    mass = step.stop_mass or 0.0
    compared = _compare_values("stop mass", mass, "", GUIDE_STOP_ABOVE, ">")
    if is_guide_stop(step):
        return f"{compared}: asked about stopping, the guide ended the reply (α = 1)"
    if blend.unit == "word":
        return f"asked whether to stop (stop mass {_number(mass)}) or to finish its word: neither"
    return f"asked about stopping only: {compared}"


def _weight(step: Step, blend: BlendSettings) -> Iterator[str]:
    """Yield the method's formula with its numbers and the resulting alpha."""
    if step.c_b is None or step.c_g is None or step.agreement is None or step.guide_rank is None:
        yield f"its numbers were not kept: α = {_number(step.alpha)}"
        return
    method = METHODS[blend.method]
    value = float(method.weigh(Evidence(step.c_b, step.c_g, step.agreement, step.guide_rank), blend))
    seen = {"c_b": step.c_b, "c_g": step.c_g, "a": step.agreement, "rank": step.guide_rank + 1}
    if _uses(method.formula, seen):
        specs = settings_of(BlendSettings)
        owned = {specs[name].symbol: getattr(blend, name) for name in method.parameters}
        yield f"α = {method.formula} = {_substitute(method.formula, seen | owned)} = {_number(value)}"
    else:
        yield f"{method.summary}: α = {_number(value)}"
    yield from _mismatch(step, value)


_SYMBOL = re.compile(r"[^\W\d]\w*")


def _uses(formula: str, symbols: Iterable[str]) -> bool:
    return not set(symbols).isdisjoint(_SYMBOL.findall(formula))


def _substitute(formula: str, values: Mapping[str, float]) -> str:
    """Replace the symbols of a formula by numbers; comparisons get more decimals to tell values apart."""
    shown = _precise if any(sign in formula for sign in "<>≤≥") else _number
    text = _SYMBOL.sub(lambda found: shown(values[found[0]]) if found[0] in values else found[0], formula)
    return text.replace("+ −", "− ")


def _mismatch(step: Step, alpha: float) -> Iterator[str]:
    """Yield the reason if alpha under these settings differs from the step's."""
    if abs(alpha - step.alpha) > _SAME_ALPHA:
        silent = step.intervened and step.alpha == 0
        why = "all that the guide could say was a control token" if silent else _OTHER_SETTINGS
        yield f"but {why}: α = {_number(step.alpha)}"


def _compare_values(left: str, a: float, right: str, b: float, sign: str = "<") -> str:
    """Format the comparison of two named values, with enough decimals to tell them apart."""
    decimals = next((n for n in range(2, 7) if a == b or f"{a:.{n}f}" != f"{b:.{n}f}"), 6)
    relation = ("<" if a < b else "≥") if sign == "<" else (">" if a > b else "≤")
    return f"{left} {a:.{decimals}f} {relation} {f'{right} {b:.{decimals}f}'.strip()}"


def _number(value: float) -> str:
    """Format with two decimals, or two significant digits below 0.1 (at most four decimals)."""
    if isinstance(value, int):
        return f"{value}"
    size = abs(value)
    decimals = 2 if size == 0 or size >= 0.1 else min(1 - math.floor(math.log10(size)), 4)
    return f"{value:.{decimals}f}".replace("-", "−")


def _precise(value: float) -> str:
    """Format with two to six decimals, as many as the value has."""
    if isinstance(value, int):
        return f"{value}"
    whole, _, decimals = f"{value:.6f}".replace("-", "−").partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def _signed_number(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.2f}"


# A reply


def describe_reply(summary: Summary, method: str, hint_rate: float, calibrated: bool) -> str:
    """Describe the figures of a reply in one line; "" for fewer than `FEW_STEPS` steps.

    hint_rate: intervention rate above which the line mentions it.
    """
    if summary.steps < FEW_STEPS or summary.mean("reliability") is None:
        return ""
    care = summary.weak_share >= _MANY_WEAK
    weak = f"{_percent(summary.weak_share)} of the steps were weak{'' if calibrated else ' (not calibrated)'}"
    warning = f"Read with care: {weak}"
    kind = METHODS[method]
    if kind.trigger == "never":
        alone = f"The {kind.writer} wrote alone, nothing was blended"
        return f"{warning}. {alone}." if care else f"{alone}; {weak}."
    asked, changed = _percent(summary.intervention_rate), _percent(summary.changed_rate)
    if kind.trigger == "always":
        both = f"both models weighed at every step, and the guide changed {changed} of the tokens"
        return f"{warning}; {both}." if care else f"{both[0].upper()}{both[1:]}."
    if summary.intervention_rate > hint_rate:
        if care:
            return f"{warning}; the base needed the guide at {asked} (hint level {_percent(hint_rate)})."
        seen = f"The base needed the guide at {asked} of the steps (hint level {_percent(hint_rate)})"
        if summary.changed_rate <= _FEW and summary.guide_word_rate <= _FEW:
            return f"{seen}, but the guide changed only {changed} of the tokens."
        return f"{seen}, the guide changed {changed}: the base may not suit this question."
    if care:
        return f"{warning}, though the base needed the guide at only {asked}."
    if summary.intervention_rate <= _FEW and summary.weak_share <= _FEW:
        return f"Calm: the base was sure nearly everywhere; the guide changed {changed} of the tokens."
    return f"The base needed the guide at {asked} of the steps, which changed {changed} of the tokens."


def _percent(share: float) -> str:
    return "under 1%" if 0 < share < 0.005 else f"{share:.0%}"


def weak_passages(steps: Sequence[Step]) -> list[range]:
    """Return the index ranges of the weak passages, in order.

    A passage starts and ends with a weak step and has at most `_PASSAGE_GAP` other steps between two weak
    ones. One whose only weak step is the stop does not count.
    """
    passages: list[range] = []
    for index, step in enumerate(steps):
        if not step.weak:
            continue
        if passages and index - passages[-1].stop <= _PASSAGE_GAP:
            passages[-1] = range(passages[-1].start, index + 1)
        else:
            passages.append(range(index, index + 1))
    return [passage for passage in passages if any(steps[i].weak and steps[i].data for i in passage)]
