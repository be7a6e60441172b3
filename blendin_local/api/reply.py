"""Replies that are written while they are iterated, one at a time, and conversations made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

from blendin_local.api.arguments import apply_changes
from blendin_local.engine.conversation import Reply as EngineReply
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.errors import ModelError
from blendin_local.inputs.messages import prompt_of
from blendin_local.models.loading import PairFiles
from blendin_local.presentation.reply_json import reply_as_dict
from blendin_local.settings import GenerationSettings, ModelOptions

__all__ = ["Chat", "LoadedModels", "Reply"]


class LoadedModels:
    """Two loaded models that one reply uses at a time.

    options: how they were opened.
    """

    def __init__(self, files: PairFiles, options: ModelOptions, pair: Pair) -> None:
        self.files = files
        self.options = options
        self._pair: Pair | None = pair
        self._writing: Reply | None = None

    @property
    def pair(self) -> Pair:
        """Raises ModelError once the models are closed."""
        self.check_open()
        assert self._pair is not None
        return self._pair

    def check_open(self) -> None:
        """Raise ModelError once the models are closed."""
        if self._pair is None:
            name = self.files.entry.name or f"{self.files.base.label} + {self.files.guide.label}"
            raise ModelError(f"The pair {name} was closed: load it again with blendin_local.load().")

    @property
    def closed(self) -> bool:
        return self._pair is None

    def use(self, reply: Reply | None) -> None:
        """Let a reply decode, or none. The reply that did so before is cancelled, if it is unfinished."""
        before, self._writing = self._writing, reply
        if before is not None and before is not reply:
            before.end()

    def close(self) -> None:
        """Free both models. Safe to call twice."""
        if self._pair is not None:
            self.use(None)
            self._pair.close()
            self._pair = None


class Reply:
    """A reply under way: iterate it for its steps. An unfinished one is cancelled when the next one begins.

    steps: those written so far. settings: all that decided it beside models and prompt.
    """

    def __init__(
        self,
        models: LoadedModels,
        reply: EngineReply,
        settings: GenerationSettings,
    ) -> None:
        self.settings = settings
        self.steps: list[Step] = []
        self._models = models
        self._pair = models.pair
        self._reply = reply
        self._coming = iter(reply)
        self._over = False
        self._when_over: Callable[[Reply], None] = lambda reply: None

    def __iter__(self) -> Iterator[Step]:
        """Write on. Raises KeyboardInterrupt at Ctrl-C, after which the pair can be used on; ModelError."""
        while True:
            with interrupting(self.cancel) as pressed:
                step = self._next()
            if pressed.is_set():
                self.end()
                raise KeyboardInterrupt
            if step is None:
                return
            yield step

    def follow(self) -> Iterator[Step]:
        """Write on, for a caller that handles Ctrl-C itself by calling `cancel`."""
        while (step := self._next()) is not None:
            yield step

    def finish(self) -> Self:
        """Write the rest, and return the reply."""
        for _ in self:
            pass
        return self

    def cancel(self) -> None:
        """End the reply after what is written. May be called from any thread."""
        self._reply.cancel()

    @property
    def text(self) -> str:
        """The text written so far."""
        return self._reply.text

    @property
    def summary(self) -> Summary:
        """The figures so far: rates, means, seconds."""
        return self._reply.summary

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply is over; None while it is being written."""
        return self._reply.finish_reason

    @property
    def dropped_messages(self) -> int:
        """How many of the oldest messages were left out to fit the contexts."""
        return self._reply.dropped_messages

    def to_dict(self, *, steps: bool = False) -> dict[str, Any]:
        """The document that `blendin generate --json` prints; steps: as with --steps."""
        files = self._models.files
        return reply_as_dict(
            self._reply,
            {"base": files.base, "guide": files.guide},
            self.settings,
            calibrated=self._pair.calibrated,
            steps=self.steps if steps else None,
        )

    def _next(self) -> Step | None:
        if self._over:
            return None
        self._models.check_open()
        self._models.use(self)
        step = next(self._coming, None)
        if step is not None:
            self.steps.append(step)
        else:
            self.end()
        return step

    def end(self) -> None:
        """Cancel what is unfinished, and let go of the models."""
        if not self._over:
            self._over = True
            self.cancel()
            self.steps += self._coming
            self._when_over(self)

    def when_over(self, tell: Callable[[Reply], None]) -> None:
        """Have `tell` called with this reply once it is over."""
        self._when_over = tell


class Chat:
    """A conversation that remembers. messages: those so far, the system prompt included; may be changed.

    Each reply takes a seed of its own: the first one that of the settings, each after it one more.
    """

    def __init__(self, reply: Callable[..., Reply], system: str, settings: GenerationSettings) -> None:
        self.messages = [Message("system", system)] if system.strip() else []
        self.settings = settings
        self._reply = reply
        self._latest: Reply | None = None

    def send(self, text: str, *, candidates: int = 0, **changes: Any) -> Reply:
        """Begin the reply to a message. Both are remembered once the reply is over, if anything was said.

        changes: settings of this reply alone. Raises what `LoadedPair.reply` raises.
        """
        if self._latest is not None:
            self._latest.end()
        asked = [*self.messages, *prompt_of(text, "text")]
        settings = apply_changes(self.settings, changes)
        reply = self._reply(asked, candidates=candidates, settings=settings)
        self.settings = replace(self.settings, seed=(self.settings.seed + 1) % (1 << 63))

        def remember(reply: Reply) -> None:
            # Chat templates want user and assistant in turn: a message that got no answer makes way.
            if reply.text.strip():
                self.messages = [*asked, Message("assistant", reply.text)]

        reply.when_over(remember)
        self._latest = reply
        return reply
