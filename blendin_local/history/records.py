"""Steps, setups and figures as compact JSON, and back.

Exact both ways: bytes that are no UTF-8 and every digit of a float survive. What another version of the
program wrote is read as far as it is known here; what is missing takes its default.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, get_args

from blendin_local.engine.steps import Candidate, Candidates, FinishReason, Source, Step, Summary
from blendin_local.errors import SettingError
from blendin_local.history.tree import Setup, Turn

__all__ = [
    "decode_steps",
    "details_of",
    "dumps",
    "encode_steps",
    "restore_details",
    "setup_from",
    "setup_to",
    "sum_up",
    "summary_from",
    "summary_to",
]

T = TypeVar("T")

_FAST = 1
"""The level of zlib: 6 takes twice as long for a fifteenth less."""


def dumps(value: object) -> str:
    """Compact JSON, all ASCII: halves of surrogate pairs pass, which UTF-8 has no bytes for."""
    return json.dumps(value, separators=(",", ":"))


# Steps: a column for each field that any of them sets


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _source_of(name: str) -> Source:
    return _SOURCES.get(name, Source.BASE)


def _reason_of(name: str | None) -> FinishReason | None:
    return name if name in get_args(FinishReason) else None  # type: ignore[return-value]


def _row(candidates: tuple[Candidate, ...]) -> list[Any]:
    return [[_text_of(c.data) for c in candidates], *([getattr(c, n) for c in candidates] for n in _FIGURES)]


def _candidates_to(candidates: Candidates | None) -> list[Any] | None:
    """A row each of base, guide and blend; the last one only where it is not the base's."""
    if candidates is None:
        return None
    rows = [_row(candidates.base), _row(candidates.guide)]
    return rows if candidates.blend == candidates.base else [*rows, _row(candidates.blend)]


def _candidates_from(rows: list[Any] | None) -> Candidates | None:
    if rows is None:
        return None
    base, guide, *blend = (tuple(map(Candidate, map(_bytes_of, row[0]), *row[1:])) for row in rows)
    return Candidates(base, guide, blend[0] if blend else base)


_FIGURES = ("probability", "outcome")
_DEFAULTS = {field.name: field.default for field in fields(Step)}
_SOURCES = {str(source): source for source in Source}
_TO: dict[str, Callable[[Any], Any]] = {"data": _text_of, "candidates": _candidates_to}
_FROM: dict[str, Callable[[Any], Any]] = {
    "data": _bytes_of,
    "source": _source_of,
    "base_tokens": tuple,
    "guide_tokens": tuple,
    "candidates": _candidates_from,
    "finish_reason": _reason_of,
}


def encode_steps(steps: Sequence[Step]) -> bytes:
    columns = {}
    for name, default in _DEFAULTS.items():
        column = [getattr(step, name) for step in steps]
        if default is MISSING or any(value != default for value in column):
            columns[name] = list(map(_TO[name], column)) if name in _TO else column
    return zlib.compress(dumps(columns).encode(), _FAST)


def decode_steps(data: bytes) -> list[Step]:
    """Raises ValueError or zlib.error for what `encode_steps` did not write."""
    found = json.loads(zlib.decompress(data))
    count = max(map(len, found.values()), default=0)
    missing = {"index": range(count), "data": [""] * count, "text": [""] * count, "source": ["base"] * count}
    columns = missing | {name: found[name] for name in _DEFAULTS if name in found}
    read = {name: map(_FROM[name], column) if name in _FROM else column for name, column in columns.items()}
    return [Step(**dict(zip(read, values, strict=True))) for values in zip(*read.values(), strict=True)]


# Setups


def setup_to(setup: Setup) -> str:
    """Every value, defaults too: they may be others in a later version."""
    return dumps(asdict(setup))


@lru_cache(maxsize=64)
def setup_from(text: str) -> Setup:
    return _with(Setup("", ""), json.loads(text))


def _with(known: T, values: Mapping[str, Any]) -> T:
    """A dataclass with those of the values that it has a field for and accepts."""
    for field in fields(known):  # type: ignore[arg-type]
        if field.name not in values:
            continue
        old, new = getattr(known, field.name), values[field.name]
        try:
            if is_dataclass(old):
                new = _with(old, new)
            elif isinstance(old, tuple):
                new = tuple(new)
            known = replace(known, **{field.name: new})  # type: ignore[type-var]
        except (SettingError, TypeError):
            continue
    return known


# Figures


def summary_to(summary: Summary) -> dict[str, Any]:
    """JSON-ready; running sums included, so that the means come back."""
    values = {field.name: getattr(summary, field.name) for field in fields(summary)}
    # Copies: the reply may be under way in another thread.
    copied = {name: dict(value) for name, value in values.items() if isinstance(value, Counter)}
    return {**values, **copied, "timings": asdict(summary.timings)}


def summary_from(values: Mapping[str, Any]) -> Summary:
    summary = Summary()
    for field in fields(summary):
        if field.name not in values:
            continue
        old, new = getattr(summary, field.name), values[field.name]
        if isinstance(old, Counter):
            new = Counter(new)
        elif is_dataclass(old):
            new = _with(old, new)
        setattr(summary, field.name, new)
    summary.sources = Counter({_source_of(name): count for name, count in summary.sources.items()})
    summary.finish_reason = _reason_of(summary.finish_reason)
    return summary


def sum_up(steps: Sequence[Step], kept: int = 0) -> Summary:
    """The figures of steps of which the first `kept` were another reply's. Whole times are not known."""
    summary = Summary()
    for i, step in enumerate(steps):
        (summary.take_over if i < kept else summary.add)(step)
    return summary


# Turns

_DETAILS = ("finish_reason", "error", "forked_from", "fork", "dropped", "models", "calibrated")


def details_of(turn: Turn) -> str:
    """What is known of a reply beside its setup, its text and its steps; "" for a question."""
    if not turn.is_reply:
        return ""
    values = {name: getattr(turn, name) for name in _DETAILS}
    return dumps({**values, "summary": summary_to(turn.summary)})


def restore_details(turn: Turn, details: str) -> None:
    values = json.loads(details) if details else {}
    for name in _DETAILS:
        if name in values:
            setattr(turn, name, values[name])
    turn.finish_reason = _reason_of(turn.finish_reason)
    turn.summary = summary_from(values.get("summary", {}))
