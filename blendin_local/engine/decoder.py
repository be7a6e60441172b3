"""The decode loop: advances any number of responses in parallel and yields their `Step` records.

A round takes one decode of the base and at most one of the guide for all responses. A chat has one response;
in offline generation, new responses join as others end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TypeVar

from blendin_local.engine.blended_response import BlendedResponse, respond
from blendin_local.engine.language_model import Cancellation, Logits, Status
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prefix_cache import BlockPrefixes, ForkedPrefixes
from blendin_local.engine.response import Request, Response
from blendin_local.engine.steps import Step
from blendin_local.errors import ModelError

__all__ = ["Decoder", "Request", "Response", "decode", "respond"]

AnyResponse = TypeVar("AnyResponse", bound=Response)


def decode(
    pair: Pair, responses: Iterable[Response], cancellation: Cancellation | None = None
) -> Iterator[tuple[Response, Step]]:
    """Generate responses in parallel, each in its own sequence, until all end or are cancelled.

    Yields every step as soon as it is chosen. A full context ends a response with finish_reason "context".
    Raises ModelError if a model fails.
    """
    decoder = Decoder(pair, cancellation)
    decoder.join(*responses)
    with pair.watched(cancellation):
        while decoder.active:
            for response, step in decoder.round():
                yield response, step
            for response in decoder.over:
                if response.error:
                    raise response.error


class Decoder:
    """Advances responses in rounds, by one step each.

    active: unfinished responses, each in its own sequence. over: responses that ended in the last round, with
    a step, between two steps, or because a model failed (`Response.error`).

    repeatable: make responses bitwise independent of earlier ones. Only for responses generated one after
    another, in models of one sequence.
    """

    def __init__(
        self, pair: Pair, cancellation: Cancellation | None = None, *, repeatable: bool = False
    ) -> None:
        self.active: list[Response] = []
        self.over: list[Response] = []
        self._pair = pair
        self._cancellation = cancellation
        self._joined_s: dict[Response, float] = {}
        self._consulted: set[Response] = set()
        prefixes = BlockPrefixes if repeatable else ForkedPrefixes
        self._prefixes: dict[Role, BlockPrefixes | ForkedPrefixes] = {
            "base": prefixes(pair.base),
            "guide": prefixes(pair.guide),
        }

    def join(self, *responses: Response) -> None:
        """Add responses from the next round on; finished ones are skipped."""
        for response in responses:
            if not response.finish_reason:
                self.active.append(response)
                self._joined_s[response] = perf_counter()

    def round(self) -> Iterator[tuple[Response, Step]]:
        """Yield one step of each active response. Exhaust it before the next round.

        A cancellation ends all responses. Raises ModelError if a decode fails.
        """
        self.over = []
        if self._cancellation and self._cancellation.requested:
            for response in self.active:
                response.cut("cancelled")
            self._settle()
            return
        self._write("base")
        self._write("guide")
        self._consult()
        self._settle()
        for response in self.active:
            step = response.step()
            timings = response.summary.timings
            timings.total_s = perf_counter() - self._joined_s[response]
            timings.first_token_s = timings.first_token_s or timings.total_s
            response.summary.add(step)
            yield response, step
        self._settle()

    def _settle(self) -> None:
        """Move finished responses from `active` to `over`."""
        for response in self.active:
            response.summary.timings.total_s = perf_counter() - self._joined_s[response]
            if response.ended:
                self.over.append(response)
                self._consulted.discard(response)
                del self._joined_s[response]
        self.active = [response for response in self.active if response in self._joined_s]

    def _write(self, role: Role) -> None:
        """Advance the responses of one writing model by their last tokens, at first by their prompts."""
        writer = self._pair.model(role)
        writing = [response for response in self.active if response.writer is writer]
        left = self._begin(role, {r: r.pending for r in writing if not r.started})
        for response in self._advance(role, {r: left.get(r, r.pending) for r in writing}):
            _read_logits(response, response.read, writer.logits(response.seq))

    def _consult(self) -> None:
        """Advance the guide for the responses that consult it."""
        asking = [r for r in self.active if isinstance(r, BlendedResponse) and r.asks_guide and not r.ended]
        wanted: dict[BlendedResponse, Sequence[int]] = {r: r.guide_tokens() for r in asking}
        left = self._begin("guide", {r: wanted[r] for r in asking if r not in self._consulted})
        for response in asking:
            if response in self._consulted:
                left[response] = self._prefixes["guide"].go_on(response.seq, wanted[response])
        self._consulted.update(asking)
        for response in self._advance("guide", {r: left[r] for r in asking}):
            _read_logits(response, response.read_guide, self._pair.guide.logits(response.seq))

    def _begin(
        self, role: Role, prompts: Mapping[AnyResponse, Sequence[int]]
    ) -> dict[AnyResponse, Sequence[int]]:
        """Fill the sequences from prefix caches; return the rest of each prompt."""
        model = self._pair.model(role)
        beginning = {response.seq: response for response in prompts}

        def decode(seq: int, tokens: Sequence[int]) -> bool:
            return bool(self._advance(role, {beginning[seq]: tokens}))

        # Over-long prompts are rejected later, in `_advance`.
        fitting = {r.seq: tokens for r, tokens in prompts.items() if len(tokens) <= model.n_ctx}
        left = self._prefixes[role].begin(fitting, decode)
        return {response: left.get(response.seq, tokens) for response, tokens in prompts.items()}

    def _advance(self, role: Role, work: Mapping[AnyResponse, Sequence[int]]) -> list[AnyResponse]:
        """Decode each response's tokens; return the successful responses, the others are finished."""
        model = self._pair.model(role)
        fitting: list[AnyResponse] = []
        for response, tokens in work.items():
            if response.ended:
                continue
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


def _read_logits(response: Response, read: Callable[[Logits], None], logits: Logits) -> None:
    """Pass logits to a response. Unusable ones end this response and no other."""
    try:
        read(logits)
    except ModelError as error:
        response.error = error
