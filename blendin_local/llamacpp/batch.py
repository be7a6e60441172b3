"""Batches for llama_decode, and the division of work into batches."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blendin_local.llamacpp.library import api

__all__ = ["Batch", "chunks"]


class Batch:
    """A llama_batch over NumPy arrays, for up to `size` tokens of one sequence each."""

    def __init__(self, size: int) -> None:
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.sequences = np.zeros(size, np.int32)
        self.counts = np.ones(size, np.int32)
        self.outputs = np.zeros(size, np.int8)
        # llama.cpp wants a pointer to each token's list of sequences; every list here has one element.
        self.pointers = self.sequences.ctypes.data + 4 * np.arange(size, dtype=np.uint64)
        self.native = api.llama_batch(
            n_tokens=0,
            token=_pointer(self.tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self.positions, ctypes.c_int32),
            n_seq_id=_pointer(self.counts, ctypes.c_int32),
            seq_id=_pointer(self.pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self.outputs, ctypes.c_int8),
        )

    def clear(self) -> None:
        self.native.n_tokens = 0

    def add(self, seq: int, tokens: Sequence[int], position: int, wants_logits: bool) -> int:
        """Append tokens of a sequence from `position` on; return the row of the last one."""
        start: int = self.native.n_tokens
        if len(tokens) == 1:
            # The most frequent case, without creating arrays.
            self.tokens[start] = tokens[0]
            self.positions[start] = position
            self.sequences[start] = seq
            self.outputs[start] = wants_logits
            self.native.n_tokens = start + 1
            return start
        end = start + len(tokens)
        self.tokens[start:end] = tokens
        self.positions[start:end] = np.arange(position, position + len(tokens))
        self.sequences[start:end] = seq
        self.outputs[start:end] = 0
        self.outputs[end - 1] = wants_logits
        self.native.n_tokens = end
        return end - 1


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def chunks(
    work: Mapping[int, Sequence[int]], n_batch: int, most_outputs: int
) -> list[list[tuple[int, Sequence[int], bool]]]:
    """Cut work into decodes of at most n_batch tokens, as (sequence, tokens, wants logits).

    The last token of every sequence stands in the last decode: a row of logits lives only until the next.
    Raises ValueError if more sequences are advanced at once than one decode can answer.
    """
    if len(work) > min(n_batch, most_outputs):
        raise ValueError(f"{len(work)} sequences cannot share a decode of {n_batch} tokens")
    excess = sum(map(len, work.values())) - n_batch
    if excess <= 0:
        return [[(seq, tokens, True) for seq, tokens in work.items()]]
    rest = {seq: list(tokens) for seq, tokens in work.items()}
    chunks: list[list[tuple[int, Sequence[int], bool]]] = []
    while excess > 0:
        chunk: list[tuple[int, Sequence[int], bool]] = []
        room = min(n_batch, excess)
        for seq, tokens in rest.items():
            taken = min(room, len(tokens) - 1)
            if taken > 0:
                chunk.append((seq, tokens[:taken], False))
                del tokens[:taken]
                room -= taken
                excess -= taken
        chunks.append(chunk)
    chunks.append([(seq, tokens, True) for seq, tokens in rest.items()])
    return chunks
