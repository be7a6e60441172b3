"""Define multiple-choice tasks: MMLU, ARC-Challenge, TruthfulQA (one right answer), CommonsenseQA.

The question lists the options as lines "A. ...", as in the paper's code. A reply is scored by its chosen
option (`chosen_option.final_choice`); `Item.options` holds the options' texts for scoring by log-likelihood.
The paper uses a language model as judge for both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from blendin_local.tasks.base import LETTERS, Item, Score, Task, ask_messages, lettered, right_or_wrong
from blendin_local.tasks.chosen_option import final_choice
from blendin_local.tasks.reading import DataRow

__all__ = ["CHOICE_TASKS", "options_of", "score_choice", "shuffled"]

_MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")
_SPLIT = re.compile(r"_(?:test|val|dev|validation|train)$")


def score_choice(item: Item, reply: str) -> Score:
    """Score 1 if the reply chooses the right option, else 0."""
    chosen = final_choice(reply, item.options)
    return right_or_wrong(chosen == item.answer, chosen)


def shuffled(options: Sequence[str], gold: int, key: str) -> tuple[tuple[str, ...], int]:
    """Return the options in an order that depends only on their texts and `key`, and the new index of the
    right one.

    For files that list the right option first. A question has the same order in every file format and run.
    """

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"{key}\0{options[place]}".encode("utf-8", "surrogatepass")).digest()

    order = sorted(range(len(options)), key=rank)
    return tuple(options[place] for place in order), order.index(gold)


def options_of(row: DataRow) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and texts of a row's options, in any published form.

    `choices` as a list of texts, as a list of {label, text} or as {label: [...], text: [...]}; or fields A,
    B, C and so on. Raises EvaluationError if they are missing or malformed.
    """
    if row.has("choices"):
        labels, texts = _parse_choices(row, row.value("choices"))
    else:
        labels = [letter for letter in LETTERS if row.optional(letter)]
        texts = [row.text(letter) for letter in labels]
        if not labels:
            row.fail("this row has no options, as `choices` or as A, B, C and on")
        if labels != list(LETTERS[: len(labels)]):
            row.fail(f"of the options only {', '.join(labels)} are there")
    if not 2 <= len(texts) <= len(LETTERS):
        row.fail(f"a choice needs 2 to {len(LETTERS)} options, not {len(texts)}")
    if any(not text for text in texts):
        row.fail("an option is empty")
    return tuple(labels), tuple(texts)


def _parse_choices(row: DataRow, choices: Any) -> tuple[list[str], list[str]]:
    if isinstance(choices, Mapping):
        labels, texts = list(choices["label"]), list(choices["text"])
        if len(labels) != len(texts):
            row.fail(f"`choices` has {len(labels)} labels for {len(texts)} texts")
    elif isinstance(choices, str):
        row.fail("`choices` must be a list, not text")
    elif choices and isinstance(choices[0], Mapping):
        labels, texts = [each["label"] for each in choices], [each["text"] for each in choices]
    else:
        texts = list(choices)
        labels = list(LETTERS[: len(texts)])
    return [str(label).strip() for label in labels], [str(text).strip() for text in texts]


def _gold(row: DataRow, labels: Sequence[str], answer: Any) -> int:
    """Index of the right option: an int counts from 0; text is a label, or counts from 1."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        place = answer
    else:
        text = str(answer).strip()
        if text in labels:
            place = labels.index(text)
        elif text.upper() in labels:
            place = labels.index(text.upper())
        else:
            place = int(text) - 1 if text.isdigit() and len(text) < 3 else -1
    if not 0 <= place < len(labels):
        row.fail(f"the answer {answer!r} is none of the options {', '.join(labels)}")
    return place


def _item(
    row: DataRow,
    question: str,
    options: Sequence[str],
    gold: int,
    *,
    ident: str = "",
    labels: Mapping[str, str] | None = None,
    after: str = "",
) -> Item:
    return Item(
        id=ident or str(row.number),
        messages=ask_messages(f"{question}\n{lettered(options)}{after}"),
        answer=LETTERS[gold],
        options=tuple(options),
        labels=labels or {},
        gold=gold,
    )


def _mmlu(row: DataRow) -> Item:
    labels, options = options_of(row)
    subject = row.optional("subject", "domain")
    if not subject and _SPLIT.search(row.stem):
        subject = _SPLIT.sub("", row.stem)
    subject = subject.replace("_", " ")
    question = row.text("question", "input")
    answer = row.value("answer", "target")
    return _item(
        row,
        f"Subject: {subject}\n{question}" if subject else question,
        options,
        _gold(row, labels, answer),
        ident=f"{subject} {row.number}".strip(),
        labels={"subject": subject} if subject else {},
    )


def _exam(row: DataRow) -> Item:
    """ARC and CommonsenseQA: stem and options in an object `question`, or in separate fields."""
    ident = row.optional("id")
    inner = row.within("question") if isinstance(row.data.get("question"), Mapping) else row
    labels, options = options_of(inner)
    answer = row.value("answerKey", "answer")
    if not str(answer).strip():
        row.fail("`answerKey` is empty: this is a file of questions without answers")
    return _item(row, inner.text("stem", "question"), options, _gold(row, labels, answer), ident=ident)


_ASK_LETTER = "\nAnswer with the letter (A, B, C, etc.):"


def _truthfulqa(row: DataRow) -> Item:
    options, gold = _mc1(row)
    question = row.text("question", "Question")
    options, gold = shuffled(options, gold, question)
    category = row.optional("category", "Category")
    labels = {"category": category} if category else {}
    return _item(row, question, options, gold, labels=labels, after=_ASK_LETTER)


def _mc1(row: DataRow) -> tuple[tuple[str, ...], int]:
    if row.has("mc1_targets"):
        targets = row.within("mc1_targets").data
        if "choices" in targets:
            texts, marks = list(targets["choices"]), list(targets["labels"])
        else:
            texts, marks = list(targets), list(targets.values())
    else:
        wrong = [text for text in row.text("Incorrect Answers").split(";") if text.strip()]
        texts, marks = [row.text("Best Answer"), *wrong], [1] + [0] * len(wrong)
    if marks.count(1) != 1 or len(marks) != len(texts):
        row.fail("exactly one of the options must be right")
    if not 2 <= len(texts) <= len(LETTERS):
        row.fail(f"a choice needs 2 to {len(LETTERS)} options, not {len(texts)}")
    return tuple(str(text).strip() for text in texts), marks.index(1)


def _lost_options(row: DataRow) -> bool:
    """Return whether a row has only blank fields A, B, C and so on.

    Some copies of ARC lack the options of questions with numeric labels; those questions are left out.
    """
    fields = [letter for letter in LETTERS if letter in row.data]
    return bool(fields) and not row.has("choices") and not any(row.optional(letter) for letter in fields)


_task = partial(Task, metric="accuracy", score=score_choice, lost=_lost_options)
CHOICE_TASKS = (
    _task(
        "mmlu",
        "exams of 57 subjects",
        make_item=_mmlu,
        hub=("cais/mmlu", "all", "test"),
        columns=_MMLU_COLUMNS,
    ),
    _task(
        "arc_challenge",
        "hard science questions",
        make_item=_exam,
        hub=("allenai/ai2_arc", "ARC-Challenge", "test"),
    ),
    _task(
        "truthfulqa",
        "questions that invite common errors (mc1)",
        make_item=_truthfulqa,
        hub=("truthfulqa/truthful_qa", "multiple_choice", "validation"),
    ),
    _task("csqa", "common sense", make_item=_exam, hub=("tau/commonsense_qa", None, "validation")),
)
