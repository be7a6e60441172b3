"""One blend step again, slow and plain: the second implementation that the engine must equal.

Written from docs/method.md with dictionaries over byte strings and Python floats. It imports nothing of
the package: what both get wrong, they must get wrong independently.

A distribution is a dict from *keys* to probabilities. A key is the bytes of a text token, `STOP`, or a
control token as (owner, id).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STOP = "stop"
Key = bytes | str | tuple[str, int]
Distribution = dict[Key, float]

TEXT, BYTE, CONTROL, END = range(4)


@dataclass(frozen=True)
class Speaker:
    """What one model says at a step: its tokens' bytes, their kinds, its logits, the space it begins with."""

    tokens: Sequence[bytes]
    kinds: Sequence[int]
    logits: Sequence[float]
    lead: bytes = b""


@dataclass(frozen=True)
class Rules:
    """A method and its parameters, as docs/method.md names them."""

    method: str
    gamma: float = 0.4
    alpha: float = 0.5
    prior: float = 0.0
    k: int = 5
    tau: float = 0.3
    gap: float = 0.0


@dataclass(frozen=True)
class Blend:
    """Everything about one step at which the guide was consulted."""

    c_b: float
    c_g: float
    agreement: float
    rank: int
    above: float
    alpha: float
    base: Distribution
    guide: Distribution
    mixture: Distribution
    base_top: Key
    guide_top: Key
    divergence: float
    mapped: float

    @property
    def best(self) -> set[Key]:
        """The most probable outcomes of the mixture: several where rounding might decide."""
        return best(self.mixture)


def softmax(logits: Sequence[float]) -> list[float]:
    peak = max(logits)
    powers = [math.exp(logit - peak) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def key_of(speaker: Speaker, token: int, owner: str) -> Key:
    if speaker.kinds[token] == END:
        return STOP
    if speaker.kinds[token] == CONTROL or not speaker.tokens[token]:
        return (owner, token)
    return speaker.tokens[token]


def pooled(speaker: Speaker, owner: str) -> Distribution:
    """One outcome per byte string, and one for all end tokens."""
    distribution: Distribution = {}
    for token, probability in enumerate(softmax(speaker.logits)):
        key = key_of(speaker, token, owner)
        distribution[key] = distribution.get(key, 0.0) + probability
    return distribution


def aligned(key: Key, base: Mapping[Key, float], base_lead: bytes, guide_lead: bytes) -> Key:
    """At the first step: the base's key for a guide's key, where only one of them begins with a space."""
    if not isinstance(key, bytes) or base_lead == guide_lead:
        return key
    other = b" " + key if base_lead else key.removeprefix(b" ")
    return other if other in base else key


def confident(speaker: Speaker) -> tuple[int, float]:
    """A model's own top token, and its confidence."""
    probabilities = softmax(speaker.logits)
    top = max(range(len(probabilities)), key=probabilities.__getitem__)
    return top, probabilities[top]


def threshold(rules: Rules) -> float:
    return rules.gamma if rules.gap == 0 else min(rules.gamma * (1 + rules.gap / 2), 0.6)


def consults(rules: Rules, c_b: float) -> bool:
    if rules.method == "ensemble":
        return True
    return rules.method not in ("base", "guide") and c_b < threshold(rules)


def weight(rules: Rules, c_b: float, c_g: float, a: float, in_top_k: bool) -> float:
    paper = clip(c_g / (c_b + c_g) + 0.1 * a, 0, 1)
    match rules.method:
        case "base":
            return 0.0
        case "guide" | "nudge":
            return 1.0
        case "blendin":
            return paper
        case "tuned":
            if paper in (0.0, 1.0):
                return paper
            return 1 / (1 + math.exp(-(math.log(paper / (1 - paper)) + rules.prior)))
        case "fixed":
            return rules.alpha
        case "compete":
            return 1.0 if in_top_k and c_g > c_b else 0.0
        case "moderate":
            return clip(0.1 + 0.7 * (1 - c_b) * c_g * (1 + a), 0.1, 0.9)
        case "doubt":
            return clip((1 - c_b) * c_g * (1 + a), 0, 1)
        case "tiered":
            return 0.7 if c_b < rules.tau else 0.5 if c_b < rules.tau + 0.2 else 0.3
        case "ensemble":
            return 0.5
    raise AssertionError(rules.method)


def blend(base: Speaker, guide: Speaker, rules: Rules, *, same: bool = False, first: bool = False) -> Blend:
    """The step at which both have spoken.

    same: both have one vocabulary, so that control tokens too are outcomes of both. first: it is the first
    step of the reply.
    """
    owner = "both" if same else "guide"
    p_b = pooled(base, "both" if same else "base")
    p_g: Distribution = {}
    for key, probability in pooled(guide, owner).items():
        key = aligned(key, p_b, base.lead, guide.lead) if first else key
        p_g[key] = p_g.get(key, 0.0) + probability

    base_top, c_b = confident(base)
    guide_top, c_g = confident(guide)
    top_key = key_of(guide, guide_top, owner)
    top_key = aligned(top_key, p_b, base.lead, guide.lead) if first else top_key
    agreement = p_b.get(top_key, 0.0)
    higher = [probability for probability in p_b.values() if probability > agreement]
    rank = len(higher)
    alpha = weight(rules, c_b, c_g, agreement, top_key in p_b and rank < rules.k)

    # The base has no token for another model's control tokens, nor for bytes that it cannot spell.
    spelled = {byte for data in base.tokens if len(data) == 1 for byte in data}
    sayable = {
        key: probability
        for key, probability in p_g.items()
        if key in p_b or key == STOP or (isinstance(key, bytes) and spelled.issuperset(key))
    }
    mixture = {
        key: (1 - alpha) * p_b.get(key, 0.0) + alpha * sayable.get(key, 0.0) for key in {**p_b, **sayable}
    }
    total = math.fsum(mixture.values())
    return Blend(
        c_b=c_b,
        c_g=c_g,
        agreement=agreement,
        rank=rank,
        above=math.fsum(higher),
        alpha=alpha,
        base=p_b,
        guide=p_g,
        mixture={key: mass / total for key, mass in mixture.items()},
        base_top=key_of(base, base_top, "both" if same else "base"),
        guide_top=top_key,
        divergence=jensen_shannon(p_b, p_g),
        mapped=math.fsum(p for key, p in p_g.items() if key in p_b or key == STOP),
    )


def best(distribution: Mapping[Key, float], *, within: float = 1e-6) -> set[Key]:
    most = max(distribution.values())
    return {key for key, probability in distribution.items() if probability >= most - within}


def entropy(probabilities: Sequence[float]) -> float:
    """In bits, over a model's own tokens."""
    return -math.fsum(p * math.log2(p) for p in probabilities if p > 0)


def jensen_shannon(p: Mapping[Key, float], q: Mapping[Key, float]) -> float:
    """In bits, over the union of the keys."""
    terms = []
    for key in {**p, **q}:
        p_key, q_key = p.get(key, 0.0), q.get(key, 0.0)
        middle = (p_key + q_key) / 2
        terms += [mass * math.log2(mass / middle) for mass in (p_key, q_key) if mass > 0]
    return math.fsum(terms) / 2


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
