"""Requests, replies and scripted pairs for tests of the decode loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.steps import Step
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from support.fakes import FakeModel, dreaming, prompt_of, reciting, saying, vocabularies, words_and_bytes

vocabulary_pairs = st.tuples(vocabularies(), vocabularies())
seeds = st.integers(0, 1 << 20)
some_prompts = st.builds(prompt_of, st.integers(1, 4))


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


def dreamers(base: Vocabulary, guide: Vocabulary, seed: int, *, spread: float = 2.0, **options: Any) -> Pair:
    return pair_models(
        FakeModel(base, dreaming(base, seed, spread), name="base", **options),
        FakeModel(guide, dreaming(guide, seed + 1, spread), name="guide", **options),
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
    guide = words_and_bytes(
        [b" the", b"he", b"\r\n", "日".encode(), "\u200d".encode(), b"<|im_end|>", b"aaaa"]
    )
    spoken = text if guide_text is None else guide_text
    return pair_models(
        FakeModel(base, reciting(base, text.encode(), confidence=confidence), name="base", **options),
        FakeModel(guide, reciting(guide, spoken.encode()), name="guide", **options),
    )


def fake(model: object) -> FakeModel:
    assert isinstance(model, FakeModel)
    return model


def newline_byte(vocabulary: Vocabulary) -> int:
    return next(i for i in range(len(vocabulary)) if vocabulary.token_bytes(i) == b"\n")


def stopping_guide(text: str, stop_at: str, *masses: float) -> Pair:
    """The base recites, surely; the guide wants to stop after `stop_at`, by one or two end tokens."""
    vocabulary = words_and_bytes(ends=len(masses))
    table = {"": {"x": 0.9}, stop_at: dict(enumerate(masses, start=1))}
    base = FakeModel(words_and_bytes(), reciting(words_and_bytes(), text.encode(), confidence=0.95))
    return pair_models(base, FakeModel(vocabulary, saying(vocabulary, table)))


def hesitant_pair() -> Pair:
    """The base never knows, the guide always does."""
    return scripted(("", {"": {"x": 0.2}}), ("", {"": {"y": 0.8}}))
