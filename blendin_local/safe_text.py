"""Text of models and users made sanitize: nothing in it may move the cursor, colour the screen, or hide.

It is only for showing. What the models read and what is kept is the text as it was.
"""

from __future__ import annotations

import unicodedata

_TAB = "    "
_LOST = "\N{REPLACEMENT CHARACTER}"
# Joiners that scripts and emoji need, and that terminals draw nothing for.
_KEPT = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
# Invisible and without effect on other text: marks of direction, soft hyphen, word joiner and their like.
_DROPPED = (
    "\r\N{SOFT HYPHEN}\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
    "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"
)
_LINE_ENDS = "\n\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}"


class _Shown(dict[int, str]):
    """What stands for a character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = _show(chr(code))
        return shown


def _show(character: str) -> str:
    code = ord(character)
    if character in _LINE_ENDS:
        return "\n"
    if character == "\t":
        return _TAB
    if character in _DROPPED:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    # Other control characters, overrides of direction, hidden tags, halves of surrogate pairs.
    if character not in _KEPT and unicodedata.category(character) in ("Cc", "Cf", "Cs"):
        return _LOST
    return character


_SHOWN = _Shown()


def sanitize(text: str) -> str:
    """Text that a terminal shows as it is; line breaks stay, control characters become visible."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_SHOWN)


def encodable(text: str) -> str:
    """Text that UTF-8 has bytes for: halves of surrogate pairs become question marks."""
    return text.encode("utf-8", "replace").decode()
