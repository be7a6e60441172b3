"""Render conversations with a model's prompt format and tokenize them safely.

A prompt format is a Jinja template with its stop strings: of the GGUF file, one of the named plain formats,
or a user's file. Templates run in a sandbox, and special tokens in a user's text are never parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Literal, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from blendin_local.engine.language_model import LanguageModel
from blendin_local.errors import PromptError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A template and its stop strings.

    bare: the prompt is plain text to be continued, so a reply's leading space is part of it. now: the time
    shown by templates that ask for it; None for the time of rendering.
    """

    name: str
    template: str
    stops: tuple[str, ...] = ()
    bare: bool = False
    now: datetime | None = None

    @property
    def shows_date(self) -> bool:
        """Whether prompts may depend on `now`."""
        return "strftime_now" in self.template


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens of a prompt. lead: the space with which a reply begins, or nothing."""

    tokens: list[int]
    lead: bytes


PLAIN_FORMATS: dict[str, PromptFormat] = {
    "question-answer": PromptFormat(
        "question-answer",
        "{% for m in messages %}"
        "{% if m.role == 'system' %}{{ m.content }}\n\n"
        "{% elif m.role == 'user' %}Question: {{ m.content }}\n"
        "{% else %}Answer: {{ m.content }}\n\n{% endif %}"
        "{% endfor %}Answer:",
        ("\n\nQuestion:", "\nQuestion:", "\n\nAnswer:", "\nAnswer:"),
    ),
    "user-assistant": PromptFormat(
        "user-assistant",
        "{% for m in messages %}"
        "{% if m.role == 'system' %}{{ m.content }}\n\n"
        "{% elif m.role == 'user' %}User: {{ m.content }}\n"
        "{% else %}Assistant: {{ m.content }}\n{% endif %}"
        "{% endfor %}Assistant:",
        ("\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:"),
    ),
    "raw": PromptFormat("raw", "{% for m in messages %}{{ m.content }}{% endfor %}", bare=True),
}

DEFAULT_PLAIN_FORMAT = "question-answer"


def choose_format(name: str, chat_template: str | None) -> PromptFormat:
    """The format called `name`: auto, chat, a plain one, or the path of a Jinja file.

    auto: the model's own chat template, or `question-answer` without one. Raises PromptError for an unknown
    name, an unreadable file, or chat without a chat template.
    """
    if name == "auto":
        name = "chat" if chat_template else DEFAULT_PLAIN_FORMAT
    if name == "chat":
        if not chat_template:
            plain = ", ".join(PLAIN_FORMATS)
            raise PromptError(f"This model has no chat template: use one of the plain formats ({plain}).")
        return PromptFormat("chat", chat_template)
    if name in PLAIN_FORMATS:
        return PLAIN_FORMATS[name]
    path = template_file(name)
    if not path:
        known = ", ".join(["auto", "chat", *PLAIN_FORMATS])
        raise PromptError(f"Unknown prompt format {name!r}: use {known}, or the path of a Jinja file.")
    try:
        return PromptFormat(path.name, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"Cannot read the prompt template {path}: {error}.") from error


def template_file(name: str) -> Path | None:
    """The Jinja file that a format's name refers to, or None."""
    path = Path(name)
    try:
        return path if name not in ("auto", "chat", *PLAIN_FORMATS) and path.is_file() else None
    except (OSError, ValueError):  # too long, or with a character that no path has
        return None


def make_prompt(model: LanguageModel, prompt_format: PromptFormat, messages: Sequence[Message]) -> Prompt:
    """The prompt for the next assistant message.

    Special tokens are parsed in template text but not in messages. Raises PromptError if the template fails.
    """
    vocabulary = model.vocabulary
    mark = _unused_character([prompt_format.template, *(message.content for message in messages)])
    marked = [Message(m.role, _mark(m.content, mark, list(vocabulary.specials))) for m in messages]
    rendered = _render(prompt_format, marked, _special_text(model, "bos"), _special_text(model, "eos"))

    # Special names are intact only in template text: those in contents contain a mark.
    tokens: list[int] = []
    ends_special = False
    for piece, is_special in _split(rendered, vocabulary.specials):
        if is_special:
            tokens.append(vocabulary.specials[piece])
        elif plain := piece.replace(mark, ""):
            tokens += model.tokenize(plain.encode("utf-8", "replace"), continuation=False)
        ends_special = is_special
    if vocabulary.adds_bos and vocabulary.bos is not None and tokens[:1] != [vocabulary.bos]:
        tokens.insert(0, vocabulary.bos)
    if not tokens:
        raise PromptError("The prompt is empty: give the model something to answer.")
    ends_open = not ends_special and bool(rendered) and not rendered.replace(mark, "")[-1:].isspace()
    return Prompt(tokens, b" " if ends_open and not prompt_format.bare else b"")


def _special_text(model: LanguageModel, which: Literal["bos", "eos"]) -> str:
    vocabulary = model.vocabulary
    token = vocabulary.bos if which == "bos" else vocabulary.eos
    return next((text for text, found in vocabulary.specials.items() if found == token), "")


def _unused_character(texts: Sequence[str]) -> str:
    used = set().union(*texts)
    private_use = chain(range(0xE000, 0xF900), range(0xF0000, 0x10FFFE))
    return next(chr(code) for code in private_use if chr(code) not in used)


def _mark(content: str, mark: str, names: Sequence[str]) -> str:
    """Insert a mark at both ends of the content's words and inside every special name.

    Not outside the surrounding white space, which some templates strip.
    """
    body = content.strip()
    if not body:
        return content
    start = content.index(body)
    inside = [name for name in names if name and name in body]
    while any(name in body for name in inside):
        body = re.sub("|".join(map(re.escape, inside)), lambda m: m[0][0] + mark + m[0][1:], body)
        inside = [name for name in inside if len(name) > 1]
    return f"{content[:start]}{mark}{body}{mark}{content[start + len(content.strip()) :]}"


def _split(rendered: str, specials: dict[str, int]) -> list[tuple[str, bool]]:
    """Split rendered text into (piece, is a special token), longest names first as in llama.cpp."""
    names = sorted((name for name in specials if name and name in rendered), key=len, reverse=True)
    if not names:
        return [(rendered, False)] if rendered else []
    pieces = re.split(f"({'|'.join(map(re.escape, names))})", rendered)
    return [(piece, place % 2 == 1) for place, piece in enumerate(pieces) if piece]


class _Generation(Extension):
    """`{% generation %}`, which other tools use to mark replies for training; renders its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise_exception
    return environment


@lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    # Compiling takes longer than tokenizing a prompt, and evaluations make thousands.
    return _environment().from_string(source)


def _render(prompt_format: PromptFormat, messages: Sequence[Message], bos: str, eos: str) -> str:
    try:
        template = _compiled(prompt_format.template)
    except Exception as error:  # not only Jinja's errors: Python compiles the code that Jinja generates
        reason = _one_line(error)
        raise PromptError(
            f"The prompt template {prompt_format.name} is not valid Jinja: {reason}."
        ) from error

    now = prompt_format.now or datetime.now()

    def strftime_now(form: str) -> str:
        return now.strftime(form)

    def render(conversation: Sequence[Message]) -> str:
        return template.render(
            messages=[{"role": message.role, "content": message.content} for message in conversation],
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
            strftime_now=strftime_now,
        )

    try:
        return render(messages)
    except Exception as error:
        # Some templates reject a system message; their models expect it in the first user message.
        if len(messages) > 1 and messages[0].role == "system" and messages[1].role == "user":
            merged = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
            try:
                return render([merged, *messages[2:]])
            except Exception:  # the first error is the one to report
                pass
        raise PromptError(f"The prompt template {prompt_format.name} failed: {_one_line(error)}.") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
