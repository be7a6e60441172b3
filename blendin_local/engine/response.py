"""One reply being written by one model alone, and what every reply does: take over, choose, release, stop.

A `Response` lives in a sequence of its own. It is told the logits and emits `Step` records;
`decoder.Decoder` drives it. Nothing here knows llama.cpp, a user interface, or where prompts come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from blendin_local.engine.distribution import Distribution, Masses
from blendin_local.engine.language_model import LanguageModel, Logits
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.sampling import Sampler, top_outcomes
from blendin_local.engine.steps import Candidate, Candidates, FinishReason, Source, Step, Summary
from blendin_local.engine.text_stream import TextStream
from blendin_local.errors import ModelError
from blendin_local.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Request:
    """What one response answers: both prompts (None where the method never decodes that model).

    stops: stop strings, those of the prompt formats included. candidates: how many of the most probable
    outcomes each step reports; 0 reports none. prefix: steps of another response that this one goes on
    from, without a stop among them; under a temperature the random numbers begin anew after them.
    forced_outcome: the outcome of its first own step (`Candidate.outcome`, as this writer's), or None to
    choose it.
    """

    base: Prompt | None
    guide: Prompt | None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    stops: tuple[str, ...] = ()
    candidates: int = 0
    prefix: tuple[Step, ...] = ()
    forced_outcome: int | None = None

    @property
    def prompt_tokens(self) -> dict[str, int]:
        """Length of each model's prompt; only of models that the method may decode."""
        prompts = {"base": self.base, "guide": self.guide}
        return {role: len(prompt.tokens) for role, prompt in prompts.items() if prompt is not None}


class Response:
    """A reply being written by one model alone (methods `base` and `guide`).

    The driver gives it logits with `read`, then asks for its `step`. `pending` are the tokens its writer is
    to be advanced by, `text` is what may be shown so far, `finish_reason` is set once it is over, or `error`
    where a model failed at it. `prefix` are the request's steps with the text that each released here.

    Raises ModelError where the forced outcome is none of the writer's.
    """

    def __init__(self, pair: Pair, writer: Role, prompt: Prompt, request: Request, seq: int) -> None:
        self.request = request
        self.seq = seq
        self.writer = pair.model(writer)
        self.summary = Summary()
        self.finish_reason: FinishReason | None = None
        self.error: ModelError | None = None
        self.text = ""
        self.tokens: list[int] = []
        self.started = False
        self._pair = pair
        self._map = pair.vocabulary_map
        self._role = writer
        self._lead = prompt.lead
        self._stream = TextStream(request.stops + request.settings.stop)
        self._sampler = Sampler(request.settings.sampling, request.settings.seed)
        self._outcomes: list[int] = []
        self._own = Distribution(len(self.writer.vocabulary))
        self._ends = frozenset(self.writer.vocabulary.end_tokens.tolist())
        self._forced = self._checked(request.forced_outcome)
        self._latest_source: Source | None = None
        self._costs: Counter[str] = Counter()
        self._choosing_since = 0.0
        self.prefix = self._take_over(request.prefix)
        self.pending: Sequence[int] = [*prompt.tokens, *self.tokens]

    def _checked(self, forced_outcome: int | None) -> int | None:
        own = len(self.writer.vocabulary)
        if forced_outcome is not None and not 0 <= forced_outcome < (
            self._map.n_outcomes if self._role == "base" else own
        ):
            raise ModelError(
                f"{self.writer.name} knows no outcome {forced_outcome}: choose another candidate."
            )
        return forced_outcome

    def _take_over(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Say again what another response said; in new tokens where those of the steps are not its own."""
        taken = []
        for step in steps:
            if not self._stream.inside_character:
                self._latest_source = step.source
            taken.append(replace(step, text=self._stream.feed(step.data), finish_reason=None))
            self.text += taken[-1].text
            self.summary.take_over(step)
        if self._wrote(steps):
            self.tokens = [token for step in steps for token in self._own_tokens(step)]
            self._outcomes = [step.outcome for step in steps]
        elif said := self._stream.text.encode():
            self.tokens = self.writer.tokenize(self._lead + said)
            self._outcomes = list(self.tokens)
        self._begun = bool(self.writer.vocabulary.decode(self.tokens))
        if self._stream.stopped is not None:
            self.cut("stop string")
        return tuple(taken)

    def _own_tokens(self, step: Step) -> tuple[int, ...]:
        return step.base_tokens if self._role == "base" else step.guide_tokens

    def _wrote(self, steps: Sequence[Step]) -> bool:
        """Whether steps are in this writer's tokens: another model or file may have written them."""
        vocabulary = self.writer.vocabulary
        n_outcomes = self._pair.vocabulary_map.n_outcomes if self._role == "base" else len(vocabulary)
        tokens = [token for step in steps for token in self._own_tokens(step)]
        return (
            all(self._own_tokens(step) and 0 <= step.outcome < n_outcomes for step in steps)
            and all(0 <= token < len(vocabulary) for token in tokens)
            and vocabulary.decode(tokens).removeprefix(self._lead) == b"".join(step.data for step in steps)
        )

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None or self.error is not None

    def charge(self, **costs: float) -> None:
        """Add seconds and decoded tokens to the costs of the step under way."""
        for name, cost in costs.items():
            self._costs[name] += cost  # type: ignore[assignment]

    def read(self, logits: Logits) -> None:
        """Take in the writer's logits, float32[n_vocab]; nothing of the view is kept."""
        self.started = True
        begun = perf_counter()
        read_logits(self._own, logits, self.writer)
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
        forced_outcome = self._take_forced()
        chosen = (
            self._sampler.choose(own.masses, self._outcomes, own.top)
            if forced_outcome is None
            else forced_outcome
        )
        tokens = self._spelled(chosen)
        top = self._own_candidates()
        columns = {"base": (), "guide": guide, self._role: top}
        return self._emit(
            chosen,
            tokens,
            whose(tokens, forced_outcome, Source(self._role)),
            probability=self._own_probability(chosen),
            candidates=Candidates(**columns, blend=top) if self.request.candidates else None,
            **self._own_figures(),
            **seen,
        )

    def _take_forced(self) -> int | None:
        forced_outcome, self._forced = self._forced, None
        return forced_outcome

    def _spelled(self, outcome: int) -> tuple[int, ...]:
        """The writer's tokens for an outcome; none for the stop."""
        if outcome < len(self.writer.vocabulary):
            return () if outcome in self._ends else (outcome,)
        if outcome == self._map.stop:
            return ()
        data = self._map.outcome_bytes(outcome)
        if not self._begun:
            guide_lead = self.request.guide.lead if self.request.guide else b""
            data = self._lead + data.removeprefix(guide_lead or self._lead)
        return tuple(self._map.spell(data, self.writer.tokenize))

    def _own_probability(self, outcome: int) -> float:
        """By the writer alone: 0 for what it cannot say in one token."""
        own = self._own
        if outcome < len(own.masses):
            return own.probability(outcome)
        ends = self.writer.vocabulary.end_tokens
        return float(own.masses[ends].sum()) / own.total if outcome == self._map.stop else 0.0

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

    def _own_candidates(self) -> tuple[Candidate, ...]:
        return self._candidates(self._own.masses, self._own.total, self.writer.vocabulary.token_bytes)

    def _candidates(
        self, masses: Masses, total: float, data_of: Callable[[int], bytes]
    ) -> tuple[Candidate, ...]:
        if not self.request.candidates:
            return ()
        best = top_outcomes(masses, self.request.candidates)
        return tuple(Candidate(data_of(int(i)), float(masses[i]) / total, int(i)) for i in best)


def read_logits(distribution: Distribution, logits: Logits, model: LanguageModel) -> None:
    """Take in a model's logits, float32[n_vocab]. Raises ModelError where none of them is finite."""
    try:
        distribution.update(logits)
    except FloatingPointError as error:
        raise ModelError(f"{model.name} cannot go on: {error}. Its file may be damaged.") from error


def whose(tokens: Sequence[int], forced_outcome: int | None, source: Source) -> Source:
    """Whose choice an outcome of these tokens is: `source`, unless it was forced or is the stop."""
    if not tokens:
        return Source.STOP
    return source if forced_outcome is None else Source.USER
