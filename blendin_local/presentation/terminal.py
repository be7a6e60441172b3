"""What a stream is connected to."""

from __future__ import annotations

from typing import TextIO

__all__ = ["is_terminal"]


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees, or types into, this stream; a closed one is None or says so."""
    return stream is not None and not stream.closed and stream.isatty()
