"""One reply being written: what it asks of the models, and how each step is chosen.

A `Response` lives in a sequence of its own. It is told the logits, says whether it needs the guide, and
emits `Step` records; `blendin_local.engine` drives it. Nothing here knows llama.cpp, a user interface, or
where prompts come from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from blendin_local.blending import (
    METHODS,
    Distribution,
    Evidence,
    Masses,
    is_capped,
    is_uncertain,
    jensen_shannon,
    may_consult,
)
from blendin_local.errors import ModelError
from blendin_local.model import LanguageModel, Logits
from blendin_local.pair import Pair
from blendin_local.prompts import Prompt
from blendin_local.retokenizer import Retokenizer
from blendin_local.sampling import Sampler, top_outcomes
from blendin_local.settings import GenerationSettings
from blendin_local.steps import Candidate, Candidates, FinishReason, Source, Step, Summary
from blendin_local.text import TextStream
from blendin_local.vocabulary import Indices

GUIDE_STOP_ABOVE = 0.5
"""Guide stop ends the response where the guide's probability of stopping exceeds this."""

# The end of a sentence, closing quotes and brackets included, or of a line.
_BOUNDARY = re.compile(r"(?:[.!?…。！？][\"'”’»)\]」』）*_]*[ \t]?|\n\s*)\Z")
_BOUNDARY_REACH = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What one response answers: both prompts (None where the method never decodes that model).

    stops: stop strings, those of the prompt formats included. candidates: how many of the most probable
    outcomes each step reports; 0 reports none. prefix: steps of another response that this one goes on
    from, without a stop among them. forced: the outcome of its first own step, or None to choose it.
    """

    base: Prompt | None
    guide: Prompt | None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    stops: tuple[str, ...] = ()
    candidates: int = 0
    prefix: tuple[Step, ...] = ()
    forced: int | None = None


class Response:
    """A reply being written by one model alone (methods `base` and `guide`).

    The driver gives it logits with `read`, then asks for its `step`. `pending` are the tokens its writer is
    to be advanced by, `text` is what may be shown so far, `finish_reason` is set once it is over. `prefix`
    are the request's steps with the text that each released here.
    """

    def __init__(
        self, pair: Pair, writer: Literal["base", "guide"], prompt: Prompt, request: Request, seq: int
    ) -> None:
        self.request = request
        self.seq = seq
        self.writer: LanguageModel = getattr(pair, writer)
        self.summary = Summary()
        self.finish_reason: FinishReason | None = None
        self.text = ""
        self.tokens: list[int] = []
        self.started = False
        self._pair = pair
        self._role = writer
        self._lead = prompt.lead
        self._begun = False
        self._stream = TextStream(request.stops + request.settings.stop)
        self._sampler = Sampler(request.settings.sampling, request.settings.seed)
        self._outcomes: list[int] = []
        self._own = Distribution(len(self.writer.vocabulary))
        self._ends = frozenset(self.writer.vocabulary.end_tokens.tolist())
        self._forced = request.forced
        self._costs: Counter[str] = Counter()
        self._choosing_since = 0.0
        self.prefix = self._take_over(request.prefix)
        self.pending: Sequence[int] = [*prompt.tokens, *self.tokens]

    def _take_over(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Say again what another response said; in new tokens where another model wrote it."""
        own = [step.base_tokens if self._role == "base" else step.guide_tokens for step in steps]
        if all(own):
            self.tokens = [token for tokens in own for token in tokens]
            self._outcomes = [step.outcome for step in steps]
        else:
            said = b"".join(step.data for step in steps).decode("utf-8", "ignore")
            self.tokens = self.writer.tokenize(self._lead + said.encode())
            self._outcomes = list(self.tokens)
        taken = []
        for step in steps:
            self._begun = self._begun or bool(step.data)
            taken.append(replace(step, text=self._stream.feed(step.data), finish_reason=None))
            self.text += taken[-1].text
            self.summary.take_over(step)
        if self._stream.stopped is not None:
            self.cut("stop string")
        return tuple(taken)

    def charge(self, **costs: float) -> None:
        """Add seconds and decoded tokens to the costs of the step under way."""
        for name, cost in costs.items():
            self._costs[name] += cost  # type: ignore[assignment]

    def read(self, logits: Logits) -> None:
        """Take in the writer's logits, float32[n_vocab]; nothing of the view is kept."""
        self.started = True
        begun = perf_counter()
        _update(self._own, logits, self.writer)
        self.charge(blend_s=perf_counter() - begun)

    def step(self) -> Step:
        """Choose an outcome and report it."""
        self._choosing_since = perf_counter()
        return self._choose()

    def _choose(self) -> Step:
        return self._emit_own()

    def cut(self, reason: FinishReason) -> None:
        """End the response between two steps. What was held back for a stop string is not said."""
        self.summary.charge(self._costs)
        self._costs.clear()
        self.finish_reason = self.summary.finish_reason = reason

    def _emit_own(self, guide: tuple[Candidate, ...] = (), **seen: Any) -> Step:
        """Choose from the writer's own distribution; guide: what the guide would have said."""
        own = self._own
        forced = self._take_forced()
        chosen = self._sampler.choose(own.masses, self._outcomes, own.top) if forced is None else forced
        tokens = self._spelled(chosen)
        if self.request.candidates:
            top = self._candidates(own.masses, own.total, self.writer.vocabulary.token_bytes)
            seen["candidates"] = Candidates(**{"base": (), "guide": guide, self._role: top}, blend=top)
        return self._emit(
            chosen,
            tokens,
            _whose(tokens, forced, Source(self._role)),
            probability=own.probability(chosen) if chosen < len(own.masses) else 0.0,
            **self._own_figures(),
            **seen,
        )

    def _take_forced(self) -> int | None:
        forced, self._forced = self._forced, None
        return forced

    def _spelled(self, outcome: int) -> tuple[int, ...]:
        """The writer's tokens for an outcome; none for the stop."""
        return () if outcome in self._ends else (outcome,)

    def _own_figures(self) -> dict[str, float]:
        own = self._own
        if self._role == "guide":
            reliability = self._pair.guide_reliability(own.confidence)
            return {"c_g": own.confidence, "r_g": reliability, "guide_entropy": own.entropy, "alpha": 1.0}
        reliability = self._pair.base_reliability(own.confidence)
        return {"c_b": own.confidence, "r_b": reliability, "base_entropy": own.entropy}

    def _emit(self, outcome: int, tokens: tuple[int, ...], source: Source, **figures: Any) -> Step:
        """Append the outcome, release text, and see whether the response is over."""
        data = self.writer.vocabulary.decode(tokens)
        if data and not self._begun:
            self._begun = True
            data = data.removeprefix(self._lead)
        self._outcomes.append(outcome)
        self.tokens += tokens
        self.pending = tokens
        text = self._stream.feed(data)
        if source is Source.STOP:
            self.finish_reason = "stop"
        elif self._stream.stopped is not None:
            self.finish_reason = "stop string"
        elif self.summary.steps - self.summary.kept + 1 >= self.request.settings.max_tokens:
            self.finish_reason = "length"
        elif len(self.writer.cached(self.seq)) + len(tokens) > self.writer.n_ctx:
            self.finish_reason = "context"
        if self.finish_reason:
            text += self._stream.flush()
            if self._stream.stopped is not None:
                self.finish_reason = "stop string"
        self.text += text
        figures[f"{self._role}_tokens"] = tokens
        self.charge(blend_s=perf_counter() - self._choosing_since)
        step = Step(
            index=self.summary.steps,
            data=data,
            text=text,
            source=source,
            outcome=outcome,
            finish_reason=self.finish_reason,
            **figures,
            **self._costs,  # type: ignore[arg-type]
        )
        self._costs.clear()
        return step

    def _candidates(
        self, masses: Masses, total: float, data_of: Callable[[int], bytes]
    ) -> tuple[Candidate, ...]:
        if not self.request.candidates:
            return ()
        best = top_outcomes(masses, self.request.candidates)
        return tuple(Candidate(data_of(int(i)), float(masses[i]) / total, int(i)) for i in best)


class BlendedResponse(Response):
    """A reply that the base writes, with the guide consulted where the method asks for it."""

    def __init__(self, pair: Pair, prompt: Prompt, guide_prompt: Prompt, request: Request, seq: int) -> None:
        super().__init__(pair, "base", prompt, request, seq)
        self._guide_prompt = guide_prompt
        self._guide = Distribution(len(pair.guide.vocabulary))
        self._retokenizer = Retokenizer(pair.guide)
        self._map = pair.vocabulary_map
        self._mixed: Masses = np.zeros(self._map.n_outcomes, np.float32)
        self._interventions = sum(step.intervened for step in self.prefix)
        self.asks_guide = False
        self._uncertain = False
        self._asks_stop = False
        self._inside_guide_word = bool(self.prefix) and self._goes_on_with_guide(self.prefix[-1].source)

    # The base has spoken: is the guide needed?

    def read(self, logits: Logits) -> None:
        super().read(logits)
        blend = self.request.settings.blend
        self.asks_guide = self._uncertain = self._asks_stop = False
        if self._stream.inside_character:
            return
        steps = self.summary.steps
        self._uncertain = is_uncertain(blend, self._own.confidence, steps, self._interventions)
        tail = self._stream.text[-_BOUNDARY_REACH:]
        self._asks_stop = blend.guide_stop and _BOUNDARY.search(tail) is not None
        if is_capped(blend, steps, self._interventions):
            self._inside_guide_word = False
        self.asks_guide = self._uncertain or self._asks_stop or self._inside_guide_word

    def guide_tokens(self) -> list[int]:
        """What the guide's sequence must hold to be consulted: its prompt, then its tokens of the reply."""
        begun = perf_counter()
        reply = self._stream.text.encode()
        # Once the base has begun, if only with the space after its prompt, the guide's space is said too.
        said = self._retokenizer.tokens(self._guide_prompt.lead + reply) if self._begun else []
        self.charge(blend_s=perf_counter() - begun)
        return self._guide_prompt.tokens + said

    # The guide has spoken: blend and choose.

    def read_guide(self, logits: Logits) -> None:
        """Take in the guide's logits, float32[n_guide]; nothing of the view is kept."""
        begun = perf_counter()
        _update(self._guide, logits, self._pair.guide)
        self.charge(blend_s=perf_counter() - begun)

    def _choose(self) -> Step:
        if not self.asks_guide:
            return self._emit_own()
        guide = self._guide
        stop_mass = float(guide.masses[self._map.guide.end_tokens].sum()) / guide.total
        seen = {
            "consulted": True,
            "c_g": guide.confidence,
            "r_g": self._pair.guide_reliability(guide.confidence),
            "guide_entropy": guide.entropy,
            "stop_mass": stop_mass,
        }
        if self._asks_stop and stop_mass > GUIDE_STOP_ABOVE and self._forced is None:
            changed = self._own.top not in self._ends
            figures = self._own_figures() | seen | {"alpha": 1.0, "changed": changed}
            return self._emit(self._map.stop, (), Source.STOP, probability=stop_mass, **figures)
        if self._inside_guide_word and self._begins_word(guide.top):
            self._inside_guide_word = False
        if self._uncertain or self._inside_guide_word:
            return self._emit_blend(seen)
        return self._emit_own(self._guide_candidates(self._map.outcome_of), **seen)

    def _goes_on_with_guide(self, source: Source) -> bool:
        return self.request.settings.blend.unit == "word" and source in (Source.GUIDE, Source.BOTH)

    def _guide_candidates(self, outcome_of: Indices) -> tuple[Candidate, ...]:
        """The guide's most probable tokens, each with the outcome that says it; none unless asked for."""
        guide = self._guide
        listed = self._candidates(guide.masses, guide.total, self._map.guide.token_bytes)
        return tuple(replace(each, outcome=int(outcome_of[each.outcome])) for each in listed)

    def _begins_word(self, guide_token: int) -> bool:
        data = self._map.guide.token_bytes(guide_token)
        return not data or data[:1].isspace()

    def _emit_blend(self, seen: dict[str, Any]) -> Step:
        blend, own, guide, mapping = self.request.settings.blend, self._own, self._guide, self._map
        outcome_of, projection = mapping.outcome_of, mapping.projection
        if not self._begun:
            outcome_of, projection = mapping.at_first_step(self._lead, self._guide_prompt.lead)
        mixed = self._mixed

        # 1. Both distributions: the base's over all outcomes, the guide's over those that it reaches.
        mapping.fold_base(own.masses, 1 / own.total, mixed)
        from_guide = projection.collect(guide.masses, 1 / guide.total)
        divergence = jensen_shannon(mixed[projection.reached], from_guide)
        base_candidates = self._candidates(mixed, 1.0, mapping.outcome_bytes)

        # 2. What the guide weighs.
        base_top, guide_top = int(mapping.base_outcome[own.top]), int(outcome_of[guide.top])
        agreement = float(mixed[guide_top]) if guide_top >= 0 else 0.0
        rank = int((mixed > agreement).sum())
        evidence = Evidence(own.confidence, guide.confidence, agreement, rank)
        alpha = float(METHODS[blend.method].rule(evidence, blend))
        if not from_guide.any():
            # All that the guide would say is a control token of its own: nothing to weigh.
            alpha = 0.0

        # 3. The mixture, and the choice from it.
        mixed *= np.float32(1 - alpha)
        mixed[projection.reached] += np.float32(alpha) * from_guide
        total = float(mixed.sum())
        forced = self._take_forced()
        chosen = self._sampler.choose(mixed, self._outcomes) if forced is None else forced
        if self.request.candidates:
            seen["candidates"] = Candidates(
                base_candidates,
                self._guide_candidates(outcome_of),
                self._candidates(mixed, total, mapping.outcome_bytes),
            )

        self._interventions += 1
        tokens = self._spelled(chosen)
        source = _whose(tokens, forced, _source(chosen, base_top, guide_top))
        self._inside_guide_word = self._goes_on_with_guide(source)
        return self._emit(
            chosen,
            tokens,
            source,
            probability=float(mixed[chosen]) / total,
            agreement=agreement,
            guide_rank=rank,
            alpha=alpha,
            intervened=True,
            changed=int(mixed.argmax()) != base_top,
            divergence=divergence,
            mapped_mass=mapping.mapped_mass(guide.masses, guide.total, outcome_of),
            **self._own_figures(),
            **seen,
        )

    def _spelled(self, outcome: int) -> tuple[int, ...]:
        if outcome == self._map.stop or outcome < len(self._map.base):
            return () if outcome == self._map.stop else super()._spelled(outcome)
        data = self._map.outcome_bytes(outcome)
        if not self._begun:
            data = self._lead + data.removeprefix(self._guide_prompt.lead or self._lead)
        return tuple(self._map.spell(data, self.writer.tokenize))


def _update(distribution: Distribution, logits: Logits, model: LanguageModel) -> None:
    try:
        distribution.update(logits)
    except FloatingPointError as error:
        raise ModelError(f"{model.name} cannot go on: {error}. Its file may be damaged.") from error


def _whose(tokens: Sequence[int], forced: int | None, source: Source) -> Source:
    if not tokens:
        return Source.STOP
    return source if forced is None else Source.USER


def _source(chosen: int, base_top: int, guide_top: int) -> Source:
    if chosen == base_top:
        return Source.BOTH if chosen == guide_top else Source.BASE
    return Source.GUIDE if chosen == guide_top else Source.BLEND


def respond(pair: Pair, request: Request, seq: int = 0) -> Response:
    """The response to a request, not yet begun: hand it to `decode`.

    Raises ValueError where the request lacks the prompt of a model that its method decodes.
    """
    blend = request.settings.blend
    base, guide = request.base, request.guide
    if METHODS[blend.method].writer == "guide":
        if guide is not None:
            return Response(pair, "guide", guide, request, seq)
    elif base is not None and not may_consult(blend):
        return Response(pair, "base", base, request, seq)
    elif base is not None and guide is not None:
        return BlendedResponse(pair, base, guide, request, seq)
    raise ValueError(f"the method {blend.method} needs a prompt for each model it decodes")
