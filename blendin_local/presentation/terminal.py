"""Tell whether a stream is a terminal."""

from __future__ import annotations

from typing import TextIO

__all__ = ["is_terminal"]


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is an open terminal; None counts as closed."""
    return stream is not None and not stream.closed and stream.isatty()
