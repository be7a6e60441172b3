"""Replace control and invisible characters of text for display.

Only for display: models and files get the original text.
"""

from __future__ import annotations

import unicodedata

_TAB = "    "
_LOST = "\N{REPLACEMENT CHARACTER}"
# Joiners that scripts and emoji need; terminals draw nothing for them.
_KEPT = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
# Invisible and without effect on other characters: direction marks, soft hyphen, word joiner, ...
_DROPPED = (
    "\r\N{SOFT HYPHEN}\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
    "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"
)
_LINE_ENDS = "\n\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}"


class _Shown(dict[int, str]):
    """Replacements by code point, computed on first use."""

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
    # Other control characters, direction overrides, hidden tags, lone surrogates.
    if character not in _KEPT and unicodedata.category(character) in ("Cc", "Cf", "Cs"):
        return _LOST
    return character


_SHOWN = _Shown()


def sanitize(text: str) -> str:
    """Return text that is safe to print: control characters become visible symbols, line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_SHOWN)


def encodable(text: str) -> str:
    """Return text that can be encoded as UTF-8: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()
