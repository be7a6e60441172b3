"""Replies that are decoded while they are iterated over, and conversations of such replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

from blendin_local.api.arguments import apply_changes
from blendin_local.engine.conversation import Reply as EngineReply
from blendin_local.engine.interrupt import interruptions
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
    """Two loaded models, used by one reply at a time.

    options: the model options that they were loaded with.
    """

    def __init__(self, files: PairFiles, options: ModelOptions, pair: Pair) -> None:
        self.files = files
        self.options = options
        self._pair: Pair | None = pair
        self._current: Reply | None = None

    @property
    def pair(self) -> Pair:
        """The pair. Raises ModelError if the models are closed."""
        self.check_open()
        assert self._pair is not None
        return self._pair

    def check_open(self) -> None:
        """Raise ModelError if the models are closed."""
        if self._pair is None:
            name = self.files.entry.name or f"{self.files.base.label} + {self.files.guide.label}"
            raise ModelError(f"The pair {name} was closed: load it again with blendin_local.load().")

    @property
    def closed(self) -> bool:
        return self._pair is None

    def use(self, reply: Reply | None) -> None:
        """Make `reply` the one that decodes, and end the previous one if it is unfinished."""
        before, self._current = self._current, reply
        if before is not None and before is not reply:
            before.end()

    def close(self) -> None:
        """Free both models. Safe to call twice."""
        if self._pair is not None:
            self.use(None)
            self._pair.close()
            self._pair = None


class Reply:
    """A reply; iterate over it to decode its steps. The next reply of the pair cancels an unfinished one.

    steps: the steps so far. settings: the settings in effect.
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
        self._steps_iterator = iter(reply)
        self._ended = False
        self._on_end: Callable[[Reply], None] = lambda reply: None

    def __iter__(self) -> Iterator[Step]:
        """Yield the remaining steps. Raises ModelError, and KeyboardInterrupt at Ctrl-C."""
        with interruptions(self.cancel) as listening:
            while True:
                with listening() as pressed:
                    step = self._next()
                if pressed.is_set():
                    self.end()
                    raise KeyboardInterrupt
                if step is None:
                    return
                yield step

    def follow(self) -> Iterator[Step]:
        """Yield the remaining steps, for a caller that handles Ctrl-C itself by calling `cancel`."""
        while (step := self._next()) is not None:
            yield step

    def finish(self) -> Self:
        """Decode the remaining steps and return the reply."""
        for _ in self:
            pass
        return self

    def cancel(self) -> None:
        """Stop decoding: the reply ends after the current step. Callable from any thread."""
        self._reply.cancel()

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._reply.text

    @property
    def reasoning(self) -> str:
        """The thinking before the answer, without its marks; "" without any."""
        return self._reply.reasoning

    @property
    def summary(self) -> Summary:
        """The figures of the steps so far: rates, means, timings."""
        return self._reply.summary

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply ended; None while it is unfinished."""
        return self._reply.finish_reason

    @property
    def dropped_messages(self) -> int:
        """Number of oldest messages that were dropped to fit the contexts."""
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
        if self._ended:
            return None
        self._models.check_open()
        self._models.use(self)
        step = next(self._steps_iterator, None)
        if step is not None:
            self.steps.append(step)
        else:
            self.end()
        return step

    def end(self) -> None:
        """Cancel the reply, if it is unfinished, and release the models."""
        if not self._ended:
            self._ended = True
            self.cancel()
            self.steps += self._steps_iterator
            self._on_end(self)

    def on_end(self, callback: Callable[[Reply], None]) -> None:
        """Set the function to call with this reply when it ends."""
        self._on_end = callback


class Chat:
    """A conversation with its history. messages: all so far with the system prompt; may be changed.

    The first reply uses the seed of the settings, each later one adds 1.
    """

    def __init__(self, reply: Callable[..., Reply], system: str, settings: GenerationSettings) -> None:
        self.messages = [Message("system", system)] if system.strip() else []
        self.settings = settings
        self._reply = reply
        self._latest: Reply | None = None

    def send(self, text: str, *, candidates: int = 0, **changes: Any) -> Reply:
        """Begin the reply to a message. Both join `messages` when the reply ends, unless it is blank.

        changes: settings of this reply alone. Raises what `LoadedPair.reply` raises.
        """
        if self._latest is not None:
            self._latest.end()
        asked = [*self.messages, *prompt_of(text, "text")]
        settings = apply_changes(self.settings, changes)
        reply = self._reply(asked, candidates=candidates, settings=settings)
        self.settings = replace(self.settings, seed=(self.settings.seed + 1) % (1 << 63))

        def append(reply: Reply) -> None:
            # Chat templates require alternating roles, so a message with an empty reply is dropped.
            if reply.text.strip():
                self.messages = [*asked, Message("assistant", reply.text)]

        reply.on_end(append)
        self._latest = reply
        return reply
