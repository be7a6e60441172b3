"""Define tasks with short answers: StrategyQA, dates, sports, coin flips, last letters."""

from __future__ import annotations

import re
from functools import partial

from blendin_local.tasks.answers import (
    final_date,
    final_letters,
    final_yes_no,
    parse_date,
)
from blendin_local.tasks.base import LETTERS, Item, Score, Task, ask_messages, right_or_wrong
from blendin_local.tasks.choices import shuffled
from blendin_local.tasks.chosen_option import final_choice
from blendin_local.tasks.reading import DataRow
from blendin_local.tasks.statements import own_part

__all__ = ["SHORT_TASKS"]

_YES_NO = ("Yes", "No")
_SPORTS = ("plausible", "implausible")
_SPORTS_QUESTION = "Determine whether the following statement or statements are plausible or implausible:"
_OPTION_LINE = re.compile(r"^\s*(?:choice:\s*|\(([A-Z])\)\s*|-\s+)(\S.*?)\s*$", re.MULTILINE)


def _between_marks(text: str) -> str:
    """Return the text between "Q:" and "A:", if the question contains them."""
    text = re.sub(r"^\s*Q:\s*", "", text)
    return re.sub(r"\s*\bA:\s*$", "", text).strip()


def _read_target(row: DataRow) -> str:
    """Return the right answer of a BIG-bench row: `target`, `targets`, or the best of `target_scores`."""
    if row.has("target_scores"):
        scores = row.within("target_scores").data
        return str(max(scores, key=lambda text: scores[text])).strip()
    target = row.value("targets", "target", "answer")
    return str(target[0] if isinstance(target, list) else target).strip()


def _score_yes_no(item: Item, reply: str) -> Score:
    said = final_yes_no(reply)
    return _score_verdict(item, said)


def _score_verdict(item: Item, said: bool | None) -> Score:
    extracted = None if said is None else ("yes" if said else "no")
    return right_or_wrong(extracted == item.answer, extracted)


# StrategyQA


def _strategyqa(row: DataRow) -> Item:
    answer, worked = row.data.get("answer"), ""
    if isinstance(answer, bool):
        facts = row.data.get("facts") or ""
        worked = facts if isinstance(facts, str) else " ".join(str(fact).strip() for fact in facts)
    else:
        answer = final_yes_no(_read_target(row))
        if answer is None:
            row.fail("the answer must be yes or no")
        worked = re.sub(r"^(?:yes|no)\b[.,:]?\s*", "", row.optional("target"), flags=re.IGNORECASE)
    said = "yes" if answer else "no"
    return Item(
        id=row.optional("qid", "id") or str(row.number),
        messages=ask_messages(_between_marks(row.text("question", "input", "inputs"))),
        answer=said,
        reference=f"{worked.strip()}\nThe answer is {said}." if worked.strip() else "",
        options=_YES_NO,
        gold=0 if answer else 1,
    )


# Dates


def _date(row: DataRow) -> Item:
    """Return the question without its listed options: the date is to be computed, not picked."""
    text = _between_marks(row.text("input", "inputs", "question"))
    inside = _OPTION_LINE.findall(text)
    question = re.sub(r"\s*^Options:\s*$", "", _OPTION_LINE.sub("", text), flags=re.MULTILINE).strip()
    if row.has("target_scores"):
        options = [str(option) for option in row.within("target_scores").data]
    elif row.has("multiple_choice_targets"):
        options = [str(option) for option in row.value("multiple_choice_targets")]
    else:
        options = [option for _, option in inside]
    best = _read_target(row)
    if letter := re.fullmatch(r"\(([A-Z])\)", best):
        best = next(
            (option for mark, option in zip(LETTERS, options, strict=False) if mark == letter[1]), best
        )
    gold = parse_date(best)
    if gold is None:
        row.fail(f"the answer must be a date as MM/DD/YYYY, not {best[:40]!r}")
    place = options.index(best) if best in options else None
    arranged: tuple[str, ...] = ()
    if place is not None:
        arranged, place = shuffled(options, place, question)
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(question),
        answer=f"{gold:%m/%d/}{gold.year:04}",
        options=arranged,
        gold=place,
    )


def _score_date(item: Item, reply: str) -> Score:
    found = final_date(reply)
    if found is None and item.options and (letter := final_choice(reply, item.options)):
        found = parse_date(item.options[LETTERS.index(letter)])
    extracted = f"{found:%m/%d/}{found.year:04}" if found else None
    return right_or_wrong(extracted == item.answer, extracted)


# Sports


def _sports(row: DataRow) -> Item:
    text = row.text("input", "inputs", "question").split("Plausible/implausible?")[0]
    statement = text.replace(_SPORTS_QUESTION, "").strip()
    sentence = re.search(r"Is the following sentence plausible\?\s*\"?(.*?)\"?$", statement, re.DOTALL)
    statement = (sentence[1] if sentence else statement).removeprefix("Statement:").strip()
    said = final_yes_no(_read_target(row))
    if said is None:
        row.fail("the answer must be plausible or implausible")
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(f"{_SPORTS_QUESTION}\nStatement: {statement}"),
        answer="yes" if said else "no",
        options=_SPORTS,
        gold=0 if said else 1,
    )


# Coin flips


def _coin_flip(row: DataRow) -> Item:
    said = final_yes_no(_read_target(row))
    if said is None:
        row.fail("the answer must be yes or no")
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(_between_marks(row.text("question", "inputs", "input"))),
        answer="yes" if said else "no",
        options=_YES_NO,
        gold=0 if said else 1,
    )


_SIDE = re.compile(
    r"\b(not|no longer|isn't)?\s*(?:still\s+)?(heads|tails)(?:[\s-]+(?:side\s+)?up)?\b", re.IGNORECASE
)


def _score_coin(item: Item, reply: str) -> Score:
    """Score yes or no; without either, the last statement of which side is up."""
    said = final_yes_no(reply)
    if said is None and (sides := list(_SIDE.finditer(own_part(reply)))):
        said = (sides[-1][2].lower() == "heads") != bool(sides[-1][1])
    return _score_verdict(item, said)


# Last letters


def _last_letters(row: DataRow) -> Item:
    answer = re.sub(r"[^a-z]", "", _read_target(row).lower())
    if not answer:
        row.fail("the answer must be letters")
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(_between_marks(row.text("question", "inputs", "input"))),
        answer=answer,
    )


def _score_letters(item: Item, reply: str) -> Score:
    found = final_letters(reply)
    return right_or_wrong(found == item.answer, found)


_task = partial(Task, metric="accuracy")
_BIG_BENCH = "hails/bigbench"
SHORT_TASKS = (
    _task(
        "strategyqa",
        "yes-or-no questions of several hidden steps",
        make_item=_strategyqa,
        score=_score_yes_no,
        hub=("ChilleD/StrategyQA", None, "test"),
    ),
    _task(
        "date",
        "which date it is",
        make_item=_date,
        score=_score_date,
        hub=(_BIG_BENCH, "date_understanding_zero_shot", "default"),
    ),
    _task(
        "sports",
        "whether a sentence about sports is plausible",
        make_item=_sports,
        score=_score_yes_no,
        hub=(_BIG_BENCH, "sports_understanding_zero_shot", "default"),
    ),
    _task(
        "coin_flip",
        "whether a coin is heads up",
        make_item=_coin_flip,
        score=_score_coin,
        hub=("skrishna/coin_flip", None, "test"),
    ),
    _task(
        "last_letter_concat",
        "the last letters of names, joined",
        make_item=_last_letters,
        score=_score_letters,
        hub=("ChilleD/LastLetterConcat", None, "test"),
    ),
)
