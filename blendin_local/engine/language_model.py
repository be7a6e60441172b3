"""The interface between the engine and a language model, independent of llama.cpp.

A model holds several *sequences*. Each knows the tokens in its cache, so a caller states what a sequence
should hold (`reuse`) and only the rest is decoded.
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
    """Outcome of a decode. A full context is an ordinary event in a chat, hence no exception."""

    DONE = "done"
    CONTEXT_FULL = "context full"
    CANCELLED = "cancelled"


class Cancellation:
    """A flag that stops a running decode, settable from any thread.

    It is the first byte of a C string, so that native code can poll it without the interpreter's lock (see
    `blendin_local.llamacpp.model`).
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
        """Tokenize plain text of whole UTF-8 characters, without special tokens.

        continuation: the text follows other tokens, so no leading space is added.
        """
        ...

    def cached(self, seq: int) -> Sequence[int]:
        """Return the tokens in the sequence's cache (do not modify them)."""
        ...

    def rewind(self, seq: int, length: int) -> int:
        """Truncate the cache to the first `length` tokens; return how many are really kept.

        Fewer are kept, down to none, where the model cannot rewind (a sliding window that has moved on, a
        recurrent state); the caller decodes the rest again.
        """
        ...

    def advance(self, work: Mapping[int, Sequence[int]]) -> Status:
        """Append tokens (at least one) to each sequence, in as few decodes as possible.

        After `Status.DONE`, `logits` is valid for each of these sequences. After any other status the
        sequences are unchanged, or empty where the model cannot rewind.
        """
        ...

    def logits(self, seq: int) -> Logits:
        """float32[n_vocab] after the sequence's last token; a view, valid until the next `advance`."""
        ...

    @property
    def forks(self) -> bool:
        """Whether a sequence can copy a prefix of another."""
        ...

    def fork(self, source: int, target: int, length: int) -> int:
        """Copy the first `length` tokens of `source` to `target`; return how many it really holds.

        Zero where the model cannot copy (a recurrent state, a sliding window that has moved on); the caller
        decodes them again. Raises ValueError where the sequences do not share a cache, or the source holds
        fewer tokens.
        """
        ...

    def watch(self, cancellation: Cancellation | None) -> None:
        """Stop decodes when this is cancelled; None for never."""
        ...

    def close(self) -> None: ...


class ScoringModel(LanguageModel, Protocol):
    """A model that can return logits of many positions of one decode, for scoring known text."""

    @property
    def n_batch(self) -> int:
        """Maximum number of tokens in one `advance_rows`."""
        ...

    @property
    def n_outputs(self) -> int:
        """Maximum number of rows in one `advance_rows`."""
        ...

    def advance_rows(self, work: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]]) -> Status:
        """Append tokens to sequences in exactly one decode, with many rows of logits.

        wanted: by sequence, the indices into its tokens for which `row` will be valid; sequences may be
        missing. Otherwise as `advance`. Raises ValueError for more tokens or rows than one decode can have.
        """
        ...

    def row(self, seq: int, place: int) -> Logits:
        """float32[n_vocab] after the token at index `place` of the last `advance_rows`; a view, valid until
        the next decode.
        """
        ...


def reuse(model: LanguageModel, seq: int, tokens: Sequence[int]) -> Sequence[int]:
    """Rewind a sequence to its common prefix with `tokens`; return the tokens still to be decoded.

    Always at least the last one, because its logits may be gone.
    """
    keep = min(common_prefix(model.cached(seq), tokens), len(tokens) - 1)
    return tokens[model.rewind(seq, keep) :]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix of two token lists."""
    low, high = 0, min(len(a), len(b))
    # Bisection compares slices in C: caches hold thousands of tokens and are nearly always equal.
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
