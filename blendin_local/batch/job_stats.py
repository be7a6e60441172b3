"""Accumulate the figures of a job while it runs, in constant memory.

Sums are of integers, so that they are independent of the order of results. No input or output happens here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from time import monotonic
from typing import Any

from blendin_local.batch.flagged_rows import JobFigures, RowFlags
from blendin_local.batch.histogram import Histogram
from blendin_local.batch.job_report import JobReport, Reliability
from blendin_local.batch.results import Result

__all__ = ["JobStats", "LastRow", "Pace"]

_UNIT = 1 << 40
"""Fractions are summed as integers in this unit."""
_RECENT_S, _RECENT_ROWS = 60.0, 8
"""Window of the recent pace: so many seconds or so many rows, whichever takes longer."""
_MARK_S = 1.0
_SHOWN = 400
"""Characters kept of the last answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    rows_per_s: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class LastRow:
    """The most recent result. text: the beginning of the answer. error: the message of a failed row."""

    id: str
    text: str
    error: str | None


@dataclass(frozen=True, slots=True)
class _Mark:
    """Cumulative counts at a point in time."""

    at_s: float
    rows: int
    tokens: int


class JobStats:
    """Accumulates results. Rates are over all steps, not means of rows.

    Rows kept from an earlier run count in all figures except speed. last: the most recent result of this run.
    Time is measured from construction or the last `start` to `stop`.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.answered = self.failed = self.kept = 0
        self.tokens = self.prompt_tokens = 0
        self.last: LastRow | None = None
        self.finish_reasons = Counter[str]()
        self.errors = Counter[str]()
        self._new_rows = self._new_tokens = self._unfinished = 0
        self._steps = self._interventions = self._changed = self._weak = 0
        self._words = self._guide_words = self._reliability = self._reliable_steps = 0
        self._calibrated = True
        self._reliabilities, self._rates = Histogram(), Histogram()
        self._flags = RowFlags()
        self._marks = deque[_Mark]()
        self.start()

    def start(self) -> None:
        """Restart the clock, to exclude the time of loading models."""
        self._began_s = self._clock()
        self._ended_s: float | None = None
        self._marks.clear()
        self._marks.append(_Mark(self._began_s, self._new_rows, self._generated))

    def stop(self) -> None:
        """Stop the clock. Has no effect if it is stopped."""
        if self._ended_s is None:
            self._ended_s = self._clock()

    def add(self, result: Result, *, kept: bool = False) -> None:
        """Add a result. kept: it is from an earlier run."""
        summary = result.get("summary") or {}
        tokens = summary.get("tokens") or 0
        self._flags.add(result)
        if (error := result.get("error")) is None:
            self._add_answer(result, summary)
        else:
            self.failed += 1
            self.errors[error["kind"]] += 1
        if kept:
            self.kept += 1
            return
        self._new_rows += 1
        self._new_tokens += tokens
        self._unfinished = max(0, self._unfinished - tokens)
        self._mark()
        message = None if error is None else error.get("message")
        self.last = LastRow(str(result.get("id")), (result.get("text") or "")[:_SHOWN], message)

    def count_unfinished(self, tokens: int) -> None:
        """Set the number of tokens of rows in progress, which count in the pace alone."""
        self._unfinished = tokens
        self._mark()

    def _add_answer(self, result: Result, summary: Mapping[str, Any]) -> None:
        self.answered += 1
        self.finish_reasons[str(result.get("finish_reason"))] += 1
        self.tokens += summary.get("tokens") or 0
        self.prompt_tokens += _prompt_tokens(result)
        steps, words = summary.get("steps") or 0, len((result.get("text") or "").split())
        self._steps += steps
        self._interventions += summary.get("interventions") or 0
        self._changed += round((summary.get("changed_token_rate") or 0.0) * steps)
        self._weak += round((summary.get("weak_share") or 0.0) * steps)
        # The rate was computed before a stop string was removed, over one more word at most.
        self._words += words
        self._guide_words += round((summary.get("guide_word_rate") or 0.0) * words * _UNIT)
        self._calibrated &= bool(summary.get("calibrated"))
        if steps:
            self._rates.add(summary.get("intervention_rate") or 0.0)
        if (reliability := summary.get("mean_reliability")) is not None:
            self._reliability += round(reliability * steps * _UNIT)
            self._reliable_steps += steps
            self._reliabilities.add(reliability)

    def _mark(self) -> None:
        now = self._clock()
        if now - self._marks[-1].at_s >= _MARK_S:
            self._marks.append(_Mark(now, self._new_rows, self._generated))
        while len(self._marks) > 1 and self._is_old(self._marks[1], now):
            self._marks.popleft()

    def _is_old(self, mark: _Mark, now: float) -> bool:
        return now - mark.at_s >= _RECENT_S and self._new_rows - mark.rows >= _RECENT_ROWS

    @property
    def _generated(self) -> int:
        return self._new_tokens + self._unfinished

    # Figures of a running job

    @property
    def rows(self) -> int:
        """Number of results: answered and failed rows."""
        return self.answered + self.failed

    @property
    def seconds(self) -> float:
        return self._now - self._began_s

    @property
    def _now(self) -> float:
        return self._clock() if self._ended_s is None else self._ended_s

    @property
    def intervention_rate(self) -> float | None:
        return _share(self._interventions, self._steps)

    @property
    def tokens_per_second(self) -> float | None:
        """Mean speed over the rows of this run; None before the first."""
        return _share(self._new_tokens, self.seconds) if self._new_tokens else None

    @property
    def pace(self) -> Pace | None:
        """Recent speed; None before the first token."""
        mark = self._marks[0]
        seconds = self._now - mark.at_s
        rows, tokens = self._new_rows - mark.rows, self._generated - mark.tokens
        if seconds <= 0 or (rows <= 0 and tokens <= 0):
            return None
        return Pace(rows / seconds, tokens / seconds)

    def eta_s(self, total: int | None) -> float | None:
        """Estimate the remaining seconds at the recent pace; None if unknown."""
        if total is None or (pace := self.pace) is None or not pace.rows_per_s:
            return None
        return max(0, total - self.rows) / pace.rows_per_s

    # Report

    def report(self, **more: Any) -> JobReport:
        """Build the report. more: further fields, such as left, input and models. Ratios with divisor 0 are
        None.
        """
        mean = _share(self._reliability, self._reliable_steps * _UNIT)
        calibrated = self._calibrated and self.answered > 0
        usual = JobFigures(self.answered, self.intervention_rate or 0.0, mean or 0.0, calibrated)
        distribution = self._reliabilities.distribution()
        return JobReport(
            rows=self.rows,
            answered=self.answered,
            failed=self.failed,
            kept=self.kept,
            tokens=self.tokens,
            new_tokens=self._new_tokens,
            prompt_tokens=self.prompt_tokens,
            tokens_per_second=self.tokens_per_second,
            seconds=self.seconds,
            intervention_rate=self.intervention_rate,
            changed_token_rate=_share(self._changed, self._steps),
            guide_word_rate=_share(self._guide_words, self._words * _UNIT),
            weak_share=_share(self._weak, self._steps),
            finish_reasons=_sort_counts(self.finish_reasons),
            errors=_sort_counts(self.errors),
            looped=self._flags.counts["loop"],
            empty=self._flags.counts["empty"],
            calibrated=calibrated if self.answered else None,
            reliability=Reliability(
                **{each.name: getattr(distribution, each.name) for each in fields(distribution)}, mean=mean
            ),
            intervention_rates=self._rates.distribution(),
            worth_a_look=self._flags.select(usual),
            **more,
        )


def _prompt_tokens(result: Result) -> int:
    """Return the prompt tokens of the base, or of the guide if it generates alone."""
    usage = result.get("usage") or {}
    return next((n for role in ("base", "guide") if (n := (usage.get(role) or {}).get("prompt_tokens"))), 0)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _sort_counts(counts: Counter[str]) -> dict[str, int]:
    """Sort by descending count, then by name."""
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
