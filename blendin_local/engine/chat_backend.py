"""The interface between a chat and the models that answer it, and its implementation by a loaded pair.

The chat keeps its conversation itself; the backend only answers the requests it is given, each with all of
its messages. Tests give the chat a scripted `ChatBackend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from blendin_local.engine.conversation import Reply, begin_reply
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import LoadProgress, Pair, Role
from blendin_local.engine.prompts import Message, PromptFormat
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class ContextUse:
    """How many tokens of a model's context are used, of how many."""

    used: int
    size: int


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """One reply that is wanted; the fields are those of `begin_reply`."""

    messages: tuple[Message, ...]
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    prefix: tuple[Step, ...] = ()
    forced_outcome: int | None = None
    candidates: int = 8
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)


class ReplyStream(Protocol):
    """A reply being written; `engine.conversation.Reply` is one."""

    dropped_messages: int
    prefix: tuple[Step, ...]

    def __iter__(self) -> Iterator[Step]: ...

    def cancel(self) -> None:
        """Stop it; may be called from any thread, also before it is iterated."""
        ...

    @property
    def text(self) -> str: ...

    @property
    def summary(self) -> Summary: ...

    @property
    def finish_reason(self) -> FinishReason | None: ...


class ChatBackend(Protocol):
    """Loaded models that answer requests; called from the models' thread only.

    `calibrated`, `models` and `context_use` are also read by the interface while a reply is written.
    """

    @property
    def calibrated(self) -> bool: ...

    @property
    def models(self) -> Mapping[str, str]:
        """Fingerprints of "base" and "guide"."""
        ...

    def write(self, request: ReplyRequest) -> ReplyStream:
        """Begin a reply. Raises BlendinError."""
        ...

    def context_use(self) -> Mapping[str, ContextUse]:
        """Use of both contexts, by "base" and "guide"."""
        ...

    def close(self) -> None:
        """Free the models."""
        ...


LoadBackend = Callable[[LoadProgress], ChatBackend]
"""Loads the models. Raises BlendinError."""


class PairBackend:
    """A `ChatBackend` of a loaded pair, which it closes.

    models: fingerprints by "base" and "guide".
    """

    def __init__(
        self, pair: Pair, formats: Mapping[Role, PromptFormat], models: Mapping[str, str] | None = None
    ) -> None:
        self._pair = pair
        self._formats = formats
        self.models = dict(models or {})

    @property
    def calibrated(self) -> bool:
        return self._pair.calibrated

    def write(self, request: ReplyRequest) -> Reply:
        return begin_reply(
            self._pair,
            self._formats,
            request.messages,
            request.settings,
            prefix=request.prefix,
            forced_outcome=request.forced_outcome,
            candidates=request.candidates,
            cancellation=request.cancellation,
        )

    def context_use(self) -> dict[str, ContextUse]:
        models = {"base": self._pair.base, "guide": self._pair.guide}
        return {role: ContextUse(len(model.cached(0)), model.n_ctx) for role, model in models.items()}

    def close(self) -> None:
        self._pair.close()
