"""Define word problems with a numeric answer: GSM8K, SVAMP, MultiArith.

A reply is scored by its final number (`answers.final_number`), which must equal the gold answer up to
rounding. The paper's code compares the last number of each text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial

from blendin_local.tasks.answers import final_number
from blendin_local.tasks.base import Item, Score, Task, ask_messages, right_or_wrong
from blendin_local.tasks.numerals import numbers_equal, parse_number, plain_number
from blendin_local.tasks.reading import DataRow

__all__ = ["NUMBER_TASKS", "score_number", "strip_annotations"]

_CALCULATION = re.compile(r"<<[^<>\n]*>>")
_DECIMAL_ZERO = re.compile(r"(?<=\d)\.0+(?![\d.])")


def score_number(item: Item, reply: str) -> Score:
    """Score 1 if the final number of the reply is the right answer, else 0."""
    gold = parse_number(item.answer)
    number = final_number(reply)
    if number is None or gold is None:
        return right_or_wrong(False, None)
    shown = plain_number(number.value) + ("%" if number.percent else "")
    return right_or_wrong(numbers_equal(number, gold), shown)


def strip_annotations(solution: str) -> str:
    """Return a GSM8K solution without its calculator annotations ("16-3=<<16-3=13>>13").

    The last line stays as published, "#### 13", so that answers of a model taught with it can be extracted.
    """
    return _CALCULATION.sub("", solution).strip()


def _gold(row: DataRow, *names: str) -> Fraction:
    text = row.text(*names)
    value = parse_number(text)
    if value is None:
        row.fail(f"the answer must be a number, not {text[:40]!r}")
    return value


def _gsm8k(row: DataRow) -> Item:
    solution = row.text("answer")
    _, mark, final = solution.rpartition("####")
    value = parse_number(final) if mark else None
    if value is None:
        row.fail("`answer` must end in a line '#### NUMBER'")
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(row.text("question")),
        answer=plain_number(value),
        reference=strip_annotations(solution),
    )


def _worked_answer(equation: str, value: Fraction) -> str:
    """Return a worked answer from an equation: "76 - 25 = 51" and a sentence; "" without an equation."""
    left = _DECIMAL_ZERO.sub("", equation.strip().removeprefix("X=")).strip()
    if left.startswith("(") and left.endswith(")") and _encloses(left):
        left = left[1:-1].strip()
    return f"{left} = {plain_number(value)}\nThe answer is {plain_number(value)}." if left else ""


def _encloses(text: str) -> bool:
    """Return whether the first parenthesis closes at the last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


def _svamp(row: DataRow) -> Item:
    question = row.optional("question_concat") or f"{row.text('Body')} {row.text('Question')}"
    value = _gold(row, "Answer")
    return Item(
        id=row.optional("ID") or str(row.number),
        messages=ask_messages(question),
        answer=plain_number(value),
        reference=_worked_answer(row.optional("Equation"), value),
        labels={"type": row.optional("Type")} if row.has("Type") else {},
    )


def _multiarith(row: DataRow) -> Item:
    if row.has("lSolutions"):
        solutions, equations = row.value("lSolutions"), row.data.get("lEquations") or [""]
        value, equation = parse_number(str(solutions[0])), str(equations[0])
        if value is None:
            row.fail(f"`lSolutions` must hold a number, not {solutions[0]!r}")
    else:
        value, equation = _gold(row, "final_ans", "answer"), ""
    return Item(
        id=str(row.data.get("iIndex", row.number)),
        messages=ask_messages(row.text("sQuestion", "question")),
        answer=plain_number(value),
        reference=_worked_answer(equation, value),
    )


_task = partial(Task, metric="accuracy", score=score_number)
NUMBER_TASKS = (
    _task("gsm8k", "grade-school word problems", make_item=_gsm8k, hub=("openai/gsm8k", "main", "test")),
    _task(
        "svamp",
        "word problems with misleading details",
        make_item=_svamp,
        hub=("ChilleD/SVAMP", None, "test"),
    ),
    _task(
        "multiarith",
        "word problems of several steps",
        make_item=_multiarith,
        hub=("ChilleD/MultiArith", None, "test"),
    ),
)
