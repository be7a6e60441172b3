"""Blending methods: the name, the trigger and the weighting rule of each.

A method is one rule function and one entry of `METHODS`; help, documentation, the settings screen,
comparisons, plots and explanations read that entry. "The paper" is Gan, Li, Luo, "To Intervene or Not"
(Findings of ACL 2026), "the reference" its authors' code. Formulas are those of docs/method.md.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["METHODS", "Evidence", "Method", "Real"]

Real = float | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The input of a weighting rule: numbers of one step, or equally shaped arrays of many steps.

    c_b, c_g: confidence of base and guide. agreement: the base's probability of the guide's top token.
    guide_rank: number of outcomes to which the base gives more probability than to the guide's top token.
    """

    c_b: Real
    c_g: Real
    agreement: Real
    guide_rank: Real


Rule = Callable[..., Real]
"""rule(evidence, *, parameter, ...) -> alpha in [0, 1], shaped like the evidence.

A keyword-only parameter is a field of `BlendSettings`; the rule gets its value.
"""


def alpha_zero(evidence: Evidence) -> Real:
    return np.zeros_like(evidence.c_b)


def alpha_one(evidence: Evidence) -> Real:
    return np.ones_like(evidence.c_b)


def alpha_half(evidence: Evidence) -> Real:
    return np.full_like(evidence.c_b, 0.5, dtype=np.float64)


def alpha_blendin(evidence: Evidence) -> Real:
    """The paper's rule, "auto" in the reference."""
    share = np.divide(evidence.c_g, np.maximum(np.add(evidence.c_b, evidence.c_g), 1e-30))
    alpha: Real = np.clip(share + np.multiply(0.1, evidence.agreement), 0.0, 1.0)
    return alpha


def alpha_tuned(evidence: Evidence, *, prior: float) -> Real:
    """The paper's rule shifted by the pair prior on the logit scale."""
    alpha = np.asarray(alpha_blendin(evidence), dtype=np.float64)
    if prior == 0:
        return alpha
    odds = alpha * math.exp(prior)
    shifted: Real = odds / (odds + (1.0 - alpha))
    return shifted


def alpha_fixed(evidence: Evidence, *, alpha: float) -> Real:
    return np.full_like(evidence.c_b, alpha, dtype=np.float64)


def alpha_compete(evidence: Evidence, *, compete_k: int) -> Real:
    """Alpha 1 if the guide's top token is among the base's top k and the guide is more confident, else 0."""
    wins = (np.asarray(evidence.guide_rank) < compete_k) & np.greater(evidence.c_g, evidence.c_b)
    return wins.astype(np.float64)


def alpha_moderate(evidence: Evidence) -> Real:
    """The doubt scaled and clipped to 0.1..0.9; "noextreme" in the reference."""
    return np.clip(0.1 + 0.7 * _doubt(evidence), 0.1, 0.9)


def alpha_doubt(evidence: Evidence) -> Real:
    """The doubt itself; "biased" in the reference."""
    return np.clip(_doubt(evidence), 0.0, 1.0)


def _doubt(evidence: Evidence) -> Real:
    return np.subtract(1.0, evidence.c_b) * evidence.c_g * np.add(1.0, evidence.agreement)


def alpha_tiered(evidence: Evidence, *, tau: float) -> Real:
    c_b = np.asarray(evidence.c_b)
    return np.where(c_b < tau, 0.7, np.where(c_b < tau + 0.2, 0.5, 0.3))


@dataclass(frozen=True, slots=True)
class Method:
    """One blending method.

    trigger: when the guide is consulted; "uncertain" is where the base's confidence is under the threshold.
    rule: computes alpha, the guide's share.
    summary: the method in a few words, for help and lists of choices.
    formula: alpha as docs/method.md writes it. Symbols: `c_b`, `c_g`, `a` (agreement), `rank` (the place of
        the guide's top token in the base's ranking, from 1), and the symbols of the rule's parameters.
    colour, marker: of its points in plots, as Plotly names them.
    writer: the model that is decoded at every step; a method that never consults decodes no other.
    parameters: the fields of `BlendSettings` that the rule takes, read from its signature.
    """

    trigger: Literal["never", "uncertain", "always"]
    rule: Rule
    summary: str
    formula: str
    colour: str
    marker: str = "circle"
    writer: Literal["base", "guide"] = "base"
    parameters: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        signature = inspect.signature(self.rule).parameters.values()
        names = tuple(each.name for each in signature if each.kind is each.KEYWORD_ONLY)
        object.__setattr__(self, "parameters", names)

    def __str__(self) -> str:
        return self.summary

    def weigh(self, evidence: Evidence, settings: object) -> Real:
        """Return alpha under these `BlendSettings`, shaped like the evidence."""
        return self.rule(evidence, **{name: getattr(settings, name) for name in self.parameters})


METHODS: dict[str, Method] = {
    "base": Method("never", alpha_zero, "the base alone", "0", "#3b82c4", "square"),
    "guide": Method("never", alpha_one, "the guide alone", "1", "#d9730d", "diamond", writer="guide"),
    "nudge": Method(
        "uncertain", alpha_one, "the guide's token where the base is unsure (Nudging)", "1", "#d64545"
    ),
    "blendin": Method(
        "uncertain",
        alpha_blendin,
        "the paper's weight where the base is unsure",
        "clip(c_g / (c_b + c_g) + 0.1·a, 0, 1)",
        "#9b5fd4",
    ),
    "tuned": Method(
        "uncertain",
        alpha_tuned,
        "the paper's weight, shifted by the pair's prior",
        "σ(logit(clip(c_g / (c_b + c_g) + 0.1·a, 0, 1)) + b)",
        "#2e9e5b",
    ),
    "fixed": Method(
        "uncertain",
        alpha_fixed,
        "a constant weight where the base is unsure",
        "α",
        "#808891",
        "circle-open",
    ),
    "compete": Method(
        "uncertain",
        alpha_compete,
        "the guide where it is surer and the base half agrees",
        "1 if rank ≤ k and c_g > c_b, else 0",
        "#1a98a6",
    ),
    "moderate": Method(
        "uncertain",
        alpha_moderate,
        "a weight kept between 0.1 and 0.9",
        "clip(0.1 + 0.7·(1 − c_b)·c_g·(1 + a), 0.1, 0.9)",
        "#a3734a",
    ),
    "doubt": Method(
        "uncertain",
        alpha_doubt,
        "a weight that grows with the base's doubt",
        "clip((1 − c_b)·c_g·(1 + a), 0, 1)",
        "#d0508f",
    ),
    "tiered": Method(
        "uncertain",
        alpha_tiered,
        "0.7, 0.5 or 0.3, by the base's confidence",
        "0.7 if c_b < τ, 0.5 if c_b < τ + 0.2, else 0.3",
        "#8a8f2a",
    ),
    "ensemble": Method(
        "always", alpha_half, "both, equally, at every step", "0.5", "#6f7fd8", "star-triangle-up"
    ),
}
