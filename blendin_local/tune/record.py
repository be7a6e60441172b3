"""Store the record of a teacher-forced pass: a few numbers for each position of the reference answers.

A position is a token of the base at which the reference is known. From these numbers every method and
threshold is scored without running a model again (`blendin_local.tune.setting_scores`). This module does not
depend on a model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from blendin_local.errors import EvaluationError
from blendin_local.files import write_bytes

__all__ = [
    "POSITION_FIELDS",
    "TYPES",
    "Record",
    "empty_record",
    "join_records",
    "load_noted_record",
    "load_record",
    "pack_record",
    "save_record",
    "unpack_record",
]

_FORMAT = 2

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Record:
    """n positions of e examples, in the order of the examples; float32[n] unless stated otherwise.

    example: int32[n], index of the position's example. n_bytes: int32[n], bytes that the reference token adds
    to the response. p_base: the base's probability of that token (all probabilities are of the raw softmax).
    p_outcome: the base's probability of all tokens with the same bytes, its share in a blend. p_guide: the
    guide's probability of that outcome, 0 if no single token of the guide has these bytes. guide_mass: share
    of the guide's distribution on outcomes of the base's vocabulary. c_b, c_g: confidences. agreement: the
    base's probability of the guide's top token. guide_rank: int32[n], number of outcomes more probable to the
    base than that token. mass_above: their total probability. base_entropy, guide_entropy, divergence
    (Jensen-Shannon): bits. base_right, guide_right: bool[n], whether the model's top token was the
    reference's; for the guide also in its own tokenization. consultable: bool[n], False inside a character,
    where the guide is never consulted. guide_length: int32[n], guide tokens of the response before the
    position.

    ids: names of the examples. guide_bits: float64[e], -log2 of the guide's probability of the response in
    its own tokens. guide_tokens, bytes: int32[e], numbers of these tokens and of the response's UTF-8 bytes.
    """

    example: Integers
    n_bytes: Integers
    p_base: Floats
    p_outcome: Floats
    p_guide: Floats
    guide_mass: Floats
    c_b: Floats
    c_g: Floats
    agreement: Floats
    guide_rank: Integers
    mass_above: Floats
    base_entropy: Floats
    guide_entropy: Floats
    divergence: Floats
    base_right: Truths
    guide_right: Truths
    consultable: Truths
    guide_length: Integers
    ids: tuple[str, ...]
    guide_bits: Doubles
    guide_tokens: Integers
    bytes: Integers

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.example)

    @property
    def examples(self) -> int:
        return len(self.ids)

    def select(self, chosen: Sequence[int] | npt.NDArray[np.intp]) -> Record:
        """Return the record of some examples, given by their indices in increasing order."""
        indices = np.asarray(chosen, np.intp)
        renamed = np.full(self.examples, -1, np.int32)
        renamed[indices] = np.arange(len(indices), dtype=np.int32)
        kept = renamed[self.example] >= 0
        changed: dict[str, Any] = {name: getattr(self, name)[kept] for name in POSITION_FIELDS}
        changed["example"] = renamed[changed["example"]]
        changed |= {name: getattr(self, name)[indices] for name in _EXAMPLE_FIELDS}
        return Record(**changed, ids=tuple(self.ids[index] for index in indices))


_EXAMPLE_FIELDS = ("guide_bits", "guide_tokens", "bytes")
POSITION_FIELDS = tuple(f.name for f in fields(Record) if f.name not in (*_EXAMPLE_FIELDS, "ids"))
TYPES: dict[str, Any] = {
    **dict.fromkeys(POSITION_FIELDS, np.float32),
    **dict.fromkeys(("example", "n_bytes", "guide_rank", "guide_length", "guide_tokens", "bytes"), np.int32),
    **dict.fromkeys(("base_right", "guide_right", "consultable"), np.bool_),
    "guide_bits": np.float64,
}


def empty_record() -> Record:
    return Record(**{name: np.zeros(0, kind) for name, kind in TYPES.items()}, ids=())


def join_records(records: Sequence[Record]) -> Record:
    """Concatenate records, renumbering their examples."""
    if not records:
        return empty_record()
    joined = {name: np.concatenate([getattr(each, name) for each in records]) for name in TYPES}
    starts = np.cumsum([0, *(each.examples for each in records[:-1])])
    moved = [each.example + start for each, start in zip(records, starts, strict=True)]
    joined["example"] = np.concatenate(moved).astype(np.int32)
    return Record(**joined, ids=tuple(name for each in records for name in each.ids))


def save_record(record: Record, path: Path, notes: str = "") -> None:
    """Write a record atomically. Raises OSError."""
    write_bytes(path, pack_record(record, notes))


def pack_record(record: Record, notes: str = "") -> bytes:
    """Serialize a record as a compressed npz. notes: any text to store with it."""
    arrays: dict[str, Any] = {name: getattr(record, name) for name in TYPES}
    ids = "\n".join(name.replace("\n", " ") for name in record.ids)
    buffer = io.BytesIO()
    texts = {"ids": ids, "notes": notes}
    arrays |= {name: np.frombuffer(text.encode("utf-8", "replace"), np.uint8) for name, text in texts.items()}
    np.savez_compressed(buffer, format=np.int64(_FORMAT), **arrays)
    return buffer.getvalue()


def load_record(path: Path) -> Record:
    """Read a record. Raises EvaluationError if the file is missing or no record of this version."""
    return load_noted_record(path)[0]


def load_noted_record(path: Path) -> tuple[Record, str]:
    """Read a record and the notes stored with it; raises as `load_record`."""
    try:
        with path.open("rb") as stream:
            return unpack_record(stream, str(path))
    except OSError as error:
        raise EvaluationError(f"The record {path} cannot be read: {error.strerror or error}.") from error


def unpack_record(stream: BinaryIO, name: str) -> tuple[Record, str]:
    """Read what `pack_record` wrote: the record and its notes. name: the stream in messages.

    Raises EvaluationError for anything else, and OSError if the stream cannot be read.
    """
    try:
        with np.load(stream, allow_pickle=False) as stored:
            if int(stored["format"]) != _FORMAT:
                raise EvaluationError(f"{name} is a record of another version: run `blendin tune` again.")
            arrays = {each: stored[each].astype(kind, copy=False) for each, kind in TYPES.items()}
            text = stored["ids"].tobytes().decode("utf-8", "replace")
            ids = tuple(text.split("\n")) if len(arrays["bytes"]) else ()
            record = Record(**arrays, ids=ids)
            notes = stored["notes"].tobytes().decode("utf-8", "replace")
    except (EvaluationError, OSError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many types
        raise EvaluationError(f"{name} is not a record of `blendin tune`, or is damaged.") from error
    if not _is_whole(record):
        raise EvaluationError(f"{name} is not a record of `blendin tune`, or is damaged.")
    return record, notes


def _is_whole(record: Record) -> bool:
    """Return whether shapes and values are those of a record."""
    n, e = record.example.size, record.examples
    if any(getattr(record, name).shape != (n,) for name in POSITION_FIELDS):
        return False
    if any(getattr(record, name).shape != (e,) for name in _EXAMPLE_FIELDS):
        return False
    numbers = (getattr(record, name) for name in TYPES)
    # Numbers are finite and not negative, and positions stand in the order of the examples.
    return all(bool(np.isfinite(each).all() and (each >= 0).all()) for each in numbers) and bool(
        (np.diff(record.example) >= 0).all() and (record.example < e).all()
    )
