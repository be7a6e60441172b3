"""Select rows for a person to look at, with reasons: a few of each kind, however many rows there are.

Rows are selected by how they ended and by figures that are unusual in their job, not by their content.
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

__all__ = ["COMMON", "LISTED", "RowFlags", "Usual"]

LISTED = 20
_LISTED_SHARE, _FEW = 0.2, 5
"""So many rows at most are listed, of a small job this share, but always these few: one of each kind in turn,
the most remarkable of a kind first."""

# From where on a row is remarkable. HINT_RATE and WEAK_BELOW count in every job; what is also unusual among
# its own counts in a job that is sure (or unsure) throughout.
_MIN_STEPS = 8
"""Rates of fewer steps say little."""
_RATE_AGAINST_JOB = 2.0
"""An intervention rate so many times the job's."""
_RELIABILITY_AGAINST_JOB = 0.15
"""A mean reliability so far under the job's."""
_WEAK_SHARE = 0.5
"""More than so many of the steps were weak."""
COMMON = 0.25
"""Answers cut off by the token limit are not listed if they are more than this share: the limit is low."""

_ORDER = ("failed", "loop", "empty", "context", "length", "interventions", "unsure")
_UNIT = 60
_BEGINNING, _END = 500, 300
"""Characters of an answer that are kept of it; what makes it remarkable is often its end."""


@dataclass(frozen=True, slots=True)
class Usual:
    """Figures of the whole job. calibrated: whether reliability is more than plain confidence."""

    answered: int
    intervention_rate: float
    mean_reliability: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """The figures of a row from which its reasons follow."""

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
    """Keeps the most remarkable rows of each kind, and counts loops and empty answers."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._kinds: dict[str, list[tuple[tuple[float, int, str], _Seen]]] = {}

    def add(self, result: Result) -> None:
        text = result.get("text") or ""
        error, summary = result.get("error"), result.get("summary") or {}
        seen = _Seen(
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
        for kind, rank in _kinds_of(seen):
            self.counts[kind] += 1
            listed = self._kinds.setdefault(kind, [])
            insort(listed, ((rank, seen.index, seen.id), seen), key=lambda each: each[0])
            del listed[LISTED:]

    def chosen(self, usual: Usual) -> tuple[FlaggedRow, ...]:
        """Flagged rows, kinds in turn and the most remarkable of each first: a few rows show every kind."""
        limit_is_low = self.counts["length"] > max(_FEW, COMMON * usual.answered)
        failures = sum(count for kind, count in self.counts.items() if kind.startswith("failed"))
        most = min(LISTED, max(_FEW, round(_LISTED_SHARE * (usual.answered + failures))))
        queues = []
        for kind in sorted(self._kinds, key=_order):
            if kind == "length" and limit_is_low:
                continue
            listed = (seen for _, seen in self._kinds[kind] if _stands_out(seen, kind, usual))
            queues.append(list(listed))
        chosen: dict[tuple[int, str], _Seen] = {}
        for turn in range(LISTED):
            for queue in queues:
                if turn < len(queue) and len(chosen) < most:
                    chosen.setdefault(queue[turn].key, queue[turn])
        return tuple(_entry(seen, usual) for seen in chosen.values())


def _loop_in(result: Result) -> Loop | None:
    """The loop that was recorded with the answer, or else the one that is found now."""
    match result.get("loop", ()):
        case None:
            return None
        case {"unit": str(unit), "times": int(times), "share": int() | float() as share}:
            return Loop(unit, times, share)
    return find_loop(result.get("text") or "")


def _kinds_of(seen: _Seen) -> Iterator[tuple[str, float]]:
    """What may make a row remarkable, and its rank: the lower, the more so."""
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


def _order(kind: str) -> tuple[int, str]:
    return next(place for place, name in enumerate(_ORDER) if kind.startswith(name)), kind


def _stands_out(seen: _Seen, kind: str, usual: Usual) -> bool:
    """Whether the figures of a row are unusual; what is remarkable in itself always is."""
    if kind == "interventions":
        rate, job = seen.intervention_rate or 0.0, usual.intervention_rate
        return rate > job and (rate > HINT_RATE or rate > _RATE_AGAINST_JOB * job)
    if kind == "unsure" and seen.mean_reliability is not None:
        below = usual.mean_reliability - seen.mean_reliability
        weak = seen.mean_reliability < WEAK_BELOW or (seen.weak_share or 0.0) > _WEAK_SHARE
        return below > 0 and (weak or below > _RELIABILITY_AGAINST_JOB)
    return True


def _entry(seen: _Seen, usual: Usual) -> FlaggedRow:
    reasons = [kind for kind, _ in _kinds_of(seen) if _stands_out(seen, kind, usual)]
    return FlaggedRow(
        seen.id,
        seen.index,
        reasons=tuple(reason.partition(":")[0] for reason in reasons),
        why=tuple(_why(seen, reason, usual) for reason in reasons),
        finish_reason=seen.finish_reason,
        tokens=seen.tokens,
        intervention_rate=seen.intervention_rate,
        mean_reliability=seen.mean_reliability,
        weak_share=seen.weak_share,
        text=seen.text,
        error=seen.error,
    )


def _why(seen: _Seen, reason: str, usual: Usual) -> str:
    """The reason with its figures, for a reader."""
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
    """Beginning and end of a long text; nothing of one that is blank."""
    if not text.strip():
        return ""
    if len(text) <= _BEGINNING + _END:
        return text
    return f"{text[:_BEGINNING]} […] {text[-_END:]}"
