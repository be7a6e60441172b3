"""Text from elsewhere as it may stand in an input, where what is seen is what the models will read."""

from __future__ import annotations

import re

from blendin_local.safe_text import sanitize

__all__ = ["editable"]

_KEPT = (
    "\t\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}\N{ZERO WIDTH SPACE}\N{WORD JOINER}"
)
_OTHERS = re.compile(f"[^{_KEPT}]+")


def editable(text: str) -> str:
    """Text as `sanitize` shows it, control characters made visible, but with all that is harmless as it was.

    Tabs stay, which inputs draw themselves, and invisible marks that some scripts are written with: no
    terminal gives them a cell, and they reach no further than the characters beside them.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _OTHERS.sub(lambda part: sanitize(part[0]), lines)
