"""Sample a task's questions by a seed, and put worked examples before each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blendin_local.engine.prompts import Message
from blendin_local.errors import EvaluationError
from blendin_local.tasks.base import Item, Task
from blendin_local.tasks.datasets_source import HUB, hub_rows
from blendin_local.tasks.reading import DataRow
from blendin_local.tasks.registry import find_task

__all__ = ["describe_left_out", "load_items"]


def load_items(
    task: Task | str,
    path: Path | str,
    *,
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
) -> list[Item]:
    """Return the items of a file, or of the Hugging Face hub where `path` begins with "hub:".

    limit: sample size; the sample is the start of a permutation that depends on the seed alone, in the order
    of the file, so a smaller sample is a subset of a larger one. shots: number of worked examples before each
    question, the same for all: the end of that permutation, never asked themselves. Raises EvaluationError
    or InputError.
    """
    task = find_task(task) if isinstance(task, str) else task
    where = str(path)
    items = _distinct(task.items(_rows(task, where)))
    if not items:
        raise EvaluationError(f"{where} holds no questions for the task {task.name}.")
    if limit is not None and limit < 1:
        raise EvaluationError(f"The limit must be at least 1 question, not {limit}.")
    if shots < 0 or shots >= len(items):
        raise EvaluationError(
            f"{shots} worked examples cannot be taken from {len(items)} questions in {where}."
        )
    if shots and not task.shots:
        raise EvaluationError(
            f"The answers of {task.name} cannot be shown as worked examples: use 0 of them."
        )
    order = _permutation(len(items), seed)
    rest, shown = order[: len(order) - shots], order[len(order) - shots :]
    sample = [items[place] for place in sorted(rest[:limit])]
    return _with_shots(sample, [items[place] for place in shown])


def describe_left_out(task: Task | str, path: Path | str) -> str:
    """Return a sentence on the rows that `load_items` leaves out because their options are missing, or "".

    Reads the rows again. Raises EvaluationError and InputError as `load_items` does.
    """
    task = find_task(task) if isinstance(task, str) else task
    if task.lost is None:
        return ""
    where = str(path)
    rows = _rows(task, where)
    lost = sum(map(task.lost, rows))
    if not lost:
        return ""
    have = "has lost its options and is" if lost == 1 else "have lost their options and are"
    return f"{lost} of {len(rows)} questions in {where} {have} left out."


def _rows(task: Task, where: str) -> list[DataRow]:
    return hub_rows(task, where) if where.startswith(HUB) else task.read(Path(where))


def _permutation(n: int, seed: int) -> list[int]:
    # Of `random`, only random() is stable across versions of Python.
    source = random.Random(seed)
    keys = [source.random() for _ in range(n)]
    return sorted(range(n), key=keys.__getitem__)


def _distinct(items: Sequence[Item]) -> list[Item]:
    """Items with unique ids: repeated ids get a number appended."""
    seen: Counter[str] = Counter()
    taken = {item.id for item in items}
    named = []
    for item in items:
        seen[item.id] += 1
        ident = item.id
        if seen[ident] > 1:
            ident = next(
                each for n in range(seen[item.id], len(items) + 2) if (each := f"{item.id} #{n}") not in taken
            )
            taken.add(ident)
        named.append(item if ident == item.id else replace(item, id=ident))
    return named


def _with_shots(sample: list[Item], shown: Sequence[Item]) -> list[Item]:
    if not shown:
        return sample
    turns = tuple(message for item in shown for message in _example(item))
    return [replace(item, messages=_insert(item.messages, turns)) for item in sample]


def _insert(messages: tuple[Message, ...], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    head = 1 if messages[0].role == "system" else 0
    return (*messages[:head], *turns, *messages[head:])


def _example(item: Item) -> tuple[Message, ...]:
    """Return an item as question and answer: its reference, or its answer in the form that scorers
    extract.
    """
    asked = tuple(message for message in item.messages if message.role != "system")
    return (*asked, Message("assistant", item.reference or _answer_text(item)))


def _answer_text(item: Item) -> str:
    if item.gold is None:
        return f"The answer is {item.answer}."
    option = item.options[item.gold].rstrip(".")
    lettered = f"\n{item.answer}. {item.options[item.gold]}" in item.messages[-1].content
    return f"The answer is {item.answer}. {option}." if lettered else f"The answer is {option}."
