"""Define the report of tuning a pair; `to_dict` returns the JSON document that docs/tune.md describes.

Field names are the document's keys. A figure that is undefined or unknown is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blendin_local.presentation.plain_data import to_plain
from blendin_local.settings import BlendSettings

if TYPE_CHECKING:
    from blendin_local.tune.costs import Costs

__all__ = [
    "Analysis",
    "Bounds",
    "CalibrationCurve",
    "CalibrationFit",
    "FittedPrior",
    "GammaPrior",
    "GuideRank",
    "Hint",
    "PairInfo",
    "Recommendation",
    "References",
    "ReliabilityBin",
    "ScoredSetting",
    "Setting",
    "SingleModel",
    "TuneReport",
    "UncertainPositions",
    "mean_or_none",
]

Bounds = tuple[float | None, float | None]
"""Both ends of a 95 % interval, or None twice where it is unknown."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A point of the grid; a parameter that its method does not use is None."""

    method: str
    gamma: float | None = None
    alpha: float | None = None
    prior: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"method": self.method, "gamma": self.gamma, "alpha": self.alpha, "prior": self.prior}

    def blend_settings(self, **others: Any) -> BlendSettings:
        chosen = {name: value for name, value in self.as_dict().items() if value is not None}
        return BlendSettings(**chosen, **others)


@dataclass(frozen=True, slots=True)
class PairInfo:
    """The pair that was measured. Fingerprints are SHA-256 digests of the model files."""

    name: str | None
    base: str
    guide: str
    base_fingerprint: str
    guide_fingerprint: str
    same_vocabulary: bool


@dataclass(frozen=True, slots=True)
class References:
    """The reference answers: their source, and counts of answers, base tokens (positions) and bytes."""

    source: str
    examples: int
    positions: int
    bytes: int
    skipped: int
    held_out_examples: int
    seed: int


@dataclass(frozen=True, slots=True)
class SingleModel:
    """Figures of one model alone. accuracy: share of positions at which its top token is the reference's."""

    bits_per_byte: float | None
    interval: Bounds
    tokens_per_second: float | None
    bytes_per_second: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class ScoredSetting:
    """A setting with its figures over all examples, and its bits per byte on each half of them.

    floored: share of positions scored at the least probability. pareto: whether no other setting beats it in
    both bits per byte and bytes per second.
    """

    method: str
    gamma: float | None
    alpha: float | None
    prior: float | None
    bits_per_byte: float | None
    interval: Bounds
    fitting_bits_per_byte: float | None
    held_out_bits_per_byte: float | None
    held_out_interval: Bounds
    intervention_rate: float | None
    intervention_rate_interval: Bounds
    tokens_per_second: float | None
    tokens_per_second_interval: Bounds
    bytes_per_second: float | None
    floored: float | None
    pareto: bool

    @property
    def setting(self) -> Setting:
        return Setting(self.method, self.gamma, self.alpha, self.prior)

    @property
    def is_single(self) -> bool:
        """Whether one model writes alone."""
        return self.method in ("base", "guide")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommended setting. gain: share of the bits of `single`, the better single model, that it saves
    on the held-out half.
    """

    setting: ScoredSetting
    single: str
    held_out_bits_per_byte: float | None
    held_out_single: float | None
    gain: float | None
    interval: Bounds
    reason: str


@dataclass(frozen=True, slots=True)
class GammaPrior:
    gamma: float
    value: float


@dataclass(frozen=True, slots=True)
class FittedPrior:
    """The pair prior: at the best threshold of the method `tuned`, and at every threshold."""

    value: float
    per_gamma: tuple[GammaPrior, ...]


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Points of a curve, equally many of both, rising."""

    confidences: tuple[float, ...]
    reliabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Positions with a confidence in (low, high]; both means are None in an empty bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A fitted curve, and its calibration error on held-out positions.

    ece_raw, bins: of the uncalibrated confidences. ece_fitted: expected calibration error after the curve.
    fitted_on, measured_on: numbers of positions.
    """

    curve: CalibrationCurve
    ece_raw: float | None
    ece_fitted: float | None
    bins: tuple[ReliabilityBin, ...]
    fitted_on: int
    measured_on: int


@dataclass(frozen=True, slots=True)
class GuideRank:
    """Rank of the guide's top token in the base's distribution, 0 for the first.

    top_10, top_50, top_100: shares of positions with a rank below that. top_90_mass: share of positions at
    which it is among the tokens that hold the base's top 90 % of probability mass.
    """

    mean: float | None
    median: float | None
    top_10: float | None
    top_50: float | None
    top_100: float | None
    top_90_mass: float | None

    @classmethod
    def of(cls, ranks: npt.ArrayLike, mass_above: npt.ArrayLike) -> GuideRank:
        """ranks: int[n]. mass_above: float[n], the base's mass on tokens before the guide's. All fields are
        None for n = 0.
        """
        rank, mass = np.asarray(ranks), np.asarray(mass_above)
        return cls(
            mean_or_none(rank),
            float(np.median(rank)) if len(rank) else None,
            mean_or_none(rank < 10),
            mean_or_none(rank < 50),
            mean_or_none(rank < 100),
            mean_or_none(mass < 0.9),
        )


def mean_or_none(values: npt.ArrayLike) -> float | None:
    """Mean of float[n] or bool[n]; None for n = 0."""
    found = np.asarray(values, np.float64)
    return float(found.mean()) if len(found) else None


@dataclass(frozen=True, slots=True)
class UncertainPositions:
    """The positions where the base's confidence is below gamma: `positions` of them, `share` of all.

    The other shares are of these positions: whose top token is the reference's. mean_divergence: bits.
    """

    gamma: float
    positions: int
    share: float | None
    base_right: float | None
    guide_right: float | None
    both_right: float | None
    only_base_right: float | None
    only_guide_right: float | None
    neither_right: float | None
    mean_divergence: float | None
    guide_rank: GuideRank


@dataclass(frozen=True, slots=True)
class Hint:
    """The paper's early warning: whether the rate of interventions is above the level, and a sentence."""

    intervention_rate: float
    level: float
    above: bool
    note: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis of a record of measured positions.

    settings: base and guide alone come first. best: the setting with fewest bits on the fitting half.
    calibration: of "base" and "guide".
    """

    base: SingleModel
    guide: SingleModel
    settings: tuple[ScoredSetting, ...]
    best: ScoredSetting
    recommendation: Recommendation
    prior: FittedPrior
    calibration: Mapping[str, CalibrationFit]
    uncertain: UncertainPositions
    hint: Hint
    verdict: str

    def alone(self, role: str) -> SingleModel:
        """Return the figures of the role "base" or "guide" alone."""
        return self.base if role == "base" else self.guide


@dataclass(frozen=True, slots=True)
class TuneReport(Analysis):
    """The whole result of `tune`. seconds: of the "pass" and the "analysis"."""

    pair: PairInfo
    references: References
    costs: Costs
    seconds: Mapping[str, float]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `blendin tune --json` prints."""
        # The document begins with the measured pair and answers.
        document: dict[str, Any] = to_plain(self)
        return {name: document[name] for name in ("pair", "references")} | document
