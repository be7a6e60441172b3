"""The teacher-forced pass: what follows from its record is what the engine itself says of each token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.fakes import (
    BYTE,
    CONTROL,
    END,
    TEXT,
    FakeModel,
    dreaming,
    prompt_of,
    vocabularies,
    vocabulary_of,
)
from support.forced_outcomes import forced_steps, written_steps
from support.tiny_gguf import Architecture, Kind, write_tiny

from blendin_local.engine.language_model import Cancellation, Logits, Status
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Message, Prompt, choose_format, make_prompt
from blendin_local.engine.steps import Step
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import EvaluationError, ModelError
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.methods import METHODS
from blendin_local.models.loading import PairFiles
from blendin_local.settings import BlendSettings, ModelOptions
from blendin_local.tune import scoring
from blendin_local.tune.record import TYPES, Record, join_records
from blendin_local.tune.scoring import Cancelled, Text, score_text, score_texts
from blendin_local.tune.setting_scores import (
    LEAST_PROBABILITY,
    bits_by_example,
    consultation_mask,
    log2_probabilities,
)

METHODS_OF_BASE = tuple(name for name in METHODS if name != "guide")
GAMMAS = (0.0, 0.3, 0.6, 1.0)
SETTINGS = [
    BlendSettings(method=method, gamma=gamma, alpha=0.3, prior=-1.25, guide_stop=False)
    for method in METHODS_OF_BASE
    for gamma in (GAMMAS if METHODS[method].trigger == "uncertain" else (0.4,))
]
LEADS = st.tuples(*[st.sampled_from((b"", b" "))] * 2)
REPLIES = st.text("abo. \né", min_size=1, max_size=12)


def assert_follows(record: Record, steps: Sequence[Step], blend: BlendSettings, within: float = 2e-5) -> None:
    """Position by position: where the guide is asked, and the probability of the token that follows."""
    assert len(record) == len(steps)
    assert consultation_mask(record, blend).tolist() == [step.intervened for step in steps]
    expected = [math.log2(max(step.probability, LEAST_PROBABILITY)) for step in steps]
    assert log2_probabilities(record, blend).tolist() == pytest.approx(expected, abs=within)


def assert_equal(found: Record, expected: Record, within: float = 0.0) -> None:
    assert found.ids == expected.ids
    for name in TYPES:
        column, wanted = getattr(found, name), getattr(expected, name)
        assert column.dtype == wanted.dtype == TYPES[name], name
        np.testing.assert_allclose(column, wanted, atol=within, rtol=within, err_msg=name)


def fakes(base: Vocabulary, guide: Vocabulary, seed: int, spread: float = 1.5, **options: Any) -> Pair:
    return pair_models(
        FakeModel(base, dreaming(base, seed, spread), name="base", **options),
        FakeModel(guide, dreaming(guide, seed + 1, spread), name="guide", **options),
    )


def fake(model: object) -> FakeModel:
    assert isinstance(model, FakeModel)
    return model


# The law, on models made up


@examples(20)
@given(
    vocabularies(),
    vocabularies(),
    st.booleans(),
    st.integers(0, 1 << 20),
    st.sampled_from((0.5, 1.5, 4.0)),
    LEADS,
    REPLIES,
    st.sampled_from((None, 0, 2)),
    st.data(),
)
def test_probabilities_are_the_engine_s(
    base: Vocabulary,
    guide: Vocabulary,
    same: bool,
    seed: int,
    spread: float,
    leads: tuple[bytes, bytes],
    reply: str,
    goes_back: int | None,
    data: st.DataObject,
) -> None:
    """Whatever the vocabularies: of half characters, of tokens with equal bytes, of texts cut otherwise
    than their beginnings; for models that can go back and for those that cannot.
    """
    pair = fakes(base, base if same else guide, seed, spread, goes_back=goes_back, n_seq=3)
    text = Text("it", prompt_of(2, leads[0]), prompt_of(3, leads[1]), reply)
    record = score_text(pair, text)
    for blend in data.draw(st.lists(st.sampled_from(SETTINGS), min_size=2, max_size=2, unique=True)):
        assert_follows(record, forced_steps(pair, text, blend), blend)
    own = forced_steps(pair, text, BlendSettings(method="guide"))
    bits = -sum(math.log2(step.probability) for step in own)
    (found,) = bits_by_example(record, BlendSettings(method="guide"))
    assert (found, record.guide_tokens.tolist()) == (pytest.approx(bits, abs=1e-4), [len(own)])
    assert (record.bytes.tolist(), int(record.n_bytes.sum())) == ([len(reply.encode())], len(reply.encode()))


def rich_pair(seed: int = 3, lead: bytes = b"", **options: Any) -> tuple[Pair, Text]:
    """A reply with half characters, several tokens to a byte string, and branches of all kinds."""
    common = [(bytes([value]), BYTE) for value in [*b"abo. \n", *"é".encode()]]
    ends = [(b"", CONTROL), (b"", END), (b"", END)]
    base = vocabulary_of([*ends, *common, (b"ab", TEXT), (b" a", TEXT), (b"o", TEXT)])
    longer = ("é".encode(), b"abab", b"bab", b"oo", b"aboo.", b" ab", b"o.", b". a")
    guide = vocabulary_of([*ends, *common, *((piece, TEXT) for piece in longer)])
    pair = fakes(base, guide, seed, **options)
    return pair, Text("rich", prompt_of(2, lead), prompt_of(3, lead), "abaéb ababoo. abéaboo.\n\néo.")


@pytest.mark.parametrize("lead", [b"", b" "])
@pytest.mark.parametrize("blend", SETTINGS, ids=lambda blend: f"{blend.method}-{blend.gamma}")
def test_every_method_and_threshold(blend: BlendSettings, lead: bytes) -> None:
    pair, text = rich_pair(lead=lead)
    record = score_text(pair, text)
    assert_follows(record, forced_steps(pair, text, blend), blend)
    # Otherwise this proves little.
    assert any(len(work) > 1 or 1 in work for work in fake(pair.guide).decodes), "there were branches"
    assert not record.consultable.all() and record.p_outcome.max() > 0


@pytest.mark.parametrize("leads", [(b" ", b""), (b"", b" ")])
def test_the_first_word_after_a_space_that_only_one_model_expects(leads: tuple[bytes, bytes]) -> None:
    specials = [(b"", CONTROL), (b"", END)]
    vocabulary = vocabulary_of([*specials, *((piece, TEXT) for piece in (b"a", b" a", b"b", b" ", b" b"))])
    pair = fakes(vocabulary, vocabulary, 5)
    text = Text("it", prompt_of(1, leads[0]), prompt_of(2, leads[1]), "ab a")
    record = score_text(pair, text)
    assert_follows(record, forced_steps(pair, text, SETTINGS[-1]), SETTINGS[-1])
    # Whether the guide says "a" or " a": here it is the same.
    said = np.exp(fake(pair.guide).mind((0, 0)).astype(float))
    assert record.p_guide[0] == pytest.approx(said[[2, 3]].sum() / said.sum(), abs=1e-6)


def test_what_a_step_reports_is_in_the_record() -> None:
    pair, text = rich_pair()
    record = score_text(pair, text)
    steps = forced_steps(pair, text, BlendSettings("fixed", gamma=1.0, guide_stop=False))
    for place, step in enumerate(steps):
        assert record.n_bytes[place] == len(step.data)
        assert record.c_b[place] == pytest.approx(step.c_b)
        assert record.base_entropy[place] == pytest.approx(step.base_entropy, abs=1e-5)
        assert record.consultable[place] == step.intervened
        if step.intervened:
            found = {
                "c_g": step.c_g, "agreement": step.agreement, "mass_above": step.mass_above,
                "guide_entropy": step.guide_entropy, "divergence": step.divergence,
            }  # fmt: skip
            for name, value in found.items():
                assert getattr(record, name)[place] == pytest.approx(value, abs=1e-5), name
            assert record.guide_rank[place] == step.guide_rank


def test_where_each_model_is_right() -> None:
    """The guide also where it says a token of its own that the base does not have."""
    specials = [(b"", CONTROL), (b"", END)]
    base = vocabulary_of([*specials, (b"a", TEXT), (b"b", TEXT), (b"a", BYTE)])
    guide = vocabulary_of([*specials, (b"ab", TEXT), (b"a", TEXT), (b"b", TEXT)])

    def always(vocabulary: Vocabulary, token: int) -> Callable[[tuple[int, ...]], Logits]:
        return lambda tokens: np.where(np.arange(len(vocabulary)) == token, 3.0, 0.0).astype(np.float32)

    pair = pair_models(FakeModel(base, always(base, 4)), FakeModel(guide, always(guide, 2)))
    record = score_text(pair, Text("it", prompt_of(), prompt_of(), "aab"))
    # "a" by its byte token counts; the guide's "a" is wrong, its "ab" right.
    assert record.base_right.tolist() == [True, True, False]
    assert record.guide_right.tolist() == [False, True, False]
    assert record.guide_length.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
@pytest.mark.parametrize("goes_back", [None, 0])
def test_windows_of_any_size_give_the_same_record(
    monkeypatch: pytest.MonkeyPatch, rows: int, goes_back: int | None
) -> None:
    pair, text = rich_pair(goes_back=goes_back)
    expected = score_text(pair, text)
    monkeypatch.setattr(scoring, "ROWS", rows)
    again, _ = rich_pair(goes_back=goes_back, n_seq=4)
    assert_equal(score_text(again, text), expected)
    longest = max(len(work.get(0, ())) for work in fake(again.guide).decodes)
    assert longest <= max(rows, len(text.guide.tokens))


def test_a_window_that_ends_between_two_places_of_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the space that begins the reply, and after it, the guide has read the same."""
    pair, text = rich_pair()
    text = replace(text, base=prompt_of(2, b" "), reply="boo")
    expected = score_text(pair, text)
    assert expected.n_bytes.tolist() == [0, 1, 1, 1] and expected.guide_length.tolist() == [0, 0, 1, 2]
    monkeypatch.setattr(scoring, "ROWS", 1)
    assert_equal(score_text(rich_pair()[0], text), expected)


@pytest.mark.parametrize(("n_batch", "n_outputs"), [(4, 4), (6, 32), (32, 5)])
@pytest.mark.parametrize("goes_back", [None, 0, 3])
def test_batches_of_any_size_give_the_same_record(
    goes_back: int | None, n_batch: int, n_outputs: int
) -> None:
    """A guide that cannot be copied reads a branch from the beginning, which may take several decodes."""
    pair, text = rich_pair()
    expected = score_text(pair, text)
    small, _ = rich_pair(goes_back=goes_back, n_batch=n_batch, n_outputs=n_outputs, n_seq=4)
    assert_equal(score_text(small, text), expected)


def test_branches_that_overfill_the_cache_together_are_read_alone() -> None:
    pair, text = rich_pair()
    expected = score_text(pair, text)
    # The fake shares no cells, so each branch costs its whole length beside the trunk.
    whole = len(text.guide.tokens) + int(expected.guide_tokens[0])
    pair, _ = rich_pair()
    fake(pair.guide).n_cells = 2 * whole + 4
    assert_equal(score_text(pair, text), expected)


def test_texts_in_a_row_equal_texts_alone() -> None:
    pair, _ = rich_pair()
    replies = ["abaéb ababoo.", "abaéb ab", "o", "abaéb ababoo. abéaboo.\n\néo."]
    prompts = [(prompt_of(4), prompt_of(2)), *[(prompt_of(2), prompt_of(3))] * 3]
    heard: list[tuple[int, int]] = []
    together = score_texts(
        pair, [b for b, _ in prompts], [g for _, g in prompts], replies, progress=lambda *it: heard.append(it)
    )
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    alone = [
        score_text(rich_pair()[0], Text(str(place), *prompts[place], reply))
        for place, reply in enumerate(replies)
    ]
    assert_equal(together, join_records(alone))


def test_a_text_is_read_alike_whatever_was_read_before() -> None:
    """What a cache happened to share went unread: quantized models say other things in other batches."""
    pair, text = rich_pair()
    decodes = []
    for before in (None, replace(text, reply="ab"), replace(text, base=prompt_of(9), guide=prompt_of(7))):
        if before:
            score_text(pair, before)
        done = [len(fake(model).decodes) for model in (pair.base, pair.guide)]
        score_text(pair, text)
        models = zip((pair.base, pair.guide), done, strict=True)
        decodes.append([fake(model).decodes[count:] for model, count in models])
    assert decodes[0] == decodes[1] == decodes[2]


def test_a_prompt_is_kept_only_for_replies_to_the_same_prompt() -> None:
    """One that begins like the prompt before it is read anew, as it would be alone."""
    alone, after = rich_pair()[0], rich_pair()[0]
    score_texts(alone, [prompt_of(5)], [prompt_of(5)], ["ab o."])
    score_texts(after, [prompt_of(9), prompt_of(5)], [prompt_of(9), prompt_of(5)], ["ab", "ab o."])
    for first, second in ((alone.base, after.base), (alone.guide, after.guide)):
        expected = fake(first).decodes
        assert fake(second).decodes[-len(expected) :] == expected


def test_a_prompt_is_decoded_once() -> None:
    pair, text = rich_pair()
    long = replace(text, base=prompt_of(50), guide=prompt_of(60))
    score_text(pair, long)
    before = [fake(model).decoded for model in (pair.base, pair.guide)]
    record = score_text(pair, replace(long, reply="ab o."), again=True)
    after = [fake(model).decoded for model in (pair.base, pair.guide)]
    assert after[0] - before[0] == len(record), "the prompt's last token, and all but the reply's last"
    assert after[1] - before[1] < 20


def test_no_texts_are_a_record_of_none() -> None:
    pair, _ = rich_pair()
    record = score_texts(pair, [], [], [])
    assert (len(record), record.examples) == (0, 0)


# Stopped, and refused


@pytest.mark.parametrize("role", ["base", "guide"])
def test_cancelled_at_any_decode(role: str) -> None:
    """What a stopped reply held is in nobody's way: branches share cells with the trunk."""
    pair, text = rich_pair(n_batch=8, n_seq=4)
    expected = score_text(pair, text)
    model = fake(getattr(pair, role))
    decodes = len(model.decodes)
    for stop in range(decodes):
        pair, _ = rich_pair(n_batch=8, n_seq=4)
        model, cancellation = fake(getattr(pair, role)), Cancellation()
        model.before_decode = lambda number, stop=stop, c=cancellation: c.cancel() if number == stop else None  # type: ignore[misc]
        with pytest.raises(Cancelled):
            score_text(pair, text, cancellation)
        assert all(not fake(pair.guide).cached(seq) for seq in (1, 2, 3))
        assert pair.base.watched is pair.guide.watched is None  # type: ignore[attr-defined]
        assert_equal(score_text(pair, text), expected)


def sentence(error: BaseException) -> str:
    said = str(error)
    assert said.endswith(".") and "\n" not in said
    return said


@pytest.mark.parametrize("role", ["base", "guide"])
def test_a_text_that_does_not_fit(role: str) -> None:
    pair, text = rich_pair()
    record = score_text(pair, text)
    n = {"base": 2 + len(record) - 1, "guide": 3 + int(record.guide_tokens[0])}[role]
    pair, _ = rich_pair()
    fake(getattr(pair, role)).n_ctx = n
    assert_equal(score_text(pair, text), record)
    pair, _ = rich_pair()
    fake(getattr(pair, role)).n_ctx = n - 1
    with pytest.raises(
        EvaluationError, match=f"rich is too long for {role}, .* {n - 1} tokens: load"
    ) as caught:
        score_text(pair, text)
    sentence(caught.value)
    assert all(not pair.guide.cached(seq) for seq in range(1, 8))
    assert len(score_text(pair, replace(text, reply="ab"))) == 1


def test_an_empty_text_and_one_that_cannot_be_spelled() -> None:
    pair, text = rich_pair()
    with pytest.raises(EvaluationError, match="The reply of rich is empty") as caught:
        score_text(pair, replace(text, reply=""))
    sentence(caught.value)
    with pytest.raises(EvaluationError, match="base cannot spell the reply of rich") as caught:
        score_text(pair, replace(text, reply="abz"))
    sentence(caught.value)


def test_a_text_with_half_a_surrogate_is_scored_as_it_is_written() -> None:
    pair, text = rich_pair()
    base = vocabulary_of([(b"", CONTROL), (b"", END), (b"a", TEXT), (b"?", TEXT)])
    pair = fakes(base, base, 1)
    record = score_text(pair, replace(text, reply="a\ud800a"))
    assert record.bytes.tolist() == [3]


@pytest.mark.parametrize("role", ["base", "guide"])
def test_a_model_that_says_nothing_finite(role: str) -> None:
    pair, text = rich_pair()
    model = fake(getattr(pair, role))
    model.mind = lambda tokens: np.full(len(model.vocabulary), np.nan, np.float32)
    with pytest.raises(ModelError, match=f"{role} cannot go on: .* damaged") as caught:
        score_text(pair, text)
    sentence(caught.value)


def test_a_certainty_costs_no_bits_and_an_impossibility_not_all() -> None:
    base = vocabulary_of([(b"", CONTROL), (b"", END), (b"a", TEXT), (b"b", TEXT)])

    def sure(tokens: tuple[int, ...]) -> Logits:
        return np.array([-np.inf, -np.inf, 1.0, -np.inf], np.float32)

    pair = pair_models(FakeModel(base, sure), FakeModel(base, sure))
    record = score_text(pair, Text("it", prompt_of(), prompt_of(), "aab"))
    assert record.p_base.tolist() == record.p_guide.tolist() == [1, 1, 0]
    assert 100 < record.guide_bits[0] < 200 and np.isfinite(record.divergence).all()


# The law, on tiny files

# As exact as llama.cpp gets: see test_llama.py. Measured there: 6e-6 between logits of batches of any shape.
EXACT = ModelOptions(
    n_ctx=512, kv_type="f32", flash_attention="off", n_threads=1, n_gpu_layers=0, n_seq=5, n_outputs=16,
    shared_cache=True,
)  # fmt: skip
NEAR = 1e-3
TINY_REPLY = "hello world, the café is  over there: 日本 and Paris…\n\nThe people😀 do not thinking so."


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., GgufModel]]:
    folder, models = tmp_path_factory.mktemp("scoring"), {}

    def open_tiny(arch: Architecture, kind: Kind, seed: int, **changes: Any) -> GgufModel:
        key = (arch, kind, seed, *changes.items())
        if key not in models:
            path = folder / f"{arch}-{kind}-{seed}.gguf"
            write_tiny(path, arch=arch, vocabulary=kind, seed=seed, n_ctx_train=1024)
            models[key] = open_model(path, replace(EXACT, **changes))
        return models[key]

    yield open_tiny
    for model in models.values():
        model.close()


def tiny_text(pair: Pair, reply: str = TINY_REPLY, lead: bytes = b"") -> Text:
    return Text(
        "it",
        Prompt(pair.base.tokenize(b"The people of the world", continuation=False), lead),
        Prompt(pair.guide.tokenize(b"So say the people of the world to him", continuation=False), lead),
        reply,
    )


PAIRS: list[tuple[Architecture, Kind, Architecture, Kind]] = [
    ("llama", "spm", "llama", "bpe"),
    ("llama", "bpe", "gemma3", "spm"),
    ("gemma3", "spm-prefix", "llama", "spm"),
    ("gemma3", "bpe", "mamba", "spm"),
    ("mamba", "spm", "llama", "bpe"),
]


@pytest.mark.parametrize("pair_of", PAIRS, ids=" ".join)
def test_probabilities_are_the_engine_s_on_tiny_files(
    opened: Callable[..., GgufModel], pair_of: tuple[Architecture, Kind, Architecture, Kind]
) -> None:
    pair = pair_models(opened(*pair_of[:2], 1), opened(*pair_of[2:], 2))
    text = tiny_text(pair, lead=b" ")
    record = score_text(pair, text)
    for blend in (
        BlendSettings("blendin", gamma=0.37, guide_stop=False),
        BlendSettings("doubt", gamma=1.0, guide_stop=False),
        BlendSettings("ensemble", guide_stop=False),
    ):
        # A confidence that is nearly the threshold falls on either side of it.
        assert np.abs(record.c_b - blend.gamma).min() > 1e-4 or blend.gamma == 1
        assert_follows(record, written_steps(pair, text, blend), blend, NEAR)
    own = forced_steps(pair, text, BlendSettings("guide"))
    assert record.guide_bits[0] == pytest.approx(-sum(math.log2(step.probability) for step in own), abs=1e-3)


@pytest.mark.parametrize(
    "changes", [{"n_batch": 64, "swa_full": False}, {"n_batch": 16, "n_outputs": 9}], ids=str
)
@pytest.mark.parametrize("arch", ["gemma3", "mamba"])
def test_a_window_that_has_moved_on_and_small_batches(
    opened: Callable[..., GgufModel], arch: Architecture, changes: dict[str, Any]
) -> None:
    """A sliding window cannot be copied where it has moved on: all is read again, in several decodes.

    `advance_rows` refuses more than a batch, so the pass ended with a ValueError there.
    """
    base = opened("llama", "spm", 1)
    reply = TINY_REPLY * 9
    expected_pair = pair_models(base, opened(arch, "bpe", 2, n_ctx=1024))
    expected = score_text(expected_pair, tiny_text(expected_pair, reply))
    pair = pair_models(base, opened(arch, "bpe", 2, n_ctx=1024, **changes))
    assert expected.guide_tokens[0] > 256, "more than the cells of the smallest window"
    assert_equal(score_text(pair, tiny_text(pair, reply)), expected, 1e-3)


def test_a_guide_s_branches_leave_its_trunk_alone(opened: Callable[..., GgufModel]) -> None:
    pair = pair_models(opened("llama", "spm", 1), opened("gemma3", "bpe", 2))
    text = tiny_text(pair)
    first = score_text(pair, text)
    score_text(pair, tiny_text(pair, "Paris is no more."))
    assert_equal(score_text(pair, text), first, 1e-5)
    assert all(not pair.guide.cached(seq) for seq in range(1, 5))


def test_cancelled_inside_llama_cpp(opened: Callable[..., GgufModel]) -> None:
    pair = pair_models(opened("llama", "spm", 1), opened("llama", "bpe", 2))
    text, cancellation = tiny_text(pair), Cancellation()
    expected = score_text(pair, text)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        score_text(pair, replace(text, reply="no other way"), cancellation)
    assert_equal(score_text(pair, text), expected, 1e-5)


def test_too_long_for_a_tiny_file(opened: Callable[..., GgufModel]) -> None:
    pair = pair_models(opened("llama", "spm", 1), opened("llama", "bpe", 2, n_ctx=256))
    with pytest.raises(
        EvaluationError, match="it is too long for llama-bpe-2, whose context holds 256 tokens"
    ):
        score_text(pair, tiny_text(pair, TINY_REPLY * 9))
    assert len(score_text(pair, tiny_text(pair))) > 20


# The law, on the demo pair


class Replayed:
    """A model that says again, to whoever asks in whatever way, what was read off it in a pass.

    llama.cpp's decodes of quantized models differ with the shape of the batch. So that what a pass makes of
    its logits can be compared with the engine, both must see the same ones.
    """

    def __init__(self, model: GgufModel) -> None:
        self._model = model
        self._rows: dict[tuple[int, ...], Logits] = {}
        self._said: list[list[int]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def replay(self) -> None:
        self._said = [[] for _ in range(self._model.n_seq)]

    def cached(self, seq: int) -> Sequence[int]:
        return self._model.cached(seq) if self._said is None else self._said[seq]

    def rewind(self, seq: int, length: int) -> int:
        if self._said is None:
            return self._model.rewind(seq, length)
        del self._said[seq][length:]
        return len(self._said[seq])

    def advance(self, work: dict[int, Sequence[int]]) -> Status:
        if self._said is None:
            status = self._model.advance(work)
            for seq in work:
                self._rows[tuple(self._model.cached(seq))] = self._model.logits(seq).copy()
            return status
        for seq, tokens in work.items():
            self._said[seq] += tokens
        return Status.DONE

    def advance_rows(self, work: dict[int, Sequence[int]], wanted: dict[int, Sequence[int]]) -> Status:
        status = self._model.advance_rows(work, wanted)
        for seq, places in wanted.items():
            tokens = self._model.cached(seq)
            before = len(tokens) - len(work[seq])
            for place in places:
                self._rows[tuple(tokens[: before + place + 1])] = self._model.row(seq, place).copy()
        return status

    def logits(self, seq: int) -> Logits:
        return self._model.logits(seq) if self._said is None else self._rows[tuple(self._said[seq])]


REAL_REPLY = (
    "Leaves look green because of chlorophyll… “naïve” 🍂 trees\nbreak it down; then 3.14 % yellow stays."
)


def read_demo(files: PairFiles, base: Any, guide: Any, reply: str) -> tuple[Pair, Text]:
    asked = [Message("user", "Why do leaves change their colour in autumn?")]
    prompts = (
        make_prompt(base, choose_format("auto", files.base.chat_template), asked),
        make_prompt(guide, choose_format("auto", files.guide.chat_template), asked),
    )
    return pair_models(base, guide), Text("leaves", *prompts, reply)


@pytest.mark.real
def test_on_the_demo_pair(demo_files: PairFiles) -> None:
    options = ModelOptions(n_ctx=512, n_seq=16, n_outputs=32, shared_cache=True, n_threads=1)
    with (
        closing(open_model(demo_files.base.path, options)) as base,
        closing(open_model(demo_files.guide.path, options)) as guide,
    ):
        replayed = Replayed(base), Replayed(guide)
        pair, text = read_demo(demo_files, *replayed, REAL_REPLY)
        record = score_text(pair, text)
        for model in replayed:
            model.replay()
        # Other tokens than those of the pass would not be among its rows at all.
        for blend in SETTINGS:
            if blend.gamma in (0.3, 0.4, 1.0):
                assert_follows(record, written_steps(pair, text, blend), blend)
        bits = sum(-math.log2(step.probability) for step in forced_steps(pair, text, BlendSettings("guide")))
        assert record.guide_bits[0] == pytest.approx(bits, abs=1e-3)

        # Against single decodes: the mean over positions is near, each of them less so.
        pair, text = read_demo(demo_files, base, guide, REAL_REPLY)
        blend = BlendSettings("ensemble", guide_stop=False)
        expected = np.array([math.log2(step.probability) for step in written_steps(pair, text, blend)])
        apart = log2_probabilities(record, blend) - expected
        assert float(np.sqrt((apart**2).mean())) < 0.3
        assert abs(float(apart.sum())) / len(text.reply.encode()) < 0.02
