"""Format tokens for display: white space, incomplete characters and invisible ones become visible."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

from blendin_local.engine.steps import Source, Step
from blendin_local.safe_text import sanitize

STOP = "(stop)"
SILENT = "(no text)"
"""Stands for a control token and for the space before a reply, which have no text of their own."""

_NAMED = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
# Code points that `surrogateescape` decodes invalid bytes to.
_STRAY = range(0xDC80, 0xDD00)
_HIDDEN = ("Cf", "Cn", "Cs", "Zl", "Zp", "Zs")
_LONGEST = 1000
"""Longest text of a token that is shown, in characters."""


def visible(data: bytes) -> str:
    """Return a token's bytes as one line of text without invisible characters; empty bytes are the stop."""
    if not data:
        return STOP
    text = data[: 4 * _LONGEST].decode("utf-8", "surrogateescape")
    shown = "".join(map(_shown, text[:_LONGEST]))
    # A combining mark at the start would be drawn over the character before it.
    return shown if cell_len(shown[0]) else f"◌{shown}"


def spoken(step: Step) -> str:
    """Return the token of a step, formatted by `visible`."""
    return visible(step.data) if step.data or step.source is Source.STOP else SILENT


def _shown(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code in _STRAY:
        return f"<{code - 0xDC00:02X}>"
    # Including joiners and variation selectors, whose effect on the width depends on the terminal.
    if unicodedata.category(character) in _HIDDEN or 0xFE00 <= code < 0xFE10:
        return f"<U+{code:04X}>"
    return sanitize(character)
