"""A conversation with a pair: messages in, replies out, both contexts kept within their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Message, Prompt, PromptFormat, make_prompt
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.engine.trigger import may_consult
from blendin_local.errors import PromptError, PromptTooLong
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings, GenerationSettings

__all__ = ["Conversation", "Reply", "ask"]

RESERVED_SHARE = 4
"""Old turns are dropped to leave a reply its token limit, or one part in this many of the context."""


class Reply:
    """A reply under way: iterate it for its steps; `cancel` may be called from any thread."""

    def __init__(self, response: Response, pair: Pair, dropped: int) -> None:
        self._response = response
        self._pair = pair
        self._cancellation = Cancellation()
        self.dropped_messages = dropped
        self.prefix = response.prefix

    def __iter__(self) -> Iterator[Step]:
        for _, step in decode(self._pair, [self._response], self._cancellation):
            yield step

    def cancel(self) -> None:
        self._cancellation.cancel()

    @property
    def text(self) -> str:
        return self._response.text

    @property
    def summary(self) -> Summary:
        return self._response.summary

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply is over; None while it is being written."""
        return self._response.finish_reason

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """As `Request.prompt_tokens`."""
        return self._response.request.prompt_tokens


@dataclass
class Conversation:
    """Messages so far and the formats in which each model sees them.

    candidates: how many of the most probable outcomes each step reports (0: none).
    """

    pair: Pair
    base_format: PromptFormat
    guide_format: PromptFormat
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    messages: list[Message] = field(default_factory=list)
    candidates: int = 0

    def set_system(self, text: str) -> None:
        """Set the system prompt; an empty one removes it."""
        rest = [message for message in self.messages if message.role != "system"]
        self.messages = [Message("system", text), *rest] if text.strip() else rest

    def send(self, text: str) -> Reply:
        """Add a user message and begin the reply to it. Its text joins the messages by `keep`.

        Raises PromptError where the message alone is longer than a context; it is not kept then.
        """
        self.messages.append(Message("user", text))
        try:
            return self.reply()
        except PromptError:
            self.messages.pop()
            raise

    def reply(self, *, prefix: tuple[Step, ...] = (), forced_outcome: int | None = None) -> Reply:
        """Begin the reply to the messages so far, the oldest turns dropped where they do not fit.

        prefix: steps of an earlier reply to the same messages that this one goes on from, without a stop
        among them; what both models remember of it is not decoded again. forced_outcome: the outcome that
        follows them (`Candidate.outcome`), or None to choose it.
        """
        kept, prompts = self._fitting(b"".join(step.data for step in prefix))
        request = _request(prompts, self._formats, self.settings, self.candidates, prefix, forced_outcome)
        return Reply(respond(self.pair, request), self.pair, len(self.messages) - len(kept))

    def keep(self, reply: Reply) -> None:
        """Add a finished or cancelled reply to the messages."""
        self.messages.append(Message("assistant", reply.text))

    def _fitting(self, said: bytes) -> tuple[list[Message], dict[Role, Prompt]]:
        """The messages that fit with what is said already, the oldest dropped first, and their prompts."""
        text = said.decode("utf-8", "ignore").encode()
        roles = _decoded(self.settings.blend)
        taken = {role: len(self.pair.model(role).tokenize(text)) if text else 0 for role in roles}
        system = [message for message in self.messages if message.role == "system"]
        turns = [message for message in self.messages if message.role != "system"]
        while True:
            prompts = _prompts(self.pair, self._formats, self.settings.blend, [*system, *turns])
            too_long = [
                role
                for role, prompt in prompts.items()
                if len(prompt.tokens) + taken[role] > self._room(role)
            ]
            following = next((i for i, m in enumerate(turns) if i and m.role == "user"), None)
            if not too_long or following is None:
                break
            turns = turns[following:]
        _check_length(self.pair, prompts)
        return [*system, *turns], prompts

    def _room(self, role: Role) -> int:
        n_ctx = self.pair.model(role).n_ctx
        return n_ctx - min(self.settings.max_tokens, n_ctx // RESERVED_SHARE)

    @property
    def _formats(self) -> dict[Role, PromptFormat]:
        return {"base": self.base_format, "guide": self.guide_format}


def ask(
    pair: Pair,
    formats: Mapping[Role, PromptFormat],
    messages: Sequence[Message],
    settings: GenerationSettings,
    candidates: int = 0,
) -> Request:
    """The request for a reply to just these messages.

    Raises PromptTooLong where they overflow a context, PromptError where a template fails.
    """
    prompts = _prompts(pair, formats, settings.blend, messages)
    _check_length(pair, prompts)
    return _request(prompts, formats, settings, candidates)


def _request(
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
        stops=tuple(stop for role in prompts for stop in formats[role].stops),
        candidates=candidates,
        prefix=prefix,
        forced_outcome=forced_outcome,
    )


def _decoded(blend: BlendSettings) -> list[Role]:
    """The models that the method may decode."""
    if METHODS[blend.method].writer == "guide":
        return ["guide"]
    return ["base", "guide"] if may_consult(blend) else ["base"]


def _prompts(
    pair: Pair, formats: Mapping[Role, PromptFormat], blend: BlendSettings, messages: Sequence[Message]
) -> dict[Role, Prompt]:
    return {role: make_prompt(pair.model(role), formats[role], messages) for role in _decoded(blend)}


def _check_length(pair: Pair, prompts: Mapping[Role, Prompt]) -> None:
    for role, prompt in prompts.items():
        n_ctx = pair.model(role).n_ctx
        if len(prompt.tokens) >= n_ctx:
            raise PromptTooLong(
                f"The prompt is too long: {len(prompt.tokens)} tokens for the {role} model, whose "
                f"context holds {n_ctx}. Shorten it, or load the models with a longer context."
            )
