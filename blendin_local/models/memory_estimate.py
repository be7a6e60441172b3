"""Estimate the memory of a model from its header, before loading it.

The formulas follow llama.cpp's allocations; measured on the demo pair, the KV cache is exact and the buffers
are within 10 %. Weights that llama.cpp repacks for a CPU's matrix instructions take their size once more and
are not counted, because the mapped file can then leave memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from blendin_local.settings import ModelOptions

if TYPE_CHECKING:
    from blendin_local.llamacpp.header import GgufHeader

__all__ = ["MemoryEstimate", "describe", "estimate", "free_memory", "warning"]

# Size in bytes of a KV cache block, and elements in it.
_BLOCKS = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
}
_CACHE_STEP = 256
_DEFAULT_CONTEXT = 4096
# Bytes that llama.cpp keeps per vocabulary entry (text, score, hash entries), measured.
_VOCABULARY_ENTRY = 256
_GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory of one model in bytes: weights, KV caches of all sequences, compute buffers."""

    file: int
    kv_cache: int
    buffers: int

    @property
    def total(self) -> int:
        return self.file + self.kv_cache + self.buffers


def estimate(header: GgufHeader, options: ModelOptions) -> MemoryEstimate:
    """Estimate the memory of a model opened with `options`."""
    trained = header.n_ctx_train or options.n_ctx or _DEFAULT_CONTEXT
    n_ctx = min(options.n_ctx or trained, trained)
    n_ctx = _round_up_context(n_ctx * options.n_contexts if options.shared_cache else n_ctx)
    caches = 1 if options.shared_cache else options.n_seq
    return MemoryEstimate(
        file=header.size_bytes,
        kv_cache=caches * _kv_cache(header, options, n_ctx) + options.n_seq * 4 * header.recurrent_size,
        buffers=_buffers(header, options, n_ctx),
    )


def _kv_cache(header: GgufHeader, options: ModelOptions, n_ctx: int) -> int:
    """Bytes of one KV cache of n_ctx tokens."""
    block_bytes, block_length = _BLOCKS[options.kv_type]
    windows = header.sliding_window * (options.n_seq if options.shared_cache else 1)
    window = n_ctx if options.swa_full else min(n_ctx, _round_up_context(windows + options.n_batch))
    total = 0
    for layer, n_heads in enumerate(header.n_head_kv):
        cells = window if layer < len(header.windowed) and header.windowed[layer] else n_ctx
        for size in (header.key_length, header.value_length):
            total += cells * -(-n_heads * size // block_length) * block_bytes
    return total


def _buffers(header: GgufHeader, options: ModelOptions, n_ctx: int) -> int:
    n_batch = min(options.n_batch, n_ctx)
    n_outputs = options.n_outputs or options.n_seq
    logits = 4 * n_outputs * header.n_vocab
    activations = 4 * n_batch * (3 * header.n_ff + 4 * header.n_embd)
    if options.flash_attention == "off":
        activations += 4 * n_batch * header.n_head * n_ctx
    # float16 for each pair of batch and context positions; windowed layers have a mask of their own.
    mask = 2 * n_batch * n_ctx * (2 if any(header.windowed) else 1)
    return mask + max(activations, logits) + logits + _VOCABULARY_ENTRY * header.n_vocab


def _round_up_context(n: int) -> int:
    return -(-n // _CACHE_STEP) * _CACHE_STEP


def free_memory() -> int:
    """Bytes that can be allocated without swapping."""
    return int(psutil.virtual_memory().available)


def describe(*estimates: MemoryEstimate, free: int | None = None) -> str:
    """Return a sentence on the memory of models together and on free memory, measured if `free` is None."""
    parts = {
        "files": sum(each.file for each in estimates),
        "KV caches": sum(each.kv_cache for each in estimates),
        "buffers": sum(each.buffers for each in estimates),
    }
    detail = ", ".join(f"{name} {size / _GB:.2f}" for name, size in parts.items())
    available = free_memory() if free is None else free
    return f"Needs about {_gigabytes(sum(parts.values()))} ({detail}); {_gigabytes(available)} are free."


def warning(*estimates: MemoryEstimate, free: int | None = None) -> str:
    """Return a warning if the models together exceed free memory, else ""."""
    available = free_memory() if free is None else free
    total = sum(each.total for each in estimates)
    if total <= available:
        return ""
    kv_cache = sum(each.kv_cache for each in estimates)
    remedy = (
        "a shorter context or a smaller KV cache type" if kv_cache > total - available else "smaller models"
    )
    return (
        f"Not enough memory: about {_gigabytes(total)} are needed and {_gigabytes(available)} are free, "
        f"so close other programs or choose {remedy}."
    )


def _gigabytes(size: int) -> str:
    return f"{size / _GB:.1f} GB"
