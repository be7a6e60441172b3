"""Define the report of a comparison; `to_dict` returns the JSON document that docs/compare.md describes.

Field names are the document's keys. A figure that is undefined or unknown is None. Metrics, their intervals
and differences are on the scale of their task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from blendin_local.presentation.plain_data import to_plain
from blendin_local.tune.result import GuideRank

__all__ = [
    "AcrossPairs",
    "AnswerRow",
    "ArmInfo",
    "CapabilityGap",
    "Cell",
    "CompareReport",
    "Families",
    "FamilyGain",
    "FidelityRow",
    "Gain",
    "Interval",
    "MeanLength",
    "ModelFile",
    "OptionScores",
    "PairedTest",
    "RateCorrelation",
    "Scale",
    "ScoreInterval",
    "TaskInfo",
]

Interval = tuple[float, float]
"""Both ends of a 95 % interval."""

Scale = tuple[float, float]
"""The least and the largest value of a metric."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of an arm. role: "base", "guide", or "model" of a single-model arm."""

    role: str
    name: str
    path: str
    size_bytes: int
    quantization: str
    fingerprint: str
    format: str


@dataclass(frozen=True, slots=True)
class Families:
    base: str | None
    guide: str | None
    same: bool


@dataclass(frozen=True, slots=True)
class ArmInfo:
    """An arm: its models and settings. kind: "base", "guide", "pair" or "model".

    peak_memory: bytes of the whole process.
    """

    name: str
    kind: str
    pair: str | None
    base: str | None
    guide: str | None
    method: str | None
    settings: Mapping[str, Any]
    files: tuple[ModelFile, ...]
    peak_memory: int | None
    family: Families


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as it was run. items: number of questions. chance: the score of guessing."""

    name: str
    task: str
    source: str | None
    items: int
    metric: str
    scale: Scale
    chance: float | None
    max_tokens: int | None

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share of 1."""
        return tuple(self.scale) == (0, 1)

    @property
    def width(self) -> float:
        return float(self.scale[1] - self.scale[0]) or 1.0

    def part_of_scale(self, value: float) -> float:
        """Return a score as a share of the scale."""
        return (value - self.scale[0]) / self.width


@dataclass(frozen=True, slots=True)
class PairedTest:
    """An arm's difference to another on the same questions. p_holm: p after Holm's correction."""

    arm: str
    difference: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    test: str


@dataclass(frozen=True, slots=True)
class MeanLength:
    mean_tokens: float | None
    mean_bytes: float | None


@dataclass(frozen=True, slots=True)
class ScoreInterval:
    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class OptionScores:
    """Accuracy by the likeliest option as a whole; normalised: by the likeliest per byte."""

    value: float | None
    interval: Interval | None
    normalised: ScoreInterval


@dataclass(frozen=True, slots=True)
class Cell:
    """The figures of one arm on one task.

    n, scored: answers, and those with a score. against: the paired tests against "base", "guide" and, of
    single-model arms, "reference". loop_share: share of runs of four words that occurred
    before in the same answer. shortened: prompts that lost worked examples.
    """

    arm: str
    task: str
    n: int
    scored: int
    value: float | None
    interval: Interval | None
    against: Mapping[str, PairedTest | None]
    intervention_rate: float | None
    changed_rate: float | None
    guide_word_rate: float | None
    mean_alpha: float | None
    loop_share: float | None
    length: MeanLength
    shortened: int
    finish_reasons: Mapping[str, int]
    tokens_per_second: float | None
    options: OptionScores | None
    guide_rank: GuideRank | None

    @property
    def tests(self) -> list[PairedTest]:
        """The paired tests that are defined."""
        return [test for test in self.against.values() if test]

    def difference_to(self, role: str) -> float | None:
        test = self.against.get(role)
        return test.difference if test else None


@dataclass(frozen=True, slots=True)
class RateCorrelation:
    """Pearson's r of intervention rate and metric over n pairs."""

    task: str
    method: str | None
    r: float | None
    p: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Gain:
    arm: str
    task: str
    over_base: float | None
    over_guide: float | None


@dataclass(frozen=True, slots=True)
class CapabilityGap:
    """gap: the guide's score minus the base's, each alone. gain: of the blend over its base."""

    arm: str
    task: str
    gap: float
    gain: float | None


@dataclass(frozen=True, slots=True)
class FamilyGain:
    """Mean gains over the base, as shares of the scale, of pairs within one family and across two."""

    within_mean: float
    cross_mean: float
    cohens_d: float | None
    n_within: int
    n_cross: int


@dataclass(frozen=True, slots=True)
class AcrossPairs:
    """Figures over all pairs of a comparison; pairs: how many."""

    pairs: int
    intervention_vs_metric: tuple[RateCorrelation, ...]
    gain: tuple[Gain, ...]
    capability_gap: tuple[CapabilityGap, ...]
    family: FamilyGain | None


@dataclass(frozen=True, slots=True)
class FidelityRow:
    """Figures of one model on a text, and its fidelity to a reference with the same vocabulary.

    kld, delta_p: mean and quantiles by name (`compare.divergence`). Names in _se are of standard errors.
    """

    model: str
    reference: str
    size_bytes: int
    tokens_per_second: float | None
    peak_memory: int | None
    ppl_ratio: float | None
    ppl_ratio_se: float | None
    ppl_difference: float | None
    ppl_difference_se: float | None
    reference_perplexity: float | None
    reference_perplexity_se: float | None
    correlation: float | None
    kld: Mapping[str, float | None] | None
    delta_p: Mapping[str, float | None] | None
    same_top: float | None
    same_top_se: float | None
    perplexity: float | None
    perplexity_se: float | None
    bits_per_byte: float | None
    bits_per_byte_se: float | None
    positions: int
    bytes: int
    chunks: int
    n_ctx: int

    @property
    def mean_kld(self) -> float | None:
        return self.kld["mean"] if self.kld else None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer with its question and its score. extracted: the part of the reply that was scored."""

    task: str
    item: str
    arm: str
    prompt: str
    expected: str
    reply: str
    value: float | None
    extracted: str
    note: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class CompareReport:
    """The whole result of `compare`.

    disagreements: questions of each task with different scores, the widest differences first. hint_level: the
    intervention rate above which a hint is given. answers: every answer, in reading order; not part of the
    document.
    """

    arms: tuple[ArmInfo, ...]
    tasks: tuple[TaskInfo, ...]
    cells: tuple[Cell, ...]
    across: AcrossPairs | None
    disagreements: Mapping[str, list[str]]
    seed: int
    limit: int | None
    max_tokens: int | None
    hint_level: float
    versions: Mapping[str, str]
    fidelity: tuple[FidelityRow, ...]
    seconds: float
    answers: tuple[AnswerRow, ...] = ()

    def arm(self, name: str) -> ArmInfo:
        return next(arm for arm in self.arms if arm.name == name)

    def cells_of(self, task: TaskInfo) -> list[Cell]:
        """Return the cells of one task, in the order of the arms."""
        by_arm = {cell.arm: cell for cell in self.cells if cell.task == task.name}
        return [by_arm[arm.name] for arm in self.arms if arm.name in by_arm]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `blendin compare --json` prints."""
        document: dict[str, Any] = to_plain(replace(self, answers=()))
        del document["answers"]
        return document
