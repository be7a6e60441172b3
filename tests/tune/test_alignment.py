"""Where a reply is cut: by hand for a few, and as the engine has it for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.awkward import AWKWARD
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

from blendin_local.engine.incremental_tokenizer import Retokenizer
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import EvaluationError
from blendin_local.tune.alignment import Position, Text, align

SPECIAL = [(b"", CONTROL), (b"", END)]


def words(*texts: str, raw: bytes = b"") -> Vocabulary:
    """The tokens of these ids: 2 and up the raw bytes, then the texts."""
    pieces = [*((bytes([value]), BYTE) for value in raw), *((text.encode(), TEXT) for text in texts)]
    return vocabulary_of([*SPECIAL, *pieces])


def pair_of(base: Vocabulary, guide: Vocabulary) -> Pair:
    return pair_models(
        FakeModel(base, dreaming(base, 0), name="base"), FakeModel(guide, dreaming(guide, 1), name="guide")
    )


def text(reply: str, base_lead: bytes = b"", guide_lead: bytes = b"") -> Text:
    return Text("it", prompt_of(1, base_lead), prompt_of(2, guide_lead), reply)


def test_tokens_that_end_alike_are_read_off_the_trunk() -> None:
    found = align(pair_of(words("a", "b"), words("a", "b")), text("aba"))
    assert (found.tokens, found.guide_tokens, found.n_bytes) == ([2, 3, 2], [2, 3, 2], 3)
    assert found.positions == [
        Position(1, False, True, 0, None),
        Position(1, True, True, 1, None),
        Position(1, True, True, 2, None),
    ]


def test_a_beginning_that_is_cut_otherwise_is_a_branch() -> None:
    """The guide reads "abc" as one token, "ab" as one, and "a" as one: none begins another."""
    found = align(pair_of(words("a", "b", "c", "x"), words("x", "a", "ab", "abc")), text("xabcx"))
    assert found.guide_tokens == [2, 5, 2]
    assert [(place.guide_length, place.branch) for place in found.positions] == [
        (0, None),
        (1, None),
        (2, (1, (3,))),
        (2, (1, (4,))),
        (2, None),
    ]


def test_inside_a_character_nobody_is_asked() -> None:
    base, guide = words("a", raw="é".encode()), words("a", "é")
    found = align(pair_of(base, guide), text("aéa"))
    assert [place.consultable for place in found.positions] == [True, True, False, True]
    assert [place.guide_length for place in found.positions] == [0, 1, 0, 2]
    assert [place.n_bytes for place in found.positions] == [1, 1, 1, 1]


def test_the_spaces_that_prompts_ask_for_are_no_part_of_the_reply() -> None:
    base, guide = words("a", " a", " "), words("a", " ", " a")
    found = align(pair_of(base, guide), text("aa", b" ", b""))
    assert (found.tokens, found.guide_tokens) == ([3, 2], [2, 2])
    assert [(place.n_bytes, place.begun, place.guide_length) for place in found.positions] == [
        (1, False, 0),
        (1, True, 1),
    ]
    found = align(pair_of(base, guide), text("aa", b"", b" "))
    assert (found.tokens, found.guide_tokens) == ([2, 2], [4, 2])


def test_a_space_that_is_a_token_of_its_own_begins_the_reply() -> None:
    """After it the guide's space is said too, as the engine has it."""
    base, guide = words("a", " "), words("a", " ", " a")
    found = align(pair_of(base, guide), text("aa", b" ", b" "))
    assert found.tokens == [3, 2, 2]
    assert found.positions == [
        Position(0, False, True, 0, None),
        Position(1, True, True, 1, (0, (3,))),
        Position(1, True, True, 1, None),
    ]


@given(
    vocabularies(),
    vocabularies(),
    st.tuples(*[st.sampled_from((b"", b" "))] * 2),
    st.text("abo. \né", min_size=1, max_size=12),
)
def test_places_are_what_they_say(
    base: Vocabulary, guide: Vocabulary, leads: tuple[bytes, bytes], reply: str
) -> None:
    pair = pair_of(base, guide)
    found = align(pair, text(reply, *leads))
    assert len(found.positions) == len(found.tokens)
    assert base.decode(found.tokens) == leads[0] + reply.encode()
    assert guide.decode(found.guide_tokens) == leads[1] + reply.encode()
    assert sum(place.n_bytes for place in found.positions) == found.n_bytes == len(reply.encode())
    said, waiting = b"", -1
    for place, token in zip(found.positions, found.tokens, strict=True):
        whole = said.decode("utf-8", "ignore").encode() == said
        assert place.consultable == whole
        if whole and place.begun:
            read = Retokenizer(pair.guide).tokens(leads[1] + said)
            shared, tail = place.branch or (place.guide_length, ())
            assert [*found.guide_tokens[:shared], *tail] == read
            assert (place.guide_length, bool(tail)) == (len(read), place.branch is not None)
        if place.consultable and place.branch is None:
            # In rising order: the trunk is read once, from its beginning to its end.
            assert place.guide_length >= waiting
            waiting = place.guide_length
        written = base.token_bytes(token)
        said += written if place.begun else written.removeprefix(leads[0])


@pytest.mark.parametrize("reply", AWKWARD, ids=ascii)
def test_awkward_replies(reply: str) -> None:
    every = bytes(range(256))
    pair = pair_of(words(" the", "é", raw=every), words("\r\n", "日", raw=every))
    if not reply:
        with pytest.raises(EvaluationError, match="is empty"):
            align(pair, text(reply))
        return
    found = align(pair, text(reply))
    assert found.n_bytes == len(reply.encode())


@pytest.mark.parametrize(
    ("base", "guide", "reply", "said"),
    [
        ("a", "a", "", "The reply of it is empty: there is nothing to score."),
        ("a", "a b", "ab", "base cannot spell the reply of it in its tokens."),
        ("a b", "b", "ab", "guide cannot spell the reply of it in its tokens."),
    ],
)
def test_what_cannot_be_cut(base: str, guide: str, reply: str, said: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        align(pair_of(words(*base.split()), words(*guide.split())), text(reply))
    assert str(caught.value) == said
