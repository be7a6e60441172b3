"""The data types of tasks: questions with known answers, and scores of replies.

The system prompts are those of the paper's code (DecayingSeart/BlendIn, `dataset_utils.py`); a question is
asked zero-shot, as one user message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase as LETTERS

from blendin_local.engine.prompts import Message
from blendin_local.tasks.reading import DataRow, items_of, read_rows

__all__ = [
    "LETTERS",
    "SYSTEM_INSTRUCT",
    "SYSTEM_REASONING",
    "Item",
    "Score",
    "Task",
    "ask_messages",
    "chance",
    "lettered",
    "right_or_wrong",
]

SYSTEM_REASONING = "Answer the question by walking through the reasoning steps."
SYSTEM_INSTRUCT = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    id: unique within its file. messages: the conversation, with any system prompt first.
    answer: the gold answer in the scorer's form. reference: a worked answer, or "".
    options: continuations of the prompt to be compared by log-likelihood, in a fixed order. None begins with
        a space: that is the prompt's own lead (`prompts.Prompt.lead`).
    labels: groups of the item, such as {"subject": "astronomy"}, and parameters of its scorer.
    gold: index of the right option; None without options.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str = ""
    reference: str = ""
    options: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    gold: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one reply.

    value: 0..1, or 1..5 from a judge; None if the reply could not be scored. extracted: the part of the reply
    that was taken as its answer. note: the reason of the value, where it is not obvious.
    """

    value: float | None
    extracted: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A set of questions of one kind.

    metric: name of the mean score. make_item: the item of a row. score: scores a reply; a pure function.
    needs_judge: replies are scored by a judge (`judge.judge_reply`), on `aspects`. max_tokens: limit of a
    reply. scale: the lowest and the highest score. hub: data set, configuration and split on the Hugging Face
    hub. shots: whether the answers can serve as worked examples. lost: whether a row lacks its options, and
    is left out (`samples.describe_left_out` counts them). select: the rows of a file that belong to the task.
    columns: names for a CSV file without a header.
    """

    name: str
    summary: str
    metric: str
    make_item: Callable[[DataRow], Item]
    score: Callable[[Item, str], Score]
    max_tokens: int = 512
    needs_judge: bool = False
    scale: tuple[float, float] = (0.0, 1.0)
    aspects: tuple[str, ...] = ()
    hub: tuple[str, str | None, str] | None = None
    shots: bool = True
    lost: Callable[[DataRow], bool] | None = None
    select: Callable[[Sequence[DataRow]], Sequence[DataRow]] | None = None
    columns: Sequence[str] = ()

    def read(self, path: Path) -> list[DataRow]:
        """Return all rows of a file. Raises InputError."""
        return read_rows(path, columns=self.columns)

    def items(self, rows: Sequence[DataRow]) -> list[Item]:
        """Return the items of rows, in their order. Raises EvaluationError for a row that cannot be used."""
        if self.select:
            rows = self.select(rows)
        if self.lost:
            rows = [row for row in rows if not self.lost(row)] or rows
        return items_of(rows, self.make_item)


def ask_messages(question: str, system: str = SYSTEM_REASONING) -> tuple[Message, ...]:
    """Return a question as messages, without "Question:", which the prompt format adds."""
    user = Message("user", question)
    return (Message("system", system), user) if system else (user,)


def lettered(options: Sequence[str]) -> str:
    """Options as lines "A. first", "B. second", as in the paper's code."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def chance(items: Sequence[Item]) -> float | None:
    """Return the expected accuracy of guessing among the options; None where any item has none."""
    if not items or not all(item.options for item in items):
        return None
    return sum(1 / len(item.options) for item in items) / len(items)


def right_or_wrong(right: bool, extracted: str | None) -> Score:
    """Score 1 or 0. A reply without an answer is wrong, not unscored: that would reward silence."""
    if extracted is None:
        return Score(0.0, "", "no answer found")
    return Score(1.0 if right else 0.0, extracted)
