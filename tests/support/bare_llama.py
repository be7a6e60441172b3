"""Bare calls of llama.cpp, with nothing of the package between."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from blendin_local.llamacpp.library import api, captured_log
from support.tiny_gguf import Array

N_CTX = 512


def on_cpu() -> Any:
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    return params


class Raw(AbstractContextManager["Raw"]):
    """A model and one sequence, with nothing between the test and llama.cpp.

    As exact as it gets: on the CPU, with F32 caches, and without flash attention, which computes in F16.
    """

    def __init__(self, path: Path, *, swa_full: bool = False) -> None:
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = N_CTX, N_CTX, 64
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = api.GGML_TYPE_F32
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.swa_full = swa_full
        with captured_log():
            self.model: Any = api.llama_model_load_from_file(bytes(path), on_cpu())
            assert self.model
            self.context: Any = api.llama_init_from_model(self.model, params)
            assert self.context
        self.vocab: Any = api.llama_model_get_vocab(self.model)
        self.memory: Any = api.llama_get_memory(self.context)
        self.n_vocab: int = api.llama_vocab_n_tokens(self.vocab)

    def __exit__(self, *_: object) -> None:
        with captured_log():
            api.llama_free(self.context)
            api.llama_model_free(self.model)

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        raw, tokens = text.encode(), (api.llama_token * 256)()
        n = api.llama_tokenize(self.vocab, raw, len(raw), tokens, len(tokens), special, special)
        return list(tokens[:n])

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        n = api.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[:n]

    def decode(self, tokens: Sequence[int], start: int = 0) -> Array:
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == len(tokens) - 1
        assert api.llama_decode(self.context, batch) == 0
        api.llama_batch_free(batch)
        return np.ctypeslib.as_array(api.llama_get_logits_ith(self.context, -1), (self.n_vocab,)).copy()

    def greedy(self, prompt: Sequence[int], n: int) -> tuple[list[int], Array]:
        """`n` tokens, and the model's confidence in each."""
        tokens, confidences, logits = list(prompt), [], self.decode(prompt)
        for _ in range(n):
            tokens.append(int(logits.argmax()))
            confidences.append(1.0 / np.exp(logits - logits.max()).sum())
            logits = self.decode(tokens[-1:], len(tokens) - 1)
        return tokens[len(prompt) :], np.array(confidences)

    def rewind(self, length: int) -> bool:
        return bool(api.llama_memory_seq_rm(self.memory, 0, length, -1))
