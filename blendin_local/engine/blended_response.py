"""A reply of a pair: decides when to consult the guide, and chooses each step from both distributions.

A `BlendedResponse` also reads the guide's logits when it needs them; see `response.Response`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from blendin_local.engine.distribution import Distribution, Masses, jensen_shannon
from blendin_local.engine.incremental_tokenizer import Retokenizer
from blendin_local.engine.language_model import Logits
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.response import Request, Response, read_logits, source_of
from blendin_local.engine.steps import Candidate, Candidates, Source, Step
from blendin_local.engine.trigger import is_capped, is_uncertain
from blendin_local.engine.vocabulary import Indices, Projection
from blendin_local.methods import METHODS, Evidence

GUIDE_STOP_ABOVE = 0.5
"""With guide stop, the response ends if the guide's probability of stopping exceeds this."""

# The end of a sentence, with closing quotes and brackets, or of a line.
_BOUNDARY = re.compile(r"(?:[.!?…。！？][\"'”’»)\]」』）*_]*[ \t]?|\n\s*)\Z")
_BOUNDARY_REACH = 16


class BlendedResponse(Response):
    """A reply of the base, with the guide consulted where the method requires it."""

    def __init__(self, pair: Pair, prompt: Prompt, guide_prompt: Prompt, request: Request, seq: int) -> None:
        super().__init__(pair, "base", prompt, request, seq)
        self._guide_prompt = guide_prompt
        self._guide = Distribution(len(pair.guide.vocabulary))
        self._retokenizer = Retokenizer(pair.guide)
        self._mixed: Masses = np.zeros(self._map.n_outcomes, np.float32)
        self._interventions = sum(step.intervened for step in self.prefix)
        self.asks_guide = False
        self._uncertain = False
        self._asks_stop = False
        self._inside_guide_word = self._goes_on_with_guide(self._latest_source)

    # With the base's logits: is the guide needed?

    def read(self, logits: Logits) -> None:
        super().read(logits)
        blend = self.request.settings.blend
        self.asks_guide = self._uncertain = self._asks_stop = False
        if self._stream.inside_character:
            return
        steps = self.summary.steps
        self._uncertain = is_uncertain(blend, self._own.confidence, steps, self._interventions)
        tail = self._stream.text[-_BOUNDARY_REACH:]
        ends = _BOUNDARY.search(tail) is not None and not self._stream.is_thinking
        self._asks_stop = blend.guide_stop and ends
        if is_capped(blend, steps, self._interventions):
            self._inside_guide_word = False
        self.asks_guide = self._uncertain or self._asks_stop or self._inside_guide_word

    def guide_tokens(self) -> list[int]:
        """Return the guide's sequence for a consultation: its prompt and its tokens of the reply."""
        begun = perf_counter()
        reply = self._stream.text.encode()
        # Once the base has begun, even with only the space after its prompt, the guide's space is implied.
        said = self._retokenizer.tokens(self._guide_prompt.lead + reply) if self._begun else []
        self.charge(blend_s=perf_counter() - begun)
        return self._guide_prompt.tokens + said

    # With the guide's logits: blend and choose.

    def read_guide(self, logits: Logits) -> None:
        """Read the guide's logits, float32[n_guide]; the view is not kept."""
        begun = perf_counter()
        read_logits(self._guide, logits, self._pair.guide)
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
        if self._asks_stop and stop_mass > GUIDE_STOP_ABOVE and not self._forced:
            return self._emit_guide_stop(stop_mass, seen)
        if self._inside_guide_word and self._begins_word(guide.top):
            self._inside_guide_word = False
        if self._uncertain or self._inside_guide_word:
            return self._emit_blend(seen)
        return self._emit_own(self._guide_candidates(), **seen)

    def _goes_on_with_guide(self, source: Source | None) -> bool:
        return self.request.settings.blend.unit == "word" and source in (Source.GUIDE, Source.BOTH)

    def _reach(self) -> tuple[Indices, Projection]:
        """Return the outcomes of the guide's tokens, and its projection to them."""
        if self._begun:
            return self._map.outcome_of, self._map.projection
        return self._map.at_first_step(self._lead, self._guide_prompt.lead)

    def _guide_candidates(self) -> tuple[Candidate, ...]:
        """Return the guide's top tokens with their outcomes; empty unless candidates are requested."""
        guide, (outcome_of, _) = self._guide, self._reach()
        listed = self._candidates(guide.masses, guide.total, self._map.guide.token_bytes)
        return tuple(replace(each, outcome=int(outcome_of[each.outcome])) for each in listed)

    def _begins_word(self, guide_token: int) -> bool:
        data = self._map.guide.token_bytes(guide_token)
        return not data or data[:1].isspace()

    def _emit_guide_stop(self, stop_mass: float, seen: dict[str, Any]) -> Step:
        """Stop by the guide's decision."""
        listed = self._guide_candidates()
        return self._emit(
            self._map.stop,
            (),
            Source.STOP,
            probability=stop_mass,
            alpha=1.0,
            changed=self._own.top not in self._ends,
            candidates=Candidates(self._own_candidates(), listed, listed) if listed else None,
            **self._own_figures(),
            **seen,
        )

    def _emit_blend(self, seen: dict[str, Any]) -> Step:
        blend, own, guide, mapping = self.request.settings.blend, self._own, self._guide, self._map
        outcome_of, projection = self._reach()
        mixed = self._mixed

        # 1. Both distributions: the base's over all outcomes, the guide's over those it can reach.
        mapping.fold_base(own.masses, 1 / own.total, mixed)
        from_guide = projection.collect(guide.masses, 1 / guide.total)
        divergence = jensen_shannon(mixed[projection.reached], from_guide)
        base_candidates = self._candidates(mixed, 1.0, mapping.outcome_bytes)

        # 2. The guide's weight.
        base_top, guide_top = int(mapping.base_outcome[own.top]), int(outcome_of[guide.top])
        agreement = float(mixed[guide_top]) if guide_top >= 0 else 0.0
        above = np.flatnonzero(mixed > agreement)
        rank, mass_above = len(above), float(mixed[above].sum())
        evidence = Evidence(own.confidence, guide.confidence, agreement, rank)
        alpha = float(METHODS[blend.method].weigh(evidence, blend))
        if not from_guide.any():
            # The guide's mass is all on its own control tokens: nothing to blend.
            alpha = 0.0

        # 3. The mixture, and the choice from it.
        mixed *= np.float32(1 - alpha)
        mixed[projection.reached] += np.float32(alpha) * from_guide
        total = float(mixed.sum())
        forced_outcome = self._take_forced()
        chosen = self._sampler.choose(mixed, self._outcomes) if forced_outcome is None else forced_outcome
        if self.request.candidates:
            seen["candidates"] = Candidates(
                base_candidates,
                self._guide_candidates(),
                self._candidates(mixed, total, mapping.outcome_bytes),
            )

        self._interventions += 1
        # A forced token may share the outcome of another.
        place = mapping.base_outcome[chosen] if chosen < len(mapping.base) else chosen
        tokens = self._spelled(chosen)
        source = source_of(tokens, forced_outcome, _source(chosen, base_top, guide_top))
        self._inside_guide_word = self._goes_on_with_guide(source)
        return self._emit(
            chosen,
            tokens,
            source,
            probability=float(mixed[place]) / total,
            agreement=agreement,
            guide_rank=rank,
            mass_above=mass_above,
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


def _source(chosen: int, base_top: int, guide_top: int) -> Source:
    if chosen == base_top:
        return Source.BOTH if chosen == guide_top else Source.BASE
    return Source.GUIDE if chosen == guide_top else Source.BLEND


def respond(pair: Pair, request: Request, seq: int = 0) -> Response:
    """Return a new response to a request, for `decode`.

    Raises ValueError if the request lacks the prompt of a model that its method decodes.
    """
    blend = request.settings.blend
    base, guide = request.base, request.guide
    if METHODS[blend.method].writer == "guide":
        if guide is not None:
            return Response(pair, "guide", guide, request, seq)
    elif base is not None and not blend.may_consult:
        return Response(pair, "base", base, request, seq)
    elif base is not None and guide is not None:
        return BlendedResponse(pair, base, guide, request, seq)
    raise ValueError(f"the method {blend.method} needs a prompt for each model it decodes")
