"""Decode the common beginning of a task's prompts once."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.engine.language_model import LanguageModel, common_prefix
from blendin_local.engine.prompts import Message, PromptFormat, make_prompt

__all__ = ["SharedPrompt"]

_PROBES = ("0", "Z", "The", "the", "is")
"""First words of questions: a token of a space and a word must not count as shared up to its space."""


class SharedPrompt:
    """The tokens that the prompts of all questions of a task begin with, decoded once per task.

    Reusing the longest cached prefix would be as fast, but the last digits of logits depend on how tokens are
    split into batches, and near ties depend on those: an answer would depend on the questions before it. So
    each question restores exactly the shared tokens, which are always decoded by themselves.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._decoded: list[int] = []
        self._known: dict[tuple[PromptFormat, tuple[Message, ...]], list[int]] = {}

    def restore(self, form: PromptFormat, messages: Sequence[Message]) -> None:
        """Reset sequence 0 to the shared tokens. Raises PromptError."""
        shared = self._shared_tokens(form, messages)
        cached = list(self._model.cached(0)[: len(shared)])
        holds = shared and cached == shared == self._decoded
        if holds and self._model.rewind(0, len(shared)) == len(shared):
            return
        self._model.rewind(0, 0)
        self._decoded = shared
        if shared:
            self._model.advance({0: shared})

    def _shared_tokens(self, form: PromptFormat, messages: Sequence[Message]) -> list[int]:
        """Return the common prefix of the prompts of several last messages; [] if it fills the context."""
        *before, last = messages
        key = form, tuple(before)
        if key not in self._known:
            asked = [
                make_prompt(self._model, form, [*before, Message(last.role, text)]).tokens for text in _PROBES
            ]
            prefix = asked[0][: min(common_prefix(asked[0], other) for other in asked)]
            self._known[key] = prefix if len(prefix) < self._model.n_ctx else []
        return self._known[key]
