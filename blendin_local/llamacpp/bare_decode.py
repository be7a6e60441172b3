"""Repeat a run's decodes with bare llama.cpp calls, as the baseline of the engine's overhead."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from blendin_local.engine.language_model import Cancellation, Logits, Status
from blendin_local.llamacpp.library import api
from blendin_local.llamacpp.model import GgufModel


@dataclass(frozen=True, slots=True)
class Decode:
    """One decode of one sequence: the number of tokens kept, and the tokens appended."""

    model: GgufModel
    kept: int
    tokens: tuple[int, ...]


class Recorder:
    """A model that logs every decode of its first sequence; several recorders may share a log."""

    def __init__(self, model: GgufModel, log: list[Decode]) -> None:
        self._model = model
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def advance(self, work: Mapping[int, Sequence[int]]) -> Status:
        for seq, tokens in work.items():
            self._log.append(Decode(self._model, len(self._model.cached(seq)), tuple(tokens)))
        return self._model.advance(work)

    # Defined explicitly, because the engine calls them at every step and __getattr__ is slow.

    def logits(self, seq: int) -> Logits:
        return self._model.logits(seq)

    def cached(self, seq: int) -> Sequence[int]:
        return self._model.cached(seq)

    def watch(self, cancellation: Cancellation | None) -> None:
        self._model.watch(cancellation)


def replay(log: Sequence[Decode]) -> list[float]:
    """Time each decode of a log in bare calls on the models' own contexts; seconds.

    The log must begin with empty sequences. Each decode requests the logits of its last token, as the engine
    does. Raises RuntimeError if a decode fails.
    """
    prepared: list[tuple[Any, Any, int, list[Any]]] = []
    for decode in log:
        model, n_batch = decode.model, decode.model.options.n_batch
        batches = []
        for start in range(0, len(decode.tokens), n_batch):
            chunk = decode.tokens[start : start + n_batch]
            batches.append(_batch(chunk, decode.kept + start, last=start + n_batch >= len(decode.tokens)))
        prepared.append((model.native_context, model.native_memory, decode.kept, batches))
    seconds = []
    for context, memory, kept, batches in prepared:
        begun = perf_counter()
        api.llama_memory_seq_rm(memory, 0, kept, -1)
        for batch in batches:
            if api.llama_decode(context, batch) != 0:
                raise RuntimeError("a recorded decode could not be repeated")
        api.llama_get_logits_ith(context, batches[-1].n_tokens - 1)
        seconds.append(perf_counter() - begun)
    for _, _, _, batches in prepared:
        for batch in batches:
            api.llama_batch_free(batch)
    return seconds


def _batch(tokens: Sequence[int], position: int, *, last: bool) -> Any:
    batch = api.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for row, token in enumerate(tokens):
        batch.token[row] = token
        batch.pos[row] = position + row
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = ctypes.c_int32(0)
        batch.logits[row] = last and row == len(tokens) - 1
    return batch
