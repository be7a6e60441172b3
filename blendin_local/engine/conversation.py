"""Begin replies to messages, and keep a conversation's messages within both models' contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Message, Prompt, PromptFormat, make_prompt, turn_stops
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.engine.thinking import answering
from blendin_local.errors import PromptError, PromptTooLong
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings, GenerationSettings

__all__ = ["Conversation", "Reply", "begin_reply", "make_request"]

RESERVED_SHARE = 4
"""Old turns are dropped until a reply has room for its limit, or for 1 / RESERVED_SHARE of the context."""


class Reply:
    """A reply being written: iterate it for its steps; `cancel` may be called from any thread."""

    def __init__(self, response: Response, pair: Pair, dropped: int, cancellation: Cancellation) -> None:
        self._response = response
        self._pair = pair
        self._cancellation = cancellation
        self.dropped_messages = dropped
        self.prefix = response.prefix

    def __iter__(self) -> Iterator[Step]:
        for _, step in decode(self._pair, [self._response], self._cancellation):
            yield step

    def cancel(self) -> None:
        self._cancellation.cancel()

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._response.text

    @property
    def reasoning(self) -> str:
        """The thinking before the answer; "" without any."""
        return self._response.reasoning.strip()

    @property
    def summary(self) -> Summary:
        return self._response.summary

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply ended; None while it is being written."""
        return self._response.finish_reason

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """As `Request.prompt_tokens`."""
        return self._response.request.prompt_tokens


def begin_reply(
    pair: Pair,
    formats: Mapping[Role, PromptFormat],
    messages: Sequence[Message],
    settings: GenerationSettings,
    *,
    prefix: tuple[Step, ...] = (),
    forced_outcome: int | None = None,
    candidates: int = 0,
    cancellation: Cancellation | None = None,
) -> Reply:
    """Begin the reply to messages, dropping the oldest turns where they do not fit a context.

    The system prompt and the last turn are always kept. What both models hold of the prompt from an earlier
    call is not decoded again.

    Args:
        prefix: steps of an earlier reply to the same messages that this one continues, without a stop among
            them.
        forced_outcome: the outcome that follows the prefix (`Candidate.outcome`), or None to choose it.
        candidates: how many of the most probable outcomes each step reports; 0 reports none.
        cancellation: stops the reply, also while its prompt is written.

    Raises PromptTooLong where the messages that must stay overflow a context, PromptError where a template
    fails.
    """
    written = b"".join(step.data for step in prefix)
    cancellation = cancellation or Cancellation()
    if prefix and prefix[0].text and not prefix[0].thinking:
        formats = {role: answering(form) for role, form in formats.items()}
    dropped, prompts = _fitting_prompts(pair, formats, messages, settings, written, cancellation)
    request = _request(pair, prompts, formats, settings, candidates, prefix, forced_outcome)
    return Reply(respond(pair, request), pair, dropped, cancellation)


def make_request(
    pair: Pair,
    formats: Mapping[Role, PromptFormat],
    messages: Sequence[Message],
    settings: GenerationSettings,
    *,
    candidates: int = 0,
) -> Request:
    """Make the request for a reply to exactly these messages; drops none of them.

    Raises PromptTooLong where they overflow a context, PromptError where a template fails.
    """
    prompts = _prompts(pair, formats, settings.blend, messages)
    _check_length(pair, prompts)
    return _request(pair, prompts, formats, settings, candidates)


@dataclass
class Conversation:
    """A pair and the messages exchanged with it so far.

    formats: how each model sees the messages. candidates: as for `begin_reply`. All fields may be changed
    between two replies.
    """

    pair: Pair
    formats: Mapping[Role, PromptFormat]
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    messages: list[Message] = field(default_factory=list)
    candidates: int = 0

    def set_system(self, text: str) -> None:
        """Set the system prompt; an empty one removes it."""
        rest = [message for message in self.messages if message.role != "system"]
        self.messages = [Message("system", text), *rest] if text.strip() else rest

    def send(self, text: str) -> Reply:
        """Add a user message and begin the reply to it; `keep` adds the reply.

        Raises PromptError where the message alone is longer than a context; it is not added then.
        """
        self.messages.append(Message("user", text))
        try:
            return self.reply()
        except PromptError:
            self.messages.pop()
            raise

    def reply(self, *, prefix: tuple[Step, ...] = (), forced_outcome: int | None = None) -> Reply:
        """Begin a reply to the messages so far: see `begin_reply`."""
        return begin_reply(
            self.pair,
            self.formats,
            self.messages,
            self.settings,
            prefix=prefix,
            forced_outcome=forced_outcome,
            candidates=self.candidates,
        )

    def keep(self, reply: Reply) -> None:
        """Add a finished or cancelled reply to the messages."""
        self.messages.append(Message("assistant", reply.text))


def _fitting_prompts(
    pair: Pair,
    formats: Mapping[Role, PromptFormat],
    messages: Sequence[Message],
    settings: GenerationSettings,
    written: bytes,
    cancellation: Cancellation,
) -> tuple[int, dict[Role, Prompt]]:
    """Return how many messages are dropped for the rest to fit beside what is written already, and its
    prompts.
    """
    text = written.decode("utf-8", "ignore").encode()
    taken = {
        role: len(pair.model(role).tokenize(text)) if text else 0 for role in _decoded_roles(settings.blend)
    }
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    cuts = [0, *(i for i, message in enumerate(turns) if i and message.role == "user")]

    @cache
    def prompts_from(cut: int) -> dict[Role, Prompt]:
        if cancellation.requested:
            raise PromptError("The reply was stopped before its prompt was written.")
        return _prompts(pair, formats, settings.blend, [*system, *turns[cuts[cut] :]], cancellation)

    def fits(cut: int) -> bool:
        try:
            prompts = prompts_from(cut)
        except PromptTooLong:
            return False
        return all(
            len(prompt.tokens) + taken[role] <= _prompt_room(pair.model(role).n_ctx, settings)
            for role, prompt in prompts.items()
        )

    cut = _first_that_fits(len(cuts), fits)
    prompts = prompts_from(cut)
    _check_length(pair, prompts)
    return cuts[cut], prompts


def _first_that_fits(n: int, fits: Callable[[int], bool]) -> int:
    """Return the least of n cuts that fits, or the last one, where those after one that fits do too.

    What is kept of a long conversation is a small part of it, so that the search begins at its end.
    """
    if n == 1 or fits(0):
        return 0
    fitting, step = n - 1, 1
    while fitting - step > 0 and fits(fitting - step):
        fitting, step = fitting - step, 2 * step
    too_long = max(0, fitting - step)
    while fitting - too_long > 1:
        middle = (fitting + too_long) // 2
        fitting, too_long = (middle, too_long) if fits(middle) else (fitting, middle)
    return fitting


def _prompt_room(n_ctx: int, settings: GenerationSettings) -> int:
    """Tokens of a context that a prompt may take."""
    return n_ctx - min(settings.max_tokens, n_ctx // RESERVED_SHARE)


def _request(
    pair: Pair,
    prompts: Mapping[Role, Prompt],
    formats: Mapping[Role, PromptFormat],
    settings: GenerationSettings,
    candidates: int,
    prefix: tuple[Step, ...] = (),
    forced_outcome: int | None = None,
) -> Request:
    return Request(
        base=prompts.get("base"),
        guide=prompts.get("guide"),
        settings=settings,
        stops=tuple(stop for role in prompts for stop in turn_stops(pair.model(role), formats[role])),
        candidates=candidates,
        prefix=prefix,
        forced_outcome=forced_outcome,
        marks=next((marks for role in prompts if (marks := formats[role].marks)), None),
    )


def _decoded_roles(blend: BlendSettings) -> list[Role]:
    """Roles of the models that the method may decode."""
    if METHODS[blend.method].writer == "guide":
        return ["guide"]
    return ["base", "guide"] if blend.may_consult else ["base"]


def _prompts(
    pair: Pair,
    formats: Mapping[Role, PromptFormat],
    blend: BlendSettings,
    messages: Sequence[Message],
    cancellation: Cancellation | None = None,
) -> dict[Role, Prompt]:
    return {
        role: make_prompt(pair.model(role), formats[role], messages, cancellation)
        for role in _decoded_roles(blend)
    }


def _check_length(pair: Pair, prompts: Mapping[Role, Prompt]) -> None:
    for role, prompt in prompts.items():
        n_ctx = pair.model(role).n_ctx
        if len(prompt.tokens) >= n_ctx:
            raise PromptTooLong(
                f"The prompt is too long: {len(prompt.tokens)} tokens for the {role} model, whose "
                f"context holds {n_ctx}. Shorten it, or load the models with a longer context."
            )
