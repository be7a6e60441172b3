"""Extract the option that a reply to a multiple-choice question chooses.

As for other answers (`answers`), only the reply's own part counts, and a stated answer takes precedence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blendin_local.tasks.base import LETTERS
from blendin_local.tasks.numerals import QUOTES, strip_latex
from blendin_local.tasks.statements import normal, plain, statements

__all__ = ["final_choice"]


def final_choice(reply: str, options: Sequence[str]) -> str | None:
    """Return the letter of the option that a reply chooses, or None.

    In this order: the last stated answer; a reply that is or begins with a letter, as "B", "(B)", "B. text";
    the last claim, as "I think it's B" or "B is correct"; "option B"; the only letter in parentheses; a
    single letter on the last line; the only option whose text occurs in the last sentence, or in the reply. A
    reply that names several options, or repeats their list, chooses none. Denied options do not count.
    """
    text = _QUOTED_LETTER.sub(r"\1", plain(reply))
    letters = LETTERS[: len(options)]
    for statement in statements(text):
        if found := _read_stated_option(statement.text, letters, options):
            return found
    text = _without_list(text, options)
    entries = list(_ENTRY.finditer(text))
    walks = [entry[1] for entry in entries[:2]] == ["A", "B"]
    if found := (None if walks else _leading_letter(text, letters)) or _find_claim(text, letters):
        return found
    if walks and entries[-1].end() == len(text):
        return _find_called_right(entries)
    affirmed = _drop_denials(text)
    for pattern in (rf"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s*\(?([{letters}])\b", rf"\(([{letters}])\)"):
        named = set(re.findall(pattern, text))
        if len(named) == 1 and named == set(re.findall(pattern, affirmed)):
            return str(named.pop())
    *_, last_line = text.rsplit("\n", 1)
    *_, last_sentence = re.split(r"(?<=[.!?])\s+|\n", text)
    return (
        _leading_letter(last_line, letters)
        or _find_affirmed_text(last_sentence, options)
        or _find_affirmed_text(text, options)
    )


def _find_called_right(entries: Sequence[re.Match[str]]) -> str | None:
    """Return the letter of the only option called right, if all options are discussed."""
    right = {entry[1] for entry in entries if _CALLED_RIGHT.search(_drop_denials(entry[2]))}
    return right.pop() if len(right) == 1 else None


def _read_stated_option(statement: str, letters: str, options: Sequence[str]) -> str | None:
    """Return the option of a stated answer that is not denied: "not A. It is B." gives B."""
    whole = [place for place, option in enumerate(options) if normal(option) == normal(statement)]
    if len(whole) == 1 and len(normal(statement)) > 1:  # "A and D" is a text, "D" a letter
        return LETTERS[whole[0]]
    affirmed = _drop_denials(statement).strip(" .,;:")
    return (
        _letter_of(statement, letters)
        or _letter_of(_HEDGE.sub("", affirmed), letters)
        or _find_claim(statement, letters)
        or _find_affirmed_text(statement, options)
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


def _drop_denials(text: str) -> str:
    """Return the text without its clauses with "not"."""
    return _DENIED.sub("", text)


def _find_claim(text: str, letters: str) -> str | None:
    """Return the letter of the last claim, as "I think it's D", "So D." or "D is correct"; not "so A cat"."""
    letter = rf"[(\[]?([{letters}])[)\]]?"
    claims = re.finditer(
        rf"(?i:{_CLAIM}){letter}{_CLAUSE_ENDS}|(?<![\w'(-]){letter}(?i:{_RIGHT})", _drop_denials(text)
    )
    found = [match[1] or match[2] for match in claims]
    return found[-1] if found else None


def _find_affirmed_text(text: str, options: Sequence[str]) -> str | None:
    """Return the option whose text occurs outside denials; anywhere if options contain denials themselves."""
    if any(_DENIED.search(option.translate(QUOTES)) for option in options):
        return _by_text(text, options)
    return _by_text(_drop_denials(text), options)


_QUOTED_LETTER = re.compile(r"[\"']([A-Z])[\"']")
_ENTRY = re.compile(r"^\s*\(?([A-Z])[.):]\s+(\S.*)$", re.MULTILINE)


def _without_list(text: str, options: Sequence[str]) -> str:
    """Return the text without lines that repeat options, if it repeats more than one."""
    listed = {normal(f"{letter}. {option}") for letter, option in zip(LETTERS, options, strict=False)}
    repeated = [m[0] for m in _ENTRY.finditer(text) if normal(f"{m[1]}. {m[2]}") in listed]
    if len(set(repeated)) > 1:
        for line in repeated:
            text = text.replace(line, "", 1)
    return text.strip()


_LEAD = r"(?:(?:option|choice|letter)\s*)?"


def _letter_of(statement: str, letters: str) -> str | None:
    """Return the letter at the start of a stated answer: "(b)", "B", "B because ...", "option B"; not "A
    cat".
    """
    if found := _bracketed_letter(statement, letters) or _leading_letter(statement, letters):
        return found
    if match := re.match(rf"(?i:{_LEAD})([{letters}])(?![\w'-])", statement):
        article = match[1] in "AI" and re.match(
            r".\s+(?!because|since|as |and |for |which|is )[a-z]", statement[match.start(1) :]
        )
        return None if article else match[1]
    return None


def _leading_letter(text: str, letters: str) -> str | None:
    """Return the letter that is the whole text, or its start as "(B)", "B." or "B)"."""
    if found := _bracketed_letter(text, letters):
        return found
    if match := re.match(
        rf"(?i:{_LEAD})([{letters}])(?:\s*[.):]|\s*,(?!\s*(?:and\s|or\s)?[{letters}]\b)|\s*\n|\s*$)", text
    ):
        return match[1]
    match = re.fullmatch(rf"([{letters.lower()}])[.):]?", text)
    return match[1].upper() if match else None


def _bracketed_letter(text: str, letters: str) -> str | None:
    match = re.match(rf"{_LEAD}[(\[]\s*([{letters}])\s*[)\]]", text, re.IGNORECASE)
    return match[1].upper() if match else None


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the only option whose words occur in the text.

    Longer options are matched first; a shorter one counts only outside of them. Case matters if options
    differ only in case, as RR, Rr and rr do.
    """
    plain = [strip_latex(option.translate(QUOTES)) for option in options]
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
