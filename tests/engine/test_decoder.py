"""The decode loop on fakes: each step equals the second implementation, and laws that hold for any model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference
from support.awkward import AWKWARD
from support.decoding import (
    asked,
    chosen,
    dreamers,
    fake,
    hesitant_pair,
    id_of,
    joined,
    newline_byte,
    reciters,
    run,
    scripted,
    seeds,
    settled,
    some_prompts,
    stopping_guide,
    vocabulary_pairs,
)
from support.examples import examples
from support.fakes import (
    CONTROL,
    END,
    FakeModel,
    dreaming,
    prompt_of,
    reciting,
    saying,
    vocabularies,
    words_and_bytes,
)
from support.nightly import some_of
from support.tiny_gguf import Architecture, write_tiny

from blendin_local.engine.decoder import Request, decode, respond
from blendin_local.engine.language_model import Cancellation, Status
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.steps import Calibration, Candidate, Source, Step, Summary
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import ModelError
from blendin_local.llamacpp.model import open_model
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings, ModelOptions, SamplingSettings

UNCERTAIN = tuple(name for name, method in METHODS.items() if method.trigger == "uncertain")
CONSULTING = (*UNCERTAIN, "ensemble")
ALL = 10_000
ONE = prompt_of()
HALF = "é".encode()[:1]
"""The random vocabularies spell one character of two bytes; this is its first."""


# Helpers


def speaker(model: FakeModel, tokens: Sequence[int], lead: bytes = b"") -> reference.Speaker:
    """What the model says after these tokens, asked anew."""
    vocabulary = model.vocabulary
    pieces = [vocabulary.token_bytes(i) for i in range(len(vocabulary))]
    logits = model.mind(tuple(tokens)).astype(np.float64).tolist()
    return reference.Speaker(pieces, vocabulary.kinds.tolist(), logits, lead)


def rules_of(blend: BlendSettings) -> reference.Rules:
    return reference.Rules(
        blend.method, blend.gamma, blend.alpha, blend.prior, blend.compete_k, blend.tau, blend.capability_gap
    )


blends = st.fixed_dictionaries(
    {
        "gamma": st.sampled_from((0.2, 0.4, 0.7, 1.0)),
        "alpha": st.sampled_from((0.0, 0.3, 0.5, 1.0)),
        "prior": st.sampled_from((-1.75, 0.0, 2.0)),
        "compete_k": st.integers(1, 5),
        "tau": st.sampled_from((0.1, 0.3)),
        "capability_gap": st.sampled_from((0.0, 0.5)),
    }
)


# One step, twice


Ask = Callable[[str, Sequence[int]], Sequence[float]]
"""Logits of "base" or "guide" after these tokens, from nothing."""


@dataclass(frozen=True)
class Retold:
    """Checks steps of a greedy or sampled reply against the second implementation, one by one."""

    pair: Pair
    request: Request
    ask: Ask
    within: float = 1e-6

    def check(self, steps: Sequence[Step]) -> int:
        """Returns how many interventions there were."""
        base, guide = self.pair.base, self.pair.guide
        base_prompt, guide_prompt = self.request.base, self.request.guide
        assert base_prompt and guide_prompt
        rules = rules_of(self.request.settings.blend)
        context, said, interventions = list(base_prompt.tokens), b"", 0
        for step in steps:
            own = self.speaker("base", context, base_prompt.lead)
            consults = reference.consults(rules, reference.confident(own)[1]) and not inside_character(said)
            assert step.consulted == step.intervened == consults
            self.check_base(step, own)
            # A first step that writes nothing leaves the next one the first.
            first = not base.vocabulary.decode(context[len(base_prompt.tokens) :])
            if consults:
                heard_text = guide_prompt.lead + said.decode("utf-8", "replace").encode()
                tokens = guide_prompt.tokens + ([] if first else guide.tokenize(heard_text))
                heard = self.speaker("guide", tokens, guide_prompt.lead)
                same = self.pair.vocabulary_map.same
                expected = reference.blend(own, heard, rules, same=same, first=first)
                self.check_figures(step, heard, expected, first and own.lead != heard.lead)
                self.check_choice(step, expected, first)
            else:
                self.check_own(step, own)
            written = base.vocabulary.decode(step.base_tokens)
            assert step.data == (written.removeprefix(own.lead) if first else written)
            interventions += step.intervened
            context += step.base_tokens
            said += step.data
        return interventions

    def speaker(self, role: str, tokens: Sequence[int], lead: bytes) -> reference.Speaker:
        vocabulary: Vocabulary = getattr(self.pair, role).vocabulary
        pieces = [vocabulary.token_bytes(i) for i in range(len(vocabulary))]
        return reference.Speaker(pieces, vocabulary.kinds.tolist(), self.ask(role, tokens), lead)

    def about(self, expected: float | list[float]) -> object:
        return pytest.approx(expected, abs=self.within)

    def loosely(self, expected: float) -> object:
        """Sums of many logarithms."""
        return pytest.approx(expected, abs=10 * self.within)

    def assert_same(self, found: reference.Distribution, expected: reference.Distribution) -> None:
        for key in {**found, **expected}:
            assert found.get(key, 0.0) == self.about(expected.get(key, 0.0)), key

    def keys(self, candidates: Iterable[Candidate], role: str) -> reference.Distribution:
        """The engine's candidates as the second implementation names outcomes."""
        mapping = self.pair.vocabulary_map
        kinds = self.pair.base.vocabulary.kinds
        owner = "both" if mapping.same else role
        found: reference.Distribution = {}
        for candidate in candidates:
            key: reference.Key = candidate.data
            if candidate.outcome == mapping.stop or (
                0 <= candidate.outcome < len(kinds) and kinds[candidate.outcome] == END
            ):
                key = reference.STOP
            elif candidate.outcome < 0:
                key = ("guide", -1)
            elif not candidate.data:
                key = (owner, candidate.outcome)
            found[key] = found.get(key, 0.0) + candidate.probability
        return found

    def check_base(self, step: Step, own: reference.Speaker) -> None:
        probabilities = reference.softmax(own.logits)
        assert step.c_b == step.r_b == self.about(max(probabilities))
        assert step.base_entropy == self.loosely(reference.entropy(probabilities))

    def check_own(self, step: Step, own: reference.Speaker) -> None:
        """The base was sure, or inside a character: the choice is from its own tokens."""
        assert step.candidates is not None
        probabilities = reference.softmax(own.logits)
        found = {candidate.outcome: candidate.probability for candidate in step.candidates.blend}
        assert [found.get(i, 0.0) for i in range(len(own.tokens))] == self.about(probabilities)
        assert step.candidates.base == step.candidates.blend
        token = step.outcome
        assert step.probability == self.about(probabilities[token])
        assert self.sampled or probabilities[token] == self.about(max(probabilities))
        stops = own.kinds[token] == END
        assert (step.source, step.base_tokens) == ((Source.STOP, ()) if stops else (Source.BASE, (token,)))
        assert (step.c_g, step.agreement, step.divergence, step.alpha) == (None, None, None, 0)

    def check_figures(
        self, step: Step, heard: reference.Speaker, expected: reference.Blend, aligned: bool
    ) -> None:
        assert step.c_g == step.r_g == self.about(expected.c_g)
        assert step.agreement == self.about(expected.agreement)
        assert step.guide_rank == expected.rank or self.within > 1e-6
        # Where a near tie is counted otherwise, so is its mass.
        assert step.mass_above == self.about(expected.above) or step.guide_rank != expected.rank
        assert step.alpha == self.about(expected.alpha)
        assert step.divergence == self.loosely(expected.divergence)
        assert step.guide_entropy == self.loosely(reference.entropy(reference.softmax(heard.logits)))
        assert step.stop_mass == self.about(expected.guide[reference.STOP])
        assert step.candidates is not None
        self.assert_same(self.keys(step.candidates.base, "base"), expected.base)
        self.assert_same(self.keys(step.candidates.blend, "base"), expected.mixture)
        assert step.mapped_mass == self.about(expected.mapped)
        if not aligned:
            self.assert_same(self.keys(step.candidates.guide, "guide"), unsayable_as_one(expected.guide))

    def check_choice(self, step: Step, expected: reference.Blend, first: bool) -> None:
        assert step.candidates is not None
        (picked,) = (c for c in step.candidates.blend if c.outcome == step.outcome)
        (key,) = self.keys([picked], "base")
        best = reference.best(expected.mixture, within=self.within)
        assert step.probability == self.about(expected.mixture[key])
        assert self.sampled or key in best
        assert len(best) > 1 or step.changed == (expected.base_top not in best)
        assert step.source == source_of(key, expected)
        written = self.pair.base.vocabulary.decode(step.base_tokens)
        if isinstance(key, bytes):
            assert written == key or (first and written.strip(b" ") == key.strip(b" "))
        assert (step.base_tokens == ()) == (key == reference.STOP)

    @property
    def sampled(self) -> bool:
        return self.request.settings.sampling.temperature > 0


def inside_character(data: bytes) -> bool:
    """Whether bytes end in the middle of a character."""
    for length in (1, 2, 3):
        try:
            data[-length:].decode()
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return True
    return False


@pytest.mark.parametrize("method", ["base", *CONSULTING])
@examples(60)
@given(
    vocabulary_pairs,
    st.booleans(),
    seeds,
    st.sampled_from((0.5, 2.0, 5.0)),
    blends,
    st.tuples(*[st.sampled_from((b"", b" "))] * 2),
    st.sampled_from((0.0, 1.0)),
)
def test_steps_equal_the_second_implementation(
    method: str,
    models: tuple[Vocabulary, Vocabulary],
    same: bool,
    seed: int,
    spread: float,
    blend: dict[str, Any],
    leads: tuple[bytes, bytes],
    temperature: float,
) -> None:
    """Every figure of every step, from logits asked anew: so a lazy guide also equals an eager one."""
    vocabulary = {"base": models[0], "guide": models[0] if same else models[1]}
    minds = {role: dreaming(v, seed + len(role), spread) for role, v in vocabulary.items()}
    base, guide = (FakeModel(vocabulary[role], minds[role], name=role) for role in ("base", "guide"))
    request = asked(
        prompt_of(2, leads[0]),
        prompt_of(3, leads[1]),
        method=method,
        max_tokens=5,
        candidates=ALL,
        sampling=SamplingSettings(temperature=temperature),
        seed=seed,
        **blend,
    )
    pair = pair_models(base, guide)
    response, steps = run(pair, request)
    assert steps and response.finish_reason in ("stop", "length")
    Retold(pair, request, lambda role, tokens: minds[role](tuple(tokens)).astype(np.float64).tolist()).check(
        steps
    )


@pytest.mark.parametrize(
    ("arch", "method"),
    some_of(
        [("llama", "blendin"), ("gemma3", "ensemble"), ("mamba", "nudge")],
        product(("llama", "gemma3", "mamba"), ("blendin", "ensemble", "nudge")),
    ),
)
def test_steps_of_llama_cpp_equal_the_second_implementation(
    tmp_path: Path, arch: Architecture, method: str
) -> None:
    """Kept caches, rewound ones and batches give what a fresh decode of the whole context gives.

    Within what llama.cpp's own results differ by between one batch and many.
    """
    options = ModelOptions(n_ctx=128, n_threads=1, n_gpu_layers=0, kv_type="f32", flash_attention="off")
    paths = {
        "base": write_tiny(tmp_path / "base.gguf", arch=arch, vocabulary="spm", sharp=3),
        "guide": write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=1, sharp=3),
    }
    base, guide, *others = (open_model(paths[role], options) for role in ("base", "guide") * 2)
    fresh = dict(zip(paths, others, strict=True))

    def ask(role: str, tokens: Sequence[int]) -> list[float]:
        fresh[role].rewind(0, 0)
        assert fresh[role].advance({0: tokens}) is Status.DONE
        logits: list[float] = fresh[role].logits(0).astype(np.float64).tolist()
        return logits

    prompts = (
        Prompt(model.tokenize(b"hello world how", continuation=False), b" ") for model in (base, guide)
    )
    request = asked(*prompts, method=method, gamma=0.5, max_tokens=40, candidates=ALL)
    pair = pair_models(base, guide)
    try:
        _, steps = run(pair, request)
        assert Retold(pair, request, ask, within=2e-3).check(steps) > 3
    finally:
        for model in (base, guide, *others):
            model.close()


def unsayable_as_one(guide: reference.Distribution) -> reference.Distribution:
    """The base has no outcome for the guide's own control tokens: they are one."""
    found: reference.Distribution = {}
    for key, probability in guide.items():
        name = ("guide", -1) if isinstance(key, tuple) and key[0] == "guide" else key
        found[name] = found.get(name, 0.0) + probability
    return found


def source_of(key: reference.Key, expected: reference.Blend) -> Source:
    if key == reference.STOP:
        return Source.STOP
    if key == expected.base_top:
        return Source.BOTH if key == expected.guide_top else Source.BASE
    return Source.GUIDE if key == expected.guide_top else Source.BLEND


def eager(pair: Pair, request: Request) -> list[tuple[int, ...]]:
    """Base tokens of each step, with both models asked about their whole contexts at every step."""
    base, guide, rules = fake(pair.base), fake(pair.guide), rules_of(request.settings.blend)
    context, said, steps = list(ONE.tokens), b"", list[tuple[int, ...]]()
    same = pair.vocabulary_map.same
    while len(steps) < request.settings.max_tokens and steps[-1:] != [()]:
        own = speaker(base, context)
        top, c_b = reference.confident(own)
        key = reference.key_of(own, top, "both" if same else "base")
        if reference.consults(rules, c_b) and not said.endswith(HALF):
            text = said.decode("utf-8", "replace").encode()
            heard = speaker(guide, ONE.tokens + guide.tokenize(text))
            mixture = reference.blend(own, heard, rules, same=same).mixture
            key = max(mixture, key=mixture.__getitem__)
        steps.append(spelled(base, key))
        context += steps[-1]
        said += base.vocabulary.decode(steps[-1])
    return steps


def spelled(model: FakeModel, key: reference.Key) -> tuple[int, ...]:
    """The tokens that write an outcome, in a vocabulary without duplicates."""
    ids = {model.vocabulary.token_bytes(i): i for i in range(len(model.vocabulary))}
    if not isinstance(key, bytes):
        return () if key == reference.STOP else (int(key[1]),)
    if key in ids:
        return (ids[key],)
    try:
        return tuple(model.tokenize(key))
    except UnicodeDecodeError:
        return tuple(ids[bytes([value])] for value in key)


@pytest.mark.parametrize("method", CONSULTING)
@examples(10)
@given(st.tuples(*[vocabularies(duplicates=False)] * 2), seeds, blends)
def test_a_lazy_guide_equals_an_eager_one(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int, blend: dict[str, Any]
) -> None:
    request = asked(method=method, max_tokens=12, **blend)
    _, steps = run(dreamers(*models, seed), request)
    assert chosen(steps) == eager(dreamers(*models, seed), request)


# Laws


def greedy(model: FakeModel, prompt: Prompt, n: int) -> list[tuple[int, ...]]:
    """A plain loop: the most probable token, until an end token."""
    tokens: list[int] = list(prompt.tokens)
    steps: list[tuple[int, ...]] = []
    while len(steps) < n:
        token = int(model.mind(tuple(tokens)).argmax())
        if model.vocabulary.kinds[token] == END:
            return [*steps, ()]
        steps.append((token,))
        tokens.append(token)
    return steps


@given(vocabulary_pairs, seeds, some_prompts)
def test_one_model_alone_equals_a_plain_greedy_loop(
    models: tuple[Vocabulary, Vocabulary], seed: int, prompt: Prompt
) -> None:
    pair = dreamers(*models, seed)
    base, guide = fake(pair.base), fake(pair.guide)
    response, steps = run(pair, Request(prompt, None, asked(method="base", guide_stop=True).settings))
    assert chosen(steps) == greedy(base, prompt, 40)
    assert response.tokens == [token for tokens in chosen(steps) for token in tokens]
    assert guide.decodes == []
    assert base.decoded == len(prompt.tokens) + len(steps) - 1
    assert {step.source for step in steps} <= {Source.BASE, Source.STOP}

    before = base.decoded
    _, steps = run(pair, Request(None, prompt, asked(method="guide", guide_stop=True).settings))
    assert [step.guide_tokens for step in steps] == greedy(guide, prompt, 40)
    assert base.decoded == before
    assert {step.source for step in steps} <= {Source.GUIDE, Source.STOP}
    assert all(step.alpha == 1 and step.c_b is None for step in steps)


@pytest.mark.parametrize("guide_stop", [False, True])
@pytest.mark.parametrize("method", CONSULTING)
@examples(8)
@given(vocabularies(duplicates=False, ends=1), seeds, blends)
def test_a_model_blended_with_itself_gives_its_own_reply(
    method: str, guide_stop: bool, vocabulary: Vocabulary, seed: int, blend: dict[str, Any]
) -> None:
    base, guide = (FakeModel(vocabulary, dreaming(vocabulary, seed, of_text=True)) for _ in range(2))
    request = asked(method=method, guide_stop=guide_stop, max_tokens=20, **blend)
    _, steps = run(pair_models(base, guide), request)
    assert chosen(steps) == greedy(base, ONE, 20)
    for step in steps:
        assert not step.changed
        assert step.source in (Source.BASE, Source.BOTH, Source.STOP)
        if step.intervened:
            assert step.divergence == pytest.approx(0, abs=1e-5)
            assert step.mapped_mass == pytest.approx(1, abs=1e-5)
            assert step.agreement == pytest.approx(step.c_g, abs=1e-6)


@pytest.mark.parametrize("method", UNCERTAIN)
@examples(8)
@given(vocabulary_pairs, seeds, st.booleans(), st.sampled_from(("token", "word")))
def test_gamma_0_equals_base(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int, guide_stop: bool, unit: str
) -> None:
    """With guide stop on as well: nothing was asked of the guide, so it had no context to be asked in."""
    pair = dreamers(*models, seed)
    alone, steps = run(dreamers(*models, seed), asked(method="base"))
    response, same = run(pair, asked(method=method, gamma=0, guide_stop=guide_stop, unit=unit))
    assert settled(same) == settled(steps)
    assert (response.text, response.finish_reason) == (alone.text, alone.finish_reason)
    assert fake(pair.guide).decodes == []


@pytest.mark.parametrize("method", CONSULTING)
@examples(8)
@given(vocabulary_pairs, seeds)
def test_gamma_1_consults_at_every_step(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int
) -> None:
    _, steps = run(dreamers(*models, seed), asked(method=method, gamma=1))
    said = b""
    for step in steps:
        assert step.consulted == step.intervened == (not said.endswith(HALF))
        said += step.data


def test_ensemble_consults_however_sure_the_base_is() -> None:
    _, steps = run(reciters("the end", 0.999), asked(method="ensemble", gamma=0))
    assert all(step.intervened and step.alpha == 0.5 for step in steps)


@pytest.mark.parametrize("goes_back", [None, 0, 2])
@examples(15)
@given(vocabulary_pairs, st.lists(seeds, min_size=2, max_size=4), st.data())
def test_a_used_cache_equals_a_fresh_one(
    goes_back: int | None, models: tuple[Vocabulary, Vocabulary], some: list[int], data: st.DataObject
) -> None:
    """Of any kind of memory: attention, a recurrent state that cannot go back, a sliding window."""
    used = dreamers(*models, 0, goes_back=goes_back)
    for seed in some:
        sampling = SamplingSettings(temperature=1)
        request = asked(
            data.draw(some_prompts),
            data.draw(some_prompts),
            method=data.draw(st.sampled_from(tuple(METHODS))),
            seed=seed,
            sampling=sampling,
            gamma=0.6,
            max_tokens=10,
            guide_stop=True,
        )
        _, steps = run(used, request)
        _, expected = run(dreamers(*models, 0), request)
        uncounted = [
            [replace(s, base_decoded=0, guide_decoded=0) for s in settled(x)] for x in (steps, expected)
        ]
        assert uncounted[0] == uncounted[1]


@examples(40)
@given(vocabulary_pairs, seeds, st.data())
def test_responses_side_by_side_equal_each_alone(
    models: tuple[Vocabulary, Vocabulary], seed: int, data: st.DataObject
) -> None:
    """In any mix of methods, prompts, lengths and contexts that fill up."""
    n_ctx = data.draw(st.sampled_from((12, 1000)))
    requests = [
        asked(
            data.draw(some_prompts),
            data.draw(some_prompts),
            method=data.draw(st.sampled_from(tuple(METHODS))),
            gamma=data.draw(st.sampled_from((0.0, 0.5, 1.0))),
            unit=data.draw(st.sampled_from(("token", "word"))),
            guide_stop=data.draw(st.booleans()),
            sampling=SamplingSettings(temperature=data.draw(st.sampled_from((0.0, 1.0)))),
            seed=data.draw(st.integers(0, 9)),
            max_tokens=data.draw(st.integers(1, 15)),
            stop=data.draw(st.sampled_from(((), ("ab",), ("\n", "o")))),
            candidates=3,
        )
        for _ in range(data.draw(st.integers(2, 5)))
    ]
    pair = dreamers(*models, seed, n_ctx=n_ctx)
    responses = [respond(pair, request, seq) for seq, request in enumerate(requests)]
    together: dict[int, list[Step]] = {response.seq: [] for response in responses}
    for response, step in decode(pair, responses):
        together[response.seq].append(step)
    # One decode of each model for a round of all.
    rounds = max(len(steps) for steps in together.values())
    assert len(fake(pair.base).decodes) <= rounds + 1
    for response, request in zip(responses, requests, strict=True):
        alone, steps = run(dreamers(*models, seed, n_ctx=n_ctx), request)
        assert settled(together[response.seq]) == settled(steps)
        assert (response.text, response.finish_reason) == (alone.text, alone.finish_reason)
        assert response.tokens == alone.tokens
        assert response.summary.as_dict() == alone.summary.as_dict()


@given(vocabulary_pairs, seeds)
def test_a_seed_reproduces_a_reply(models: tuple[Vocabulary, Vocabulary], seed: int) -> None:
    request = asked(sampling=SamplingSettings(temperature=1.0, top_p=0.9), seed=seed, gamma=0.5)
    (_, first), (_, again) = (run(dreamers(*models, 1), request) for _ in range(2))
    assert settled(first) == settled(again)


def test_seeds_differ_and_sample_the_blend() -> None:
    # Base .3 a, .1 b; guide .1 a, .5 b; half of each: .2 a, .3 b.
    pair = scripted(("", {"": {"a": 0.3, "b": 0.1}}), ("", {"": {"a": 0.1, "b": 0.5}}))
    requests = (
        asked(method="fixed", sampling=SamplingSettings(temperature=1), seed=seed, max_tokens=1)
        for seed in range(600)
    )
    texts = [run(pair, request)[0].text for request in requests]
    # Four standard deviations of 600 draws are .07.
    assert texts.count("a") / 600 == pytest.approx(0.2, abs=0.07)
    assert texts.count("b") / 600 == pytest.approx(0.3, abs=0.07)


# What is decoded


NUMBERS = "_one _two _three _four _five _six"


def test_the_guide_catches_up_in_one_batch() -> None:
    sure, unsure = {"": {" one": 0.9}}, {}
    steps_of = ["one", "two", "three", "four", "five", "six"]
    for before, after in pairwise(steps_of):
        # The base hesitates before four and before six.
        sure[f" {before}"] = {f" {after}": 0.3 if after in ("four", "six") else 0.9}
        unsure[f" {before}"] = {f" {after}": 0.8}
    pair = scripted((NUMBERS, sure), (f"_on {NUMBERS}", {"": {" one": 0.8}, **unsure}))
    response, steps = run(pair, asked(prompt_of(2), prompt_of(5), max_tokens=6))
    assert response.text == " one two three four five six"

    guide = fake(pair.guide)
    words = [id_of(guide.vocabulary, f" {word}") for word in steps_of]
    assert guide.decodes == [{0: (0, 0, 0, 0, 0, *words[:3])}, {0: tuple(words[3:5])}]
    assert [step.guide_decoded for step in steps] == [0, 0, 0, 8, 0, 2]
    assert [step.base_decoded for step in steps] == [2, 1, 1, 1, 1, 1]
    assert [step.consulted for step in steps] == [False, False, False, True, False, True]
    summary = response.summary
    assert (summary.base_decoded, summary.guide_decoded, summary.consultations) == (7, 10, 2)


def test_a_guide_token_that_grew_is_decoded_again_and_nothing_else() -> None:
    """The base writes "for", then "ty"; the guide had "for" and now has "forty"."""
    base = {"": {" a": 0.9}, " a": {" for": 0.3}, " for": {"ty": 0.3}, " forty": {"!": 0.9}}
    guide = {"": {"x": 0.4}}
    pair = scripted(("_a _for ty", base), ("_a _for _forty", guide))
    response, steps = run(pair, asked(max_tokens=4, method="fixed", alpha=0.0))
    assert response.text == " a forty!"
    a, for_, forty = (id_of(pair.guide.vocabulary, f" {word}") for word in ("a", "for", "forty"))
    assert fake(pair.guide).decodes == [{0: (0, a)}, {0: (for_,)}]
    assert [step.guide_decoded for step in steps] == [0, 2, 1, 0]

    _, steps = run(pair, asked(gamma=1.0, max_tokens=4, method="fixed", alpha=0.0))
    # The prompt is known, but not the logits after it. At last "forty" stands in for "for".
    assert fake(pair.guide).decodes[2:] == [{0: (0,)}, {0: (a,)}, {0: (for_,)}, {0: (forty,)}]
    assert pair.guide.cached(0) == [0, a, forty]


@pytest.mark.parametrize("gamma", [0.3, 0.6, 1.0])
def test_the_guide_decodes_little_more_than_it_must(gamma: float) -> None:
    """The goal of the bench: decoded guide tokens / (prompt + response in its tokenization) <= 1.15."""
    text = " it was the best of times it was the worst of times" * 4
    base = words_and_bytes("_it _was _the _best _of _tim es _wor st _times")
    guide = words_and_bytes("_it _was _the _be st _of _time s _worst es")
    doubt = dreaming(base, 5, 1.0)

    def hesitant(tokens: tuple[int, ...]) -> np.ndarray:
        # The lead of the recited token over the rest runs from nothing to certainty.
        return reciting(base, text.encode(), confidence=0.9)(tokens) * np.float32(abs(doubt(tokens)[0]) / 2)

    pair = pair_models(FakeModel(base, hesitant), FakeModel(guide, reciting(guide, text.encode())))
    response, steps = run(pair, asked(prompt_of(10), prompt_of(30), gamma=gamma, max_tokens=ALL))
    assert response.text == text
    needed = 30 + len(guide and fake(pair.guide).tokenize(text.encode()))
    assert 0.3 * needed < fake(pair.guide).decoded <= 1.15 * needed
    assert sum(step.guide_decoded for step in steps) == fake(pair.guide).decoded
    # The base never decodes anything twice.
    assert fake(pair.base).decoded == 10 + len(response.tokens)


def test_a_word_that_no_base_token_spells_is_tokenized_by_the_base() -> None:
    pair = scripted(
        ("_Cam bridge _is", {"": {" Cam": 0.2, " is": 0.3}, "Cambridge": {" is": 0.9}}),
        ("_Cambridge", {"": {" Cambridge": 0.9}}),
    )
    response, steps = run(pair, asked(max_tokens=2))
    cam, bridge, is_ = (id_of(pair.base.vocabulary, word) for word in (" Cam", "bridge", " is"))
    assert chosen(steps) == [(cam, bridge), (is_,)]
    assert steps[0].data == b" Cambridge"
    assert (steps[0].agreement, steps[0].source, steps[0].changed) == (0.0, Source.GUIDE, True)
    assert fake(pair.base).decodes == [{0: (0,)}, {0: (cam, bridge)}]
    assert response.summary.tokens == 3
    # .9 / 1.2 = .75 of the guide's .9
    assert steps[0].probability == pytest.approx(0.75 * 0.9, abs=1e-3)


def test_byte_tokens_do_not_hide_agreement() -> None:
    """As in Gemma: "\\n" is token 10 of the byte tokens and a normal token after them."""
    base = words_and_bytes([b"\n", b"x"])
    newline = id_of(base, "\n")
    table = {"": {newline: 0.3, newline_byte(base): 0.05, "x": 0.1}, "\n": {"x": 0.9}}
    guide = words_and_bytes([b"ab"])
    pair = pair_models(
        FakeModel(base, saying(base, table)), FakeModel(guide, saying(guide, {"": {"\n": 0.9}}))
    )
    _, steps = run(pair, asked(max_tokens=1))
    assert steps[0].base_tokens == (newline,)
    assert (steps[0].source, steps[0].changed, steps[0].guide_rank) == (Source.BOTH, False, 0)
    assert steps[0].agreement == pytest.approx(0.35, abs=1e-6)


# The first step


@pytest.mark.parametrize(("base_lead", "guide_lead"), [(b" ", b""), (b"", b" "), (b" ", b" "), (b"", b"")])
def test_first_tokens_agree_whoever_begins_with_a_space(base_lead: bytes, guide_lead: bytes) -> None:
    """After "Answer:" a base says " Paris", after a chat template a guide says "Paris"."""
    first = [(lead + b"Paris").decode() for lead in (base_lead, guide_lead)]
    pair = scripted(
        ("_Paris Paris _is _Rome Rome", {"": {first[0]: 0.3}, "Paris": {" is": 0.3}}),
        ("_Paris Paris _is", {"": {first[1]: 0.8}, "Paris": {" is": 0.8}}),
    )
    _, steps = run(pair, asked(prompt_of(1, base_lead), prompt_of(1, guide_lead), max_tokens=2))
    assert [step.text for step in steps] == ["Paris", " is"]
    assert steps[0].base_tokens == (id_of(pair.base.vocabulary, first[0]),)
    for step in steps:
        assert (step.source, step.changed) == (Source.BOTH, False)
        assert step.agreement == pytest.approx(0.3, abs=1e-6)
    # The guide's context is its prompt and its own tokens of the reply.
    assert fake(pair.guide).decodes[1] == {0: (id_of(pair.guide.vocabulary, first[1]),)}


@pytest.mark.parametrize(("base_lead", "guide_lead"), [(b" ", b""), (b"", b" "), (b" ", b" "), (b"", b"")])
def test_a_first_word_of_the_guide_alone_follows_the_base_s_prompt(
    base_lead: bytes, guide_lead: bytes
) -> None:
    said = (guide_lead + b"Oslo").decode()
    words = "_Os Os lo _is"
    pair = scripted(
        (words, {"": {"!": 0.2}, "Oslo": {" is": 0.9}}), (f"{said.replace(' ', '_')}", {"": {said: 0.9}})
    )
    _, steps = run(pair, asked(prompt_of(1, base_lead), prompt_of(1, guide_lead), max_tokens=2))
    assert [step.text for step in steps] == ["Oslo", " is"]
    begins = (base_lead + b"Os").decode()
    assert steps[0].base_tokens == tuple(id_of(pair.base.vocabulary, word) for word in (begins, "lo"))
    assert steps[0].source == Source.GUIDE


def test_mapped_mass_counts_what_the_first_step_matches() -> None:
    """The base can say "Paris" here, as " Paris": it was counted as mass that cannot be mapped."""
    pair = scripted(("_Paris", {"": {" Paris": 0.3}}), ("Paris", {"": {"Paris": 0.8}}))
    _, steps = run(pair, asked(prompt_of(1, b" "), max_tokens=1))
    assert steps[0].mapped_mass == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("lead", [b"", b" "])
@pytest.mark.parametrize("writer", ["base", "guide"])
def test_the_space_after_the_prompt_is_no_part_of_the_reply(writer: str, lead: bytes) -> None:
    text = (lead + b"The end").decode()
    pair = reciters(text, 0.9)
    response, steps = run(pair, asked(prompt_of(1, lead), prompt_of(1, lead), method=writer))
    assert response.text == joined(steps) == "The end"


# Stopping


def test_stop_is_one_outcome_of_both_models() -> None:
    """x .175 + .05, y .2, stop .15 + .175: the top of neither model."""
    pair = scripted(
        ("", {"": {"x": 0.35, 1: 0.1, 2: 0.2}}), ("", {"": {"x": 0.1, "y": 0.4, 1: 0.15, 2: 0.2}}), ends=2
    )
    response, steps = run(pair, asked(method="fixed", candidates=3))
    (step,) = steps
    assert (response.finish_reason, step.finish_reason, step.source) == ("stop", "stop", Source.STOP)
    assert (response.text, step.base_tokens, step.data) == ("", (), b"")
    assert step.probability == pytest.approx(0.325, abs=1e-6)
    assert step.changed
    assert step.stop_mass == pytest.approx(0.35, abs=1e-6)
    assert step.candidates is not None
    assert [c.data for c in step.candidates.blend] == [b"", b"x", b"y"]
    shares = [c.probability for c in step.candidates.blend]
    assert shares == pytest.approx([0.325, 0.225, 0.2], abs=1e-3)
    assert step.candidates.blend[0].outcome == step.outcome == pair.vocabulary_map.stop


@pytest.mark.parametrize("method", ["nudge", "guide", "blendin", "ensemble"])
def test_a_guide_that_answers_with_its_end_token_first(method: str) -> None:
    """The reference crashes here, and otherwise stops only when the base does."""
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {1: 0.9}}))
    response, steps = run(pair, asked(method=method))
    assert (response.text, response.finish_reason, len(steps)) == ("", "stop", 1)
    assert steps[0].source == Source.STOP
    assert pair.guide.vocabulary.end_tokens.tolist() == [1]


@pytest.mark.parametrize("method", ["nudge", "blendin", "ensemble"])
def test_a_guide_that_wants_only_what_the_base_cannot_say(method: str) -> None:
    """A control token of its own: nothing was left of its distribution, and of the mixture at alpha 1."""
    pair = scripted(("", {"": {"x": 0.3}}), ("yes", {"": {"yes": 0.9}}))
    row = np.full(len(pair.guide.vocabulary), -np.inf, np.float32)
    row[0] = 1.0
    fake(pair.guide).mind = lambda tokens: row
    response, _ = run(pair, asked(method=method, max_tokens=2))
    assert response.text == "xx"


def test_a_reply_goes_on_where_only_the_guide_would_stop() -> None:
    pair = scripted(("", {"": {"x": 0.3}, "x": {1: 0.9}}), ("", {"": {1: 0.9}}))
    response, _ = run(pair, asked(method="fixed", alpha=0.1))
    assert (response.text, response.finish_reason) == ("x", "stop")


LINES = "Yes.\n\nQuestion: why"


@pytest.mark.parametrize("by_request", [True, False])
@pytest.mark.parametrize("method", ["base", "guide", "blendin", "ensemble"])
@pytest.mark.parametrize("words", ["", "\n\n Question :", "Ques tion", ".\n \nQuestion:", ".\n\nQuestion: s"])
def test_stop_strings_are_found_across_tokens_and_never_shown(
    words: str, method: str, by_request: bool
) -> None:
    pieces = [word.encode() for word in words.split(" ") if word]
    vocabulary = words_and_bytes(pieces)
    confidence = 0.9 if method == "base" else 0.3
    base = FakeModel(vocabulary, reciting(vocabulary, LINES.encode(), confidence=confidence))
    guide = FakeModel(words_and_bytes(), reciting(words_and_bytes(), LINES.encode()))
    stops = {"stops" if by_request else "stop": ("\n\nQuestion:",)}
    response, steps = run(pair_models(base, guide), asked(method=method, **stops))
    assert response.text == joined(steps) == "Yes."
    assert response.finish_reason == steps[-1].finish_reason == "stop string"
    assert response.summary.finish_reason == "stop string"
    for end in range(len(steps)):
        assert LINES.startswith(joined(steps[:end]))


def test_text_held_back_for_a_stop_string_is_shown_when_it_was_none() -> None:
    pair = reciters("Yes.\n\nQuest", 0.9)
    response, steps = run(pair, asked(method="base", stops=("\n\nQuestion:",)))
    assert response.text == joined(steps) == "Yes.\n\nQuest"
    assert response.finish_reason == "stop"
    response, steps = run(pair, asked(method="base", stops=("\n\nQuestion:",), max_tokens=6))
    assert response.text == joined(steps) == "Yes.\n\nQu"
    assert response.finish_reason == "length"


SENTENCES = "One. Two. Three."


def test_guide_stop_ends_a_reply_at_the_end_of_a_sentence() -> None:
    pair = stopping_guide(SENTENCES, "Two.", 0.9)
    response, steps = run(pair, asked(guide_stop=True))
    assert (response.text, response.finish_reason) == ("One. Two.", "stop")
    last = steps[-1]
    assert (last.source, last.base_tokens, last.consulted, last.intervened) == (Source.STOP, (), True, False)
    assert last.stop_mass == last.probability == pytest.approx(0.9, abs=1e-6)
    assert last.finish_reason == "stop"
    # Consulted about stopping alone: the base's choices stand, unblended.
    assert [step.index for step in steps if step.consulted] == [4, 5, 9]
    assert response.summary.interventions == 0
    assert all(step.alpha == 0 and step.source == Source.BASE for step in steps[:-1])
    response, _ = run(pair, asked(guide_stop=False))
    assert (response.text, response.finish_reason) == (SENTENCES, "stop")
    assert response.summary.consultations == 0


@pytest.mark.parametrize(
    ("masses", "stops"), [((0.5001,), True), ((0.4999,), False), ((0.3, 0.3), True), ((0.2, 0.2), False)]
)
def test_guide_stop_needs_more_than_half(masses: tuple[float, ...], stops: bool) -> None:
    response, _ = run(stopping_guide(SENTENCES, "Two.", *masses), asked(guide_stop=True))
    assert response.text == ("One. Two." if stops else SENTENCES)


@pytest.mark.parametrize(
    ("text", "is_end"),
    [
        ("Yes.", True),
        ("Yes!", True),
        ("Yes?", True),
        ("Yes…", True),
        ("Yes. ", True),
        ("Yes.\n", True),
        ("Yes\n", True),
        ("Yes\n\n", True),
        ('Yes."', True),
        ("(Yes.)", True),
        ("Yes.”", True),
        ("「はい。」", True),
        ("はい。", True),
        ("**Yes.**", True),
        ("Yes", False),
        ("Yes,", False),
        ("Yes ", False),
        ("3.5", False),
        ("Yes. N", False),
    ],
)
def test_guide_stop_is_asked_at_the_end_of_sentences_and_lines(text: str, is_end: bool) -> None:
    pair = stopping_guide(f"{text}~more", text, 0.9)
    response, _ = run(pair, asked(guide_stop=True))
    assert response.text == (text if is_end else f"{text}~more")


@pytest.mark.parametrize("guide_stop", [True, False])
def test_single_models_are_asked_nothing(guide_stop: bool) -> None:
    pair = stopping_guide(SENTENCES, "Two.", 0.9)
    response, _ = run(pair, asked(method="base", guide_stop=guide_stop))
    assert response.text == SENTENCES
    assert fake(pair.guide).decodes == []


def test_max_tokens() -> None:
    pair = reciters("the end of it", 0.9)
    for limit in (1, 2, 5):
        response, steps = run(pair, asked(max_tokens=limit))
        assert len(steps) == limit
        assert [step.finish_reason for step in steps] == [None] * (limit - 1) + ["length"]
        assert response.finish_reason == response.summary.finish_reason == "length"
    # A stop is a step too, and a stop at the limit is a stop.
    _, steps = run(pair, asked())
    response, again = run(pair, asked(max_tokens=len(steps)))
    assert settled(again) == settled(again) and response.finish_reason == "stop"


# Words


NEWCASTLE = (
    (
        "_New _York _is castle",
        {
            "": {" New": 0.3},
            " New": {" York": 0.9},
            "York": {" is": 0.9},
            "castle": {" is": 0.9},
            " is": {"!": 0.9},
        },
    ),
    (
        "_New castle _is",
        {"": {" New": 0.8}, " New": {"castle": 0.9}, "castle": {" is": 0.9}, "York": {" is": 0.9}},
    ),
)


def test_the_guide_finishes_its_word_if_asked_to() -> None:
    pair = scripted(*NEWCASTLE)
    response, steps = run(pair, asked(method="nudge", unit="token", max_tokens=3))
    assert response.text == " New York is"
    assert [step.intervened for step in steps] == [True, False, False]

    response, steps = run(pair, asked(method="nudge", unit="word", max_tokens=4))
    assert response.text == " Newcastle is!"
    assert [step.intervened for step in steps] == [True, True, False, False]
    # At the third the guide was heard, because only then it began another word.
    assert [step.consulted for step in steps] == [True, True, True, False]
    assert response.summary.guide_words == 1
    assert steps[2].source == Source.BASE


def test_a_guide_that_wants_to_stop_has_finished_its_word() -> None:
    base, guide = NEWCASTLE
    pair = scripted(base, (guide[0], {**guide[1], "castle": {1: 0.9}}))
    response, steps = run(pair, asked(method="nudge", unit="word", max_tokens=3))
    assert response.text == " Newcastle is"
    assert [step.intervened for step in steps] == [True, True, False]


def test_a_word_goes_on_inside_characters() -> None:
    """Between the bytes of the guide's character nobody is asked, and then its word still goes on."""
    word = "né".encode()
    base = {"": {"x": 0.2}, word[:2].decode("latin-1"): {}, "né": {"x": 0.9}}
    vocabulary = words_and_bytes([b"n\xc3"])
    table = {key: row for key, row in base.items() if row}
    half = saying(vocabulary, table)
    second = id_of_byte(vocabulary, 0xA9)

    def mind(tokens: tuple[int, ...]) -> np.ndarray:
        row = half(tokens)
        if vocabulary.decode(tokens).endswith(b"\xc3"):
            row = np.full_like(row, -20)
            row[second] = 0
        return row

    guide = words_and_bytes([b"n\xc3"])
    says = saying(guide, {"": {int(len(guide) - 1): 0.9}, "é": {"!": 0.9}})
    pair = pair_models(FakeModel(vocabulary, mind), FakeModel(guide, says))
    response, steps = run(pair, asked(method="nudge", unit="word", max_tokens=3))
    assert response.text == "né!"
    assert [step.intervened for step in steps] == [True, False, True]


def id_of_byte(vocabulary: Vocabulary, value: int) -> int:
    return next(i for i in range(len(vocabulary)) if vocabulary.token_bytes(i) == bytes([value]))


def test_the_guide_finishes_no_word_that_the_base_began() -> None:
    """Where the blend chose the base's token, the word is the base's."""
    base, guide = NEWCASTLE
    pair = scripted(
        (base[0], {**base[1], "": {" York": 0.35}}), (guide[0], {**guide[1], "York": {"castle": 0.9}})
    )
    response, steps = run(pair, asked(method="fixed", alpha=0.1, unit="word", max_tokens=2))
    assert response.text == " York is"
    assert [step.intervened for step in steps] == [True, False]


# Controls


@pytest.mark.parametrize("method", ["nudge", "blendin", "ensemble"])
def test_cap_on_the_intervention_rate(method: str) -> None:
    response, steps = run(hesitant_pair(), asked(method=method, max_intervention_rate=0.25, max_tokens=100))
    interventions = 0
    for step in steps:
        # More than 20 are out from step 21 on, counted from 0.
        assert step.intervened == (step.index <= 20 or interventions / step.index < 0.25)
        interventions += step.intervened
    # 21 of the first 21, then none until 21 of 84, and one in four from there.
    assert [step.index for step in steps if step.intervened][21:24] == [85, 89, 93]
    assert response.text[:24] == "y" * 21 + "xxx"


@pytest.mark.parametrize("unit", ["token", "word"])
def test_no_consultation_at_the_cap_whatever_the_unit(unit: str) -> None:
    """A guide that never begins a new word was consulted at every step to the end."""
    request = asked(method="nudge", unit=unit, max_intervention_rate=0.25, max_tokens=60)
    _, steps = run(hesitant_pair(), request)
    interventions = 0
    for step in steps:
        if step.index > 20 and interventions / step.index >= 0.25:
            assert not step.intervened
        interventions += step.intervened


def test_capability_gap_raises_the_threshold() -> None:
    pair = scripted(("", {"": {"x": 0.45}}), ("", {"": {"y": 0.8}}))
    for gap, text in ((0.0, "xx"), (0.2, "xx"), (0.4, "yy"), (-0.4, "xx")):
        response, _ = run(pair, asked(method="nudge", capability_gap=gap, max_tokens=2))
        assert response.text == text


# Text


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize(
    ("method", "lead"),
    [("base", b""), ("base", b" "), ("guide", b" "), ("blendin", b""), ("ensemble", b""), ("nudge", b"")],
)
def test_released_text_is_the_text(method: str, lead: bytes, text: str) -> None:
    """Bytes of steps, texts of steps and the reply's text are one, on everything awkward."""
    confidence = 0.9 if method == "base" else 0.3
    pair = reciters(lead.decode() + text, confidence)
    request = asked(prompt_of(1, lead), prompt_of(1, lead), method=method, max_tokens=ALL, candidates=2)
    response, steps = run(pair, request)
    assert response.text == joined(steps) == text
    assert b"".join(step.data for step in steps) == text.encode()
    assert response.finish_reason == "stop"
    writer = response.writer.vocabulary
    assert writer.decode(response.tokens) == lead + text.encode()
    if method in ("blendin", "ensemble", "nudge"):
        said = b""
        for step in steps:
            # Half a character is asked about to nobody, and shown to nobody.
            assert step.consulted == is_whole(said)
            said += step.data
            shown = joined(steps[: step.index + 1]).encode()
            assert said.startswith(shown) and len(said) - len(shown) < 4


def test_a_reply_that_begins_with_the_space_alone() -> None:
    """The base wrote the space after the prompt as a token of its own; the guide was not told, and both
    wrote it: the reply was " yes" instead of "yes".
    """
    pair = reciters(" yes", 0.3)
    response, steps = run(pair, asked(prompt_of(1, b" "), prompt_of(1, b" "), method="nudge"))
    assert steps[0].data == b""
    assert response.text == "yes"
    # The prompt, the space, "y", "e", "s".
    assert fake(pair.guide).decoded == 5


def is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.text(max_size=12), st.floats(0.2, 0.9), st.sampled_from(("base", *CONSULTING)))
def test_released_text_is_the_text_of_any_text(text: str, confidence: float, method: str) -> None:
    response, steps = run(reciters(text, confidence), asked(method=method, gamma=0.6, max_tokens=ALL))
    written = response.writer.vocabulary.decode(response.tokens).decode()
    assert response.text == joined(steps) == written
    assert text == written or method == "compete"


@pytest.mark.parametrize("method", ["base", "blendin", "ensemble"])
def test_half_a_character_is_not_shown_at_the_limit(method: str) -> None:
    """A reply that was cut inside an emoji ended with U+FFFD."""
    pair = reciters("ab🧀", 0.3)
    for limit, text in ((2, "ab"), (3, "ab"), (4, "ab"), (5, "ab"), (6, "ab🧀")):
        response, steps = run(pair, asked(method=method, max_tokens=limit))
        assert response.text == joined(steps) == text
        assert response.finish_reason == "length"


def test_broken_bytes_become_replacement_characters() -> None:
    base = words_and_bytes([b"\x80a", b"b"])
    table = {"": {len(base) - 2: 0.3}}
    said = saying(base, {**table})

    def mind(tokens: tuple[int, ...]) -> np.ndarray:
        return said(()) if len(tokens) == 1 else saying(base, {"": {1: 0.9}})(())

    guide = words_and_bytes()
    pair = pair_models(FakeModel(base, mind), FakeModel(guide, saying(guide, {"": {1: 0.5}})))
    response, steps = run(pair, asked(gamma=1, method="fixed", alpha=0.1))
    assert response.text == joined(steps) == "\ufffda"
    # The guide reads what the user reads.
    assert fake(pair.guide).tokenized == ["\ufffda".encode()]


# Endings that are nobody's choice


def test_a_prompt_longer_than_the_context() -> None:
    for method, base_length, guide_length in (
        ("base", 9, 1),
        ("guide", 1, 9),
        ("blendin", 9, 1),
        ("ensemble", 1, 9),
    ):
        pair = reciters("the end", 0.3, n_ctx=8)
        response, steps = run(pair, asked(prompt_of(base_length), prompt_of(guide_length), method=method))
        assert (steps, response.text) == ([], "")
        assert response.finish_reason == response.summary.finish_reason == "context"


def test_a_full_context_of_the_base_ends_the_reply() -> None:
    pair = scripted(("", {"": {"x": 0.9}}), ("", {"": {"y": 0.9}}), n_ctx=8)
    response, steps = run(pair, asked(prompt_of(5)))
    # Logits after 5, 6, 7 and 8 tokens.
    assert (response.text, response.finish_reason, len(steps)) == ("xxxx", "context", 4)
    assert len(pair.base.cached(0)) == 8


def test_a_full_context_of_the_guide_ends_the_reply() -> None:
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.9}}), n_ctx=8)
    response, steps = run(pair, asked(prompt_of(1), prompt_of(5)))
    assert (response.text, response.finish_reason, len(steps)) == ("yyyy", "context", 4)
    # One that is never consulted fills nothing.
    response, _ = run(pair, asked(prompt_of(1), prompt_of(5), method="base"))
    assert (response.text, response.finish_reason) == ("x" * 8, "context")


def test_nobody_is_asked_about_a_reply_that_is_over() -> None:
    """The guide was decoded once more for a reply that the base's full context had just ended."""
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.9}}), n_ctx=8)
    response, steps = run(pair, asked(prompt_of(5), prompt_of(1)))
    assert (response.text, response.finish_reason, len(steps)) == ("yyyy", "context", 4)
    assert len(fake(pair.guide).decodes) == 4


@pytest.mark.parametrize("role", ["base", "guide"])
def test_a_context_full_without_warning_ends_the_reply(role: str) -> None:
    """All sequences of a model may share one memory: then only the decode itself can tell."""
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.9}}))
    fake(getattr(pair, role)).n_cells = 6
    response, steps = run(pair, asked())
    assert (response.text, response.finish_reason, len(steps)) == ("y" * 6, "context", 6)
    assert len(getattr(pair, role).cached(0)) == 6


@pytest.mark.parametrize("cut", ["context of the base", "context of the guide", "cancelled"])
def test_a_reply_that_is_cut_is_the_text_of_its_steps(cut: str) -> None:
    """`Step.text`: all texts joined are the reply. What waited for a stop string when the context was full
    was in the reply's text but in no step, so a front end that streams lost it.
    """
    pair, cancellation = reciters("ab\n\nQuestion", 0.3), Cancellation()
    match cut:
        case "context of the base":
            fake(pair.base).n_ctx = 4
        case "context of the guide":
            fake(pair.guide).n_ctx = 4
        case "cancelled":
            fake(pair.base).before_decode = lambda number: cancellation.cancel() if number == 3 else None
    response, steps = run(pair, asked(stops=("\n\nQuestion:",)), cancellation=cancellation)
    assert response.finish_reason == cut.split()[0]
    assert response.text.startswith("ab")
    assert response.text == joined(steps)


def test_one_full_context_leaves_the_others_alone() -> None:
    pair = scripted(("", {"": {"x": 0.9}}), ("", {"": {"y": 0.9}}), n_ctx=8)
    responses = [
        respond(pair, asked(prompt_of(length), max_tokens=4), seq) for seq, length in enumerate((2, 7, 9))
    ]
    texts = {response.seq: "" for response in responses}
    for response, step in decode(pair, responses):
        texts[response.seq] += step.text
    assert texts == {0: "xxxx", 1: "xx", 2: ""}
    assert [response.finish_reason for response in responses] == ["length", "context", "context"]


def test_one_full_context_of_the_guide_leaves_the_others_alone() -> None:
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.9}}))
    fake(pair.guide).n_ctx = 8
    responses = [
        respond(pair, asked(prompt_of(1), prompt_of(length), max_tokens=4), seq)
        for seq, length in enumerate((2, 7))
    ]
    for _ in decode(pair, responses):
        pass
    assert [response.text for response in responses] == ["yyyy", "yy"]
    assert [response.finish_reason for response in responses] == ["length", "context"]


def test_cancelled_before_it_began() -> None:
    pair, cancellation = reciters("the end", 0.3), Cancellation()
    cancellation.cancel()
    response, steps = run(pair, asked(), cancellation=cancellation)
    assert (steps, response.text, response.finish_reason) == ([], "", "cancelled")
    assert response.summary.finish_reason == "cancelled"
    assert fake(pair.base).decodes == fake(pair.guide).decodes == []


@pytest.mark.parametrize("role", ["base", "guide"])
def test_cancelled_within_a_decode(role: str) -> None:
    pair, cancellation = reciters("the 🧀 end", 0.3), Cancellation()
    model = fake(getattr(pair, role))
    model.before_decode = lambda number: cancellation.cancel() if number == 3 else None
    response, steps = run(pair, asked(gamma=0.4), cancellation=cancellation)
    assert response.finish_reason == response.summary.finish_reason == "cancelled"
    assert len(steps) == 3
    assert response.text == joined(steps)
    assert len(model.decodes) == 3
    # Nobody watches any more, and the pair goes on as if nothing had been.
    assert pair.base.watched is pair.guide.watched is None  # type: ignore[attr-defined]
    model.before_decode = lambda number: None
    _, again = run(pair, asked(gamma=0.4))
    _, fresh = run(reciters("the 🧀 end", 0.3), asked(gamma=0.4))
    assert chosen(again) == chosen(fresh)


def test_a_cancelled_base_decode_is_followed_by_none_of_the_guide() -> None:
    pair, cancellation = hesitant_pair(), Cancellation()
    attempts: list[int] = []
    fake(pair.base).before_decode = lambda number: cancellation.cancel() if number == 2 else None
    fake(pair.guide).before_decode = attempts.append
    run(pair, asked(), cancellation=cancellation)
    assert attempts == [0, 1]


def test_cancelled_between_steps_inside_a_character() -> None:
    pair, cancellation = reciters("ab🧀", 0.3), Cancellation()
    response = respond(pair, asked(method="base"))
    texts = []
    for _, step in decode(pair, [response], cancellation):
        texts.append(step.text)
        if step.index == 3:
            cancellation.cancel()
    assert (response.text, response.finish_reason) == ("ab", "cancelled")
    assert texts == ["a", "b", "", ""]


def test_cancelling_ends_all_responses_and_changes_none_that_is_over() -> None:
    pair, cancellation = reciters("the end of it all", 0.3), Cancellation()
    responses = [respond(pair, asked(max_tokens=limit), seq) for seq, limit in enumerate((2, 40, 40))]
    for _, step in decode(pair, responses, cancellation):
        if step.index == 2:
            cancellation.cancel()
    assert [response.finish_reason for response in responses] == ["length", "cancelled", "cancelled"]


def test_an_abandoned_reply_leaves_nothing_watched() -> None:
    pair = reciters("the end", 0.3)
    replying = decode(pair, [respond(pair, asked())], Cancellation())
    next(replying)
    assert fake(pair.base).watched is not None
    replying.close()  # type: ignore[attr-defined]
    assert fake(pair.base).watched is fake(pair.guide).watched is None


@pytest.mark.parametrize("role", ["base", "guide"])
def test_rubbish_logits_name_the_model(role: str) -> None:
    pair = reciters("the end", 0.3)
    model = fake(getattr(pair, role))
    model.mind = lambda tokens: np.full(len(model.vocabulary), np.nan, np.float32)
    with pytest.raises(ModelError, match=f"^{role} cannot go on"):
        run(pair, asked())
    assert fake(pair.base).watched is None


def test_a_method_needs_the_prompts_of_the_models_it_decodes() -> None:
    pair = reciters("the end", 0.3)
    for method in METHODS:
        full = asked(method=method)
        needs = {"base": ("base",), "guide": ("guide",)}.get(method, ("base", "guide"))
        for role in ("base", "guide"):
            request = replace(full, **{role: None})
            if role in needs:
                with pytest.raises(ValueError, match=method):
                    respond(pair, request)
            else:
                assert respond(pair, request).finish_reason is None
    assert respond(pair, replace(asked(method="blendin", gamma=0), guide=None)).seq == 0


def test_nothing_to_decode() -> None:
    assert list(decode(reciters("the end", 0.3), [])) == []


# Figures


def test_reliabilities_pass_through_the_calibration_of_the_pair() -> None:
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.8}}))
    assert not pair.calibrated
    pair.base_calibration = Calibration((0.0, 1.0), (0.0, 0.5))
    pair.guide_calibration = Calibration((0.0, 0.5, 1.0), (0.0, 0.1, 0.3))
    assert pair.calibrated
    _, (step,) = run(pair, asked(max_tokens=1))
    assert (step.c_b, step.r_b) == (pytest.approx(0.2, abs=1e-6), pytest.approx(0.1, abs=1e-6))
    # Between .1 at .5 and .3 at 1.
    assert (step.c_g, step.r_g) == (pytest.approx(0.8, abs=1e-6), pytest.approx(0.22, abs=1e-6))
    _, (step,) = run(pair, asked(method="guide", max_tokens=1))
    assert step.r_g == step.reliability == pytest.approx(0.22, abs=1e-6)


def step_of(data: str | bytes, source: Source, **figures: Any) -> Step:
    raw = data.encode() if isinstance(data, str) else data
    blended = {"consulted": True, "intervened": True} if "alpha" in figures else {}
    return Step(index=0, data=raw, text="", source=source, **{**blended, **figures})


def summed(steps: Iterable[Step]) -> Summary:
    summary = Summary()
    for step in steps:
        summary.add(step)
    return summary


HAND_MADE = [
    step_of("The", Source.BASE, base_tokens=(5,), c_b=0.9, r_b=0.9, base_decoded=7),
    step_of(
        " cat",
        Source.GUIDE,
        base_tokens=(6, 7),
        alpha=0.7,
        c_b=0.3,
        r_b=0.3,
        c_g=0.6,
        r_g=0.5,
        changed=True,
        divergence=0.4,
        mapped_mass=0.9,
        guide_decoded=11,
        base_decoded=1,
    ),
    step_of("s", Source.GUIDE, base_tokens=(8,), alpha=0.5, c_b=0.2, r_b=0.2, c_g=0.4, r_g=0.3, changed=True),
    step_of(" sat", Source.BOTH, base_tokens=(9,), alpha=0.4, c_b=0.35, r_b=0.35, c_g=0.5, r_g=0.45),
    step_of(
        " on a", Source.BLEND, base_tokens=(3,), alpha=0.6, c_b=0.3, r_b=0.3, c_g=0.5, r_g=0.5, changed=True
    ),
    step_of(" mat", Source.BASE, base_tokens=(4,), consulted=True, c_b=0.8, r_b=0.8, c_g=0.2, r_g=0.2),
    step_of("", Source.STOP, c_b=0.9, r_b=0.9, finish_reason="stop"),
]


def test_summary_by_hand() -> None:
    summary = summed(HAND_MADE)
    assert (summary.steps, summary.base_tokens, summary.tokens) == (7, 7, 7)
    assert (summary.consultations, summary.interventions, summary.changed) == (5, 4, 3)
    assert (summary.base_decoded, summary.guide_decoded) == (8, 11)
    assert summary.intervention_rate == pytest.approx(4 / 7)
    assert summary.changed_rate == pytest.approx(3 / 7)
    # The, cats, sat, on, a, mat: cats and sat began with the guide's top token.
    assert (summary.words, summary.guide_words) == (6, 2)
    assert summary.guide_word_rate == pytest.approx(1 / 3)
    # Of interventions alone: (.7 + .5 + .4 + .6) / 4. Of consultations: (.6 + .4 + .5 + .5 + .2) / 5.
    assert summary.mean("alpha") == pytest.approx(0.55)
    assert summary.mean("c_g") == pytest.approx(0.44)
    assert summary.mean("c_b") == pytest.approx((0.9 + 0.3 + 0.2 + 0.35 + 0.3 + 0.8 + 0.9) / 7)
    assert summary.mean("divergence") == pytest.approx(0.4)
    assert summary.mean("mapped_mass") == pytest.approx(0.9)
    # Of the model that spoke, or of both the heavier one: base .35 at alpha .4, guide .5 at alpha .6.
    assert [step.reliability for step in HAND_MADE] == [0.9, 0.5, 0.3, 0.35, 0.5, 0.8, 0.9]
    assert summary.mean("reliability") == pytest.approx(4.25 / 7)
    assert summary.lowest_reliability == 0.3
    assert summary.weak_share == pytest.approx(2 / 7)
    assert summary.finish_reason == "stop"
    assert json.loads(json.dumps(summary.as_dict()))["sources"] == {
        "base": 2,
        "guide": 2,
        "both": 1,
        "blend": 1,
        "user": 0,
        "stop": 1,
    }


def test_summary_of_nothing() -> None:
    summary = Summary()
    assert (summary.intervention_rate, summary.guide_word_rate, summary.weak_share) == (0, 0, 0)
    assert summary.mean("alpha") is summary.lowest_reliability is None
    assert summary.tokens_per_second == 0
    json.dumps(summary.as_dict())


@pytest.mark.parametrize(
    ("pieces", "words", "guide_words"),
    [
        # B: base, G: guide. A word is whose first token it is.
        ([("B", "Hel"), ("G", "lo"), ("G", " wor"), ("B", "ld")], 2, 1),
        ([("G", "a b c")], 3, 3),
        ([("G", " "), ("B", "a")], 1, 0),
        ([("B", "a"), ("G", " "), ("G", "b")], 2, 1),
        ([("B", "a "), ("G", "b")], 2, 1),
        ([("B", "a\n\n"), ("G", "\n"), ("G", "b\n")], 2, 1),
        ([("B", "a"), ("G", ""), ("G", "b")], 1, 0),
        # One character in two steps is one word.
        ([("G", b" \xc3"), ("B", b"\xa9"), ("B", "t\u00e9")], 1, 1),
        ([], 0, 0),
    ],
)
def test_guide_words(pieces: list[tuple[str, str | bytes]], words: int, guide_words: int) -> None:
    made = [
        step_of(data, Source.GUIDE, alpha=1.0) if who == "G" else step_of(data, Source.BASE)
        for who, data in pieces
    ]
    summary = summed(made)
    assert (summary.words, summary.guide_words) == (words, guide_words)


@pytest.mark.parametrize(("method", "rate"), [("base", 0.0), ("guide", 1.0), ("nudge", 1.0)])
def test_guide_word_rate_of_whole_replies(method: str, rate: float) -> None:
    """All words of the guide alone are the guide's: the rate said 0."""
    response, _ = run(reciters("the end of it", 0.3), asked(method=method))
    assert response.text == "the end of it"
    assert response.summary.words == 4
    assert response.summary.guide_word_rate == rate


@given(vocabulary_pairs, seeds, st.sampled_from(tuple(METHODS)))
def test_summary_agrees_with_the_steps(models: tuple[Vocabulary, Vocabulary], seed: int, method: str) -> None:
    pair = dreamers(*models, seed)
    response, steps = run(pair, asked(method=method, gamma=0.5))
    summary = response.summary
    assert summary.steps == len(steps)
    assert [step.index for step in steps] == list(range(len(steps)))
    assert summary.interventions == sum(step.intervened for step in steps)
    assert summary.tokens == len(response.tokens)
    assert (summary.base_decoded, summary.guide_decoded) == (
        fake(pair.base).decoded,
        fake(pair.guide).decoded,
    )
    if is_whole(b"".join(step.data for step in steps)):
        assert summary.words == len(response.text.split())
    assert 0 <= summary.guide_words <= summary.words
    assert summary.timings.first_token_s <= summary.timings.total_s
    assert all(0 <= step.alpha <= 1 and 0 < step.probability <= 1 + 1e-6 for step in steps)


def test_statuses_are_what_the_fake_promises() -> None:
    """The fake keeps the protocol's promise: after any status but DONE, sequences hold what they held."""
    vocabulary = words_and_bytes()
    model = FakeModel(vocabulary, dreaming(vocabulary, 0), n_ctx=3, n_cells=4)
    assert model.advance({0: [0, 1], 1: [0]}) is Status.DONE
    assert model.advance({0: [5, 6]}) is model.advance({1: [5, 6]}) is Status.CONTEXT_FULL
    cancellation = Cancellation()
    model.watch(cancellation)
    cancellation.cancel()
    assert model.advance({1: [5]}) is Status.CANCELLED
    assert (model.cached(0), model.cached(1)) == ([0, 1], [0])
    assert model.rewind(0, 1) == 1
    assert vocabulary.kinds[0] == CONTROL
