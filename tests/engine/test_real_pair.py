"""The engine on the real demo pair: what random tiny models cannot show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.reference import STOP, Rules, Speaker, blend

from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Message, Prompt, choose_format, make_prompt
from blendin_local.engine.steps import Source, Step
from blendin_local.engine.vocabulary import TokenKind
from blendin_local.models.loading import PairFiles, start_conversation
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

pytestmark = pytest.mark.real
HERE = Path(__file__).parent


def prompts(files: PairFiles, pair: Pair, text: str) -> tuple[Prompt, Prompt]:
    messages = [Message("user", text)]
    return (
        make_prompt(pair.base, choose_format("auto", files.base.chat_template), messages),
        make_prompt(pair.guide, choose_format("auto", files.guide.chat_template), messages),
    )


def run(pair: Pair, request: Request) -> tuple[Response, list[Step]]:
    response = respond(pair, request)
    return response, [step for _, step in decode(pair, [response])]


@pytest.fixture(scope="module")
def reference_answers() -> list[dict[str, str]]:
    answers: list[dict[str, str]] = json.loads((HERE / "reference_answers.json").read_text("utf-8"))
    return answers


def test_every_guide_token_reaches_the_base_token_that_the_tokenizer_gives(demo: Pair) -> None:
    """The first trap of DESIGN.md: Gemma has byte tokens beside the normal tokens that spell the same bytes.

    A map to the first id with the bytes put the guide's mass on tokens that the base never uses.
    """
    mapping = demo.vocabulary_map
    vocabulary = demo.guide.vocabulary
    checked = 0
    for token in np.flatnonzero(vocabulary.kinds < TokenKind.CONTROL).tolist():
        data = vocabulary.token_bytes(token)
        try:
            data.decode()
        except UnicodeDecodeError:
            continue
        spelled = demo.base.tokenize(data)
        if len(spelled) == 1:
            assert mapping.outcome_of[token] == spelled[0], data
            checked += 1
    assert checked > 46_000
    assert mapping.shared_tokens == 46_145


def test_the_mass_of_all_ids_with_the_same_bytes_is_summed(demo: Pair) -> None:
    mapping, vocabulary = demo.vocabulary_map, demo.base.vocabulary
    line_break = demo.base.tokenize(b"\n")[0]
    byte_token = vocabulary.specials.get("<0x0A>", int(mapping.byte_tokens[10]))
    twins = [token for token in range(len(vocabulary)) if vocabulary.token_bytes(token) == b"\n"]
    assert len(twins) == 2 and line_break in twins and byte_token in twins
    masses = np.zeros(len(vocabulary), np.float32)
    masses[twins] = [0.25, 0.5]
    folded = np.zeros(mapping.n_outcomes, np.float32)
    mapping.fold_base(masses, 1.0, folded)
    assert folded[line_break] == 0.75
    assert folded.sum() == 0.75


def test_base_equals_a_plain_greedy_loop(demo: Pair, demo_files: PairFiles) -> None:
    base, guide = prompts(demo_files, demo, "Why do leaves change their colour in autumn?")
    settings = GenerationSettings(BlendSettings(method="base"), max_tokens=40)
    response, _ = run(demo, Request(base, guide, settings))

    demo.base.rewind(0, 0)
    pending, greedy = base.tokens, []
    for _ in range(40):
        demo.base.advance({0: pending})
        pending = [int(demo.base.logits(0).argmax())]
        greedy += pending
    assert response.tokens == greedy


def test_gamma_zero_equals_base(demo: Pair, demo_files: PairFiles) -> None:
    base, guide = prompts(demo_files, demo, "Name three animals that live in the sea.")
    texts = [
        run(demo, Request(base, guide, GenerationSettings(blend, max_tokens=30)))[0].tokens
        for blend in (BlendSettings(method="base"), BlendSettings(gamma=0.0))
    ]
    assert texts[0] == texts[1]


def test_the_guide_blended_with_itself_gives_its_own_greedy_reply(demo: Pair, demo_files: PairFiles) -> None:
    """Through the whole machinery: map, projection, mixture, catch-up by re-tokenization."""
    from blendin_local.llamacpp.model import open_model

    twin = open_model(demo_files.guide.path, ModelOptions(n_ctx=512))
    try:
        pair = pair_models(twin, demo.guide)
        _, prompt = prompts(demo_files, demo, "Give me two tips for sleeping better.")
        replies = [
            run(pair, Request(prompt, prompt, GenerationSettings(blend, max_tokens=30)))[0].text
            for blend in (
                BlendSettings(method="guide"),
                BlendSettings(method="fixed", gamma=1.0, alpha=0.3, guide_stop=False),
                BlendSettings(method="ensemble", guide_stop=False),
            )
        ]
        assert replies[0] == replies[1] == replies[2]
    finally:
        twin.close()


@pytest.mark.parametrize("method", ["blendin", "ensemble", "doubt"])
def test_a_step_equals_the_plain_second_implementation(
    demo: Pair, demo_files: PairFiles, method: str
) -> None:
    base, guide = prompts(demo_files, demo, "What do bees make?")
    settings = GenerationSettings(BlendSettings(method=method, gamma=1.0, guide_stop=False), max_tokens=2)
    response = respond(demo, Request(base, guide, settings, candidates=50))
    names = [
        [vocabulary.token_bytes(token) for token in range(len(vocabulary))]
        for vocabulary in (demo.base.vocabulary, demo.guide.vocabulary)
    ]
    for place, (_, step) in enumerate(decode(demo, [response])):
        # What both models saw is still in their contexts: the logits of this very step.
        expected = blend(
            Speaker(names[0], demo.base.vocabulary.kinds.tolist(), demo.base.logits(0).tolist(), base.lead),
            Speaker(
                names[1], demo.guide.vocabulary.kinds.tolist(), demo.guide.logits(0).tolist(), guide.lead
            ),
            Rules(method, gamma=1.0),
            first=place == 0,
        )
        assert step.alpha == pytest.approx(expected.alpha, abs=1e-6)
        assert step.agreement == pytest.approx(expected.agreement, abs=1e-6)
        assert step.guide_rank == expected.rank
        assert step.divergence == pytest.approx(expected.divergence, abs=1e-5)
        assert step.candidates is not None
        for candidate in step.candidates.blend:
            key = candidate.data or STOP
            assert candidate.probability == pytest.approx(expected.mixture[key], abs=1e-6), candidate


class Forced:
    """A sampler that chooses what it is told."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens: Iterator[int] = iter(tokens)

    def choose(self, p: object, history: object, best: object = None) -> int:
        return next(self._tokens)


def test_on_reference_answers_the_blend_is_at_least_the_better_single_model(
    demo: Pair, demo_files: PairFiles, reference_answers: list[dict[str, str]]
) -> None:
    """Teacher-forced on 20 answers: how often each distribution's top outcome is the answer's next one."""
    right = {"base": 0, "guide": 0, "blend": 0}
    mapping = demo.vocabulary_map
    blend = BlendSettings(gamma=1.0, guide_stop=False)
    for answer in reference_answers:
        base, guide = prompts(demo_files, demo, answer["prompt"])
        tokens = demo.base.tokenize((base.lead.decode() + answer["response"]).encode())
        settings = GenerationSettings(blend, max_tokens=len(tokens))
        response = respond(demo, Request(base, guide, settings, candidates=1))
        response._sampler = Forced(tokens)  # type: ignore[assignment]
        for (_, step), token in zip(decode(demo, [response]), tokens, strict=True):
            assert step.candidates is not None
            wanted = int(mapping.base_outcome[token])
            right["base"] += step.candidates.base[0].outcome == wanted
            right["guide"] += step.candidates.guide[0].outcome == wanted
            right["blend"] += step.candidates.blend[0].outcome == wanted
        assert response.text == answer["response"]
    assert right["blend"] >= max(right["base"], right["guide"]), right


def test_a_conversation_reuses_both_caches(demo: Pair, demo_files: PairFiles) -> None:
    settings = GenerationSettings(BlendSettings(gamma=0.6), max_tokens=24)
    conversation = start_conversation(demo_files, demo, settings)
    first = conversation.send("What is the capital of Japan?")
    list(first)
    conversation.keep(first)
    second = conversation.send("And of Italy?")
    list(second)
    assert second.summary.base_decoded < second.prompt_tokens["base"]
    assert second.summary.guide_decoded < second.prompt_tokens["guide"] + second.summary.steps


@pytest.mark.parametrize("method", ["base", "guide", "blendin"])
def test_a_branch_decodes_a_handful_of_tokens(demo: Pair, demo_files: PairFiles, method: str) -> None:
    settings = GenerationSettings(BlendSettings(method, guide_stop=False), max_tokens=24)
    conversation = start_conversation(demo_files, demo, settings)
    conversation.candidates = 4
    whole = conversation.send("Why do leaves change their colour in autumn?")
    steps = list(whole)
    conversation.settings = replace(settings, max_tokens=4)
    for k in (len(steps) - 4, 5):
        branch = conversation.reply(prefix=tuple(steps[:k]))
        rest = list(branch)
        assert rest[0].base_decoded <= 2 and rest[0].guide_decoded <= 5
        # A batch and single tokens round differently, but not by enough to matter here.
        assert [step.outcome for step in rest[:3]] == [step.outcome for step in steps[k : k + 3]]
        listed = steps[k].candidates
        assert listed is not None
        other = next(c for c in listed.blend if c.data and c.outcome != steps[k].outcome)
        branch = conversation.reply(prefix=tuple(steps[:k]), forced_outcome=other.outcome)
        rest = list(branch)
        assert rest[0].base_decoded <= 2 and rest[0].guide_decoded <= 5
        assert (rest[0].source, rest[0].data) == (Source.USER, other.data)
        assert rest[0].probability == pytest.approx(other.probability, rel=0.05)
        assert branch.text.startswith("".join(step.text for step in [*steps[:k], rest[0]]))


def test_a_token_that_only_the_guide_has_begins_the_reply(demo: Pair, demo_files: PairFiles) -> None:
    """The base writes it in tokens of its own, after the space that its prompt asks for."""
    place = next(i for i, data in enumerate(demo.vocabulary_map.guide_only) if data.isalpha())
    conversation = start_conversation(
        demo_files, demo, GenerationSettings(BlendSettings("base"), max_tokens=4)
    )
    conversation.send("Name a word.")
    for method in ("base", "blendin", "ensemble"):
        conversation.settings = GenerationSettings(BlendSettings(method), max_tokens=4)
        reply = conversation.reply(forced_outcome=len(demo.base.vocabulary) + place)
        steps = list(reply)
        word = demo.vocabulary_map.guide_only[place]
        assert (steps[0].data, steps[0].source, len(steps)) == (word, Source.USER, reply.summary.steps)
        assert demo.base.vocabulary.decode(steps[0].base_tokens) == b" " + word
        assert reply.text.startswith(word.decode()) and len(steps) > 1


def test_special_tokens_typed_by_a_user_are_plain_text(demo: Pair, demo_files: PairFiles) -> None:
    names = [*demo.base.vocabulary.specials, *demo.guide.vocabulary.specials]
    # Gemma has 6 242 unused control tokens of one pattern: some of them stand for all.
    named = [name for name in names if not name.startswith("<unused")] + ["<unused0>", "<unused6241>"]
    hostile = " ".join(named) + "".join(named)
    for model, files in ((demo.base, demo_files.base), (demo.guide, demo_files.guide)):
        prompt_format = choose_format("auto", files.chat_template)
        special = model.vocabulary.special_tokens

        def specials_of(content: str) -> list[int]:
            prompt = make_prompt(model, prompt_format, [Message("user", content)])  # noqa: B023
            return [token for token in prompt.tokens if token in special]  # noqa: B023

        assert specials_of(hostile) == specials_of("Hello")


def test_the_cached_map_equals_a_fresh_one(demo: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    built = pair_models(demo.base, demo.guide, cache=folder).vocabulary_map
    read = pair_models(demo.base, demo.guide, cache=folder).vocabulary_map
    assert len(list(folder.iterdir())) == 1
    for name, array in built.to_arrays().items():
        assert np.array_equal(array, read.to_arrays()[name]), name
    assert built.guide_only == read.guide_only
