"""Tokens as the reader is to see them: white space, half characters and hidden signs made visible."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

from blendin_local.engine.steps import Source, Step
from blendin_local.safe_text import sanitize

STOP = "(stop)"
SILENT = "(no text)"
"""Of a control token, or of the space that every reply to a prompt begins with."""

_NAMED = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
# Python's own places for bytes that are no UTF-8.
_STRAY = range(0xDC80, 0xDD00)
_HIDDEN = ("Cf", "Cn", "Cs", "Zl", "Zp", "Zs")
_LONGEST = 1000
"""Characters of a token that are looked at: no honest token is longer."""


def visible(data: bytes) -> str:
    """Return a token's bytes as text of one line, in which nothing is invisible; empty bytes are the stop."""
    if not data:
        return STOP
    text = data[: 4 * _LONGEST].decode("utf-8", "surrogateescape")
    shown = "".join(map(_shown, text[:_LONGEST]))
    # A combining mark at the start would sit on whatever stands before it.
    return shown if cell_len(shown[0]) else f"◌{shown}"


def spoken(step: Step) -> str:
    """Return what a step said, as `visible` shows it."""
    return visible(step.data) if step.data or step.source is Source.STOP else SILENT


def _shown(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code in _STRAY:
        return f"<{code - 0xDC00:02X}>"
    # Joiners and selectors included: they take their width from their neighbours, and not in every terminal.
    if unicodedata.category(character) in _HIDDEN or 0xFE00 <= code < 0xFE10:
        return f"<U+{code:04X}>"
    return sanitize(character)


def fit(text: str, width: int) -> str:
    """Text of exactly `width` cells: padded with spaces, or cut with an ellipsis."""
    if width < 1:
        return ""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
