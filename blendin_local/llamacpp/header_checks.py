"""Detect damage in a header that makes llama.cpp abort the process instead of reporting an error.

Found by loading some 98 000 tiny models with flipped bits and exchanged values: these checks cover all aborts
of llama.cpp's loader, tokenizer and first decode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from blendin_local.llamacpp.gguf_reader import GgufFile

_MOST_LAYERS = 512
_BYTE_TOKENS = frozenset(f"<0x{value:02X}>".encode() for value in range(256))
_EPSILONS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
_WHOLE_NUMBER_TYPES = frozenset({"i8", "i16", "i32", "i64", "f64"})


def find_damage(file: GgufFile, architecture: str, tokens: Sequence[bytes]) -> str:
    """Return the fault that would crash llama.cpp, in a few words; "" if none is known."""
    if not 1 <= file.integer(f"{architecture}.block_count") <= _MOST_LAYERS:
        return f"it claims {file.integer(f'{architecture}.block_count'):,} layers"
    if len(set(tokens)) != len(tokens):
        return "two of its tokens have the same text"
    if file.text("tokenizer.ggml.model") == "llama" and not _BYTE_TOKENS.issubset(tokens):
        return "its vocabulary lacks some of the 256 byte tokens"
    for key in _EPSILONS:
        epsilon = file.number(f"{architecture}.{key}")
        if epsilon is not None and not (math.isfinite(epsilon) and epsilon >= 0):
            return f"its {key.rpartition('.')[2]} is {epsilon:g}"
    if file.integer(f"{architecture}.attention.sliding_window") >= 2**31:
        return "its sliding window is impossibly long"
    for tensor in file.tensors:
        if tensor.type_name in _WHOLE_NUMBER_TYPES:
            return f"a tensor of it has the type {tensor.type_name}"
    return ""
