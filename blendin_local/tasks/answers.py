"""The answer that a free text gives: a number, an option's letter, yes or no, a date, joined letters.

Pure functions of text. All of them look at the reply up to where a pretrained model begins to ask itself the
next question. A stated answer ("The answer is 18", "#### 18", "\\boxed{18}") counts before anything else, the
last one if there are several; without one, the end of the reply decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date

from blendin_local.tasks.base import LETTERS
from blendin_local.tasks.numerals import QUOTES, Number, numbers_in, spelled, without_latex

__all__ = [
    "before_next_question",
    "final_choice",
    "final_date",
    "final_letters",
    "final_number",
    "final_yes_no",
    "normal",
    "own_part",
    "parse_date",
]

_NEXT_QUESTION = re.compile(
    r"\n[\s#*_>]*(?:(?:(?:next|new|another|follow-up)\s+)?(?:question|problem|exercise|instruction)"
    r"|Q|user|human|riddle|puzzle|example(?=\s*\d))\s*\d*[*_]*\s*:"
    r"|\n\s*(?:<\|?(?:im_start|user|start_of_turn|start_header_id|endoftext)|\[INST\])",
    re.IGNORECASE,
)
_NEXT_ANSWER = re.compile(r"(?<!:)\n\s*A:(?!.*\n+\s*B\s*[:.)])")
"""An "A:" that no question of the reply's own and no list of options has."""
_BEGINS_WITH_QUESTION = re.compile(r"[\s#*_>]*(?:question|problem|Q)\s*\d*[*_]*\s*:", re.IGNORECASE)
_STATED = re.compile(
    # "to find the answer: ..." announces steps, and states nothing.
    r"(?:(?P<search>\b(?:find|get|choos|select|determin|calculat|reach|check|verify|explain)(?:e|ing)?\s+)?"
    r"\b(?:(?:the|final|correct|right|best|my|our)\s+){1,4}"
    r"(?:(?:answer|option|choice)\b[^.!?,\n:=0-9]{0,40}?"
    r"(?:\b(?:is(?!\s+to\b)|was|equals|(?:would|should|must|will)\s+be|comes\s+to)\b(?:\s*[:=])?|[:=])"
    r"|answers\s+(?:are|were)\b(?:\s*:)?)"
    r"|\banswer\s*[:=]|####)",
    re.IGNORECASE,
)
_LONGEST_STATEMENT = 400
_BOXED = re.compile(r"\\boxed\s*\{")
_EMPHASIS = re.compile(r"[*`]+|\b_+|_+\b")


def before_next_question(reply: str) -> str:
    """The reply up to where it asks, or answers, the next question itself, as it was written."""
    text = _NEXT_QUESTION.split(reply.strip(), maxsplit=1)[0]
    if not _BEGINS_WITH_QUESTION.match(text):
        text = _NEXT_ANSWER.split(text, maxsplit=1)[0]
    return text.strip()


def own_part(reply: str) -> str:
    """The reply before the next question, with plain quotes, minus and hyphens."""
    return (
        unicodedata.normalize("NFC", before_next_question(reply)).translate(QUOTES).replace("\r\n", "\n")
    )


def normal(text: str) -> str:
    """Text for comparison: folded case, single spaces, no quotes, stops or emphasis around it."""
    folded = unicodedata.normalize("NFKC", text.translate(QUOTES)).casefold()
    return " ".join(folded.split()).strip(" \"'`*_.,;:!?")


def _plain(reply: str) -> str:
    return _EMPHASIS.sub("", without_latex(own_part(reply))).strip()


def _statements(text: str) -> list[str]:
    """What follows each statement of an answer, the last one first, each up to the end of a line."""
    found = [
        (
            match.end(),
            text[match.end() : match.end() + _LONGEST_STATEMENT].lstrip().partition("\n")[0].strip(),
        )
        for match in _STATED.finditer(text)
        if not match["search"]
    ]
    found += [(match.end(), _braced(text, match.end())) for match in _BOXED.finditer(text)]
    return [rest for _, rest in sorted(found, reverse=True) if rest]


def _braced(text: str, start: int) -> str:
    depth = 1
    for at in range(start, min(len(text), start + _LONGEST_STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at].strip()
    return ""


# Numbers

_GOES_ON = re.compile(r"\s*[^\W\d_]{0,12}\s*[-+*/×÷x=]\s*[($€£]*\s*-?\d")


def final_number(reply: str) -> Number | None:
    """The number that a reply ends in.

    Of the last stated answer the first number, or what its sum comes to ("the answer is 5 + 3 = 8"), or a
    number in words. Without a stated answer the last number of the reply.
    """
    text = without_latex(own_part(reply))
    for statement in _statements(text):
        if found := numbers_in(statement):
            return _result(statement, found)
        if in_words := spelled(statement):
            return in_words
    found = numbers_in(text)
    return found[-1] if found else None


def _result(statement: str, found: list[Number]) -> Number:
    """The first number, or the right side of the last equation of the sum that it begins."""
    chosen = 0
    for place, number in enumerate(found[:-1]):
        if not _GOES_ON.match(statement, number.end):
            break
        if "=" in statement[number.end : found[place + 1].start]:
            chosen = place + 1
    return found[chosen]


# Choices


def final_choice(reply: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a reply chooses, or None.

    In this order: the last stated answer; a reply that is or begins with a letter, as "B", "(B)", "B. text";
    "option B"; the one letter in parentheses; a letter alone on the last line; the one option whose text
    stands in the last sentence, or in the reply. A reply that names several has chosen none, and so has one
    that repeats the list of the options.
    """
    text = _plain(reply)
    letters = LETTERS[: len(options)]
    for statement in _statements(text):
        if found := _letter_of(statement, letters) or _by_text(statement, options):
            return found
    text = _without_list(text, options)
    if found := _leading_letter(text, letters):
        return found
    for pattern in (rf"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s*\(?([{letters}])\b", rf"\(([{letters}])\)"):
        if len(named := set(re.findall(pattern, text))) == 1:
            return str(named.pop())
    *_, last_line = text.rsplit("\n", 1)
    *_, last_sentence = re.split(r"(?<=[.!?])\s+|\n", text)
    return _leading_letter(last_line, letters) or _by_text(last_sentence, options) or _by_text(text, options)


_ENTRY = re.compile(r"^\s*\(?([A-Z])[.):]\s+(\S.*)$", re.MULTILINE)


def _without_list(text: str, options: Sequence[str]) -> str:
    """The text without lines that repeat options, where it repeats more than one."""
    listed = {normal(f"{letter}. {option}") for letter, option in zip(LETTERS, options, strict=False)}
    repeated = [m[0] for m in _ENTRY.finditer(text) if normal(f"{m[1]}. {m[2]}") in listed]
    if len(set(repeated)) > 1:
        for line in repeated:
            text = text.replace(line, "", 1)
    return text.strip()


_LEAD = r"(?:(?:option|choice|letter)\s*)?"


def _letter_of(statement: str, letters: str) -> str | None:
    """The letter with which a stated answer begins: "(b)", "B", "B because ...", "option B"; not "A cat"."""
    if found := _bracketed(statement, letters) or _leading_letter(statement, letters):
        return found
    if match := re.match(rf"(?i:{_LEAD})([{letters}])(?![\w'-])", statement):
        article = match[1] in "AI" and re.match(
            r".\s+(?!because|since|as |and |for |which|is )[a-z]", statement[match.start(1) :]
        )
        return None if article else match[1]
    return None


def _leading_letter(text: str, letters: str) -> str | None:
    """The letter that is the whole text, or that it begins with as "(B)", "B." or "B)"."""
    if found := _bracketed(text, letters):
        return found
    if match := re.match(rf"(?i:{_LEAD})([{letters}])(?:\s*[.):,]|\s*\n|\s*$)", text):
        return match[1]
    match = re.fullmatch(rf"([{letters.lower()}])[.):]?", text)
    return match[1].upper() if match else None


def _bracketed(text: str, letters: str) -> str | None:
    match = re.match(rf"{_LEAD}[(\[]\s*([{letters}])\s*[)\]]", text, re.IGNORECASE)
    return match[1].upper() if match else None


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose words stand in the text.

    Longer options are looked for first; a shorter one counts only where it stands outside of those. Case
    matters where options differ by nothing else, as RR, Rr and rr do.
    """
    plain = [without_latex(option.translate(QUOTES)) for option in options]
    by_case = len({_words(option.casefold()) for option in plain}) < len({_words(option) for option in plain})
    wanted = [_words(option if by_case else option.casefold()) for option in plain]
    words = f" {_words(text if by_case else text.casefold())} "
    found: set[int] = set()
    for option in sorted({option for option in wanted if option}, key=len, reverse=True):
        if f" {option} " in words:
            words = words.replace(f" {option} ", " \0 ")
            found |= {place for place, other in enumerate(wanted) if other == option}
    return LETTERS[found.pop()] if len(found) == 1 else None


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:[.,/'-][^\W_]+)*|[%$€£°+=<>-]", text))


# Yes or no

_POSITIVE = ("yes", "true", "plausible")
_VERDICT = re.compile(
    r"\b(not\s+(?:plausible|true)|implausible|plausible|yes|no|true|false)\b", re.IGNORECASE
)
_DENIAL = re.compile(
    r"no(?=\s*(?:[,.!;:)\n-]|$|(?:it|he|she|they|the|this|that|there|you|we|i)\b))", re.IGNORECASE
)


def final_yes_no(reply: str) -> bool | None:
    """Whether a reply says yes (or true, or plausible) or no; None where it says neither.

    The last stated answer; else the word with which the reply begins; else the last of these words in it.
    """
    text = _plain(reply)
    for statement in _statements(text):
        if match := _VERDICT.search(statement):
            return _is_positive(match)
    if re.match(r"yes\b", text, re.IGNORECASE):
        return True
    if _DENIAL.match(text):
        return False
    for match in reversed(list(_VERDICT.finditer(text))):
        # "no" before a noun denies that noun only.
        if match[1].lower() != "no" or _DENIAL.match(text, match.start()):
            return _is_positive(match)
    return None


def _is_positive(match: re.Match[str]) -> bool:
    return match[1].lower() in _POSITIVE


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
    """The date of the last stated answer, else the last date of the reply.

    Read are MM/DD/YYYY, YYYY-MM-DD, "May 1, 2021" and "1 May 2021".
    """
    text = _plain(reply)
    for statement in _statements(text):
        if found := _dates(statement):
            return found[0]
    found = _dates(text)
    return found[-1] if found else None


def parse_date(text: str) -> date | None:
    """The date of a text that has exactly one."""
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
    """The string of letters that a reply comes to, in lower case: of "the answer is y-a-j-o" it is yajo."""
    text = _plain(reply)
    statements = _statements(text)
    clause = statements[0] if statements else text.rpartition("\n")[2]
    clause = clause.rpartition("=")[2]
    if quoted := [match[1] or match[2] for match in _QUOTED.finditer(clause)]:
        return _joined(quoted if all(len(part) == 1 for part in quoted) else quoted[-1:])
    if apart := _SPELLED_OUT.findall(clause):
        return _joined(apart[-1:])
    words = [word for word in re.findall(r"[a-z]+", clause.lower()) if word not in _FILLERS]
    if not words:
        return None
    return str(words[0] if statements else words[-1])


def _joined(parts: Sequence[str]) -> str | None:
    return re.sub(r"[^a-z]", "", "".join(parts).lower()) or None
