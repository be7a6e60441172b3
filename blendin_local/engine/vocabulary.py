"""Vocabularies as bytes, and the byte-exact map between two of them.

A blend is a distribution over *outcomes*. Outcome i < n_base is the base's token i; then come the byte
strings that only the guide has as one token; the last is *stop*, all end-of-generation tokens of both.
Each byte string is one outcome, however many tokens spell it: their masses are summed, and the outcome's id
is the token that the base's tokenizer chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from blendin_local.engine.distribution import Masses

Indices = npt.NDArray[np.int64]
Tokenize = Callable[[bytes], Sequence[int]]

# (base's lead, guide's lead) if only one model begins a response with a space.
_LEADS = ((b" ", b""), (b"", b" "))


class TokenKind(IntEnum):
    TEXT = 0
    BYTE = 1
    CONTROL = 2
    END = 3


@dataclass(frozen=True)
class Vocabulary:
    """Every token of a model as bytes.

    blob: uint8[total bytes], all tokens concatenated. offsets: int64[n + 1] into it.
    kinds: uint8[n] of `TokenKind`; control and end tokens have no bytes. specials: their texts.
    bos: the token before a prompt, or None. adds_bos: whether the tokenizer adds it.
    eos: the token with which templates end a turn, or None.
    joins_words: whether a token may span the boundary "letter, space"; if none does, text can be tokenized
    piecewise at such boundaries.
    fingerprint: equal for two models exactly if their vocabularies are equal.
    mark_tokens: control tokens with which a model marks its thinking. They are in `specials`, and have bytes
    like text, so that both models of a pair can choose them.
    """

    blob: npt.NDArray[np.uint8]
    offsets: Indices
    kinds: npt.NDArray[np.uint8]
    specials: dict[str, int]
    bos: int | None
    adds_bos: bool
    joins_words: bool
    fingerprint: str
    eos: int | None = None
    mark_tokens: Mapping[bytes, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.kinds)

    def token_bytes(self, token: int) -> bytes:
        return self.blob[self.offsets[token] : self.offsets[token + 1]].tobytes()

    def decode(self, tokens: Iterable[int]) -> bytes:
        return b"".join(map(self.token_bytes, tokens))

    @cached_property
    def end_tokens(self) -> Indices:
        """int64[k]: the end-of-generation tokens."""
        return np.flatnonzero(self.kinds == TokenKind.END)

    @cached_property
    def longest_token(self) -> int:
        """Bytes of the longest token, special names included."""
        texts = int(np.diff(self.offsets).max(initial=0))
        return max([texts, *(len(name.encode("utf-8", "replace")) for name in self.specials)])

    @cached_property
    def special_tokens(self) -> frozenset[int]:
        """Tokens that are not text: control and end-of-generation tokens."""
        return frozenset(np.flatnonzero(self.kinds >= TokenKind.CONTROL).tolist())


def make_vocabulary(
    token_bytes: Sequence[bytes],
    kinds: Sequence[int],
    specials: dict[str, int],
    *,
    bos: int | None = None,
    eos: int | None = None,
    adds_bos: bool = False,
    splits_at_words: bool = True,
    fingerprint: str,
    mark_tokens: Mapping[bytes, int] | None = None,
) -> Vocabulary:
    """Vocabulary from a list of token bytes; those of control and end tokens are dropped.

    splits_at_words: False if the tokenizer's algorithm does not work left to right on pieces of text.
    """
    kind_array = np.array(kinds, np.uint8)
    texts = [
        b"" if kind >= TokenKind.CONTROL else data for data, kind in zip(token_bytes, kinds, strict=True)
    ]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(data) for data in texts], out=offsets[1:])
    blob = np.frombuffer(b"".join(texts), np.uint8)
    joins = not splits_at_words or _joins_words(blob, offsets)
    return Vocabulary(
        blob, offsets, kind_array, specials, bos, adds_bos, joins, fingerprint, eos, mark_tokens or {}
    )


def _joins_words(blob: npt.NDArray[np.uint8], offsets: Indices) -> bool:
    """Return whether any token contains an ASCII letter followed by a space."""
    lower = blob | 0x20
    letter = (lower >= ord("a")) & (lower <= ord("z"))
    places = np.flatnonzero(letter[:-1] & (blob[1:] == ord(" ")))
    owner = np.searchsorted(offsets, places, side="right")
    return bool(np.any(offsets[owner] > places + 1))


@dataclass(frozen=True)
class Projection:
    """The target of each guide token's mass: the guide tokens that reach an outcome.

    The first `len(reached)` tokens reach distinct outcomes, `reached`; the others reach some of these again,
    at indices `repeats`.
    """

    tokens: Indices
    reached: Indices
    repeats: Indices

    def collect(self, masses: Masses, scale: float) -> Masses:
        """scale * the mass that each outcome of `reached` receives from float32[n_guide] masses."""
        moved = masses.take(self.tokens)
        moved *= np.float32(scale)
        collected = moved[: len(self.reached)]
        np.add.at(collected, self.repeats, moved[len(self.reached) :])
        return collected


def _projection(outcome_of: Indices) -> Projection:
    """Projection of int64[n_guide] outcomes, -1 where a guide token has none."""
    tokens = np.flatnonzero(outcome_of >= 0)
    outcomes = outcome_of[tokens]
    reached, first = np.unique(outcomes, return_index=True)
    repeated = np.ones(len(tokens), bool)
    repeated[first] = False
    order = np.concatenate([first, np.flatnonzero(repeated)])
    return Projection(tokens[order], reached, np.searchsorted(reached, outcomes[repeated]))


@dataclass(frozen=True)
class VocabularyMap:
    """The outcomes of a pair, and the outcome of each model's tokens.

    base_outcome: int64[n_base], the outcome of each base token.
    outcome_of: int64[n_guide], the outcome of each guide token; -1 for control tokens (unless both models
    share
    one vocabulary: then ids are outcomes).
    led_outcome_of: the same at a first step where only the base, or only the guide, begins with a space.
    guide_only: the byte strings that only the guide has as one token.
    byte_tokens: int64[256], the base's token for each single byte, -1 if it has none.
    """

    base: Vocabulary
    guide: Vocabulary
    base_outcome: Indices
    outcome_of: Indices
    led_outcome_of: dict[tuple[bytes, bytes], Indices]
    guide_only: list[bytes]
    byte_tokens: Indices

    @property
    def same(self) -> bool:
        """Whether both models have the same vocabulary."""
        return self.base.fingerprint == self.guide.fingerprint

    @property
    def n_outcomes(self) -> int:
        return len(self.base) + len(self.guide_only) + 1

    @property
    def stop(self) -> int:
        return self.n_outcomes - 1

    @cached_property
    def projection(self) -> Projection:
        return _projection(self.outcome_of)

    @cached_property
    def _led_projections(self) -> dict[tuple[bytes, bytes], Projection]:
        return {leads: _projection(outcomes) for leads, outcomes in self.led_outcome_of.items()}

    def at_first_step(self, base_lead: bytes, guide_lead: bytes) -> tuple[Indices, Projection]:
        """`outcome_of` and `projection` for the first step of a response.

        A lead is the space with which a model's prompt makes a reply begin: " Paris" after "Answer:" and
        "Paris" after a chat template are the same outcome.
        """
        leads = (base_lead, guide_lead)
        if leads not in self.led_outcome_of:
            return self.outcome_of, self.projection
        return self.led_outcome_of[leads], self._led_projections[leads]

    @cached_property
    def _moved(self) -> Indices:
        """Base tokens whose mass goes to another outcome."""
        return np.flatnonzero(self.base_outcome != np.arange(len(self.base)))

    def fold_base(self, masses: Masses, scale: float, out: Masses) -> None:
        """out[:] = scale * masses, float32[n_base] to float32[n_outcomes], summed by byte string."""
        n = len(self.base)
        np.multiply(masses, np.float32(scale), out=out[:n])
        out[n:] = 0
        moved = out[self._moved]
        out[self._moved] = 0
        np.add.at(out, self.base_outcome[self._moved], moved)

    def outcome_bytes(self, outcome: int) -> bytes:
        """Bytes of an outcome; empty for stop and for control tokens."""
        if outcome < len(self.base):
            return self.base.token_bytes(outcome)
        return b"" if outcome == self.stop else self.guide_only[outcome - len(self.base)]

    def spell(self, data: bytes, tokenize: Tokenize) -> list[int]:
        """Base tokens with exactly the bytes `data`, by the base's tokenizer if possible."""
        tokens = _faithful(self.base, data, tokenize)
        return [int(self.byte_tokens[value]) for value in data] if tokens is None else tokens

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays that `from_arrays` needs beside the two vocabularies."""
        lengths = np.array([len(data) for data in self.guide_only], np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {
            "base_outcome": self.base_outcome,
            "outcome_of": self.outcome_of,
            "guide_only": np.frombuffer(b"".join(self.guide_only), np.uint8),
            "guide_only_lengths": lengths,
            "byte_tokens": self.byte_tokens,
        }
        for place, leads in enumerate(_LEADS):
            arrays[f"led_{place}"] = self.led_outcome_of[leads]
        return arrays

    @classmethod
    def from_arrays(
        cls, base: Vocabulary, guide: Vocabulary, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> VocabularyMap:
        """Restore a map from `to_arrays`. Raises KeyError for a missing array."""
        ends = np.cumsum(arrays["guide_only_lengths"]).tolist()
        raw = arrays["guide_only"].tobytes()
        return cls(
            base=base,
            guide=guide,
            base_outcome=arrays["base_outcome"],
            outcome_of=arrays["outcome_of"],
            led_outcome_of={leads: arrays[f"led_{place}"] for place, leads in enumerate(_LEADS)},
            guide_only=[raw[start:end] for start, end in zip([0, *ends], ends, strict=False)],
            byte_tokens=arrays["byte_tokens"],
        )

    def mapped_mass(self, masses: Masses, total: float, outcome_of: Indices | None = None) -> float:
        """Share of a guide's distribution that the base can emit as one token, or as a stop.

        masses: float32[n_guide] with the given total. outcome_of: that of the first step, if it is one.
        """
        if outcome_of is None or outcome_of is self.outcome_of:
            unmapped = self._unmapped
        else:
            unmapped = self._unmapped_by(outcome_of)
        return max(0.0, 1.0 - float(masses[unmapped].sum()) / total)

    @cached_property
    def _unmapped(self) -> Indices:
        return self._unmapped_by(self.outcome_of)

    def _unmapped_by(self, outcome_of: Indices) -> Indices:
        only_guide = (outcome_of >= len(self.base)) & (outcome_of != self.stop)
        return np.flatnonzero((outcome_of < 0) | only_guide)


def map_vocabularies(base: Vocabulary, guide: Vocabulary, tokenize: Tokenize) -> VocabularyMap:
    """Build the map of a pair. tokenize: the base's tokenizer for text that follows other text."""
    base_ids = _ids_by_bytes(base)
    guide_ids = _ids_by_bytes(guide)
    # Nearly every byte string has one token: the tokenizer is only called for the others.
    canonical = {data: ids[0] for data, ids in base_ids.items()}
    for data, ids in base_ids.items():
        if len(ids) > 1:
            canonical[data] = _canonical(base, data, ids, tokenize)

    byte_tokens = np.array([canonical.get(bytes([value]), -1) for value in range(256)], np.int64)
    only = [
        data
        for data in guide_ids
        if data not in canonical
        and (_faithful(base, data, tokenize) or all(byte_tokens[value] >= 0 for value in data))
    ]
    places = canonical | {data: len(base) + i for i, data in enumerate(only)}
    stop = len(base) + len(only)

    base_outcome = np.arange(len(base), dtype=np.int64)
    for data, ids in base_ids.items():
        if len(ids) > 1:
            base_outcome[ids] = canonical[data]
    base_outcome[base.end_tokens] = stop

    def outcomes(find: Callable[[bytes], int]) -> Indices:
        outcome_of = np.full(len(guide), -1, np.int64)
        if base.fingerprint == guide.fingerprint:
            control = np.flatnonzero(guide.kinds == TokenKind.CONTROL)
            outcome_of[control] = control
        for data, ids in guide_ids.items():
            outcome_of[ids] = find(data)
        outcome_of[guide.end_tokens] = stop
        return outcome_of

    def find(data: bytes) -> int:
        return places.get(data, -1)

    def led(base_lead: bytes, guide_lead: bytes) -> Indices:
        return outcomes(lambda data: canonical.get(base_lead + data.removeprefix(guide_lead), find(data)))

    return VocabularyMap(
        base=base,
        guide=guide,
        base_outcome=base_outcome,
        outcome_of=base_outcome if base.fingerprint == guide.fingerprint else outcomes(find),
        led_outcome_of={leads: led(*leads) for leads in _LEADS},
        guide_only=only,
        byte_tokens=byte_tokens,
    )


def _ids_by_bytes(vocabulary: Vocabulary) -> dict[bytes, list[int]]:
    """Text tokens by their bytes, lowest id first."""
    raw, offsets = vocabulary.blob.tobytes(), vocabulary.offsets.tolist()
    found: dict[bytes, list[int]] = {}
    for token in np.flatnonzero(vocabulary.kinds < TokenKind.CONTROL).tolist():
        found.setdefault(raw[offsets[token] : offsets[token + 1]], []).append(token)
    found.pop(b"", None)
    return found


def _canonical(base: Vocabulary, data: bytes, ids: Sequence[int], tokenize: Tokenize) -> int:
    if is_text(data):
        spelled = tokenize(data)
        if len(spelled) == 1 and spelled[0] in ids:
            return spelled[0]
    return next((token for token in ids if base.kinds[token] == TokenKind.TEXT), ids[0])


def _faithful(vocabulary: Vocabulary, data: bytes, tokenize: Tokenize) -> list[int] | None:
    """Return the tokenizer's tokens for `data`; None if it cannot tokenize it or the tokens have other bytes.

    A tokenizer must never receive part of a UTF-8 character.
    """
    if not is_text(data):
        return None
    tokens = list(tokenize(data))
    return tokens if vocabulary.decode(tokens) == data else None


def is_text(data: bytes) -> bool:
    """Return whether bytes are complete UTF-8 characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
