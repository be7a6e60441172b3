"""Metrics that the panel shows: of one reply, from its steps and summary, and totals of the conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blendin_local.engine.chat_backend import ContextUse
from blendin_local.engine.steps import HINT_RATE, Source, Step, Summary
from blendin_local.methods import METHODS
from blendin_local.tui.about import About

COLUMNS = 128
"""Largest number of columns of a series; an even number."""

NEARLY_FULL = 0.85
"""Used share of a context from which a warning is shown."""


@dataclass(slots=True)
class MetricSeries:
    """One metric over the steps of a reply: last value, mean, and means of columns of consecutive steps.

    When there are `COLUMNS` columns, adjacent ones are merged, so adding a step takes constant time.
    """

    last: float | None = None
    total: float = 0.0
    count: int = 0
    _columns: list[tuple[float, int]] = field(default_factory=list)
    """(sum of the values, number of the values) of each column."""
    _steps_per_column: int = 1
    _room: int = 0
    """Steps that the last column can still take."""

    def add(self, value: float | None) -> None:
        """Add the value of a step; None if the metric was not measured."""
        if not self._room:
            self._begin_column()
        self._room -= 1
        if value is None:
            return
        self.last = value
        self.total += value
        self.count += 1
        total, count = self._columns[-1]
        self._columns[-1] = total + value, count + 1

    def _begin_column(self) -> None:
        if len(self._columns) == COLUMNS:
            pairs = zip(self._columns[::2], self._columns[1::2], strict=True)
            self._columns = [(a + b, m + n) for (a, m), (b, n) in pairs]
            self._steps_per_column *= 2
        self._columns.append((0.0, 0))
        self._room = self._steps_per_column

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def columns(self, width: int) -> list[float | None]:
        """Return the series as at most `width` means, None where nothing was measured."""
        n = len(self._columns)
        width = min(n, width)
        parts = [self._columns[i * n // width : (i + 1) * n // width] for i in range(width)]
        sums = [(sum(total for total, _ in part), sum(count for _, count in part)) for part in parts]
        return [total / count if count else None for total, count in sums]


@dataclass(slots=True)
class ReplyMetrics:
    """Metrics of a reply so far. base, guide: reliabilities (see `Step.r_b`). alpha: of blended steps."""

    summary: Summary = field(default_factory=Summary)
    base: MetricSeries = field(default_factory=MetricSeries)
    guide: MetricSeries = field(default_factory=MetricSeries)
    agreement: MetricSeries = field(default_factory=MetricSeries)
    alpha: MetricSeries = field(default_factory=MetricSeries)
    divergence: MetricSeries = field(default_factory=MetricSeries)

    def add(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.base.add(step.r_b)
            self.guide.add(step.r_g)
            self.agreement.add(step.agreement)
            self.alpha.add(step.alpha if step.intervened else None)
            self.divergence.add(step.divergence)


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of one or several replies, and rates: shares of all steps or words, None if there are none."""

    steps: int = 0
    tokens: int = 0
    interventions: int = 0
    changed: int = 0
    words: int = 0
    guide_words: int = 0
    sources: Counter[Source] = field(default_factory=Counter)

    @classmethod
    def of(cls, summaries: Iterable[Summary]) -> Totals:
        """Add up the summaries of replies."""
        summaries = list(summaries)
        return cls(
            steps=sum(each.steps for each in summaries),
            tokens=sum(each.tokens for each in summaries),
            interventions=sum(each.interventions for each in summaries),
            changed=sum(each.changed for each in summaries),
            words=sum(each.words for each in summaries),
            guide_words=sum(each.guide_words for each in summaries),
            sources=sum((each.sources for each in summaries), Counter()),
        )

    @property
    def intervention_rate(self) -> float | None:
        return self.interventions / self.steps if self.steps else None

    @property
    def changed_rate(self) -> float | None:
        return self.changed / self.steps if self.steps else None

    @property
    def guide_word_rate(self) -> float | None:
        return self.guide_words / self.words if self.words else None


@dataclass(frozen=True, slots=True)
class PanelMetrics:
    """Everything that the panel shows.

    about: pair and method of the reply. totals: of the conversation, this reply included. context_use: by
    "base" and "guide". memory: resident bytes of the process, 0 if unknown. hint_rate: the intervention rate
    above which a hint is shown. weak_passages: their number in the reply. weak_at: index of the one that
    the pointer is in.
    """

    about: About
    reply: ReplyMetrics = field(default_factory=ReplyMetrics)
    totals: Totals = field(default_factory=Totals)
    calibrated: bool = False
    context_use: Mapping[str, ContextUse] = field(default_factory=dict)
    memory: int = 0
    hint_rate: float = HINT_RATE
    weak_passages: int = 0
    weak_at: int | None = None

    @property
    def hint(self) -> float | None:
        """The hint level; None for methods that ask the guide at every step or at none."""
        return self.hint_rate if METHODS[self.about.blend.method].trigger == "uncertain" else None

    def over_hint(self, share: float | None) -> bool:
        return self.hint is not None and share is not None and share > self.hint
