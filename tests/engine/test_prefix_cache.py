"""Shared beginnings: whatever is copied or kept, a sequence goes on from exactly its own tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeModel, dreaming, words_and_bytes

from blendin_local.engine.language_model import common_prefix
from blendin_local.engine.prefix_cache import BLOCK, WORTH_SHARING, BlockPrefixes, ForkedPrefixes

VOCABULARY = words_and_bytes("abcdef")


def model_of(n_seq: int = 4, goes_back: int | None = None) -> FakeModel:
    return FakeModel(VOCABULARY, dreaming(VOCABULARY, 1), n_seq=n_seq, goes_back=goes_back)


def decoding(model: FakeModel, seq: int, tokens: Sequence[int]) -> bool:
    model.advance({seq: tokens})
    return True


def begin(
    model: FakeModel, kind: type[ForkedPrefixes] | type[BlockPrefixes], prompts: dict[int, list[int]]
) -> None:
    left = kind(model).begin(prompts, lambda seq, tokens: decoding(model, seq, tokens))
    model.advance(left)


def tokens_of(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 6, length).tolist()


def test_what_prompts_begin_with_is_decoded_once() -> None:
    model = model_of()
    shared = tokens_of(100)
    prompts = {seq: shared + [seq] * 5 for seq in range(4)}
    begin(model, ForkedPrefixes, prompts)
    assert [list(model.cached(seq)) for seq in range(4)] == list(prompts.values())
    assert model.decoded == 100 + 4 * 5
    # The beginning, then all the rest at once.
    assert len(model.decodes) == 2


def test_beginnings_that_differ_between_groups_are_decoded_once_each() -> None:
    model = model_of()
    left, right = tokens_of(50, 1), tokens_of(60, 2)
    prompts = {0: [*left, 1], 1: [*right, 2], 2: [*left, 3], 3: [*right, 4]}
    begin(model, ForkedPrefixes, prompts)
    assert [list(model.cached(seq)) for seq in range(4)] == list(prompts.values())
    assert model.decoded == 50 + 60 + 4


def test_a_newcomer_copies_from_whoever_holds_most() -> None:
    model = model_of()
    prompt = tokens_of(80)
    model.advance({0: prompt[:40], 1: prompt[:70], 3: tokens_of(30, 9)})
    before = model.decoded
    begin(model, ForkedPrefixes, {3: prompt})
    assert list(model.cached(3)) == prompt
    assert model.decoded - before == 10
    assert list(model.cached(1)) == prompt[:70]


def test_a_few_tokens_are_not_worth_a_decode_of_their_own() -> None:
    model = model_of()
    shared = tokens_of(WORTH_SHARING - 1)
    begin(model, ForkedPrefixes, {0: [*shared, 1], 1: [*shared, 2]})
    assert len(model.decodes) == 1


def test_equal_prompts_leave_each_its_last_token() -> None:
    model = model_of()
    prompt = tokens_of(40)
    begin(model, ForkedPrefixes, dict.fromkeys(range(4), prompt))
    assert model.decoded == 39 + 4


@pytest.mark.parametrize("goes_back", [0, 10])
def test_where_nothing_can_be_copied_everything_is_decoded(goes_back: int) -> None:
    model = model_of(goes_back=goes_back)
    shared = tokens_of(100)
    prompts = {seq: shared + [seq] * 5 for seq in range(4)}
    begin(model, ForkedPrefixes, prompts)
    assert [list(model.cached(seq)) for seq in range(4)] == list(prompts.values())
    assert model.decoded == 4 * 105


prompts_of_some = st.lists(
    st.dictionaries(
        st.integers(0, 3),
        # Few kinds of token and a common stem: beginnings are shared by chance, often and at odd lengths.
        st.tuples(st.integers(0, 90), st.lists(st.integers(0, 1), min_size=1, max_size=30)),
        min_size=1,
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", [ForkedPrefixes, BlockPrefixes])
@given(rounds=prompts_of_some, goes_back=st.sampled_from((None, 0, 25)))
def test_sequences_hold_their_own_tokens_whatever_was_before(
    kind: type[ForkedPrefixes] | type[BlockPrefixes],
    rounds: list[dict[int, tuple[int, list[int]]]],
    goes_back: int | None,
) -> None:
    model, stem = model_of(goes_back=goes_back), tokens_of(90)
    prefixes = kind(model)
    for prompts in rounds:
        wanted = {seq: [*stem[:length], *tail] for seq, (length, tail) in prompts.items()}
        left = prefixes.begin(wanted, lambda seq, tokens: decoding(model, seq, tokens))
        assert left.keys() == wanted.keys() and all(left.values())
        model.advance(left)
        for seq, tokens in wanted.items():
            assert list(model.cached(seq)) == tokens


@given(
    st.lists(st.tuples(st.integers(0, 250), st.integers(1, 150), st.integers(0, 100)), min_size=2, max_size=4)
)
def test_blocks_are_cut_alike_whatever_was_kept(acts: list[tuple[int, int, int]]) -> None:
    """The state after a prompt owes its last digits to where its decodes were cut: so it is cut alike."""
    model = model_of(1)
    blocks = BlockPrefixes(model)
    held, whole = tokens_of(200), 0
    for number, (length, tail, changed) in enumerate(acts):
        # It may begin with all that was said before, the reply included.
        prompt = [*held[:length], *tokens_of(tail, number)]
        before = len(model.decodes)
        left = blocks.begin({0: prompt}, lambda seq, tokens: decoding(model, seq, tokens))
        kept = len(model.cached(0)) - sum(len(decode[0]) for decode in model.decodes[before:])
        model.advance(left)
        fresh = model_of(1)
        begin(fresh, BlockPrefixes, {0: prompt})
        assert kept % BLOCK == 0
        made = [kept + end for end in ends_of(model.decodes[before:])]
        assert made == [end for end in ends_of(fresh.decodes) if end > kept]
        # What is kept was cut like this when it was decoded.
        assert kept <= whole
        # The reply goes on, and changes its mind about its last tokens, the prompt's own among them.
        held = [*prompt[: max(0, len(prompt) - changed)], *tokens_of(90, 100 + number)]
        model.advance({0: blocks.go_on(0, held)})
        whole = min((len(prompt) - 1) // BLOCK * BLOCK, common_prefix(prompt, held), len(held) - 1)


def ends_of(decodes: list[dict[int, tuple[int, ...]]]) -> list[int]:
    """Where decodes of the first sequence ended, from where they began."""
    ends, place = [], 0
    for decode in decodes:
        place += len(decode[0])
        ends.append(place)
    return ends


def test_blocks_that_are_common_are_not_decoded_again() -> None:
    model = model_of(1)
    blocks = BlockPrefixes(model)
    shared = tokens_of(150)
    for seed in range(3):
        prompt = [*shared, *tokens_of(20, seed + 1)]
        before = model.decoded
        model.advance(blocks.begin({0: prompt}, lambda seq, tokens: decoding(model, seq, tokens)))
        assert model.decoded - before == (170 if seed == 0 else 170 - 2 * BLOCK)
