"""Define the task `custom`: a user's questions, as JSON lines with `prompt` or `messages`, `answer`, `match`.

match: `exact` (the whole reply except for case, white space and surrounding punctuation), `contains`, `regex`
(anywhere in the reply), `number`, or `choice` (needs `options`). All look at the reply only up to the point
where it asks another question itself. Optional: `id`, `options`, `reference`, `system`.
"""

from __future__ import annotations

import re

from blendin_local.engine.prompts import Message
from blendin_local.inputs.messages import messages_of as parse_messages
from blendin_local.inputs.messages import with_system
from blendin_local.tasks.base import LETTERS, Item, Score, Task, lettered, right_or_wrong
from blendin_local.tasks.choices import score_choice
from blendin_local.tasks.numbers import score_number
from blendin_local.tasks.numerals import parse_number, plain_number
from blendin_local.tasks.reading import DataRow
from blendin_local.tasks.statements import before_next_question, normal, own_part

__all__ = ["CUSTOM_TASKS", "MATCHES"]

MATCHES = ("exact", "number", "choice", "contains", "regex")


def _item(row: DataRow) -> Item:
    options = _options(row)
    match = row.optional("match") or ("choice" if options else "exact")
    if match not in MATCHES:
        row.fail(f"`match` must be one of {', '.join(MATCHES)}, not {match[:40]!r}")
    if match == "choice" and not options:
        row.fail("`match` is choice, but there are no `options`")
    messages, shown = messages_of(row), ""
    if options and row.has("prompt") and not all(option in messages[-1].content for option in options):
        shown = f"{messages[-1].content}\n{lettered(options)}"
        messages = (*messages[:-1], Message("user", shown))
    answer, gold = _answer(row, match, options)
    return Item(
        id=row.optional("id") or str(row.number),
        messages=messages,
        answer=answer,
        reference=row.optional("reference"),
        options=options,
        labels={"match": match},
        gold=gold,
    )


def _options(row: DataRow) -> tuple[str, ...]:
    found = row.data.get("options")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(each, (str, int, float)) for each in found):
        row.fail("`options` must be a list of texts")
    options = tuple(str(each).strip() for each in found)
    if not 2 <= len(options) <= len(LETTERS) or not all(options) or len(set(options)) < len(options):
        row.fail(f"`options` must be 2 to {len(LETTERS)} different texts")
    return options


def messages_of(row: DataRow) -> tuple[Message, ...]:
    """Return the conversation of a row: `prompt` or `messages`, after `system`.

    Raises PromptError for messages that cannot be used, EvaluationError for other faults.
    """
    system = row.optional("system")
    if row.has("messages"):
        messages = parse_messages(row.value("messages"), "messages")
    else:
        messages = (Message("user", row.text("prompt", "messages")),)
    if system and any(message.role == "system" for message in messages):
        row.fail("there is both `system` and a system message")
    return with_system(messages, system)


def _answer(row: DataRow, match: str, options: tuple[str, ...]) -> tuple[str, int | None]:
    """Return the answer in its scorer's form, and the index of the right option."""
    value = row.value("answer")
    text = row.text("answer") if not isinstance(value, bool) else str(value).lower()
    if match == "number":
        number = parse_number(text)
        if number is None:
            row.fail(f"`answer` must be a number, not {text[:40]!r}")
        text = plain_number(number)
    elif match == "regex":
        try:
            re.compile(text)
        except re.error as error:
            row.fail(f"`answer` is not a regular expression ({error})")
    elif not normal(text):
        row.fail("`answer` has no letter or digit to compare")
    gold = _place(text, options)
    if match == "choice":
        if gold is None:
            row.fail(f"the answer {text[:40]!r} is none of the options")
        text = LETTERS[gold]
    return text, gold


def _place(answer: str, options: tuple[str, ...]) -> int | None:
    """Return the index of the option that an answer names by its text or its letter."""
    if answer in options:
        return options.index(answer)
    letter = answer.strip("(). ").upper()
    place = LETTERS.find(letter) if len(letter) == 1 else -1
    return place if 0 <= place < len(options) else None


def _score(item: Item, reply: str) -> Score:
    match item.labels.get("match"):
        case "number":
            return score_number(item, reply)
        case "choice":
            return score_choice(item, reply)
        case "regex":
            found = re.search(item.answer, before_next_question(reply))
            return Score(1.0 if found else 0.0, found[0] if found else "")
        case "contains":
            right = normal(item.answer) in normal(own_part(reply))
            return Score(1.0 if right else 0.0, item.answer if right else "")
        case _:
            said = own_part(reply)
            return right_or_wrong(normal(said) == normal(item.answer), said)


CUSTOM_TASKS = (Task("custom", "your own questions, from JSON lines", "accuracy", _item, _score),)
