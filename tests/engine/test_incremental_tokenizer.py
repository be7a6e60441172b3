"""The tokens of a growing text are those of tokenizing it whole, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.awkward import AWKWARD
from support.examples import examples
from support.fakes import TEXT, FakeModel, dreaming, vocabularies, vocabulary_of, words_and_bytes
from support.tiny_gguf import Kind, write_tiny

from blendin_local.engine.incremental_tokenizer import Retokenizer
from blendin_local.engine.language_model import LanguageModel
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.settings import ModelOptions

KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS = """b the The Paris Pa ris hello world 's ing . , 3 12 café é e\u0301 日本 語 😀 ▁ Ġ
<table> <0x41> <|im_end|> </s>"""
SPACES = " ", "  ", "\n", "\n\n", "\r\n", "\t", "a ", "\u00a0", "\ufeff", "\u200d", "\x00", "\ufffd"
PIECES = [*WORDS.split(), *(f" {word}" for word in WORDS.split()), *SPACES]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3) | st.sampled_from(AWKWARD), max_size=20)


def fake_of(vocabulary: Vocabulary) -> FakeModel:
    return FakeModel(vocabulary, dreaming(vocabulary, 0))


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, GgufModel]]:
    folder = tmp_path_factory.mktemp("tiny")
    options = ModelOptions(n_ctx=64, n_gpu_layers=0)
    models: dict[Kind, GgufModel] = {
        kind: open_model(write_tiny(folder / f"{kind}.gguf", vocabulary=kind), options) for kind in KINDS
    }
    yield models
    for model in models.values():
        model.close()


def assert_grows_alike(model: LanguageModel, pieces: list[str]) -> None:
    retokenizer, text = Retokenizer(model), ""
    for piece in pieces:
        text += piece
        assert retokenizer.tokens(text.encode()) == model.tokenize(text.encode()), text
    # Asked again about the same text, it knows no more and no less.
    assert retokenizer.tokens(text.encode()) == model.tokenize(text.encode())


@pytest.mark.parametrize("kind", KINDS)
@examples(300)
@given(texts)
def test_growing_equals_whole_with_real_tokenizers(
    tiny_models: dict[Kind, GgufModel], kind: Kind, pieces: list[str]
) -> None:
    assert not tiny_models[kind].vocabulary.joins_words
    assert_grows_alike(tiny_models[kind], pieces)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", AWKWARD)
def test_growing_by_characters_equals_whole(
    tiny_models: dict[Kind, GgufModel], kind: Kind, text: str
) -> None:
    assert_grows_alike(tiny_models[kind], list(f"so {text} it was {text}"))


@examples(200)
@given(vocabularies(), st.text("ab o.é\n", max_size=24), st.integers(1, 5))
def test_growing_equals_whole_with_any_vocabulary(vocabulary: Vocabulary, text: str, size: int) -> None:
    """Among them many with tokens that reach over "letter, space": those must not be tokenized piecewise."""
    assert_grows_alike(fake_of(vocabulary), [text[i : i + size] for i in range(0, len(text), size)])


def test_only_the_last_word_is_tokenized_again() -> None:
    model = fake_of(words_and_bytes("_the _mirror _of _soul"))
    retokenizer, text = Retokenizer(model), b" the"
    for word in (b" mirror", b" of", b" the", b" soul"):
        retokenizer.tokens(text)
        model.tokenized.clear()
        text += word
        retokenizer.tokens(text)
        assert all(len(asked) <= len(b" mirror") for asked in model.tokenized)
        # The word before it is settled now, the last may still grow.
        assert model.tokenized[-1] == word


def test_tokens_over_word_boundaries_fall_back_to_the_whole_text() -> None:
    """ "b c" is one token: cut before " c", the text lost it."""
    tokens = [(b"a", TEXT), (b"b", TEXT), (b"c", TEXT), (b" ", TEXT), (b"b c", TEXT)]
    model = fake_of(vocabulary_of(tokens))
    assert model.vocabulary.joins_words
    retokenizer = Retokenizer(model)
    assert retokenizer.tokens(b"a b") == [0, 3, 1]
    assert retokenizer.tokens(b"a b c") == [0, 3, 4]
    assert retokenizer.tokens(b"a b c a") == [0, 3, 4, 3, 0]
    assert model.tokenized == [b"a b", b"a b c", b"a b c a"]


def test_a_tokenizer_of_another_algorithm_falls_back_too() -> None:
    """Unigram and WordPiece tokenizers weigh a text as a whole."""
    model = fake_of(vocabulary_of([(b"a", TEXT), (b" ", TEXT)], splits_at_words=False))
    retokenizer = Retokenizer(model)
    for text in (b"a a", b"a a a"):
        assert retokenizer.tokens(text) == model.tokenize(text)
    assert model.tokenized[-2:] == [b"a a a", b"a a a"]


def test_nothing_yet() -> None:
    assert Retokenizer(fake_of(words_and_bytes())).tokens(b"") == []
