"""Extract the answer of a free text: a number, yes or no, a date, joined letters.

Pure functions of text. All consider the reply only up to the point where a pretrained model begins to ask
itself the next question. A stated answer ("The answer is 18", "#### 18", "\\boxed{18}") takes precedence, the
last one of several; without one, the end of the reply decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from blendin_local.tasks.numerals import Number, numbers_in, parse_words, strip_latex
from blendin_local.tasks.statements import Statement, own_part, plain, statements

__all__ = [
    "final_date",
    "final_letters",
    "final_number",
    "final_yes_no",
    "parse_date",
]

# Numbers

_GOES_ON = re.compile(r"(?:\s*[^\W\d_]{1,12}){0,3}\s*[-+*/×÷x=]\s*[($€£]*\s*-?\d")
_REASON = re.compile(r"\b(?:because|since|as|where|if|when|given|check|verify|from)\b", re.IGNORECASE)
_LONGEST_UNIT = 3


def final_number(reply: str) -> Number | None:
    """Return the final number of a reply, or None.

    The first number of the last stated answer, the result of its sum ("the answer is 5 + 3 = 8"), or a number
    in words. Without a stated answer, the last number of the reply; a heading "Answer:" does not count if the
    whole solution follows it.
    """
    text = strip_latex(own_part(reply))
    for statement in statements(text):
        found = numbers_in(statement.text)
        if statement.heading and not _is_answer(statement, found):
            continue
        if found:
            return _result(statement.text, found)
        if in_words := parse_words(statement.text):
            return in_words
    first, _, after = text.partition("\n")
    opening = Statement(first, after, heading=True)
    if opening.explained and (found := numbers_in(first)) and _is_answer(opening, found):
        return found[0]
    found = numbers_in(text)
    return found[-1] if found else None


def _is_answer(heading: Statement, found: list[Number]) -> bool:
    """Return whether what follows "Answer:" is the answer: a number and its unit; or it begins with a
    number, or is
    a short clause that has no other, and nothing but an explanation with numbers goes on below."""
    if not found:
        return len(heading.text.split()) <= _LONGEST_UNIT + 1
    begins = not re.search(r"\w", heading.text[: found[0].start])
    unit = heading.text[found[0].end :]
    if begins and len(found) == 1 and len(unit.split()) <= _LONGEST_UNIT:
        return True
    if numbers_in(heading.prose):
        return False
    return begins or len(numbers_in(heading.clause)) == 1


def _result(statement: str, found: list[Number]) -> Number:
    """Return the first number, or the right side of the last equation that begins with it."""
    chosen = 0
    for place, number in enumerate(found[:-1]):
        between = statement[number.end : found[place + 1].start]
        goes_on = _GOES_ON.match(statement, number.end)
        if _REASON.search(between) or not (goes_on or chosen):
            break
        if goes_on and "=" in between:
            chosen = place + 1
    return found[chosen]


# Yes or no

_POSITIVE = ("yes", "true", "plausible")
# "isn't really plausible", "I don't think that this is true", "not yes"; not "it is not odd, so it is true"
_VERDICT = re.compile(
    r"(?P<denied>(?:\b(?:not|never|cannot|unlikely|no\s+(?:evidence|proof|way|reason))|n't)\s+"
    r"(?:(?!(?:so|but|and|or|because|since|therefore|thus|hence|then|that's)\b)[\w'-]+\s+){0,5}?"
    r"(?=(?:im)?plausible|true|false|untrue)|\bnot\s+(?:an?\s+)?(?=(?:yes|no)\b))?"
    r"\b(?P<word>implausible|plausible|yes|no|untrue|true|false)\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"no(?=\s*(?:[,.!;:)\n-]|$|(?:it|he|she|they|the|this|that|there|you|we|i)\b))", re.IGNORECASE
)


def final_yes_no(reply: str) -> bool | None:
    """True for yes (or true, or plausible), False for no, None for neither.

    By the last stated answer; else the first word of the reply; else the last of these words in it.
    """
    text = plain(reply)
    for statement in statements(text):
        said = statement.clause if statement.heading else statement.text
        if match := _VERDICT.match(statement.text) or _VERDICT.search(said):
            return _is_positive(match)
    if re.match(r"yes\b", text, re.IGNORECASE):
        return True
    if _DENIAL.match(text):
        return False
    for match in reversed(list(_VERDICT.finditer(text))):
        # "no" before a noun negates only that noun.
        if match["denied"] or match["word"].lower() != "no" or _DENIAL.match(text, match.start("word")):
            return _is_positive(match)
    return None


def _is_positive(match: re.Match[str]) -> bool:
    return (match["word"].lower() in _POSITIVE) != bool(match["denied"])


# Dates

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MONTH = "|".join([*_MONTHS, "sept", *(month[:3] for month in _MONTHS)])
_DATE = re.compile(
    r"(?<![\d/-])(?:(?P<m1>\d{1,2})/(?P<d1>\d{1,2})/(?P<y1>\d{4})|(?P<y2>\d{4})-(?P<m2>\d{2})-(?P<d2>\d{2})"
    rf"|\b(?P<m3>{_MONTH})\.?\s+(?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y3>\d{{4}})"
    rf"|(?P<d4>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m4>{_MONTH})\.?,?\s+(?P<y4>\d{{4}}))(?![/-]?\d)",
    re.IGNORECASE,
)


def final_date(reply: str) -> date | None:
    """Return the date of the last stated answer, else the last date of the reply.

    Formats: MM/DD/YYYY, YYYY-MM-DD, "May 1, 2021" and "1 May 2021".
    """
    text = plain(reply)
    for statement in statements(text):
        if found := _dates(statement.text):
            return found[0]
    found = _dates(text)
    return found[-1] if found else None


def parse_date(text: str) -> date | None:
    """Return the date of a text that contains exactly one."""
    found = _dates(text)
    return found[0] if len(found) == 1 else None


def _dates(text: str) -> list[date]:
    found = []
    for match in _DATE.finditer(text):
        form = next(n for n in "1234" if match[f"y{n}"])
        month = match[f"m{form}"]
        if not month.isdigit():
            month = str([name[:3].lower() for name in _MONTHS].index(month.lower()[:3]) + 1)
        try:
            found.append(date(int(match[f"y{form}"]), int(month), int(match[f"d{form}"])))
        except ValueError:  # the 31st of February
            continue
    return found


# Joined letters

_QUOTED = re.compile(r'"([^"]*[A-Za-z][^"]*)"|(?<![A-Za-z])\'([^\']*[A-Za-z][^\']*)\'(?![A-Za-z])')
_SPELLED_OUT = re.compile(r"\b(?:[A-Za-z](?:\s*[-,+]\s*|\s+))+[A-Za-z]\b")
_FILLERS = {
    "the",
    "a",
    "an",
    "string",
    "word",
    "letters",
    "letter",
    "of",
    "is",
    "as",
    "result",
    "concatenation",
}


def final_letters(reply: str) -> str | None:
    """Return the final string of letters of a reply, in lower case: "the answer is y-a-j-o" gives yajo."""
    text = plain(reply)
    stated = statements(text)
    clause = stated[0].text if stated else text.rpartition("\n")[2]
    clause = clause.rpartition("=")[2]
    if quoted := [match[1] or match[2] for match in _QUOTED.finditer(clause)]:
        return _join_letters(quoted if all(len(part) == 1 for part in quoted) else quoted[-1:])
    if apart := _SPELLED_OUT.findall(clause):
        return _join_letters(apart[-1:])
    words = [word for word in re.findall(r"[a-z]+", clause.lower()) if word not in _FILLERS]
    if not words:
        return None
    return str(words[0] if stated else words[-1])


def _join_letters(parts: Sequence[str]) -> str | None:
    return re.sub(r"[^a-z]", "", "".join(parts).lower()) or None
