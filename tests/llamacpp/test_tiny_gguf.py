"""The tiny models are what they claim to be, seen through llama.cpp's own low-level interface."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from gguf import TokenType
from support.bare_llama import Raw, on_cpu
from support.tiny_gguf import (
    WINDOW,
    Architecture,
    Kind,
    empty,
    flipped,
    tiny_bytes,
    tiny_vocabulary,
    truncated,
    write_tiny,
    wrong_magic,
)

from blendin_local.llamacpp.library import api, captured_log

KINDS = get_args(Kind)
ARCHITECTURES = get_args(Architecture)
WRITERS = [arch for arch in ARCHITECTURES if arch != "bert"]


def some_tokens(n: int) -> list[int]:
    return list(map(int, np.random.default_rng(7).integers(300, 500, n)))


def test_same_arguments_give_same_bytes(tmp_path: Path) -> None:
    made = []
    for i, seed in enumerate((5, 5, 6)):
        tiny_bytes.cache_clear()
        made.append(write_tiny(tmp_path / f"{i}.gguf", seed=seed).read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("arch", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_decodes(tmp_path: Path, arch: Architecture, kind: Kind) -> None:
    with Raw(write_tiny(tmp_path / "tiny.gguf", arch=arch, vocabulary=kind)) as raw:
        assert raw.n_vocab == len(tiny_vocabulary(kind))
        prompt = raw.tokenize("The people of the world", special=True)
        together = raw.decode(prompt)
        assert np.isfinite(together).all()
        assert 2.0 < together.std() < 10.0
        assert raw.rewind(0)
        for i, token in enumerate(prompt):
            one_by_one = raw.decode([token], i)
        np.testing.assert_allclose(one_by_one, together, atol=1e-4)


@pytest.mark.parametrize("arch", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_writes_varied_text_with_varied_confidence(tmp_path: Path, arch: Architecture, kind: Kind) -> None:
    with Raw(write_tiny(tmp_path / "tiny.gguf", arch=arch, vocabulary=kind)) as raw:
        tokens, confidences = raw.greedy(raw.tokenize("The people", special=True), 100)
        text = b"".join(map(raw.piece, tokens))
    assert len(set(tokens)) > 30
    assert max(len(list(run)) for _, run in groupby(tokens)) < 10
    assert np.quantile(confidences, 0.1) < 0.3
    assert np.quantile(confidences, 0.9) > 0.65
    assert 0.2 < (confidences < 0.4).mean() < 0.8
    assert len(text.decode("utf-8", "ignore")) > 0.9 * len(text)


def test_sharpness_and_bias(tmp_path: Path) -> None:
    def top(**settings: Any) -> tuple[int, float]:
        with Raw(write_tiny(tmp_path / "tiny.gguf", vocabulary="bpe", **settings)) as raw:
            (token,), (confidence,) = raw.greedy(some_tokens(5), 1)
            return token, float(confidence)

    assert top(sharp=0.0)[1] == pytest.approx(1 / len(tiny_vocabulary("bpe")))
    assert top(sharp=12.0)[1] > top(sharp=3.0)[1] > top(sharp=1.0)[1]
    token, confidence = top(bias={"<|im_end|>": 100.0})
    assert token == tiny_vocabulary("bpe").id("<|im_end|>")
    assert confidence > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_is_what_llama_cpp_reads(tmp_path: Path, kind: Kind) -> None:
    vocabulary = tiny_vocabulary(kind)
    with Raw(write_tiny(tmp_path / "tiny.gguf", vocabulary=kind)) as raw:
        assert [raw.piece(token) for token in range(raw.n_vocab)] == vocabulary.pieces
        assert api.llama_vocab_bos(raw.vocab) == vocabulary.id(vocabulary.bos)
        assert api.llama_vocab_eos(raw.vocab) == vocabulary.id(vocabulary.eos)
        assert api.llama_vocab_is_eog(raw.vocab, vocabulary.id(vocabulary.eos))
        assert api.llama_vocab_get_add_bos(raw.vocab) == vocabulary.adds_bos
        # The tokenizer chooses every normal token for its own bytes, if these are whole characters.
        normal = [kind == TokenType.NORMAL for kind in vocabulary.tokens.values()]
        for token in np.flatnonzero(normal) if not vocabulary.adds_space else ():
            text = vocabulary.pieces[token].decode("utf-8", "replace")
            assert "\ufffd" in text or raw.tokenize(text) == [token]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("spm", "hello world", "<bos> hello ▁world"),
        ("spm-prefix", "hello world", "<s> ▁hello ▁world"),
        ("bpe", "hello world", "hello Ġworld"),
        ("spm", "😀", "<bos> <0xF0> <0x9F> <0x98> <0x80>"),
        ("spm-prefix", "😀", "<s> ▁ <0xF0> <0x9F> <0x98> <0x80>"),
        ("bpe", "😀", "ðŁĺ Ģ"),
        ("spm", "日本語\n\n", "<bos> 日本 <0xE8> <0xAA> <0x9E> \n\n"),
        ("spm-prefix", "\n", "<s> ▁ <0x0A>"),
        ("bpe", "日本語\n", "æĹ¥æľ¬ èª ŀ Ċ"),
        ("spm", "<start_of_turn>user", "<bos> <start_of_turn> u s er"),
        ("bpe", "<|im_start|>user", "<|im_start|> user"),
    ],
)
def test_tokenizes(tmp_path: Path, kind: Kind, text: str, expected: str) -> None:
    names = list(tiny_vocabulary(kind).tokens)
    with Raw(write_tiny(tmp_path / "tiny.gguf", vocabulary=kind)) as raw:
        assert [names[token] for token in raw.tokenize(text, special=True)] == expected.split(" ")


def test_plain_text_knows_no_control_tokens_but_user_defined_ones(tmp_path: Path) -> None:
    special = {tiny_vocabulary("spm").id(token) for token in ("<bos>", "<end_of_turn>", "<unused0>")}
    with Raw(write_tiny(tmp_path / "tiny.gguf")) as raw:
        tokens = raw.tokenize("<bos><end_of_turn><unused0><table>")
    assert special.isdisjoint(tokens)
    assert tiny_vocabulary("spm").id("<table>") in tokens


def test_vocabularies_share_most_bytes_but_not_all() -> None:
    spm, bpe = ({*tiny_vocabulary(kind).pieces} - {b""} for kind in ("spm", "bpe"))
    assert len(spm & bpe) > 400
    assert min(len(spm - bpe), len(bpe - spm)) > 40
    for byte in b"\n 7e":
        assert tiny_vocabulary("spm").pieces.count(bytes([byte])) == 2, "a byte token and a normal one"


def test_chat_template(tmp_path: Path) -> None:
    with Raw(write_tiny(tmp_path / "none.gguf")) as raw:
        assert api.llama_model_chat_template(raw.model, None) is None
    with Raw(write_tiny(tmp_path / "some.gguf", chat_template="{{ messages }}")) as raw:
        assert api.llama_model_chat_template(raw.model, None) == b"{{ messages }}"


def test_llama_rewinds(tmp_path: Path) -> None:
    tokens = some_tokens(400)
    with Raw(write_tiny(tmp_path / "tiny.gguf", arch="llama")) as raw:
        before = raw.decode(tokens[:100])
        raw.decode(tokens[100:], 100)
        assert raw.rewind(99)
        np.testing.assert_allclose(raw.decode(tokens[99:100], 99), before, atol=1e-4)


def test_sliding_window_rewinds_only_in_name(tmp_path: Path) -> None:
    path, tokens = write_tiny(tmp_path / "tiny.gguf", arch="gemma3"), some_tokens(500)
    off = {}
    for swa_full in (False, True):
        with Raw(path, swa_full=swa_full) as raw:
            before = raw.decode(tokens[:100])
            raw.decode(tokens[100:], 100)
            first = api.llama_memory_seq_pos_min(raw.memory, 0)
            assert raw.rewind(99), "it says so in any case"
            off[swa_full] = float(abs(raw.decode(tokens[99:100], 99) - before).max())
        assert (first > 99 - WINDOW) == (not swa_full)
    assert off[True] < 1e-4
    assert off[False] > 0.1


def test_recurrent_state_cannot_be_partly_forgotten(tmp_path: Path) -> None:
    with Raw(write_tiny(tmp_path / "tiny.gguf", arch="mamba")) as raw:
        before = raw.decode(some_tokens(50))
        assert not raw.rewind(49)
        assert raw.rewind(0)
        np.testing.assert_allclose(raw.decode(some_tokens(50)), before, atol=1e-4)


def test_embedding_model_has_no_memory(tmp_path: Path) -> None:
    with Raw(write_tiny(tmp_path / "tiny.gguf", arch="bert")) as raw:
        assert raw.tokenize("hello world", special=True)
        # The sign to go by: `llama_model_has_decoder` says yes, and a decode "succeeds" with logits of zero.
        assert raw.memory is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda good, bad: truncated(good, bad, 100), "failed to read"),
        (lambda good, bad: truncated(good, bad, -1), "not within the file bounds"),
        (
            lambda good, bad: flipped(good, bad, good.read_bytes().index(b"llama")),
            "unknown model architecture",
        ),
        (lambda good, bad: wrong_magic(good, bad), "invalid magic"),
        (lambda good, bad: empty(bad), "failed to read magic"),
    ],
    ids=["cut in the header", "cut at the end", "flipped bit", "magic", "empty"],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[Path, Path], Path], reason: str) -> None:
    bad = damage(write_tiny(tmp_path / "good.gguf"), tmp_path / "bad.gguf")
    with captured_log() as log:
        assert not api.llama_model_load_from_file(bytes(bad), on_cpu())
    assert reason in "".join(text for _, text in log.lines)
