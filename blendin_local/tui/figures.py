"""The figures that the panel shows of one reply, gathered from its steps and its summary."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from blendin_local.steps import Step, Summary

HISTORY = 64
"""How many latest steps the course of a figure goes back."""


@dataclass(slots=True)
class Course:
    """One figure over the steps at which it was measured: its last value, its mean, its latest values."""

    last: float | None = None
    total: float = 0.0
    count: int = 0
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def add(self, value: float | None) -> None:
        if value is None:
            return
        self.last = value
        self.total += value
        self.count += 1
        self.latest.append(value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Figures:
    """What was measured over a reply so far; base and guide are reliabilities (see `Step.r_b`)."""

    summary: Summary = field(default_factory=Summary)
    base: Course = field(default_factory=Course)
    guide: Course = field(default_factory=Course)
    alpha: Course = field(default_factory=Course)

    def add(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.base.add(step.r_b)
            self.guide.add(step.r_g)
            self.alpha.add(step.alpha if step.intervened else None)
