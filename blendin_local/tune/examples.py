"""Read reference answers: prompts with a response that is known to be good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendin_local.engine.prompts import Message
from blendin_local.errors import EvaluationError
from blendin_local.tasks.base import Item
from blendin_local.tasks.custom import messages_of
from blendin_local.tasks.reading import DataRow, items_of, read_rows

__all__ = ["Example", "built_in_examples", "examples_of", "read_examples", "shuffled"]


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation that ends with a question, and its reference answer."""

    id: str
    messages: tuple[Message, ...]
    response: str


def built_in_examples() -> list[Example]:
    """Read the 80 examples that come with the package."""
    return read_examples(Path(__file__).with_name("examples.jsonl"))


def read_examples(path: Path) -> list[Example]:
    """Read examples from a JSONL, JSON or CSV file: fields `prompt` or `messages`, and `response`.

    The file may be compressed. Raises EvaluationError or InputError, naming file and line.
    """
    examples = items_of(read_rows(path), _example)
    if not examples:
        raise EvaluationError(f"{path} holds no reference answers: rows need a `prompt` and a `response`.")
    return examples


def _example(row: DataRow) -> Example:
    if not row.has("response") and row.has("answer", "reference"):
        row.fail("a reference answer is called `response`; the questions of a task are read with --task")
    name = row.optional("id") or str(row.number)
    return Example(name, messages_of(row), row.text("response"))


def examples_of(items: Iterable[Item], task: str) -> list[Example]:
    """Make examples of a task's worked answers, or of its right options.

    Raises EvaluationError if the items have neither.
    """
    answers = ((item, item.reference or _right_option(item)) for item in items)
    examples = [Example(item.id, item.messages, answer) for item, answer in answers if answer.strip()]
    if not examples:
        raise EvaluationError(
            f"The task {task} has no worked answers to learn from: use gsm8k, or a file with `response`."
        )
    return examples


def _right_option(item: Item) -> str:
    return item.options[item.gold] if item.gold is not None else ""


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the examples in an order that depends only on the seed."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[index] for index in order]
