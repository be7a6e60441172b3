"""Encode steps, setups and reply details as compact JSON for the database.

Lossless: bytes that are not UTF-8 and all digits of floats survive. Records of other versions are read as far
as their fields are known; missing fields, and values of a wrong type, take their defaults.
"""

from __future__ import annotations

import json
import math
import types
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from blendin_local.engine.steps import Candidate, Candidates, FinishReason, Source, Step, Summary
from blendin_local.errors import HistoryError
from blendin_local.files import parse_json
from blendin_local.history.tree import REPLY_FIELDS, Setup, Turn
from blendin_local.history.validation import read_or, replace_known

__all__ = [
    "decode_details",
    "decode_setup",
    "decode_steps",
    "decode_summary",
    "dumps",
    "encode_details",
    "encode_setup",
    "encode_steps",
    "encode_summary",
    "summarize",
]

T = TypeVar("T")

_LONGEST_STEPS = 1 << 27
"""Bytes of the steps of one chunk: some 200 000 steps with candidates."""
_LARGEST = 1 << 63
_ZLIB_LEVEL = 1
"""Level 6 takes twice as long and saves 7 %."""


def dumps(value: object) -> str:
    """Write compact JSON in ASCII, which can represent lone surrogates."""
    return json.dumps(value, separators=(",", ":"))


# Steps: a column for each field that any step sets


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _tokens_of(tokens: list[int]) -> tuple[int, ...]:
    if not all(type(token) is int and abs(token) < _LARGEST for token in tokens):
        raise ValueError("no tokens")
    return tuple(tokens)


def _source_of(name: str) -> Source:
    return _SOURCES.get(name, Source.BASE)


def _reason_of(name: str | None) -> FinishReason | None:
    return name if name in get_args(FinishReason) else None  # type: ignore[return-value]


def _row(candidates: tuple[Candidate, ...]) -> list[Any]:
    return [[_text_of(c.data) for c in candidates], *([getattr(c, n) for c in candidates] for n in _NUMBERS)]


def _encode_candidates(candidates: Candidates | None) -> list[Any] | None:
    """Encode the candidates of base, guide and blend, the last only if it differs from the base's."""
    if candidates is None:
        return None
    rows = [_row(candidates.base), _row(candidates.guide)]
    return rows if candidates.blend == candidates.base else [*rows, _row(candidates.blend)]


def _candidate(text: str, probability: float, outcome: int) -> Candidate:
    if not isinstance(outcome, int) or not math.isfinite(probability):
        raise ValueError("no candidate")
    return Candidate(_bytes_of(text), float(probability), outcome)


def _decode_candidates(rows: list[Any] | None) -> Candidates | None:
    if rows is None:
        return None
    base, guide, *blend = (tuple(map(_candidate, row[0], *row[1:])) for row in rows)
    return Candidates(base, guide, blend[0] if blend else base)


_NUMBERS = ("probability", "outcome")
_KINDS: dict[str, tuple[type, ...]] = {
    name: tuple(
        get_origin(kind) or kind
        for kind in (get_args(hint) if get_origin(hint) is types.UnionType else (hint,))
        if get_origin(kind) is not Literal
    )
    for name, hint in get_type_hints(Step).items()
} | {"finish_reason": (str, type(None))}
"""The types of each field of a step."""
_DEFAULTS = {field.name: field.default for field in fields(Step)}
_MISSING: dict[str, Any] = {"index": 0, "data": b"", "text": "", "source": Source.BASE}
"""Values of fields that have no default."""
_SOURCES = {str(source): source for source in Source}
_TO: dict[str, Callable[[Any], Any]] = {"data": _text_of, "candidates": _encode_candidates}
_FROM: dict[str, Callable[[Any], Any]] = {
    "data": _bytes_of,
    "source": _source_of,
    "base_tokens": _tokens_of,
    "guide_tokens": _tokens_of,
    "candidates": _decode_candidates,
    "finish_reason": _reason_of,
}


def encode_steps(steps: Sequence[Step]) -> bytes:
    """Encode steps as compressed JSON, column by column."""
    columns = {}
    for name, default in _DEFAULTS.items():
        column = [getattr(step, name) for step in steps]
        if default is MISSING or any(value != default for value in column):
            columns[name] = list(map(_TO[name], column)) if name in _TO else column
    return zlib.compress(dumps(columns).encode(), _ZLIB_LEVEL)


def decode_steps(data: bytes) -> list[Step]:
    """Decode `encode_steps`. Raises HistoryError for other data."""
    try:
        stream = zlib.decompressobj()
        found = json.loads(stream.decompress(data, _LONGEST_STEPS))
        count = max(map(len, found.values()), default=0)
        missing = {"index": range(count), "data": [""] * count, "text": [""] * count, "source": [""] * count}
        columns = missing | {name: found[name] for name in _DEFAULTS if name in found}
        checked = [_checked_column(name, column) for name, column in columns.items()]
        return [Step(**dict(zip(columns, values, strict=True))) for values in zip(*checked, strict=True)]
    except Exception as error:  # a damaged record can be anything
        raise HistoryError(f"The tokens of a reply are damaged ({type(error).__name__}).") from error


def _checked_column(name: str, column: Sequence[Any]) -> list[Any]:
    """Convert the values of one field, with its default for values that it cannot have."""
    convert = _FROM.get(name)
    values = [convert(value) for value in column] if convert else column
    default = _MISSING.get(name, _DEFAULTS[name])
    return [value if _can_be(name, value) else default for value in values]


def _can_be(name: str, value: Any) -> bool:
    kinds = _KINDS[name]
    if type(value) is float:
        return float in kinds and math.isfinite(value)
    if type(value) is int:
        return (int in kinds or float in kinds) and abs(value) < _LARGEST
    return type(value) in kinds


# Setups


def encode_setup(setup: Setup) -> str:
    """Encode a setup with all values, because defaults may change in a later version."""
    return dumps(asdict(setup))


@lru_cache(maxsize=64)
def decode_setup(text: str) -> Setup:
    """Decode `encode_setup`, of other text as much as can be read."""
    return replace_known(Setup("", ""), _object_of(text))


def _object_of(text: Any) -> dict[str, Any]:
    """Return a JSON object of the database; an empty one for anything else."""
    try:
        value = parse_json(text)
    except (ValueError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


# Summaries


def encode_summary(summary: Summary) -> dict[str, Any]:
    """Return a summary as plain data, including the sums that its means are computed from."""
    values = {field.name: getattr(summary, field.name) for field in fields(summary)}
    # Copies, because another thread may still be adding to the summary.
    copied = {name: dict(value) for name, value in values.items() if isinstance(value, Counter)}
    copied |= {name: encode_summary(value) for name, value in values.items() if isinstance(value, Summary)}
    return {**values, **copied, "timings": asdict(summary.timings)}


def decode_summary(values: Mapping[str, Any]) -> Summary:
    summary = Summary()
    for name, hint in get_type_hints(Summary).items():
        if name not in values:
            continue
        old, new = getattr(summary, name), values[name]
        if name in ("thinking", "answer"):
            new = decode_summary(new) if isinstance(new, Mapping) else None
        elif isinstance(old, Counter):
            counts: dict[str, float] = read_or({}, dict[str, float], new)
            new = Counter({key: int(each) if each.is_integer() else each for key, each in counts.items()})
        elif is_dataclass(old):
            new = replace_known(old, new) if isinstance(new, Mapping) else old
        elif name != "finish_reason":
            new = read_or(old, hint, new)
        setattr(summary, name, new)
    summary.sources = Counter({_source_of(name): count for name, count in summary.sources.items()})
    summary.finish_reason = _reason_of(summary.finish_reason)
    return summary


def summarize(steps: Sequence[Step], kept: int = 0) -> Summary:
    """Summarize steps, the first `kept` of which were taken over from another reply. Timings stay unknown."""
    summary = Summary()
    for i, step in enumerate(steps):
        (summary.take_over if i < kept else summary.add)(step)
    return summary


# Turns


def encode_details(turn: Turn) -> str:
    """Encode the fields of a reply other than setup, text and steps; "" for a question."""
    if not turn.is_reply:
        return ""
    values = {name: getattr(turn, name) for name in REPLY_FIELDS}
    return dumps({**values, "summary": encode_summary(turn.summary)})


def decode_details(turn: Turn, details: str) -> None:
    """Set a turn's fields from `encode_details`."""
    values = _object_of(details) if details else {}
    hints = get_type_hints(Turn)
    for name in REPLY_FIELDS:
        if name in values:
            setattr(turn, name, read_or(getattr(turn, name), hints[name], values[name]))
    summary = values.get("summary")
    turn.summary = decode_summary(summary if isinstance(summary, dict) else {})
