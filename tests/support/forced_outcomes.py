"""A known reply, written by the engine one forced outcome after the other: what a pass must equal."""

from __future__ import annotations

from collections.abc import Sequence

from blendin_local.engine.decoder import Request, decode, respond
from blendin_local.engine.pair import Pair
from blendin_local.engine.steps import Step
from blendin_local.settings import BlendSettings, GenerationSettings
from blendin_local.tune.alignment import Text


def forced_steps(pair: Pair, text: Text, blend: BlendSettings) -> list[Step]:
    """A step for each token of the reply, in the tokens of the method's writer.

    Each is the first step of a request of its own, which goes on from the steps before it.
    """
    guide = blend.method == "guide"
    prompt, model = (text.guide, pair.guide) if guide else (text.base, pair.base)
    tokens = model.tokenize(prompt.lead + text.reply.encode())
    settings = GenerationSettings(blend, max_tokens=1)
    steps: list[Step] = []
    for token in tokens:
        request = Request(text.base, text.guide, settings, prefix=tuple(steps), forced_outcome=token)
        ((_, step),) = decode(pair, [respond(pair, request)])
        assert (step.guide_tokens if guide else step.base_tokens) == (token,)
        steps.append(step)
    assert b"".join(step.data for step in steps) == text.reply.encode()
    return steps


class Forced:
    """A sampler that chooses what it is told."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)

    def choose(self, p: object, history: object, best: object = None) -> int:
        return next(self._tokens)


def written_steps(pair: Pair, text: Text, blend: BlendSettings) -> list[Step]:
    """The same in one go, for models whose prompt takes its time."""
    tokens = pair.base.tokenize(text.base.lead + text.reply.encode())
    settings = GenerationSettings(blend, max_tokens=len(tokens))
    response = respond(pair, Request(text.base, text.guide, settings))
    response._sampler = Forced(tokens)  # type: ignore[assignment]
    steps = [step for _, step in decode(pair, [response])]
    assert response.text == text.reply
    return steps
