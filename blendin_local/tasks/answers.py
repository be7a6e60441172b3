"""Extract the answer of a free text: a number, an option's letter, yes or no, a date, joined letters.

Pure functions of text. All consider the reply only up to the point where a pretrained model begins to ask
itself the next question. A stated answer ("The answer is 18", "#### 18", "\\boxed{18}") takes precedence, the
last one of several; without one, the end of the reply decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from blendin_local.tasks.base import LETTERS
from blendin_local.tasks.numerals import QUOTES, Number, numbers_in, spelled, without_latex
from blendin_local.tasks.statements import Statement, normal, own_part, plain, statements

__all__ = [
    "final_choice",
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
    """The final number of a reply, or None.

    The first number of the last stated answer, the result of its sum ("the answer is 5 + 3 = 8"), or a number
    in words. Without a stated answer, the last number of the reply; a heading "Answer:" does not count if the
    whole solution follows it.
    """
    text = without_latex(own_part(reply))
    for statement in statements(text):
        found = numbers_in(statement.text)
        if statement.heading and not _is_answer(statement, found):
            continue
        if found:
            return _result(statement.text, found)
        if in_words := spelled(statement.text):
            return in_words
    first, _, after = text.partition("\n")
    opening = Statement(first, after, heading=True)
    if opening.explained and (found := numbers_in(first)) and _is_answer(opening, found):
        return found[0]
    found = numbers_in(text)
    return found[-1] if found else None


def _is_answer(heading: Statement, found: list[Number]) -> bool:
    """Whether what follows "Answer:" is the answer: a number and its unit; or it begins with a number, or is
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
    """The first number, or the right side of the last equation that begins with it."""
    chosen = 0
    for place, number in enumerate(found[:-1]):
        between = statement[number.end : found[place + 1].start]
        goes_on = _GOES_ON.match(statement, number.end)
        if _REASON.search(between) or not (goes_on or chosen):
            break
        if goes_on and "=" in between:
            chosen = place + 1
    return found[chosen]


# Choices


def final_choice(reply: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a reply chooses, or None.

    In this order: the last stated answer; a reply that is or begins with a letter, as "B", "(B)", "B. text";
    the last claim, as "I think it's B" or "B is correct"; "option B"; the only letter in parentheses; a
    single letter on the last line; the only option whose text occurs in the last sentence, or in the reply. A
    reply that names several options, or repeats their list, chooses none. Denied options do not count.
    """
    text = _QUOTED_LETTER.sub(r"\1", plain(reply))
    letters = LETTERS[: len(options)]
    for statement in statements(text):
        if found := _stated_option(statement.text, letters, options):
            return found
    text = _without_list(text, options)
    entries = list(_ENTRY.finditer(text))
    walks = [entry[1] for entry in entries[:2]] == ["A", "B"]
    if found := (None if walks else _leading_letter(text, letters)) or _claimed(text, letters):
        return found
    if walks and entries[-1].end() == len(text):
        return _called_right(entries)
    affirmed = _affirmed(text)
    for pattern in (rf"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s*\(?([{letters}])\b", rf"\(([{letters}])\)"):
        named = set(re.findall(pattern, text))
        if len(named) == 1 and named == set(re.findall(pattern, affirmed)):
            return str(named.pop())
    *_, last_line = text.rsplit("\n", 1)
    *_, last_sentence = re.split(r"(?<=[.!?])\s+|\n", text)
    return (
        _leading_letter(last_line, letters)
        or _affirmed_text(last_sentence, options)
        or _affirmed_text(text, options)
    )


def _called_right(entries: Sequence[re.Match[str]]) -> str | None:
    """The letter of the only option called right, if all options are discussed."""
    right = {entry[1] for entry in entries if _CALLED_RIGHT.search(_affirmed(entry[2]))}
    return right.pop() if len(right) == 1 else None


def _stated_option(statement: str, letters: str, options: Sequence[str]) -> str | None:
    """The option of a stated answer that is not denied: "not A. It is B." gives B."""
    whole = [place for place, option in enumerate(options) if normal(option) == normal(statement)]
    if len(whole) == 1 and len(normal(statement)) > 1:  # "A and D" is a text, "D" a letter
        return LETTERS[whole[0]]
    affirmed = _affirmed(statement).strip(" .,;:")
    return (
        _letter_of(statement, letters)
        or _letter_of(_HEDGE.sub("", affirmed), letters)
        or _claimed(statement, letters)
        or _affirmed_text(statement, options)
    )


_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|rather than|instead of)\b|n't\b)"
    r"[^.;,:!?\n]*?(?=[.;,:!?\n]|\bbut\b|$)",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(r"\b(?:yes|correct|right|true)\b", re.IGNORECASE)
_HEDGE = re.compile(
    r"(?:(?:therefore|thus|so|indeed|likely|most|probably|clearly|definitely|actually|still|simply|then|but)"
    r"\b[,\s]*)+",
    re.IGNORECASE,
)
_CLAIM = (
    r"\b(?:(?:it|that|this|answer|option|choice|letter)(?:\s+is|'s|\s+(?:must|would|should|has\s+to|'d)\s+be)"
    r"|(?:option|choice|answer|one)\b[^.!?\n]{1,60}\sis|therefore|thus|so|hence|then|answer|(?:go|going|went)\s+(?:with|for)|choos(?:e|ing)|chose"
    r"|(?:pick|select|say|guess|think|believe|prefer|conclude)(?:ed|ing)?)"
    r"\s*[,:]?\s+(?:(?:that|it\s+is|it's|the|definitely|clearly|certainly|likely|probably|correct|most|option|choice|letter|answer)\s+){0,4}"
)
_RIGHT = (
    r"\s+(?:is|seems|appears|looks|must\s+be|would\s+be)\s+(?:(?:to\s+be|also|most|likely|probably|clearly|indeed"
    r"|definitely|the|only)\s+)*(?:correct|right|best|true|accurate|appropriate|answer)\b"
)
_CLAUSE_ENDS = r"(?=\s*(?:[.,;:!?)\n]|$|\s[-(\u2013\u2014]|because\b|since\b|as\b))"


def _affirmed(text: str) -> str:
    """The text without its clauses with "not"."""
    return _DENIED.sub("", text)


def _claimed(text: str, letters: str) -> str | None:
    """The letter of the last claim, as "I think it's D", "So D." or "D is correct"; not "so A cat"."""
    letter = rf"[(\[]?([{letters}])[)\]]?"
    claims = re.finditer(
        rf"(?i:{_CLAIM}){letter}{_CLAUSE_ENDS}|(?<![\w'(-]){letter}(?i:{_RIGHT})", _affirmed(text)
    )
    found = [match[1] or match[2] for match in claims]
    return found[-1] if found else None


def _affirmed_text(text: str, options: Sequence[str]) -> str | None:
    """The option whose text occurs outside denials; anywhere if options contain denials themselves."""
    if any(_DENIED.search(option.translate(QUOTES)) for option in options):
        return _by_text(text, options)
    return _by_text(_affirmed(text), options)


_QUOTED_LETTER = re.compile(r"[\"']([A-Z])[\"']")
_ENTRY = re.compile(r"^\s*\(?([A-Z])[.):]\s+(\S.*)$", re.MULTILINE)


def _without_list(text: str, options: Sequence[str]) -> str:
    """The text without lines that repeat options, if it repeats more than one."""
    listed = {normal(f"{letter}. {option}") for letter, option in zip(LETTERS, options, strict=False)}
    repeated = [m[0] for m in _ENTRY.finditer(text) if normal(f"{m[1]}. {m[2]}") in listed]
    if len(set(repeated)) > 1:
        for line in repeated:
            text = text.replace(line, "", 1)
    return text.strip()


_LEAD = r"(?:(?:option|choice|letter)\s*)?"


def _letter_of(statement: str, letters: str) -> str | None:
    """The letter at the start of a stated answer: "(b)", "B", "B because ...", "option B"; not "A cat"."""
    if found := _bracketed(statement, letters) or _leading_letter(statement, letters):
        return found
    if match := re.match(rf"(?i:{_LEAD})([{letters}])(?![\w'-])", statement):
        article = match[1] in "AI" and re.match(
            r".\s+(?!because|since|as |and |for |which|is )[a-z]", statement[match.start(1) :]
        )
        return None if article else match[1]
    return None


def _leading_letter(text: str, letters: str) -> str | None:
    """The letter that is the whole text, or its start as "(B)", "B." or "B)"."""
    if found := _bracketed(text, letters):
        return found
    if match := re.match(
        rf"(?i:{_LEAD})([{letters}])(?:\s*[.):]|\s*,(?!\s*(?:and\s|or\s)?[{letters}]\b)|\s*\n|\s*$)", text
    ):
        return match[1]
    match = re.fullmatch(rf"([{letters.lower()}])[.):]?", text)
    return match[1].upper() if match else None


def _bracketed(text: str, letters: str) -> str | None:
    match = re.match(rf"{_LEAD}[(\[]\s*([{letters}])\s*[)\]]", text, re.IGNORECASE)
    return match[1].upper() if match else None


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the only option whose words occur in the text.

    Longer options are matched first; a shorter one counts only outside of them. Case matters if options
    differ only in case, as RR, Rr and rr do.
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
    """The date of the last stated answer, else the last date of the reply.

    Formats: MM/DD/YYYY, YYYY-MM-DD, "May 1, 2021" and "1 May 2021".
    """
    text = plain(reply)
    for statement in statements(text):
        if found := _dates(statement.text):
            return found[0]
    found = _dates(text)
    return found[-1] if found else None


def parse_date(text: str) -> date | None:
    """The date of a text that contains exactly one."""
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
    """The final string of letters of a reply, in lower case: "the answer is y-a-j-o" gives yajo."""
    text = plain(reply)
    stated = statements(text)
    clause = stated[0].text if stated else text.rpartition("\n")[2]
    clause = clause.rpartition("=")[2]
    if quoted := [match[1] or match[2] for match in _QUOTED.finditer(clause)]:
        return _joined(quoted if all(len(part) == 1 for part in quoted) else quoted[-1:])
    if apart := _SPELLED_OUT.findall(clause):
        return _joined(apart[-1:])
    words = [word for word in re.findall(r"[a-z]+", clause.lower()) if word not in _FILLERS]
    if not words:
        return None
    return str(words[0] if stated else words[-1])


def _joined(parts: Sequence[str]) -> str | None:
    return re.sub(r"[^a-z]", "", "".join(parts).lower()) or None
