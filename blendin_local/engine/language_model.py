"""What the engine asks of a language model, whatever runs it.

A model holds several *sequences*. Each remembers the tokens whose state it keeps, so a caller says what
a sequence should hold (`reuse`) and only what differs is decoded. Nothing here knows llama.cpp.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from blendin_local.engine.vocabulary import Vocabulary

Logits = npt.NDArray[np.float32]


class Status(Enum):
    """How a decode ended. A full context is an ordinary event in a chat, hence a value."""

    DONE = "done"
    CONTEXT_FULL = "context full"
    CANCELLED = "cancelled"


class Cancellation:
    """Asks a running decode to stop, from any thread.

    The flag is one byte at the head of a C string: native code can watch it without taking the
    interpreter's lock (see `blendin_local.llamacpp.model`).
    """

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(2)

    def cancel(self) -> None:
        self.buffer[0] = b"\x01"

    @property
    def requested(self) -> bool:
        return self.buffer[0] != b"\x00"


class LanguageModel(Protocol):
    """One model with room for `n_seq` sequences of up to `n_ctx` tokens each."""

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def n_ctx(self) -> int: ...

    @property
    def n_seq(self) -> int: ...

    def tokenize(self, text: bytes, *, continuation: bool = True) -> list[int]:
        """Tokens of plain text, whole UTF-8 characters only, never with a special token among them.

        continuation: the text goes on after other tokens, so no leading space is invented for it.
        """
        ...

    def cached(self, seq: int) -> Sequence[int]:
        """The tokens whose state the sequence holds (do not change them)."""
        ...

    def rewind(self, seq: int, length: int) -> int:
        """Forget all but the first `length` tokens; returns how many are really kept.

        That is fewer, down to none, where the model cannot go back safely (a sliding window that has
        moved on, a recurrent state): the caller decodes the rest again.
        """
        ...

    def advance(self, work: Mapping[int, Sequence[int]]) -> Status:
        """Append tokens (at least one) to each sequence, in as few decodes as possible.

        After `Status.DONE`, `logits` answers for each of these sequences. After any other status the
        sequences hold what they held before, or nothing where the model cannot go back.
        """
        ...

    def logits(self, seq: int) -> Logits:
        """float32[n_vocab] after the sequence's last token; a view, valid until the next `advance`."""
        ...

    @property
    def forks(self) -> bool:
        """Whether a sequence can begin as a copy of another's beginning."""
        ...

    def fork(self, source: int, target: int, length: int) -> int:
        """Let a sequence hold the first `length` tokens of another; returns how many it really holds.

        That is none where the model cannot copy (a recurrent state, a sliding window that has moved on):
        the caller decodes them again. Raises ValueError where the sequences do not share their cache, or
        the source holds fewer tokens.
        """
        ...

    def watch(self, cancellation: Cancellation | None) -> None:
        """Stop decodes when this is cancelled; None watches nothing."""
        ...

    def close(self) -> None: ...


class ScoringModel(LanguageModel, Protocol):
    """A model that also answers for many positions of one decode.

    For text that is known already: evaluation, not writing.
    """

    @property
    def n_batch(self) -> int:
        """Most tokens of one `advance_rows`."""
        ...

    @property
    def n_outputs(self) -> int:
        """Most rows of one `advance_rows`."""
        ...

    def advance_rows(self, work: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]]) -> Status:
        """Append tokens to sequences in one single decode, for many rows of logits.

        wanted: of each sequence, the places in its tokens that `row` is to answer for; may leave sequences
        out. Otherwise as `advance`. Raises ValueError for more tokens or rows than one decode can have.
        """
        ...

    def row(self, seq: int, place: int) -> Logits:
        """float32[n_vocab] after the token at this place of the last `advance_rows`; a view, valid until
        the next decode.
        """
        ...


def reuse(model: LanguageModel, seq: int, tokens: Sequence[int]) -> Sequence[int]:
    """Rewind a sequence to what it shares with `tokens`; returns the tokens still to be decoded.

    That is always at least the last one, because its logits may be gone.
    """
    keep = min(common_prefix(model.cached(seq), tokens), len(tokens) - 1)
    return tokens[model.rewind(seq, keep) :]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix of two token lists."""
    low, high = 0, min(len(a), len(b))
    # Halving compares slices in C; caches are thousands of tokens long and nearly always equal.
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
