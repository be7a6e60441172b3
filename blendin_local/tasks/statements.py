"""Find a reply's own part and the answers stated in it.

Pure functions of text, for all kinds of answers (`answers`). The own part ends where a pretrained model
begins to ask itself the next question. A statement is "The answer is 18", "#### 18", "\\boxed{18}" or a
heading "Answer: 18"; a heading may be followed by a whole solution, so its weight depends on that.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from blendin_local.tasks.numerals import QUOTES, strip_latex

__all__ = ["Statement", "before_next_question", "normal", "own_part", "plain", "statements"]

_NEXT_QUESTION = re.compile(
    r"\n[ \t#*_>]{0,12}(?:(?:(?:next|new|another|follow-up)\s+)?(?:question|problem|exercise|instruction)"
    r"|Q|user|human|riddle|puzzle|example(?=\s*\d))\s*\d*[*_]*\s*:"
    r"|\n[ \t]{0,12}(?:<\|?(?:im_start|user|start_of_turn|start_header_id|endoftext)|\[INST\])",
    re.IGNORECASE,
)
_NEXT_ANSWER = re.compile(r"(?<!:)\n[ \t]{0,12}A:(?!.*\n+\s*B\s*[:.)])")
"""An "A:" that belongs to no question of the reply and no list of options."""
_QUESTION = re.compile(r"[#*_>\s]{0,12}(?:question|problem|Q)\s*\d*[*_]*\s*:", re.IGNORECASE)
_OPENING = re.compile(
    r"(?:let['\u2019]?s|let\s+(?:us|me)|to\s+(?:solve|answer)|sure|here)\b[^\n\d.!?:]{0,100}[.!?:]*"
    r"\n[\s#*_>]{0,12}(?=(?:question|problem)\s*\d*[*_]*\s*:)",
    re.IGNORECASE,
)
"""A line such as "Let's solve the problem:", before the question of the reply itself."""
_STATED = re.compile(
    # "to find the answer: ..." announces steps and states no answer.
    r"(?:(?P<search>\b(?:find|get|choos|select|determin|calculat|reach|check|verify|explain)(?:e|ing)?\s+)?"
    r"\b(?:(?:the|final|correct|right|best|my|our)\s+){1,4}"
    r"(?:(?:answer|option|choice)\b[^.!?,\n:=0-9]{0,40}?"
    r"(?:\b(?:is(?!\s+to\b)|was|equals|(?:would|should|must|will)\s+be|comes\s+to)\b(?:\s*[:=])?"
    r"|(?P<colon>[:=]))"
    r"|answers\s+(?:are|were)\b(?:\s*:)?)"
    r"|(?P<heading>\bans(?:wer)?\s*(?:[:=]|[-\u2013\u2014](?=\s))|####))",
    re.IGNORECASE,
)
_LONGEST_STATEMENT = 400
_BOXED = re.compile(r"\\boxed\s*\{")
_EMPHASIS = re.compile(r"[*`]+|\b_+|_+\b")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_REASON = re.compile(r"[\s,]+(?=(?:because|since|by\s+\w+ing)\b)", re.IGNORECASE)
_LONGEST_CLAUSE = 14
_EXPLANATION = re.compile(
    r"\W*(?:explanation|explain|reason|because|justification|rationale|here'?s (?:how|why)|this is because"
    r"|check|verification|verify|note|working|calculations?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A stated answer. text: to the end of its line. after: the rest of the reply.

    heading: whether it follows "Answer:" or "is that", where more than the answer may follow.
    """

    text: str
    after: str = ""
    heading: bool = False

    @property
    def clause(self) -> str:
        """The first sentence without its reason; "" if it is too long for an answer."""
        first = _REASON.split(self._sentences[0], maxsplit=1)[0]
        return first if len(first.split()) <= _LONGEST_CLAUSE else ""

    @property
    def prose(self) -> str:
        """The text after the first sentence, without an explanation of the answer."""
        rest = "\n".join([*self._sentences[1:], self.after])
        return "" if _EXPLANATION.match(rest) else rest

    @property
    def explained(self) -> bool:
        """Whether only an explanation of the answer follows."""
        return bool(_EXPLANATION.match(self.after))

    @property
    def _sentences(self) -> list[str]:
        return _SENTENCE.split(self.text, maxsplit=1)


def before_next_question(reply: str) -> str:
    """Return the reply, unchanged, up to the point where it asks or answers the next question itself."""
    text = reply.strip()
    opening = _OPENING.match(text)
    begin = opening.end() if opening else 0
    if following := _NEXT_QUESTION.search(text, begin):
        text = text[: following.start()]
    repeats = _QUESTION.match(text, begin)
    if not repeats and (following := _NEXT_ANSWER.search(text)):
        text = text[: following.start()]
    return text.strip()


def own_part(reply: str) -> str:
    """Return the reply before the next question, with plain quotes, minus signs and hyphens."""
    return unicodedata.normalize("NFC", before_next_question(reply)).translate(QUOTES).replace("\r\n", "\n")


def normal(text: str) -> str:
    """Text normalized for comparison: case folded, single spaces, no surrounding punctuation."""
    folded = unicodedata.normalize("NFKC", text.translate(QUOTES)).casefold()
    return " ".join(folded.split()).strip(" \"'`*_.,;:!?")


def plain(reply: str) -> str:
    """Return the reply's own part without LaTeX and marks of emphasis."""
    return _EMPHASIS.sub("", strip_latex(own_part(reply))).strip()


def statements(text: str) -> list[Statement]:
    """Return the text after each statement of an answer, the last one first, each to the end of its line."""
    found = [
        (match.end(), _line(text, match.end(), heading=bool(match["heading"] or match["colon"])))
        for match in _STATED.finditer(text)
        if not match["search"]
    ]
    found += [(match.end(), Statement(_braced(text, match.end()))) for match in _BOXED.finditer(text)]
    return [stated for _, stated in sorted(found, key=lambda each: -each[0]) if stated.text]


def _line(text: str, start: int, *, heading: bool) -> Statement:
    line, _, after = text[start:].lstrip().partition("\n")
    heading = heading or line.startswith("that ")
    rest = line[_LONGEST_STATEMENT:]
    return Statement(line[:_LONGEST_STATEMENT].strip(), f"{rest}\n{after}" if rest else after, heading)


def _braced(text: str, start: int) -> str:
    depth = 1
    for at in range(start, min(len(text), start + _LONGEST_STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at].strip()
    return ""
