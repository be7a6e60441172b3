"""The engine's output: one `Step` per token, and the `Summary` of a response.

Front ends read these records and compute no probabilities themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np

FinishReason = Literal["stop", "stop string", "length", "context", "cancelled"]

WEAK_BELOW = 0.4
"""A step is weak if the reliability of the model that chose its token is below this."""


HINT_RATE = 0.2
"""The paper's threshold of the intervention rate above which a pair should be checked; only a hint."""


class Source(StrEnum):
    """The origin of a step's outcome.

    BOTH, GUIDE, BLEND: the top token of both models, of the guide, or of neither. BASE: otherwise, also if
    sampling chose another token than the base's top token. A guide that generates alone has all steps. USER:
    chosen or written by the user. STOP: the end of the response.
    """

    BASE = "base"
    GUIDE = "guide"
    BOTH = "both"
    BLEND = "blend"
    USER = "user"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One outcome of a distribution: its bytes (empty for stop), probability and index.

    outcome: as in `Step.outcome`, in all lists; -1 if the writing model has no token for it.
    """

    data: bytes
    probability: float
    outcome: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """The most probable outcomes of each distribution at a step, best first.

    blend: the distribution that was sampled; without an intervention, the writing model's own.
    """

    base: tuple[Candidate, ...] = ()
    guide: tuple[Candidate, ...] = ()
    blend: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One emitted outcome. Values that were not measured at this step are None.

    outcome: index among the outcomes of the writing model; -1 for text that was not chosen from any.
    data: the outcome's bytes. text: text released at this step; all texts joined are the reply.
    base_tokens, guide_tokens: ids appended to the writing model.
    c_b, c_g: confidences. r_b, r_g: reliabilities, the confidences after the pair's calibration.
    consulted: the guide was decoded. intervened: its distribution was blended in.
    changed: the blend's top outcome is not the base's. probability: of the chosen outcome.
    stop_mass: the guide's probability of stopping. guide_rank: number of outcomes that the base gives a
    higher probability than the guide's top token; mass_above: their total probability by the base.
    Entropies and divergence (Jensen-Shannon) in bits. mapped_mass: share of the guide's distribution that
    the base can emit as one token. base_s, guide_s, blend_s: seconds.
    base_decoded, guide_decoded: tokens decoded by each model for this step, prompts included.
    thinking: the step is part of the thinking before the answer, or of its marks.
    finish_reason: set on the last step, unless the response was cut between two steps.
    """

    index: int
    data: bytes
    text: str
    source: Source
    outcome: int = -1
    base_tokens: tuple[int, ...] = ()
    guide_tokens: tuple[int, ...] = ()
    c_b: float | None = None
    c_g: float | None = None
    r_b: float | None = None
    r_g: float | None = None
    agreement: float | None = None
    alpha: float = 0.0
    consulted: bool = False
    intervened: bool = False
    changed: bool = False
    probability: float = 0.0
    stop_mass: float | None = None
    guide_rank: int | None = None
    mass_above: float | None = None
    base_entropy: float | None = None
    guide_entropy: float | None = None
    divergence: float | None = None
    mapped_mass: float | None = None
    base_s: float = 0.0
    guide_s: float = 0.0
    blend_s: float = 0.0
    base_decoded: int = 0
    guide_decoded: int = 0
    candidates: Candidates | None = None
    finish_reason: FinishReason | None = None
    thinking: bool = False

    @property
    def reliability(self) -> float | None:
        """Reliability of the model whose top token was chosen, else of the one with more weight.

        None for text of the user.
        """
        if self.source is Source.USER:
            return None
        if self.source is Source.BASE or self.r_g is None:
            return self.r_b
        if self.source is Source.GUIDE or self.r_b is None:
            return self.r_g
        return self.r_g if self.alpha >= 0.5 else self.r_b

    @property
    def weak(self) -> bool:
        reliability = self.reliability
        return reliability is not None and reliability < WEAK_BELOW


def answer_text(steps: Iterable[Step]) -> str:
    """Return the text that steps released, without the thinking."""
    return "".join(step.text for step in steps if not step.thinking)


def thinking_text(steps: Iterable[Step]) -> str:
    """Return the thinking before the answer, without its marks."""
    return "".join(step.text for step in steps if step.thinking).strip()


@dataclass(slots=True)
class Timings:
    """Durations of a response in seconds; first_token_s and total_s count from its start."""

    base_s: float = 0.0
    guide_s: float = 0.0
    blend_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0


@dataclass(slots=True)
class Summary:
    """Running metrics of a response; `add` counts one step.

    Rates are shares of all steps, or of all words. Means are over the steps with a value: mean_alpha over
    interventions, mean_c_g over consultations; None without any. kept: number of steps taken over from
    another response, whose costs are not in timings. thinking, answer: the same metrics of each part of a
    reply that thinks; None for others.
    """

    steps: int = 0
    kept: int = 0
    base_tokens: int = 0
    guide_tokens: int = 0
    consultations: int = 0
    interventions: int = 0
    changed: int = 0
    base_decoded: int = 0
    guide_decoded: int = 0
    sources: Counter[Source] = field(default_factory=Counter)
    words: int = 0
    guide_words: int = 0
    weak_steps: int = 0
    lowest_reliability: float | None = None
    finish_reason: FinishReason | None = None
    timings: Timings = field(default_factory=Timings)
    thinking: Summary | None = None
    answer: Summary | None = None
    _sums: Counter[str] = field(default_factory=Counter)
    _counts: Counter[str] = field(default_factory=Counter)
    _inside_word: bool = False

    def take_over(self, step: Step) -> None:
        """Count a step taken over from another response."""
        costs = {"base_s": 0.0, "guide_s": 0.0, "blend_s": 0.0, "base_decoded": 0, "guide_decoded": 0}
        self.add(replace(step, finish_reason=None, **costs))  # type: ignore[arg-type]
        self.kept += 1

    def charge(self, costs: Mapping[str, float]) -> None:
        """Add the costs of a step that was not completed."""
        for name in ("base_decoded", "guide_decoded"):
            setattr(self, name, getattr(self, name) + costs.get(name, 0))
        for name in ("base_s", "guide_s", "blend_s"):
            setattr(self.timings, name, getattr(self.timings, name) + costs.get(name, 0.0))

    def add(self, step: Step) -> None:
        if step.thinking and (self.thinking is None or self.answer is None):
            self.thinking, self.answer = Summary(), Summary()
        if part := self.thinking if step.thinking else self.answer:
            part._count(step)
        self._count(step)

    def _count(self, step: Step) -> None:
        self.steps += 1
        self.base_tokens += len(step.base_tokens)
        self.guide_tokens += len(step.guide_tokens)
        self.consultations += step.consulted
        self.interventions += step.intervened
        self.changed += step.changed
        self.base_decoded += step.base_decoded
        self.guide_decoded += step.guide_decoded
        self.sources[step.source] += 1
        self.weak_steps += step.weak
        self.finish_reason = step.finish_reason
        self._count_words(step)
        reliability = step.reliability
        if reliability is not None:
            lowest = self.lowest_reliability
            self.lowest_reliability = reliability if lowest is None else min(lowest, reliability)
        for name, value in (
            ("alpha", step.alpha if step.intervened else None),
            ("c_b", step.c_b),
            ("c_g", step.c_g),
            ("reliability", reliability),
            ("divergence", step.divergence),
            ("mapped_mass", step.mapped_mass),
        ):
            if value is not None:
                self._sums[name] += value  # type: ignore[assignment]
                self._counts[name] += 1
        self.timings.base_s += step.base_s
        self.timings.guide_s += step.guide_s
        self.timings.blend_s += step.blend_s

    def _count_words(self, step: Step) -> None:
        """Count words; a word is the guide's if the step that began it chose the guide's top token."""
        text = step.data.decode("utf-8", "replace")
        if not text:
            return
        began = len(re.findall(r"\S+", text)) - (self._inside_word and not text[0].isspace())
        self.words += began
        if step.source in (Source.GUIDE, Source.BOTH):
            self.guide_words += began
        self._inside_word = not text[-1].isspace()

    def _rate(self, count: int, of: int) -> float:
        return count / of if of else 0.0

    def mean(self, name: str) -> float | None:
        """Mean of alpha, c_b, c_g, reliability, divergence or mapped_mass over the steps with a value."""
        count = self._counts[name]
        return self._sums[name] / count if count else None

    @property
    def intervention_rate(self) -> float:
        return self._rate(self.interventions, self.steps)

    @property
    def changed_rate(self) -> float:
        return self._rate(self.changed, self.steps)

    @property
    def guide_word_rate(self) -> float:
        return self._rate(self.guide_words, self.words)

    @property
    def weak_share(self) -> float:
        return self._rate(self.weak_steps, self.steps)

    @property
    def tokens(self) -> int:
        """Generated tokens: of the base, or of the guide if it generates alone."""
        return self.base_tokens + self.guide_tokens

    @property
    def tokens_per_second(self) -> float:
        """Steps after the first per second after the first, so without the prompt's processing.

        Includes the time that the consumer of the steps takes between them.
        """
        seconds = self.timings.total_s - self.timings.first_token_s
        following = self.steps - self.kept - 1
        return following / seconds if following > 0 and seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics as plain data for JSON."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "interventions": self.interventions,
            "intervention_rate": self.intervention_rate,
            "changed_token_rate": self.changed_rate,
            "guide_word_rate": self.guide_word_rate,
            "consultations": self.consultations,
            "mean_alpha": self.mean("alpha"),
            "mean_c_b": self.mean("c_b"),
            "mean_c_g": self.mean("c_g"),
            "mean_reliability": self.mean("reliability"),
            "lowest_reliability": self.lowest_reliability,
            "weak_share": self.weak_share,
            "mean_divergence": self.mean("divergence"),
            "mean_mapped_mass": self.mean("mapped_mass"),
            "sources": {str(source): self.sources[source] for source in Source},
            "finish_reason": self.finish_reason,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability as a function of confidence, by linear interpolation of a rising curve."""

    confidences: tuple[float, ...]
    reliabilities: tuple[float, ...]

    def __call__(self, confidence: float) -> float:
        return float(np.interp(confidence, self.confidences, self.reliabilities))


def uncalibrated(confidence: float) -> float:
    """Reliability without a calibration curve: the confidence itself, which front ends mention."""
    return confidence
