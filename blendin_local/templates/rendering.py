"""Render a conversation with a chat template, and tell what became of its messages.

Templates differ in the form they expect. The forms are tried in turn until every message is found in the
prompt: the content of a message as a string, as a list of parts (templates of vision models), and both again
with the system text merged into the first user message (templates without a system role).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from blendin_local.templates.environment import compile_template
from blendin_local.templates.messages import Rendering, RenderRequest, TemplateFailed
from blendin_local.templates.traced_text import (
    TEMPLATE,
    TracedText,
    forget_unions,
    from_template,
    message_source,
    messages_of,
    sources_of,
)

MOST_CHARACTERS = 16 << 20
"""Longest text that a template may add to the messages."""


_THOUGHTS = re.compile(r"\s*(?:<think>.*?(?:</think>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z))\s*", re.DOTALL)
"""A reply of nothing but thinking, which templates of models that think leave out on purpose."""


def render(request: RenderRequest) -> Rendering:
    """Render a conversation in the first form of which no message is lost. Raises TemplateFailed."""
    try:
        template = compile_template(request.template)
    except Exception as error:  # not only Jinja's errors: Python compiles the code that Jinja generates
        raise TemplateFailed(f"is not valid Jinja: {_reason(error)}") from error

    now = datetime.now() if request.now is None else datetime.fromtimestamp(request.now)
    variables = {
        "add_generation_prompt": True,
        "tools": None,
        "documents": None,
        "strftime_now": lambda form: now.strftime(form),
        **{name: _written(value) for name, value in request.variables.items()},
    }
    failures = []
    for messages, in_parts in _forms(request.messages):
        forget_unions()
        try:
            text = template.render(messages=messages, **variables)
            assert isinstance(text, TracedText)
        except MemoryError as error:
            raise TemplateFailed("needs too much memory") from error
        except Exception as error:
            failures.append(f"failed: {_reason(error)}")
            continue
        if len(text) > MOST_CHARACTERS + 2 * sum(len(content) for _, content in request.messages):
            raise TemplateFailed(f"writes more than {MOST_CHARACTERS:,} characters")
        lost = _first_lost(request.messages, text, in_parts)
        if lost is None:
            return Rendering(str.__str__(text), list(_written_pieces(text)))
        role, content = request.messages[lost]
        failures.append(f"leaves out the {role} message {_shortened(content)}")
    raise TemplateFailed(failures[0])


def _forms(messages: Sequence[tuple[str, str]]) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Yield the messages in each form that templates expect, and whether contents are lists of parts."""
    contents = [TracedText(text, message_source(i) * len(text)) for i, (_, text) in enumerate(messages)]
    turns = [(from_template(role), content) for (role, _), content in zip(messages, contents, strict=True)]
    variants = [turns]
    if [role for role, _ in turns[:2]] == ["system", "user"]:
        merged = contents[0] + "\n\n" + contents[1]
        variants.append([(turns[1][0], merged), *turns[2:]])
    for variant in variants:
        yield [{"role": role, "content": content} for role, content in variant], False
        yield (
            [
                {"role": role, "content": [{"type": TracedText("text"), "text": content}]}
                for role, content in variant
            ],
            True,
        )


def _first_lost(messages: Sequence[tuple[str, str]], text: TracedText, in_parts: bool) -> int | None:
    """Return the index of the first message of which nothing is in the text, or None.

    Of parts, only what stands alone counts: a template that knows no parts prints the whole list.
    """
    alone, mixed = messages_of(text)
    for index, (role, content) in enumerate(messages):
        if index in alone or not content.strip() or (role == "assistant" and _THOUGHTS.fullmatch(content)):
            continue
        if in_parts or not set(content.casefold().split()[0]) & set(mixed.get(index, "").casefold()):
            return index
    return None


def _written_pieces(text: TracedText) -> Iterator[tuple[int, int]]:
    start = 0
    for by_template, run in groupby(sources_of(text), TEMPLATE.__eq__):
        end = start + sum(1 for _ in run)
        if by_template:
            yield start, end
        start = end


def _written(value: Any) -> Any:
    """Return a variable with its texts as the template's own: they are settings, as the template is."""
    if isinstance(value, str):
        return from_template(value)
    if isinstance(value, Mapping):
        return {_written(key): _written(each) for key, each in value.items()}
    return [_written(each) for each in value] if isinstance(value, list) else value


def _shortened(content: str) -> str:
    words = " ".join(content.split())
    return repr(words if len(words) <= 40 else words[:39] + "…")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
