"""Select a bounded number of rows for manual review, with reasons.

Rows are selected by their finish reason and by figures that are unusual in their job, not by their content.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blendin_local.batch.job_report import FlaggedRow
from blendin_local.batch.loops import Loop, find_loop
from blendin_local.batch.results import Result
from blendin_local.engine.steps import HINT_RATE, WEAK_BELOW

__all__ = ["COMMON_SHARE", "MAX_LISTED", "JobFigures", "RowFlags"]

MAX_LISTED = 20
_LISTED_SHARE, _FEW = 0.2, 5
"""Maximum number of listed rows; in a small job, this share of all rows, but never fewer than `_FEW`."""

# Thresholds of unusual rows. HINT_RATE and WEAK_BELOW are absolute; the others are relative to the job.
_MIN_STEPS = 8
"""Minimum number of steps for a meaningful rate."""
_RATE_AGAINST_JOB = 2.0
"""Intervention rate of an unusual row, as a multiple of the job's."""
_RELIABILITY_AGAINST_JOB = 0.15
"""Difference of an unusual row's mean reliability below the job's."""
_WEAK_SHARE = 0.5
"""Share of weak steps above which a row is unusual."""
COMMON_SHARE = 0.25
"""Answers cut off by the token limit are not listed if they exceed this share: the limit is too low."""

_ORDER = ("failed", "loop", "empty", "context", "length", "interventions", "unsure")
_UNIT = 60
_BEGINNING, _END = 500, 300
"""Number of characters kept from the beginning and the end of a long answer."""


@dataclass(frozen=True, slots=True)
class JobFigures:
    """Mean figures of the job. calibrated: whether reliability is a calibrated confidence."""

    answered: int
    intervention_rate: float
    mean_reliability: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class _RowFigures:
    """The figures of a row that decide whether it is flagged."""

    id: str
    index: int
    text: str
    finish_reason: str | None
    error: dict[str, Any] | None
    loop: Loop | None
    steps: int
    tokens: int
    intervention_rate: float | None
    mean_reliability: float | None
    weak_share: float | None

    @property
    def key(self) -> tuple[int, str]:
        return self.index, self.id


class RowFlags:
    """Keeps the top-ranked rows of each kind, and counts all rows by kind."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._kinds: dict[str, list[tuple[tuple[float, int, str], _RowFigures]]] = {}

    def add(self, result: Result) -> None:
        text = result.get("text") or ""
        error, summary = result.get("error"), result.get("summary") or {}
        seen = _RowFigures(
            id=str(result.get("id")),
            index=result.get("index") or 0,
            text=_excerpt(text),
            finish_reason=result.get("finish_reason"),
            error=error,
            loop=_loop_in(result),
            steps=summary.get("steps") or 0,
            tokens=summary.get("tokens") or 0,
            intervention_rate=summary.get("intervention_rate"),
            mean_reliability=summary.get("mean_reliability"),
            weak_share=summary.get("weak_share"),
        )
        for kind, rank in _rank_kinds(seen):
            self.counts[kind] += 1
            listed = self._kinds.setdefault(kind, [])
            insort(listed, ((rank, seen.index, seen.id), seen), key=lambda each: each[0])
            del listed[MAX_LISTED:]

    def select(self, usual: JobFigures) -> tuple[FlaggedRow, ...]:
        """Select flagged rows: one of each kind in turn, the top-ranked of a kind first."""
        limit_is_low = self.counts["length"] > max(_FEW, COMMON_SHARE * usual.answered)
        failures = sum(count for kind, count in self.counts.items() if kind.startswith("failed"))
        most = min(MAX_LISTED, max(_FEW, round(_LISTED_SHARE * (usual.answered + failures))))
        queues = []
        for kind in sorted(self._kinds, key=_kind_order):
            if kind == "length" and limit_is_low:
                continue
            listed = (seen for _, seen in self._kinds[kind] if _is_flagged(seen, kind, usual))
            queues.append(list(listed))
        chosen: dict[tuple[int, str], _RowFigures] = {}
        for turn in range(MAX_LISTED):
            for queue in queues:
                if turn < len(queue) and len(chosen) < most:
                    chosen.setdefault(queue[turn].key, queue[turn])
        return tuple(_entry(seen, usual) for seen in chosen.values())


def _loop_in(result: Result) -> Loop | None:
    """Return the loop recorded with the answer; search for one if none was recorded."""
    match result.get("loop", ()):
        case None:
            return None
        case {"unit": str(unit), "times": int(times), "share": int() | float() as share}:
            return Loop(unit, times, share)
    return find_loop(result.get("text") or "")


def _rank_kinds(seen: _RowFigures) -> Iterator[tuple[str, float]]:
    """Yield each kind that a row belongs to and its rank within it; the lowest rank is listed first."""
    if seen.error is not None:
        yield f"failed: {seen.error.get('kind')}", 0
        return
    if seen.loop:
        yield "loop", -seen.loop.share
    if not seen.text:
        yield "empty", 0
    if seen.finish_reason in ("context", "length"):
        yield seen.finish_reason, 0
    if seen.steps >= _MIN_STEPS:
        if seen.intervention_rate:
            yield "interventions", -seen.intervention_rate
        if seen.mean_reliability is not None:
            yield "unsure", seen.mean_reliability


def _kind_order(kind: str) -> tuple[int, str]:
    return next(place for place, name in enumerate(_ORDER) if kind.startswith(name)), kind


def _is_flagged(seen: _RowFigures, kind: str, usual: JobFigures) -> bool:
    """Return whether a row is flagged for a kind; only rates are compared with the job's."""
    if kind == "interventions":
        rate, job = seen.intervention_rate or 0.0, usual.intervention_rate
        return rate > job and (rate > HINT_RATE or rate > _RATE_AGAINST_JOB * job)
    if kind == "unsure" and seen.mean_reliability is not None:
        below = usual.mean_reliability - seen.mean_reliability
        weak = seen.mean_reliability < WEAK_BELOW or (seen.weak_share or 0.0) > _WEAK_SHARE
        return below > 0 and (weak or below > _RELIABILITY_AGAINST_JOB)
    return True


def _entry(seen: _RowFigures, usual: JobFigures) -> FlaggedRow:
    reasons = [kind for kind, _ in _rank_kinds(seen) if _is_flagged(seen, kind, usual)]
    return FlaggedRow(
        seen.id,
        seen.index,
        reasons=tuple(reason.partition(":")[0] for reason in reasons),
        why=tuple(_explain_reason(seen, reason, usual) for reason in reasons),
        finish_reason=seen.finish_reason,
        tokens=seen.tokens,
        intervention_rate=seen.intervention_rate,
        mean_reliability=seen.mean_reliability,
        weak_share=seen.weak_share,
        text=seen.text,
        error=seen.error,
    )


def _explain_reason(seen: _RowFigures, reason: str, usual: JobFigures) -> str:
    """Describe a reason with its figures."""
    match reason:
        case "loop" if seen.loop and seen.loop.unit:
            unit = seen.loop.unit
            shown = unit if len(unit) <= _UNIT else f"{unit[: _UNIT - 1]}…"
            return f"repeats “{shown}” {seen.loop.times} times"
        case "loop":
            return "ends in blank lines"
        case "empty":
            return f"empty answer, ended by {seen.finish_reason}"
        case "context":
            return f"cut off after {seen.tokens:,} tokens: the context is full"
        case "length":
            return f"cut off by the limit, after {seen.tokens:,} tokens"
        case "interventions":
            return f"intervention rate {seen.intervention_rate:.0%}"
        case "unsure":
            name = "reliability" if usual.calibrated else "confidence"
            return f"mean {name} {seen.mean_reliability:.2f}, {seen.weak_share or 0.0:.0%} weak steps"
    return reason


def _excerpt(text: str) -> str:
    """Return the beginning and the end of a long text, or "" for a blank one."""
    if not text.strip():
        return ""
    if len(text) <= _BEGINNING + _END:
        return text
    return f"{text[:_BEGINNING]} […] {text[-_END:]}"
