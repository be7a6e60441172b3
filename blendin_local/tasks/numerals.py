"""Parse numbers in text: 1,450,000 · -10 · $18.50 · 3/4 · 1 ½ · 50 % · 1.45 million.

Pure functions of text. Values are fractions, so that comparisons are exact.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

__all__ = [
    "QUOTES",
    "Number",
    "numbers_equal",
    "numbers_in",
    "parse_number",
    "parse_words",
    "plain_number",
    "strip_latex",
]

QUOTES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2010": "-", "\u2011": "-"}
)
"""Translation of typographic quotes, minus signs and hyphens to ASCII."""

_LONGEST = 60
"""Maximum number of digits: models in a loop produce longer ones."""

_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VULGAR_CHARACTERS = "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_])(?<!\d\.)(?<!\d/)"
    r"(?P<sign>-[ ]?)?(?:[$€£¥₹][ ]?)?(?P<inner>-)?"
    r"(?P<whole>\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?![\d])|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+|(?<!\.)(?=\.\d))"
    r"(?P<decimals>\.\d+)?"
    r"(?:[eE](?P<exponent>[+-]?\d{1,3})(?![\w.])"
    r"|\s?[x×*]\s?10\^\{?(?P<power>-?\d{1,3})\}?(?!\d)"
    r"|\s?/\s?(?P<under>\d+)(?![\d.]|/\d)"
    r"|\s(?P<over>\d+)/(?P<below>\d+)(?![\d]|/\d)"
    rf"|\s?(?P<vulgar>[{_VULGAR_CHARACTERS}]))?"
)
_VULGAR = re.compile(rf"(?<![\w.])-?[{_VULGAR_CHARACTERS}]")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_SCALE = re.compile(rf"[\s-]?({'|'.join(_SCALES)})\b", re.IGNORECASE)
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b)", re.IGNORECASE)
_GROUPING = re.compile(r"[,\u00a0\u202f]")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r"\1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[!,;]"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\times\b"), "×"),
    (re.compile(r"\*\*|__|`"), ""),
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text: its value, whether a percent sign follows, and its position."""

    value: Fraction
    percent: bool
    start: int
    end: int


def strip_latex(text: str) -> str:
    """Text with LaTeX numbers in plain form, and without marks of emphasis."""
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def numbers_in(text: str) -> list[Number]:
    """Return all numbers of a text in order, without ordinals.

    A minus after an operand, or as a list marker, is not a sign.
    """
    return list(_numbers(text.translate(QUOTES)))


def _numbers(text: str) -> Iterator[Number]:
    at = 0
    digits, vulgar = _NUMBER.search(text), _VULGAR.search(text)
    while match := min(filter(None, (digits, vulgar)), key=lambda found: found.start(), default=None):
        at = match.end()
        if len(match[0]) <= _LONGEST:
            number = _number(text, match)
            if not _ORDINAL.match(text, number.end):
                yield number
            at = max(number.end, match.start() + 1)
        # Search again only from the current position: a text without a match is scanned once.
        digits = _NUMBER.search(text, at) if digits and digits.start() < at else digits
        vulgar = _VULGAR.search(text, at) if vulgar and vulgar.start() < at else vulgar


def _number(text: str, match: re.Match[str]) -> Number:
    start, end = match.span()
    if match.re is _VULGAR:
        value, negative = _vulgar(match[0][-1]), match[0][0] == "-"
    else:
        value, end = _with_suffix(match)
        negative = bool(match["inner"]) or _is_sign(text[:start], match["sign"] or "")
    if scale := _SCALE.match(text, end):
        value, end = value * _SCALES[scale[1].lower()], scale.end()
    percent = _PERCENT.match(text, end)
    return Number(-value if negative else value, bool(percent), start, percent.end() if percent else end)


def _with_suffix(match: re.Match[str]) -> tuple[Fraction, int]:
    """Return the value with its exponent or fraction, and the index of its end."""
    value = Fraction(_GROUPING.sub("", match["whole"] or "0") + (match["decimals"] or ""))
    if power := match["exponent"] or match["power"]:
        return value * Fraction(10) ** int(power), match.end()
    if match["vulgar"]:
        return value + _vulgar(match["vulgar"]), match.end()
    if match["below"] and int(match["over"]) < int(match["below"]):
        return value + Fraction(int(match["over"]), int(match["below"])), match.end()
    if match["under"] and int(match["under"]):
        return value / int(match["under"]), match.end()
    return value, match.end("decimals") if match["decimals"] else match.end("whole")


def _vulgar(character: str) -> Fraction:
    return Fraction(unicodedata.normalize("NFKC", character).replace("\u2044", "/"))


def _is_sign(before: str, sign: str) -> bool:
    """Return whether a minus negates the number after it, by the text before it."""
    if not sign:
        return False
    near = before.rstrip(" ")[-1:]
    if sign.endswith(" "):  # "x = - 3", but not "16 - 3" and not an entry of a list
        return near in ("=", "(", ":")
    if before.endswith(" "):  # "16 -3" subtracts, "fell to -3" does not
        return not (near.isdigit() or near == ")")
    return near not in (")", "%")


def numbers_equal(number: Number, gold: Fraction, tolerance: float = 1e-6) -> bool:
    """Return whether two numbers are equal within a tolerance relative to the gold; 50 % equals 50 and
    0.5.
    """
    values = [number.value, number.value / 100] if number.percent else [number.value]
    allowed = Fraction(tolerance) * abs(gold)
    return any(abs(value - gold) <= allowed for value in values)


def parse_number(text: str) -> Fraction | None:
    """Return the value of a text that is one number with an optional unit sign; else None."""
    plain = text.translate(QUOTES).strip()
    found = numbers_in(plain)
    if len(found) != 1:
        return None
    return found[0].value if not re.search(r"\w", plain[: found[0].start] + plain[found[0].end :]) else None


def plain_number(value: Fraction) -> str:
    """Return a number as text: integers without a decimal point, others with up to ten digits."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


# Numbers in words

_ONES = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: n for n, word in enumerate(_ONES)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_WORD = rf"\b(?:{'|'.join(_WORDS)})\b"
_SPELLED = re.compile(
    rf"{_WORD}(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}|\b(?:{'|'.join(_SCALES)})\b))*", re.IGNORECASE
)


def parse_words(text: str) -> Number | None:
    """Return the first number in words, such as "twenty-five" or "two hundred and six"."""
    match = _SPELLED.search(text)
    if match is None:
        return None
    total = current = 0
    for word in re.findall(r"[a-z]+", match[0].lower()):
        if word in _WORDS:
            current += _WORDS[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in _SCALES:
            total, current = total + max(current, 1) * _SCALES[word], 0
    percent = bool(_PERCENT.match(text, match.end()))
    return Number(Fraction(total + current), percent, match.start(), match.end())
