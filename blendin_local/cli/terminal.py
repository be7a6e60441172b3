"""Properties of the three standard streams; a closed stream is None."""

from __future__ import annotations

import io
import os
import sys
from typing import BinaryIO

from blendin_local.presentation.terminal import is_terminal

__all__ = ["is_terminal", "screen_available", "standard_input"]


def standard_input() -> BinaryIO:
    """Return stdin as a byte stream, or an empty stream if it is closed."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


def screen_available() -> bool:
    """Whether a full-screen interface can be shown: in a terminal, or by the driver in $TEXTUAL_DRIVER."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return True
    return os.environ.get("TERM") != "dumb" and all(map(is_terminal, (sys.stdin, sys.stdout, sys.stderr)))
