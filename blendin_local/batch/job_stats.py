"""The figures of a job while it runs and at its end, in memory that does not grow with its rows.

Sums are of integers, so that the order in which rows end makes no difference. Knows no file and no screen.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from time import monotonic
from typing import Any

from blendin_local.batch.flagged_rows import RowFlags, Usual
from blendin_local.batch.histogram import Histogram
from blendin_local.batch.job_report import JobReport, Reliability
from blendin_local.batch.results import Result

__all__ = ["JobStats", "Last", "Pace"]

_UNIT = 1 << 40
"""Of sums of fractions."""
_RECENT_S, _RECENT_ROWS = 60.0, 8
"""The recent pace is that of so many seconds and so many rows, whichever takes longer."""
_MARK_S = 1.0
_SHOWN = 400
"""Most characters of an answer that anybody shows as the last one."""


@dataclass(frozen=True, slots=True)
class Pace:
    rows_per_s: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Last:
    """The row that ended last. text: the beginning of its answer. error: its message, if it failed."""

    id: str
    text: str
    error: str | None


@dataclass(frozen=True, slots=True)
class _Mark:
    """How much had been done at a time."""

    at_s: float
    rows: int
    tokens: int


class JobStats:
    """Takes in one result after another. Rates are over all steps, not means of rows.

    Rows kept from an earlier run count in everything but speed. `last` is the row of this run that ended
    last. Its clock runs from its making, or from `start`, to `stop`.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.answered = self.failed = self.kept = 0
        self.tokens = self.prompt_tokens = 0
        self.last: Last | None = None
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
        """The clock starts, again: what came before, such as loading the models, is not the job's time."""
        self._began_s = self._clock()
        self._ended_s: float | None = None
        self._marks.clear()
        self._marks.append(_Mark(self._began_s, self._new_rows, self._made))

    def stop(self) -> None:
        """The clock stops, unless it has stopped."""
        if self._ended_s is None:
            self._ended_s = self._clock()

    def add(self, result: Result, *, kept: bool = False) -> None:
        """Take in a result, or with `kept` one that an earlier run left behind."""
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
        self.last = Last(str(result.get("id")), (result.get("text") or "")[:_SHOWN], message)

    def writing(self, tokens: int) -> None:
        """Take in how many tokens rows under way have by now: they count in the pace, and nowhere else."""
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
        # Its rate was of the words as they were written, which may be one more: a stop string's.
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
            self._marks.append(_Mark(now, self._new_rows, self._made))
        while len(self._marks) > 1 and self._old(self._marks[1], now):
            self._marks.popleft()

    def _old(self, mark: _Mark, now: float) -> bool:
        return now - mark.at_s >= _RECENT_S and self._new_rows - mark.rows >= _RECENT_ROWS

    @property
    def _made(self) -> int:
        return self._new_tokens + self._unfinished

    # Figures while it runs

    @property
    def rows(self) -> int:
        """All that are dealt with, answered or not."""
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
        """Of the rows answered now, over the whole time; None while there is none."""
        return _share(self._new_tokens, self.seconds) if self._new_tokens else None

    @property
    def pace(self) -> Pace | None:
        """The recent speed; None until there is something to measure."""
        mark = self._marks[0]
        seconds = self._now - mark.at_s
        rows, tokens = self._new_rows - mark.rows, self._made - mark.tokens
        if seconds <= 0 or (rows <= 0 and tokens <= 0):
            return None
        return Pace(rows / seconds, tokens / seconds)

    def eta_s(self, total: int | None) -> float | None:
        """Seconds until all rows of the input are dealt with, at the recent pace; None if not known."""
        if total is None or (pace := self.pace) is None or not pace.rows_per_s:
            return None
        return max(0, total - self.rows) / pace.rows_per_s

    # Figures at its end

    def report(self, **more: Any) -> JobReport:
        """The figures so far. more: fields of the report that the caller knows: left, input, models, ...

        A share or a speed without anything to divide by is None.
        """
        mean = _share(self._reliability, self._reliable_steps * _UNIT)
        calibrated = self._calibrated and self.answered > 0
        usual = Usual(self.answered, self.intervention_rate or 0.0, mean or 0.0, calibrated)
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
            finish_reasons=_sorted(self.finish_reasons),
            errors=_sorted(self.errors),
            looped=self._flags.counts["loop"],
            empty=self._flags.counts["empty"],
            calibrated=calibrated if self.answered else None,
            reliability=Reliability(
                **{each.name: getattr(distribution, each.name) for each in fields(distribution)}, mean=mean
            ),
            intervention_rates=self._rates.distribution(),
            worth_a_look=self._flags.chosen(usual),
            **more,
        )


def _prompt_tokens(result: Result) -> int:
    """Of the model that writes: of the guide where it writes alone."""
    usage = result.get("usage") or {}
    return next((n for role in ("base", "guide") if (n := (usage.get(role) or {}).get("prompt_tokens"))), 0)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Most frequent first, and by name."""
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
