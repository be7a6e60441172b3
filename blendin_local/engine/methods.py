"""Distributions, weighting rules and methods: the mathematics of blending, in NumPy alone.

Nothing here knows a model, a vocabulary or a text. Formulas are those of docs/method.md; "the paper" is
Gan, Li, Luo, "To Intervene or Not" (Findings of ACL 2026), "the reference" its authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from blendin_local.settings import BlendSettings

Masses = npt.NDArray[np.float32]
Real = float | npt.NDArray[np.float64]

LOG2_E = 1.0 / math.log(2.0)

# exp() of logits up to here, and their sum, stay far inside float32's range.
_HIGHEST_UNSHIFTED_PEAK = 50.0

CAP_AFTER_STEPS = 20
"""The cap on the intervention rate applies once more than this many steps are out (as in the reference)."""

GAP_THRESHOLD_LIMIT = 0.6
"""Highest threshold that the capability-gap adjustment may reach (as in the reference)."""


class Distribution:
    """softmax of one row of logits, in buffers that are reused from step to step.

    After `update`: `masses` float32[n] sums to `total` (not to 1: dividing is left to whoever needs it),
    `top` is the most probable id, `confidence` its probability, `entropy` in bits.
    """

    def __init__(self, n: int) -> None:
        self.masses: Masses = np.zeros(n, np.float32)
        self.total = 0.0
        self.top = 0
        self.confidence = 0.0
        self.entropy = 0.0

    def update(self, logits: npt.NDArray[np.float32]) -> None:
        """Take in float32[n] logits. Raises FloatingPointError if none of them is finite."""
        self.top = int(logits.argmax())
        peak = float(logits[self.top])
        if not math.isfinite(peak):
            raise FloatingPointError("the model's logits are not finite")
        # Shifting is one more pass over a vocabulary that has left the processor's cache.
        if not 0 <= peak <= _HIGHEST_UNSHIFTED_PEAK:
            logits = logits - np.float32(peak)
        np.exp(logits, out=self.masses)
        self.total = float(self.masses.sum())
        self.confidence = float(self.masses[self.top]) / self.total
        # einsum, because np.dot would wake BLAS threads beside llama.cpp's. It raises no warnings.
        weighted = float(np.einsum("i,i->", logits, self.masses))
        if math.isnan(weighted):
            # 0 times -inf: a forbidden token adds nothing.
            allowed = self.masses > 0
            weighted = float(logits[allowed] @ self.masses[allowed])
        self.entropy = max(0.0, (math.log(self.total) - weighted / self.total) * LOG2_E)

    def probability(self, index: int) -> float:
        return float(self.masses[index]) / self.total

    def probabilities(self) -> Masses:
        """float32[n] that sums to 1, newly allocated."""
        return self.masses / np.float32(self.total)


def jensen_shannon(p: Masses, q: Masses) -> float:
    """Jensen-Shannon divergence in bits, in [0, 1], of two float32[n] distributions that sum to 1."""
    both = np.flatnonzero((p > 0) & (q > 0))
    p_both, q_both = p[both], q[both]
    middle = (p_both + q_both) * np.float32(0.5)
    # Where only one of them has mass, its term is that mass times log2(p / (p / 2)) = 1 bit.
    alone = (1.0 - p_both.sum(dtype=np.float64)) + (1.0 - q_both.sum(dtype=np.float64))
    # float32 logarithms are many at a time, and each term's error is its mass times 1e-7.
    terms = p_both * np.log(p_both / middle) + q_both * np.log(q_both / middle)
    shared = float(terms.sum(dtype=np.float64)) * LOG2_E
    return float(np.clip((shared + alone) / 2, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a weighting rule looks at: numbers of one step, or equally shaped arrays of many steps.

    c_b, c_g: confidence of base and guide. agreement: the base's probability of the guide's top token.
    guide_rank: how many outcomes the base holds more probable than the guide's top token.
    """

    c_b: Real
    c_g: Real
    agreement: Real
    guide_rank: Real


Rule = Callable[[Evidence, "BlendSettings"], Real]


def alpha_base(evidence: Evidence, settings: BlendSettings) -> Real:
    return np.zeros_like(evidence.c_b)


def alpha_guide(evidence: Evidence, settings: BlendSettings) -> Real:
    return np.ones_like(evidence.c_b)


def alpha_blendin(evidence: Evidence, settings: BlendSettings) -> Real:
    """clip(c_g / (c_b + c_g) + 0.1 a, 0, 1): the paper's rule, "auto" in the reference."""
    share = np.divide(evidence.c_g, np.maximum(np.add(evidence.c_b, evidence.c_g), 1e-30))
    alpha: Real = np.clip(share + np.multiply(0.1, evidence.agreement), 0.0, 1.0)
    return alpha


def alpha_tuned(evidence: Evidence, settings: BlendSettings) -> Real:
    """sigmoid(logit(alpha_blendin) + b): the paper's rule shifted by the pair prior b (DESIGN.md)."""
    alpha = np.asarray(alpha_blendin(evidence, settings), dtype=np.float64)
    if settings.prior == 0:
        return alpha
    odds = alpha * math.exp(settings.prior)
    shifted: Real = odds / (odds + (1.0 - alpha))
    return shifted


def alpha_fixed(evidence: Evidence, settings: BlendSettings) -> Real:
    return np.full_like(evidence.c_b, settings.alpha, dtype=np.float64)


def alpha_compete(evidence: Evidence, settings: BlendSettings) -> Real:
    """1 if the guide's top token is among the base's top k and c_g > c_b, else 0."""
    wins = (np.asarray(evidence.guide_rank) < settings.compete_k) & np.greater(evidence.c_g, evidence.c_b)
    return wins.astype(np.float64)


def alpha_moderate(evidence: Evidence, settings: BlendSettings) -> Real:
    """clip(0.1 + 0.7 (1 - c_b) c_g (1 + a), 0.1, 0.9): "noextreme" in the reference."""
    return np.clip(0.1 + 0.7 * _doubt(evidence), 0.1, 0.9)


def alpha_doubt(evidence: Evidence, settings: BlendSettings) -> Real:
    """clip((1 - c_b) c_g (1 + a), 0, 1): "biased" in the reference."""
    return np.clip(_doubt(evidence), 0.0, 1.0)


def _doubt(evidence: Evidence) -> Real:
    return np.subtract(1.0, evidence.c_b) * evidence.c_g * np.add(1.0, evidence.agreement)


def alpha_tiered(evidence: Evidence, settings: BlendSettings) -> Real:
    """0.7 if c_b < tau, 0.5 if c_b < tau + 0.2, else 0.3."""
    c_b, tau = np.asarray(evidence.c_b), settings.tau
    return np.where(c_b < tau, 0.7, np.where(c_b < tau + 0.2, 0.5, 0.3))


def alpha_ensemble(evidence: Evidence, settings: BlendSettings) -> Real:
    return np.full_like(evidence.c_b, 0.5, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Method:
    """When the guide is consulted, how much it then weighs, and which model the response runs on.

    `writer` is the model that is decoded at every step; a method that never consults decodes no other.
    """

    trigger: Literal["never", "uncertain", "always"]
    rule: Rule
    summary: str
    writer: Literal["base", "guide"] = "base"


METHODS: dict[str, Method] = {
    "base": Method("never", alpha_base, "the base alone"),
    "guide": Method("never", alpha_guide, "the guide alone", writer="guide"),
    "nudge": Method("uncertain", alpha_guide, "the guide's token where the base is unsure (Nudging)"),
    "blendin": Method("uncertain", alpha_blendin, "the paper's weight where the base is unsure"),
    "tuned": Method("uncertain", alpha_tuned, "the paper's weight, shifted by the pair's prior"),
    "fixed": Method("uncertain", alpha_fixed, "a constant weight where the base is unsure"),
    "compete": Method("uncertain", alpha_compete, "the guide where it is surer and the base half agrees"),
    "moderate": Method("uncertain", alpha_moderate, "a weight kept between 0.1 and 0.9"),
    "doubt": Method("uncertain", alpha_doubt, "a weight that grows with the base's doubt"),
    "tiered": Method("uncertain", alpha_tiered, "0.7, 0.5 or 0.3, by the base's confidence"),
    "ensemble": Method("always", alpha_ensemble, "both, equally, at every step"),
}


def threshold(settings: BlendSettings) -> float:
    """gamma, or with a capability gap min(gamma (1 + gap / 2), 0.6)."""
    if settings.capability_gap == 0:
        return settings.gamma
    return min(settings.gamma * (1 + settings.capability_gap / 2), GAP_THRESHOLD_LIMIT)


def may_consult(settings: BlendSettings) -> bool:
    """Whether these settings can ever decode the guide beside the base."""
    trigger = METHODS[settings.method].trigger
    return trigger == "always" or (trigger == "uncertain" and threshold(settings) > 0)


def is_capped(settings: BlendSettings, steps: int, interventions: int) -> bool:
    """Whether the cap on the intervention rate forbids a consultation, `steps` steps so far."""
    cap = settings.max_intervention_rate
    return cap < 1 and steps > CAP_AFTER_STEPS and interventions / steps >= cap


def is_uncertain(settings: BlendSettings, c_b: float, steps: int, interventions: int) -> bool:
    """Whether the guide is to be consulted at a step, `steps` steps and `interventions` so far."""
    trigger = METHODS[settings.method].trigger
    if trigger == "never" or (trigger == "uncertain" and not c_b < threshold(settings)):
        return False
    return not is_capped(settings, steps, interventions)
