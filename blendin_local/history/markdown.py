"""Export a conversation as Markdown: title, models and settings, and the messages under headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from blendin_local.history.reply_footer import describe_differences, describe_settings, reply_footer
from blendin_local.history.tree import Setup, Tree, Turn
from blendin_local.presentation.formatting import line
from blendin_local.safe_text import sanitize

__all__ = ["as_markdown"]

_OWN_LEVELS = ("h1", "h2")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#&~|!])")
_BACKTICKS = re.compile("`+")
_PARSER = MarkdownIt("commonmark").enable("table")


def as_markdown(title: str, setup: Setup, tree: Tree) -> str:
    """Render the current path.

    Messages stay Markdown, with control characters made visible. A message whose headings or open blocks
    would affect the rest of the document becomes a block quote, one with raw HTML a code block.
    """
    parts = [f"# {_line(title) or 'Conversation'}", *_facts(setup)]
    for turn in tree.path():
        siblings = tree.siblings(turn)
        heading = "Reply" if turn.is_reply else "You"
        if len(siblings) > 1:
            heading += f" ({siblings.index(turn) + 1}/{len(siblings)})"
        parts += [f"## {heading}", *_message(turn, setup)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(setup: Setup) -> Iterator[str]:
    names = {"Pair": setup.pair, "Base": setup.base, "Guide": setup.guide}
    facts = names | {"Settings": describe_settings(setup.settings)}
    yield "\n".join(f"- {name}: {_line(fact)}" for name, fact in facts.items() if fact)
    if setup.system.strip():
        yield "## System prompt"
        yield _contain(setup.system)


def _message(turn: Turn, setup: Setup) -> Iterator[str]:
    yield _contain(turn.text)
    if turn.error:
        yield f"*Error: {_line(turn.error)}*"
    if turn.is_reply:
        drawn = turn.setup and turn.setup.settings.sampling.temperature
        seed = f" · seed {turn.setup.settings.seed}" if turn.setup and drawn else ""
        yield f"*{_line(reply_footer(turn))}{seed}*"
    if turn.setup and (other := describe_differences(turn.setup, setup)):
        yield f"*Asked with {_line(other)}*"


def _line(text: str) -> str:
    """Return text on one line with Markdown escaped."""
    return _SPECIAL.sub(r"\\\1", line(text))


def _contain(text: str) -> str:
    """Return a message that cannot affect the document around it."""
    # Tabs are kept: a Makefile needs them.
    text = "\t".join(sanitize(part) for part in text.split("\t")).strip("\n")
    # A heading appended for the test shows whether all blocks of the message end with it.
    tokens = _PARSER.parse(f"{text}\n\n# end")
    tokens, after = tokens[:-3], tokens[-3:]
    if any(token.type.startswith("html") for token in _flatten(tokens + after)):
        longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}text\n{text}\n{fence}"
    contained = after[0].type == "heading_open" and after[0].level == 0
    if not contained or any(token.tag in _OWN_LEVELS for token in tokens):
        return "\n".join(f"> {line}".rstrip(" ") for line in text.split("\n"))
    return text


def _flatten(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()
