"""The llama.cpp library, loaded once, with its log captured.

llama.cpp reports why a load failed only in its log. The log is captured per thread, so that two models can
load in parallel and each failure has its own reason.
"""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as api

from blendin_local.errors import ModelError

__all__ = [
    "LoadCancelled",
    "LogLines",
    "api",
    "captured_log",
    "forget_log",
    "last_error",
    "load_file",
    "version",
]

# ggml.h's levels; the comment in llama_cpp/_logger.py has older ones.
_WARN, _ERROR, _CONTINUED = 3, 4, 5
_KEPT_LINES = 400

version: str = llama_cpp.__version__


class LoadCancelled(ModelError):
    """The progress callback stopped the load."""


class LogLines:
    """Log lines of one thread, as (level, text)."""

    def __init__(self) -> None:
        self.lines: deque[tuple[int, str]] = deque(maxlen=_KEPT_LINES)

    def add(self, level: int, text: str) -> None:
        if level == _CONTINUED and self.lines:
            last_level, last = self.lines.pop()
            self.lines.append((last_level, last + text))
        else:
            self.lines.append((level, text))

    def reason(self) -> str:
        """Return the first logged error without its function name; "" if there is none.

        The first, because later ones only propagate it ("failed to load model").
        """
        for wanted in (_ERROR, _WARN):
            for level, text in self.lines:
                if level == wanted and text.strip():
                    return _without_function(text)
        return ""


_logs: defaultdict[int, LogLines] = defaultdict(LogLines)


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _collect(level: int, text: bytes, _user_data: object) -> None:
    _logs[threading.get_ident()].add(level, text.decode("utf-8", "replace"))


def forget_log() -> None:
    """Clear this thread's log, so that `last_error` reports only later errors."""
    _logs[threading.get_ident()].lines.clear()


def last_error() -> str:
    """Return the latest error that llama.cpp logged in this thread; "" if none."""
    lines = _logs[threading.get_ident()].lines
    return next((_without_function(text) for level, text in reversed(lines) if level == _ERROR), "")


def _without_function(text: str) -> str:
    return re.sub(r"^\w+: ", "", text.strip()).rstrip(".")


@contextmanager
def captured_log() -> Iterator[LogLines]:
    """Collect llama.cpp's log of this thread within the block."""
    ident = threading.get_ident()
    _logs[ident] = LogLines()
    try:
        yield _logs[ident]
    finally:
        _logs.pop(ident, None)


def load_file(path: Path, params: Any) -> Any:
    """Return a llama_model, which the caller frees. Raises ModelError with llama.cpp's reason."""
    with captured_log() as log:
        model = api.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelError(f"llama.cpp cannot load {path}: {log.reason() or 'it gave no reason'}.")
    return model


api.llama_log_set(_collect, None)
api.llama_backend_init()
