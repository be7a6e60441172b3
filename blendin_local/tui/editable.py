"""Make text from other sources safe to show in an input, where the models read the text as shown."""

from __future__ import annotations

import re

from blendin_local.safe_text import sanitize

__all__ = ["editable"]

_KEPT = (
    "\t\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}\N{ZERO WIDTH SPACE}\N{WORD JOINER}"
)
_OTHERS = re.compile(f"[^{_KEPT}]+")


def editable(text: str) -> str:
    """Sanitize a text like `sanitize`, but keep tabs and the invisible marks that some scripts need.

    Line ends become "\\n". Inputs draw tabs themselves; the marks affect only adjacent characters.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _OTHERS.sub(lambda part: sanitize(part[0]), lines)
