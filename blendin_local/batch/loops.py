"""Detect loops in generated text: a unit repeated without interruption.

One pass over the UTF-8 bytes, so that the result does not depend on the length of words in a script.
Repetitions with other text between them, as in refrains, lists, tables and code, are not loops. Thresholds
were set on greedy answers of the demo pair, its reference answers, prose and source code
(tests/batch/test_loops.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Loop", "find_loop"]

_GRAM = 8
"""Number of matching bytes that begin a repetition."""
_TIMES = 3.0
"""Minimum number of repetitions."""
_LENGTH = 120
"""Minimum length of all repetitions in bytes."""
_LENGTH_WITHOUT_LETTERS = 400
"""Minimum length if the unit has no letter, such as a line of a table."""
_BLANK = 64
"""Minimum number of white-space characters at the end of a text."""
_ENDS = (re.compile(r"[.!?…]+[\"'”’)]* |[。！？]"), re.compile("[,;:] |[、，]"), re.compile(" "))
_MARKER = re.compile(r"^[ \t]*(?:[-*•>]|\d{1,6}[.):])[ \t]+", re.MULTILINE)
"""Matches list markers, which are removed first: a list of equal entries is a loop."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop. unit: the repeated text on one line, "" for trailing white space. times: number of repetitions,
    rounded. share: of the text's length, from 0 to 1.
    """

    unit: str
    times: int
    share: float


def find_loop(text: str) -> Loop | None:
    """Return the longest loop of a text, or None."""
    if (blank := len(text) - len(text.rstrip())) >= _BLANK:
        return Loop("", blank, blank / len(text))
    data = " ".join(_MARKER.sub("", text).split()).encode("utf-8", "replace")
    longest, found = 0, None
    for begin, end, period in _find_stretches(data):
        # At the end of the text, the last unit lacks its trailing space.
        length = end - begin + (end == len(data))
        if length <= longest or length < _TIMES * period or length < _LENGTH:
            continue
        unit = data[begin : begin + period].decode("utf-8", "ignore")
        if length < _LENGTH_WITHOUT_LETTERS and not any(map(str.isalpha, unit)):
            continue
        longest, unit = length, _rotate_unit(unit) if begin else unit.strip()
        found = Loop(unit, round(length / period), min(length / len(data), 1.0))
    return found


def _rotate_unit(unit: str) -> str:
    """Rotate a unit so that it begins at a sentence, a clause or a word."""
    for end in _ENDS:
        if found := end.search(unit):
            return f"{unit[found.end() :]}{unit[: found.end()]}".strip()
    return unit


def _find_stretches(data: bytes) -> list[tuple[int, int, int]]:
    """Find stretches in which each byte equals the one a period before: begin, end and period in bytes."""
    stretches = []
    last: dict[bytes, int] = {}
    begin = period = 0
    for place in range(len(data) - _GRAM + 1):
        gram = data[place : place + _GRAM]
        end = place + _GRAM
        # A unit may contain a shorter repetition: the current period is kept while it matches.
        if not period or data[end - 1] != data[end - 1 - period]:
            if period:
                stretches.append((begin, end - 1, period))
            period = place - last.get(gram, place)
            begin = place - period
        last[gram] = place
    if period:
        stretches.append((begin, len(data), period))
    return stretches
