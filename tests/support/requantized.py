"""Other quantizations of a model on the disk: made once, kept in the user's own cache like the demo pair."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from blendin_local.files import cache_dir
from blendin_local.llamacpp.library import api, captured_log

_CACHE = cache_dir() / "requantized"
"""Found when the tests are collected, before each of them gets a cache of its own."""

_TYPES = {"Q8_0": api.LLAMA_FTYPE_MOSTLY_Q8_0, "Q2_K": api.LLAMA_FTYPE_MOSTLY_Q2_K}


def requantized(source: Path, quantization: str) -> Path:
    """A copy of a model at another quantization, "Q8_0" or "Q2_K".

    What a quantized source has lost stays lost: Q8_0 made of a Q4_1 file says nearly what that says.
    """
    target = _CACHE / f"{source.stem}.{quantization}.gguf"
    if target.exists():
        return target
    _CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}.part")
    params = api.llama_model_quantize_default_params()
    params.ftype = _TYPES[quantization]
    params.allow_requantize = True
    try:
        with captured_log() as log:
            code = api.llama_model_quantize(
                os.fsencode(source), os.fsencode(unfinished), ctypes.byref(params)
            )
        assert code == 0, log.reason()
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target
