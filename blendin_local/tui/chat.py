"""A conversation as the app drives it: what it asks for, and the real one over a loaded pair.

Tests hand the app a scripted `Chat`; nothing here knows Textual.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from blendin_local.conversation import Conversation, Reply
from blendin_local.errors import PromptError
from blendin_local.prompts import Message
from blendin_local.settings import GenerationSettings
from blendin_local.steps import FinishReason, Step, Summary


@dataclass(frozen=True, slots=True)
class Fill:
    """How many tokens of a model's context are taken."""

    used: int
    size: int


class ReplyLike(Protocol):
    """A reply under way, as `blendin_local.conversation.Reply` is one."""

    dropped_messages: int

    def __iter__(self) -> Iterator[Step]: ...

    def cancel(self) -> None:
        """Stop it; may be called from any thread, before it is iterated too."""
        ...

    @property
    def text(self) -> str: ...

    @property
    def summary(self) -> Summary: ...

    @property
    def finish_reason(self) -> FinishReason | None: ...


class Chat(Protocol):
    """What the app asks of a conversation with a loaded pair; called from the models' thread only.

    `calibrated`, `settings` and `fills` are also read by the interface while a reply is written.
    """

    @property
    def calibrated(self) -> bool: ...

    @property
    def settings(self) -> GenerationSettings: ...

    def send(self, text: str) -> ReplyLike:
        """Begin the reply to a message. Raises BlendinError; the message is not kept then."""
        ...

    def again(self) -> ReplyLike:
        """Begin another reply to the last message. Raises BlendinError; the old reply stays then."""
        ...

    def keep(self, reply: ReplyLike) -> bool:
        """Make a reply that is over part of the conversation; False where it said nothing.

        The last message then stays without an answer, or keeps the reply that it had before `again`.
        """
        ...

    def restart(self) -> None:
        """Forget all messages but the system prompt."""
        ...

    def fills(self) -> Mapping[str, Fill]:
        """Context fill by "base" and "guide"."""
        ...

    def close(self) -> None:
        """Free the models."""
        ...


Progress = Callable[[str, float], bool]
"""Called with "base" or "guide" and the share of it loaded; answers False when the load shall stop."""

Load = Callable[[Progress], Chat]
"""Loads the models. Raises BlendinError."""


class PairChat:
    """A `Chat` over a `Conversation`.

    Every reply has a seed of its own: a random one, or, if the user gave a seed, that one plus the number
    of replies before it, so a chat can be repeated word for word.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        seed_given: bool = False,
        fresh_seed: Callable[[], int] = lambda: secrets.randbits(31),
    ) -> None:
        self._conversation = conversation
        self._first_seed = conversation.settings.seed if seed_given else None
        self._fresh_seed = fresh_seed
        self._replies = 0
        self._replaced: Message | None = None

    @property
    def calibrated(self) -> bool:
        return self._conversation.pair.calibrated

    @property
    def settings(self) -> GenerationSettings:
        return self._conversation.settings

    @property
    def _messages(self) -> list[Message]:
        return self._conversation.messages

    def send(self, text: str) -> Reply:
        # Chat templates want user and assistant in turn: a message that got no answer makes way.
        if self._messages and self._messages[-1].role == "user":
            self._messages.pop()
        self._replaced = None
        self._seed_next()
        return self._conversation.send(text)

    def again(self) -> Reply:
        if not any(message.role == "user" for message in self._messages):
            raise PromptError("There is no message to reply to yet.")
        last = self._messages.pop() if self._messages[-1].role == "assistant" else None
        self._seed_next()
        try:
            reply = self._conversation.reply()
        except BaseException:
            if last is not None:
                self._messages.append(last)
            raise
        self._replaced = last
        return reply

    def keep(self, reply: ReplyLike) -> bool:
        replaced, self._replaced = self._replaced, None
        if reply.text.strip():
            self._messages.append(Message("assistant", reply.text))
            return True
        if replaced is not None:
            self._messages.append(replaced)
        return False

    def restart(self) -> None:
        self._conversation.messages = [m for m in self._messages if m.role == "system"]
        self._replaced = None

    def fills(self) -> dict[str, Fill]:
        pair = self._conversation.pair
        models = {"base": pair.base, "guide": pair.guide}
        return {role: Fill(len(model.cached(0)), model.n_ctx) for role, model in models.items()}

    def close(self) -> None:
        self._conversation.pair.close()

    def _seed_next(self) -> None:
        if self._first_seed is None:
            seed = self._fresh_seed()
        else:
            seed = (self._first_seed + self._replies) % (1 << 63)
        self._replies += 1
        self._conversation.settings = replace(self._conversation.settings, seed=seed)
