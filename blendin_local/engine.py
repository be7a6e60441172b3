"""The decode loop: any number of responses side by side, as a generator of `Step` records.

Each round needs one decode of the base and at most one of the guide, whatever the number of responses. A
chat is the case of one. Nothing here knows llama.cpp or a user interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TypeVar

from blendin_local.model import Cancellation, LanguageModel, Status, reuse
from blendin_local.pair import Pair
from blendin_local.responses import BlendedResponse, respond
from blendin_local.steps import Step
from blendin_local.writing import Request, Response

__all__ = ["Request", "Response", "decode", "respond"]

AnyResponse = TypeVar("AnyResponse", bound=Response)


def decode(
    pair: Pair, responses: Iterable[Response], cancellation: Cancellation | None = None
) -> Iterator[tuple[Response, Step]]:
    """Write responses side by side, each in its own sequence, until all are over or cancelled.

    Yields every step as soon as it is chosen. A full context ends a response with finish_reason "context".
    Raises ModelError if a model fails.
    """
    started = perf_counter()
    responses = list(responses)
    active = [response for response in responses if not response.finish_reason]
    with pair.watched(cancellation):
        while active:
            if cancellation and cancellation.requested:
                for response in active:
                    response.cut("cancelled")
                    response.summary.timings.total_s = perf_counter() - started
                return
            # 1. The writers go on by the tokens chosen last, at first by the prompts.
            for role in ("base", "guide"):
                writer: LanguageModel = getattr(pair, role)
                work = {r: _unread(writer, r) for r in active if r.writer is writer}
                for response in _advance(writer, role, work):
                    response.read(writer.logits(response.seq))
            # 2. The guide catches up with those responses that ask for it.
            asking = [
                r for r in active if isinstance(r, BlendedResponse) and r.asks_guide and not r.finish_reason
            ]
            behind = {r: reuse(pair.guide, r.seq, r.guide_tokens()) for r in asking}
            for consulting in _advance(pair.guide, "guide", behind):
                consulting.read_guide(pair.guide.logits(consulting.seq))
            # 3. Each response chooses.
            for response in active:
                response.summary.timings.total_s = perf_counter() - started
            active = [response for response in active if not response.finish_reason]
            for response in active:
                step = response.step()
                timings = response.summary.timings
                timings.total_s = perf_counter() - started
                timings.first_token_s = timings.first_token_s or timings.total_s
                response.summary.add(step)
                yield response, step
            active = [response for response in active if not response.finish_reason]


def _unread(writer: LanguageModel, response: Response) -> Sequence[int]:
    return response.pending if response.started else reuse(writer, response.seq, response.pending)


def _advance(model: LanguageModel, role: str, work: Mapping[AnyResponse, Sequence[int]]) -> list[AnyResponse]:
    """Decode each response's tokens; returns those that went well, the others are over."""
    fitting: list[AnyResponse] = []
    for response, tokens in work.items():
        if len(model.cached(response.seq)) + len(tokens) > model.n_ctx:
            response.cut("context")
        else:
            fitting.append(response)
    if not fitting:
        return []
    begun = perf_counter()
    status = model.advance({response.seq: work[response] for response in fitting})
    seconds = (perf_counter() - begun) / len(fitting)
    for response in fitting:
        response.charge(**{f"{role}_s": seconds, f"{role}_decoded": len(work[response])})
        if status is not Status.DONE:
            response.cut("cancelled" if status is Status.CANCELLED else "context")
    return fitting if status is Status.DONE else []
