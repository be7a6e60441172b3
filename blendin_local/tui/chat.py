"""What the app asks of a loaded pair, and the real thing over a `Conversation`.

The app keeps the conversation itself, as a tree; the pair only answers what it is asked. Tests hand the app
a scripted `Chat`; nothing here knows Textual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from blendin_local.engine.conversation import Conversation, Reply
from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Fill:
    """How many tokens of a model's context are taken."""

    used: int
    size: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One reply that is wanted: see `Conversation.reply`. candidates: top outcomes kept of every step."""

    messages: tuple[Message, ...]
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    prefix: tuple[Step, ...] = ()
    forced_outcome: int | None = None
    candidates: int = 8


class ReplyLike(Protocol):
    """A reply under way, as `blendin_local.engine.conversation.Reply` is one."""

    dropped_messages: int
    prefix: tuple[Step, ...]

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
    """A loaded pair; called from the models' thread only.

    `calibrated`, `models` and `fills` are also read by the interface while a reply is written.
    """

    @property
    def calibrated(self) -> bool: ...

    @property
    def models(self) -> Mapping[str, str]:
        """Fingerprints of "base" and "guide"."""
        ...

    def write(self, ask: Ask) -> ReplyLike:
        """Begin a reply. Raises BlendinError."""
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
    """A `Chat` over a `Conversation`."""

    def __init__(self, conversation: Conversation, models: Mapping[str, str] | None = None) -> None:
        self._conversation = conversation
        self.models = dict(models or {})

    @property
    def calibrated(self) -> bool:
        return self._conversation.pair.calibrated

    def write(self, ask: Ask) -> Reply:
        conversation = self._conversation
        conversation.messages = list(ask.messages)
        conversation.settings = ask.settings
        conversation.candidates = ask.candidates
        return conversation.reply(prefix=ask.prefix, forced_outcome=ask.forced_outcome)

    def fills(self) -> dict[str, Fill]:
        pair = self._conversation.pair
        models = {"base": pair.base, "guide": pair.guide}
        return {role: Fill(len(model.cached(0)), model.n_ctx) for role, model in models.items()}

    def close(self) -> None:
        self._conversation.pair.close()
