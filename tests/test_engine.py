"""The decode loop on fakes: each step equals the second implementation, and laws that hold for any model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from awkward import AWKWARD
from fakes import (
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
from hypothesis import given, settings
from hypothesis import strategies as st

from blendin_local.blending import METHODS
from blendin_local.engine import Request, Response, decode, respond
from blendin_local.errors import ModelError
from blendin_local.model import Cancellation, Status
from blendin_local.pair import Pair, pair_models
from blendin_local.prompts import Prompt
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.steps import Calibration, Candidate, Source, Step, Summary
from blendin_local.vocabulary import Vocabulary

UNCERTAIN = tuple(name for name, method in METHODS.items() if method.trigger == "uncertain")
CONSULTING = (*UNCERTAIN, "ensemble")
ALL = 10_000


# Helpers


def asked(
    base: Prompt | None = None,
    guide: Prompt | None = None,
    *,
    sampling: SamplingSettings | None = None,
    max_tokens: int = 40,
    seed: int = 0,
    stop: tuple[str, ...] = (),
    stops: tuple[str, ...] = (),
    candidates: int = 0,
    **blend: Any,
) -> Request:
    """A request with prompts of one token unless given; guide stop is off unless asked for."""
    generation = GenerationSettings(
        blend=BlendSettings(**{"guide_stop": False, **blend}),
        sampling=sampling or SamplingSettings(),
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    return Request(base or prompt_of(), guide or prompt_of(), generation, stops, candidates)


def run(
    pair: Pair, request: Request, *, seq: int = 0, cancellation: Cancellation | None = None
) -> tuple[Response, list[Step]]:
    response = respond(pair, request, seq)
    return response, [step for _, step in decode(pair, [response], cancellation)]


def settled(steps: Iterable[Step]) -> list[Step]:
    """Steps without what a clock says."""
    return [replace(step, base_s=0, guide_s=0, blend_s=0) for step in steps]


def chosen(steps: Iterable[Step]) -> list[tuple[int, ...]]:
    return [step.base_tokens for step in steps]


def joined(steps: Iterable[Step]) -> str:
    return "".join(step.text for step in steps)


def id_of(vocabulary: Vocabulary, text: str) -> int:
    """The token that the fake's tokenizer takes for a word."""
    (token,) = FakeModel(vocabulary, dreaming(vocabulary, 0)).tokenize(text.encode())
    return token


def dreamers(base: Vocabulary, guide: Vocabulary, seed: int, **options: Any) -> Pair:
    return pair_models(
        FakeModel(base, dreaming(base, seed), name="base", **options),
        FakeModel(guide, dreaming(guide, seed + 1), name="guide", **options),
    )


def scripted(
    base: tuple[str, dict[str, dict[str | int, float]]],
    guide: tuple[str, dict[str, dict[str | int, float]]],
    *,
    ends: int = 1,
    **options: Any,
) -> Pair:
    """A pair of (words, table of `saying`)."""
    models = []
    for name, (words, table) in (("base", base), ("guide", guide)):
        vocabulary = words_and_bytes(words, ends=ends)
        models.append(FakeModel(vocabulary, saying(vocabulary, table), name=name, **options))
    return pair_models(*models)


def reciters(text: str, confidence: float, guide_text: str | None = None, **options: Any) -> Pair:
    """Both recite, in different tokens; the base is as sure as `confidence`, the guide .9."""
    base = words_and_bytes([b"e ", b"\n\n", b" the", "日本".encode(), "é".encode(), "😀".encode()[:3], b"Qu"])
    guide = words_and_bytes([b" the", b"he", b"\r\n", "日".encode(), "\u200d".encode(), b"<|im_end|>", b"aaaa"])
    spoken = text if guide_text is None else guide_text
    return pair_models(
        FakeModel(base, reciting(base, text.encode(), confidence=confidence), name="base", **options),
        FakeModel(guide, reciting(guide, spoken.encode()), name="guide", **options),
    )


def fake(model: object) -> FakeModel:
    assert isinstance(model, FakeModel)
    return model


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


vocabulary_pairs = st.tuples(vocabularies(), vocabularies())
seeds = st.integers(0, 1 << 20)
some_prompts = st.builds(prompt_of, st.integers(1, 4))
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


def as_keys(
    candidates: Iterable[Candidate], kinds: Sequence[int], owner: str, stop: int
) -> reference.Distribution:
    """The engine's candidates as the second implementation names outcomes."""
    found: reference.Distribution = {}
    for candidate in candidates:
        key: reference.Key = candidate.data
        if candidate.outcome == stop or (candidate.outcome < len(kinds) and kinds[candidate.outcome] == END):
            key = reference.STOP
        elif not candidate.data:
            key = (owner, candidate.outcome)
        found[key] = found.get(key, 0.0) + candidate.probability
    return found


def assert_same(found: reference.Distribution, expected: reference.Distribution) -> None:
    for key in {**found, **expected}:
        assert found.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=1e-6), key


@pytest.mark.parametrize("method", ["base", *CONSULTING])
@settings(max_examples=25)
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
    vocabulary = (models[0], models[0] if same else models[1])
    base, guide = (
        FakeModel(v, dreaming(v, seed + i, spread), name=name)
        for i, (v, name) in enumerate(zip(vocabulary, ("base", "guide"), strict=True))
    )
    pair = pair_models(base, guide)
    same = pair.vocabulary_map.same
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
    response, steps = run(pair, request)
    assert steps and response.finish_reason in ("stop", "length")
    rules, kinds, stop = rules_of(request.settings.blend), base.vocabulary.kinds, pair.vocabulary_map.stop
    base_context, said = list(request.base.tokens), b""  # type: ignore[union-attr]
    for step in steps:
        own = speaker(base, base_context, leads[0])
        guide_context = list(request.guide.tokens)  # type: ignore[union-attr]
        if said:
            guide_context += guide.tokenize(leads[1] + said.decode("utf-8", "replace").encode())
        base_p = reference.softmax(own.logits)
        own_top, c_b = reference.confident(own)
        # The alphabet has one character of two bytes, and this is the first.
        consults = reference.consults(rules, c_b) and not said.endswith(b"\xc3")

        assert step.c_b == step.r_b == pytest.approx(c_b, abs=1e-6)
        assert step.base_entropy == pytest.approx(reference.entropy(base_p), abs=1e-5)
        assert step.consulted == step.intervened == consults
        assert step.candidates is not None
        if not consults:
            (token,) = step.base_tokens or (step.candidates.chosen,)
            assert step.probability == pytest.approx(base_p[token], abs=1e-6)
            assert temperature or base_p[token] == pytest.approx(c_b, abs=1e-6)
            assert step.source == (Source.STOP if kinds[token] == END else Source.BASE)
            assert (step.c_g, step.agreement, step.divergence, step.alpha) == (None, None, None, 0)
            found = {c.outcome: c.probability for c in step.candidates.blend}
            assert [found.get(i, 0.0) for i in range(len(base_p))] == pytest.approx(base_p, abs=1e-6)
            assert step.candidates.base == step.candidates.blend
        else:
            heard = speaker(guide, guide_context, leads[1])
            first = len(base_context) == len(request.base.tokens)  # type: ignore[union-attr]
            expected = reference.blend(own, heard, rules, same=same, first=first)
            guide_p = reference.softmax(heard.logits)
            assert step.c_g == step.r_g == pytest.approx(expected.c_g, abs=1e-6)
            assert step.agreement == pytest.approx(expected.agreement, abs=1e-6)
            assert step.guide_rank == expected.rank
            assert step.alpha == pytest.approx(expected.alpha, abs=1e-6)
            assert step.divergence == pytest.approx(expected.divergence, abs=1e-5)
            assert step.guide_entropy == pytest.approx(reference.entropy(guide_p), abs=1e-5)
            assert step.stop_mass == pytest.approx(expected.guide[reference.STOP], abs=1e-6)
            if not first or leads[0] == leads[1]:
                assert step.mapped_mass == pytest.approx(expected.mapped, abs=1e-6)

            owner = "both" if same else "base"
            assert_same(as_keys(step.candidates.base, kinds, owner, stop), expected.base)
            assert_same(as_keys(step.candidates.blend, kinds, owner, stop), expected.mixture)
            if not first:
                owner = "both" if same else "guide"
                heard_keys = as_keys(step.candidates.guide, guide.vocabulary.kinds, owner, -1)
                assert_same(heard_keys, expected.guide)

            (picked,) = (c for c in step.candidates.blend if c.outcome == step.candidates.chosen)
            (key,) = as_keys([picked], kinds, "both" if same else "base", stop)
            assert step.probability == pytest.approx(expected.mixture[key], abs=1e-6)
            assert temperature or key in expected.best
            assert step.changed == (expected.base_top not in expected.best) or len(expected.best) > 1
            assert step.source == source_of(key, expected)
            written = base.vocabulary.decode(step.base_tokens)
            if isinstance(key, bytes):
                assert step.data == (written.removeprefix(leads[0]) if first else written)
                assert written == key or (first and written.strip(b" ") == key.strip(b" "))
            assert (step.base_tokens == ()) == (key == reference.STOP)
        base_context += step.base_tokens
        said += step.data


def source_of(key: reference.Key, expected: reference.Blend) -> Source:
    if key == reference.STOP:
        return Source.STOP
    if key == expected.base_top:
        return Source.BOTH if key == expected.guide_top else Source.BASE
    return Source.GUIDE if key == expected.guide_top else Source.BLEND


def eager(pair: Pair, request: Request) -> list[list[int]]:
    """The whole reply with both models asked about their whole contexts at every step: base tokens."""
    base, guide, rules = fake(pair.base), fake(pair.guide), rules_of(request.settings.blend)
    assert request.base and request.guide
    context, said, steps = list(request.base.tokens), b"", list[list[int]]()
    while len(steps) < request.settings.max_tokens:
        text = said.decode("utf-8", "replace").encode()
        own = speaker(base, context)
        heard = speaker(guide, request.guide.tokens + guide.tokenize(text if not said.endswith(b"\xc3") else b""))
        top, c_b = reference.confident(own)
        key, tokens = reference.key_of(own, top, "base"), [top]
        if reference.consults(rules, c_b) and not said.endswith(b"\xc3"):
            mixture = reference.blend(own, heard, rules).mixture
            key = max(mixture, key=mixture.__getitem__)
            if isinstance(key, bytes):
                whole = key.decode("utf-8", "ignore").encode() == key
                # The tokenizer itself, or byte by byte where it must not be asked.
                pieces = [key] if whole else [bytes([value]) for value in key]
                if not whole and len(same := [i for i, t in enumerate(own.tokens) if t == key]) > 0:
                    tokens = same[:1]
                else:
                    tokens = [t for piece in pieces for t in written_as(base, piece)]
            elif key != reference.STOP:
                tokens = [key[1]]  # type: ignore[list-item]
        steps.append([] if key == reference.STOP else tokens)
        if key == reference.STOP:
            break
        context += tokens
        said += base.vocabulary.decode(tokens)
    return steps


def written_as(model: FakeModel, piece: bytes) -> list[int]:
    try:
        return model.tokenize(piece)
    except UnicodeDecodeError:
        pieces = [model.vocabulary.token_bytes(i) for i in range(len(model.vocabulary))]
        return [pieces.index(piece)]


@pytest.mark.parametrize("method", CONSULTING)
@settings(max_examples=10)
@given(st.tuples(*[vocabularies(duplicates=False)] * 2), seeds, blends)
def test_a_lazy_guide_equals_an_eager_one(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int, blend: dict[str, Any]
) -> None:
    request = asked(method=method, max_tokens=12, **blend)
    _, steps = run(dreamers(*models, seed), request)
    assert [list(tokens) for tokens in chosen(steps)] == eager(dreamers(*models, seed), request)


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
@pytest.mark.parametrize("method", [*UNCERTAIN, "ensemble"])
@settings(max_examples=8)
@given(vocabularies(duplicates=False, ends=1), seeds, blends)
def test_a_model_blended_with_itself_gives_its_own_reply(
    method: str, guide_stop: bool, vocabulary: Vocabulary, seed: int, blend: dict[str, Any]
) -> None:
    base, guide = (FakeModel(vocabulary, dreaming(vocabulary, seed)) for _ in range(2))
    request = asked(method=method, guide_stop=guide_stop, max_tokens=20, **blend)
    _, steps = run(pair_models(base, guide), request)
    assert chosen(steps) == greedy(base, prompt_of(), 20)
    for step in steps:
        assert not step.changed
        assert step.source in (Source.BASE, Source.BOTH, Source.STOP)
        if step.intervened and same_context(base.vocabulary, steps, step):
            assert step.divergence == pytest.approx(0, abs=1e-5)
            assert step.mapped_mass == pytest.approx(1, abs=1e-6)


def same_context(vocabulary: Vocabulary, steps: Sequence[Step], step: Step) -> bool:
    """Whether the guide's tokens of the reply so far are the base's: the tokenizer may choose others."""
    written = [token for tokens in chosen(steps[: step.index]) for token in tokens]
    text = vocabulary.decode(written).decode("utf-8", "replace").encode()
    return FakeModel(vocabulary, dreaming(vocabulary, 0)).tokenize(text) == written
