"""What a task is: questions with known answers, how they are asked, and how a reply is scored.

Nothing here reads a file or knows a model. The system prompts are those of the paper's code
(DecayingSeart/BlendIn, `dataset_utils.py`); a question is asked zero-shot, as one user message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import TYPE_CHECKING

from blendin_local.engine.prompts import Message

if TYPE_CHECKING:
    from blendin_local.tasks.reading import Row

__all__ = [
    "LETTERS",
    "SYSTEM_INSTRUCT",
    "SYSTEM_REASONING",
    "Item",
    "Score",
    "Task",
    "asked",
    "chance",
    "lettered",
    "right_or_wrong",
]

SYSTEM_REASONING = "Answer the question by walking through the reasoning steps."
SYSTEM_INSTRUCT = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    id: unique within its file. messages: what is asked; a system prompt is the first of them.
    answer: the gold answer as the scorer wants it. reference: a worked answer, "" where there is none.
    options: what could follow the prompt, to be compared by log-likelihood. Their order is fixed, and none
        begins with a space: that is the prompt's own lead (`prompts.Prompt.lead`).
    labels: what the item belongs to, as {"subject": "astronomy"}, and what its scorer must know.
    gold: the place of the right option; None where there are no options.
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
    """value: 0..1, or 1..5 from a judge; None where the reply could not be scored.

    extracted: what was taken for the answer. note: why the value is what it is, where that is not plain.
    """

    value: float | None
    extracted: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of questions.

    metric: what the mean of its scores is called. load: all items of a file, in its order.
    score: what a reply is worth; a pure function. of_rows: the items of rows that were read elsewhere.
    needs_judge: replies are scored by a judge (`judge.judged`), on `aspects`. max_tokens: room for a reply.
    scale: the lowest and the highest score. hub: data set, configuration and split on the Hugging Face hub.
    shots: whether the answers can be shown as worked examples. lost: whether a row lost what it asks with,
    and is left out (`samples.left_out` counts them). columns: those of a CSV file without a header.
    """

    name: str
    summary: str
    metric: str
    load: Callable[[Path], list[Item]]
    score: Callable[[Item, str], Score]
    of_rows: Callable[[Sequence[Row]], list[Item]]
    max_tokens: int = 512
    needs_judge: bool = False
    scale: tuple[float, float] = (0.0, 1.0)
    aspects: tuple[str, ...] = ()
    hub: tuple[str, str | None, str] | None = None
    shots: bool = True
    lost: Callable[[Row], bool] | None = None
    columns: Sequence[str] = ()


def asked(question: str, system: str = SYSTEM_REASONING) -> tuple[Message, ...]:
    """A question as messages. The words "Question:" are left to the prompt format, which adds them."""
    user = Message("user", question)
    return (Message("system", system), user) if system else (user,)


def lettered(options: Sequence[str]) -> str:
    """Options as lines "A. first", "B. second", as the paper's code shows them."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def chance(items: Sequence[Item]) -> float | None:
    """The expected accuracy of guessing among the options; None where any item has none."""
    if not items or not all(item.options for item in items):
        return None
    return sum(1 / len(item.options) for item in items) / len(items)


def right_or_wrong(right: bool, extracted: str | None) -> Score:
    """1 or 0. A reply without an answer is wrong, not unscored: leaving it out would reward silence."""
    if extracted is None:
        return Score(0.0, "", "no answer found")
    return Score(1.0 if right else 0.0, extracted)
