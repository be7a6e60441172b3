"""Render conversations with a model's prompt format and tokenize them safely.

A prompt format is a Jinja template with its stop strings: of the GGUF file, one of the named plain formats,
or a user's file. Templates run in a process of their own, and special tokens in a message's text are
never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from blendin_local.engine.built_in_templates import BUILT_IN_TEMPLATES
from blendin_local.engine.language_model import Cancellation, LanguageModel
from blendin_local.errors import PromptError, PromptTooLong
from blendin_local.files import read_text
from blendin_local.templates.messages import Rendering, RenderRequest, TemplateFailed
from blendin_local.templates.process import render
from blendin_local.templates.thinking_marks import ThinkingMarks, thinking_marks

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A template and its stop strings.

    bare: the prompt is plain text to be continued, so a reply's leading space is part of it. now: the time
    shown by templates that ask for it; None for the time of rendering. variables: what the template sees
    beside the messages. head: the beginning of the reply, which ends the prompt as if the template wrote it.
    """

    name: str
    template: str
    stops: tuple[str, ...] = ()
    bare: bool = False
    now: datetime | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    head: str = field(default="", repr=False)

    @property
    def additions(self) -> dict[str, Any]:
        """What the program adds to the template, for keys of stored work; empty where it adds nothing."""
        found = {"variables": dict(self.variables), "head": self.head}
        return {name: value for name, value in found.items() if value}

    @property
    def marks(self) -> ThinkingMarks | None:
        """The marks with which the model shows its thinking, or None."""
        return thinking_marks(self.template)

    @property
    def shows_date(self) -> bool:
        """Whether prompts may depend on `now`."""
        return "strftime_now" in self.template


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens of a prompt.

    lead: the space with which a reply begins, or nothing. in_thinking: whether the reply begins inside its
    thinking.
    """

    tokens: list[int]
    lead: bytes
    in_thinking: bool = False


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
    """Return the format called `name`: auto, chat, a plain one, or the path of a Jinja file.

    auto: the model's own chat template, or `question-answer` without one. Raises PromptError for an unknown
    name, an unreadable file, or chat without a chat template.
    """
    if name == "auto":
        name = "chat" if chat_template else DEFAULT_PLAIN_FORMAT
    if name == "chat":
        if not chat_template:
            plain = ", ".join(PLAIN_FORMATS)
            raise PromptError(f"This model has no chat template: use one of the plain formats ({plain}).")
        return PromptFormat("chat", _chat_template(chat_template))
    if name in PLAIN_FORMATS:
        return PLAIN_FORMATS[name]
    path = template_file(name)
    if not path:
        known = ", ".join(["auto", "chat", *PLAIN_FORMATS])
        raise PromptError(f"Unknown prompt format {name!r}: use {known}, or the path of a Jinja file.")
    try:
        # Jinja counts every kind of line end as one.
        return PromptFormat(path.name, read_text(path))
    except (FileNotFoundError, ValueError) as error:
        raise PromptError(f"Cannot read the prompt template {path}: {error}.") from error


def _chat_template(text: str) -> str:
    """Return the template of a file, which may only name one of llama.cpp's own."""
    name = text.strip()
    if "{" in name:
        return text
    if name not in BUILT_IN_TEMPLATES:
        raise PromptError(
            f"This model's file only names a chat template ({name[:40]!r}) that is not known here: give the "
            "template as a Jinja file."
        )
    return BUILT_IN_TEMPLATES[name]


def template_file(name: str) -> Path | None:
    """Return the Jinja file that a format's name refers to, or None."""
    path = Path(name)
    try:
        return path if name not in ("auto", "chat", *PLAIN_FORMATS) and path.is_file() else None
    except (OSError, ValueError):  # too long, or with a character that no path has
        return None


def make_prompt(
    model: LanguageModel,
    prompt_format: PromptFormat,
    messages: Sequence[Message],
    cancellation: Cancellation | None = None,
) -> Prompt:
    """Return the prompt for the next assistant message.

    Special tokens are parsed in what the template wrote, not in what the messages say. Raises PromptError if
    the template fails or loses a message, PromptTooLong where the text is certain to overflow the context.
    """
    vocabulary = model.vocabulary
    check_size(model, sum(len(message.content) for message in messages))
    special = {f"{which}_token": _special_text(model, which) for which in ("bos", "eos")}
    rendering = render_messages(prompt_format, messages, special, cancellation)
    text = rendering.text
    check_size(model, len(text))

    tokens: list[int] = []
    end = 0
    for start, stop, token in _special_places(rendering, vocabulary.specials):
        tokens += _plain_tokens(model, text[end:start])
        tokens.append(token)
        end = stop
    tokens += _plain_tokens(model, text[end:])
    if vocabulary.adds_bos and vocabulary.bos is not None and tokens[:1] != [vocabulary.bos]:
        tokens.insert(0, vocabulary.bos)
    if not tokens:
        raise PromptError("The prompt is empty: give the model something to answer.")
    ends_open = end < len(text) and not text[-1].isspace()
    lead = b" " if ends_open and not prompt_format.bare else b""
    return Prompt(tokens, lead, opens_thinking(prompt_format, rendering))


def opens_thinking(prompt_format: PromptFormat, rendering: Rendering) -> bool:
    """Return whether the template, not a message, ends a prompt inside the thinking of the reply."""
    marks, text = prompt_format.marks, rendering.text.rstrip()
    if marks is None or not marks.left_open_by(text):
        return False
    start, end = len(text) - len(marks.open.rstrip()), len(text)
    return any(first <= start and end <= last for first, last in rendering.written)


def turn_stops(model: LanguageModel, prompt_format: PromptFormat) -> tuple[str, ...]:
    """Return the stop strings of a format: its own, or else what its template writes after a reply.

    They stop a model that has no tokens for the marks between turns, and writes them as text.
    """
    if prompt_format.stops or prompt_format.bare:
        return prompt_format.stops
    after = _marks_after_reply(prompt_format, _special_text(model, "bos"), _special_text(model, "eos"))
    # The parts of one reply are separated by marks that separate turns, too.
    marks = prompt_format.marks
    return tuple(each for each in after if marks is None or each not in marks.end)


@lru_cache(maxsize=64)
def _marks_after_reply(prompt_format: PromptFormat, bos: str, eos: str) -> tuple[str, ...]:
    talk = [
        Message("user", "A first question"),
        Message("assistant", "The reply"),
        Message("user", "Another one"),
    ]
    try:
        text = render_messages(prompt_format, talk, {"bos_token": bos, "eos_token": eos}).text
    except PromptError:  # the template of a model for single turns, for example
        return ()
    between = text.partition(talk[1].content)[2].partition(talk[2].content)[0]
    first = re.match(r"\s*(<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\])", between)
    if first:
        # The marks of the next turn, too: a model may go on with them at once.
        return tuple(dict.fromkeys([first[1], *re.findall(r"<\|[^<>|\s]{1,40}\|>", between)]))
    line = re.match(r"\s*(\s\S[^\n]*\S)", between)
    return (line[1],) if line else ()


def check_size(model: LanguageModel, n_characters: int) -> None:
    """Raise PromptTooLong where so much text overflows the context whatever its tokens are."""
    # Each character is at least one byte, and most tokens are far shorter than the longest.
    if n_characters > model.n_ctx and n_characters > model.n_ctx * model.vocabulary.longest_token:
        raise PromptTooLong(
            f"The prompt is too long: {n_characters:,} characters, which no {model.n_ctx:,} tokens of "
            f"{model.name} can hold. Shorten it, or load the models with a longer context."
        )


def _plain_tokens(model: LanguageModel, text: str) -> list[int]:
    return model.tokenize(text.encode("utf-8", "replace"), continuation=False) if text else []


def _special_text(model: LanguageModel, which: str) -> str:
    vocabulary = model.vocabulary
    token = vocabulary.bos if which == "bos" else vocabulary.eos
    return next((text for text, found in vocabulary.specials.items() if found == token), "")


def _special_places(rendering: Rendering, specials: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, token) of each special token that the template wrote: the longest, as llama.cpp."""
    written = "\0".join(rendering.text[start:end] for start, end in rendering.written)
    names = sorted((name for name in specials if name and name in written), key=len, reverse=True)
    if names:
        pattern = re.compile("|".join(map(re.escape, names)))
        for start, end in rendering.written:
            for match in pattern.finditer(rendering.text, start, end):
                yield match.start(), match.end(), specials[match[0]]


def render_messages(
    prompt_format: PromptFormat,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    cancellation: Cancellation | None = None,
) -> Rendering:
    """Render messages, and the format's head of the reply. Raises PromptError.

    variables: of the model, such as its special tokens; those of the format replace them.
    """
    cancellation = cancellation or Cancellation()
    request = RenderRequest(
        prompt_format.template,
        [(message.role, message.content) for message in messages],
        {**variables, **prompt_format.variables},
        prompt_format.now.timestamp() if prompt_format.now else None,
    )
    try:
        rendering = render(request, lambda: cancellation.requested)
        if head := prompt_format.head:
            end = len(rendering.text)
            return Rendering(rendering.text + head, [*rendering.written, (end, end + len(head))])
        return rendering
    except TemplateFailed as error:
        raise PromptError(f"The prompt template {prompt_format.name} {error}.") from error
