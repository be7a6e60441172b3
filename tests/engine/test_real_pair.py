"""The engine on the real demo pair: what random tiny models cannot show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from support.fakes import shared_tokens
from support.nightly import some_of
from support.reference import STOP, Rules, Speaker, blend

from blendin_local.engine.blended_response import BlendedResponse
from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.language_model import LanguageModel, Logits, Status, reuse
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Message, Prompt, choose_format, make_prompt
from blendin_local.engine.steps import Source, Step
from blendin_local.engine.vocabulary import TokenKind
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.models.loading import PairFiles, start_conversation
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.tune.scoring import read_rows

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
    """Gemma has byte tokens beside the normal tokens that spell the same bytes.

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
    assert shared_tokens(mapping) == 46_145


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
    twin = open_model(demo_files.guide.path, ModelOptions(n_ctx=512, n_threads=1))
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


@dataclass(frozen=True)
class KnownAnswer:
    """An answer that is known already, read by both models."""

    pair: Pair
    base: Prompt
    guide: Prompt
    text: str

    @cached_property
    def tokens(self) -> list[int]:
        return self.pair.base.tokenize((self.base.lead.decode() + self.text).encode())

    def forced(self) -> Response:
        """A response that asks the guide at every step and writes the answer, whatever the models say."""
        blend = BlendSettings(gamma=1.0, guide_stop=False)
        settings = GenerationSettings(blend, max_tokens=len(self.tokens))
        response = respond(self.pair, Request(self.base, self.guide, settings, candidates=8))
        response._sampler = Forced(self.tokens)  # type: ignore[assignment]
        return response

    def decoded(self) -> list[Step]:
        """The steps as the engine decodes them, one by one."""
        response = self.forced()
        steps = [step for _, step in decode(self.pair, [response])]
        assert response.text == self.text
        return steps

    def scored(self) -> list[Step]:
        """The same steps from passes over many tokens at once; the guide decodes anew where its tokens of
        the answer so far are not those of the whole answer.
        """
        response = self.forced()
        assert isinstance(response, BlendedResponse)
        model = self.pair.guide
        said = model.tokenize(self.guide.lead + self.text.encode())
        trunk, steps = [*self.guide.tokens, *said], []
        guide_rows = self.rows(model, self.guide, [*said, -1])
        for row in self.rows(self.pair.base, self.base, self.tokens):
            response.read(row)
            assert response.asks_guide
            held = response.guide_tokens()
            if held == trunk[: len(held)]:
                response.read_guide(guide_rows[len(held) - len(self.guide.tokens)])
            else:
                assert model.advance({0: reuse(model, 0, held)}) is Status.DONE
                response.read_guide(model.logits(0))
            steps.append(response.step())
            response.summary.add(steps[-1])
        assert response.text == self.text
        return steps

    @staticmethod
    def rows(model: LanguageModel, prompt: Prompt, tokens: list[int]) -> list[Logits]:
        """The logits before each token."""
        assert isinstance(model, GgufModel)
        found = read_rows(model, prompt, tokens, "an answer", again=False)
        return [row.copy() for _, rows in found for row in rows]


@pytest.fixture(scope="module")
def known_answers(
    demo: Pair, demo_files: PairFiles, reference_answers: list[dict[str, str]]
) -> list[KnownAnswer]:
    return [
        KnownAnswer(demo, *prompts(demo_files, demo, answer["prompt"]), answer["response"])
        for answer in reference_answers
    ]


def tops(steps: list[Step]) -> list[tuple[int, ...]]:
    """The most probable outcomes of the base, the guide and the blend."""
    found = [step.candidates for step in steps]
    return [(each.base[0].outcome, each.guide[0].outcome, each.blend[0].outcome) for each in found if each]


@pytest.mark.parametrize(
    ("read", "n_answers"),
    some_of([(KnownAnswer.scored, 8)], [(KnownAnswer.scored, 20), (KnownAnswer.decoded, 20)]),
)
def test_on_reference_answers_the_blend_is_at_least_the_better_single_model(
    known_answers: list[KnownAnswer], read: Callable[[KnownAnswer], list[Step]], n_answers: int
) -> None:
    """Teacher-forced: how often each distribution's top outcome is the answer's next one."""
    right = np.zeros(3, int)
    for answer in known_answers[:n_answers]:
        wanted = answer.pair.vocabulary_map.base_outcome[answer.tokens]
        right += (np.array(tops(read(answer))) == wanted[:, None]).sum(axis=0)
    base, guide, blend = right
    assert blend >= max(base, guide), right


def test_scored_answers_have_the_steps_that_the_engine_decodes(known_answers: list[KnownAnswer]) -> None:
    """But for the rounding of a batch, which moves a probability by up to 0.05 (measured)."""
    for answer in known_answers[:3]:
        for scored, decoded in zip(answer.scored(), answer.decoded(), strict=True):
            assert scored.data == decoded.data and scored.candidates and decoded.candidates
            for role in ("base", "guide", "blend"):
                top, *_ = getattr(scored.candidates, role)
                by_engine = {each.outcome: each.probability for each in getattr(decoded.candidates, role)}
                assert by_engine[top.outcome] == pytest.approx(top.probability, abs=0.1)
                assert max(by_engine.values()) - by_engine[top.outcome] < 0.1


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
