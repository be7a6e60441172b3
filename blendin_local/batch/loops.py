"""Whether a text goes in circles: a stretch that is one unit over and over. Knows no model and no token.

It is found in one pass over the bytes, so that scripts with a word in a character count like others. What
comes back now and then is no loop: refrains, lists, tables and code do that. Thresholds were set on greedy
answers of the demo pair, and on its reference answers, prose and source code (tests/test_batch_loops.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Loop", "find_loop"]

_GRAM = 8
"""So many bytes that came before begin a repetition; then it goes on byte by byte."""
_TIMES = 3.0
"""Least repetitions, and"""
_LENGTH = 120
"""least bytes of all of them; a unit without a letter, such as a line of a table, needs more."""
_LENGTH_WITHOUT_LETTERS = 400
_BLANK = 64
"""Least characters of nothing at the end of a text."""
_ENDS = (re.compile(r"[.!?…]+[\"'”’)]* |[。！？]"), re.compile("[,;:] |[、，]"), re.compile(" "))
_MARKER = re.compile(r"^[ \t]*(?:[-*•>]|\d{1,6}[.):])[ \t]+", re.MULTILINE)
"""Lists count their entries: a list of one thing over and over is a loop all the same."""


@dataclass(frozen=True, slots=True)
class Loop:
    """unit: what is repeated, as one line; empty for blank lines without end. times: how often it stands
    there in a row, rounded. share: of the text, from 0 to 1.
    """

    unit: str
    times: int
    share: float


def find_loop(text: str) -> Loop | None:
    """The longest loop of a text; None for a text without one."""
    if (blank := len(text) - len(text.rstrip())) >= _BLANK:
        return Loop("", blank, blank / len(text))
    data = " ".join(_MARKER.sub("", text).split()).encode("utf-8", "replace")
    longest, found = 0, None
    for begin, end, period in _stretches(data):
        # The last unit may end the text, without the space that the others have.
        length = end - begin + (end == len(data))
        if length <= longest or length < _TIMES * period or length < _LENGTH:
            continue
        unit = data[begin : begin + period].decode("utf-8", "ignore")
        if length < _LENGTH_WITHOUT_LETTERS and not any(map(str.isalpha, unit)):
            continue
        longest, unit = length, _turned(unit) if begin else unit.strip()
        found = Loop(unit, round(length / period), min(length / len(data), 1.0))
    return found


def _turned(unit: str) -> str:
    """A unit from the beginning of a sentence, of a clause or of a word on: it was found at any place."""
    for end in _ENDS:
        if found := end.search(unit):
            return f"{unit[found.end() :]}{unit[: found.end()]}".strip()
    return unit


def _stretches(data: bytes) -> list[tuple[int, int, int]]:
    """Stretches that repeat what stands a period before: begin of the first unit, end, period in bytes."""
    stretches = []
    last: dict[bytes, int] = {}
    begin = period = 0
    for place in range(len(data) - _GRAM + 1):
        gram = data[place : place + _GRAM]
        end = place + _GRAM
        # A unit may hold a smaller repetition: as long as the greater one goes on, it is the one.
        if not period or data[end - 1] != data[end - 1 - period]:
            if period:
                stretches.append((begin, end - 1, period))
            period = place - last.get(gram, place)
            begin = place - period
        last[gram] = place
    if period:
        stretches.append((begin, len(data), period))
    return stretches
