"""Special tokens are those that a file states; llama.cpp makes up ids for the others."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support.gguf_copy import copy_with
from support.tiny_gguf import Kind, tiny_vocabulary, write_tiny

from blendin_local.engine.conversation import Conversation
from blendin_local.engine.pair import pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS, choose_format
from blendin_local.engine.vocabulary import TokenKind
from blendin_local.llamacpp.model import open_model
from blendin_local.models.loading import PairFiles
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

OPTIONS = ModelOptions(n_ctx=256, n_threads=1, n_gpu_layers=0)
MADE_UP = 11  # llama.cpp's answer for files of this kind that state no beginning and no end


UNSTATED = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_what_a_file_does_not_state_is_none(tmp_path: Path, kind: Kind) -> None:
    whole = write_tiny(tmp_path / "whole.gguf", vocabulary=kind)
    bare = copy_with(whole, tmp_path / "bare.gguf", without=UNSTATED)
    with closing(open_model(whole, OPTIONS)) as stated, closing(open_model(bare, OPTIONS)) as model:
        assert (model.vocabulary.bos, model.vocabulary.eos) == (None, None)
        assert stated.vocabulary.bos is not None
        text = 0 if kind == "spm" else MADE_UP
        for token in range(text, len(stated.vocabulary)):
            if stated.vocabulary.kinds[token] < TokenKind.CONTROL:
                assert model.vocabulary.kinds[token] == stated.vocabulary.kinds[token]
        said = "1,000 words, and more"
        assert model.vocabulary.decode(model.tokenize(said.encode())).decode().strip() == said
        # The end is known by its name.
        assert {tiny_vocabulary(kind).eos} <= set(model.vocabulary.specials)


@pytest.mark.real
def test_a_comma_in_the_place_of_a_made_up_id_is_a_comma(demo_files: PairFiles, tmp_path: Path) -> None:
    """Files like Qwen 2's state no beginning: every comma was dropped, "1,000" became "1000"."""
    source = demo_files.guide.path
    stated = copy_with(source, tmp_path / "stated.gguf", moved={",": MADE_UP})
    bare = copy_with(source, tmp_path / "bare.gguf", moved={",": MADE_UP}, without=UNSTATED[:1])
    replies = []
    for path in (stated, bare):
        with (
            closing(open_model(path, OPTIONS)) as model,
            closing(open_model(demo_files.base.path, OPTIONS)) as base,
        ):
            assert model.vocabulary.token_bytes(MADE_UP) == b","
            assert model.tokenize(b"1,000") == [*model.tokenize(b"1"), MADE_UP, *model.tokenize(b"000")]
            form = choose_format("auto", model.chat_template)
            for pair, method in ((pair_models(base, model), "blendin"), (pair_models(model, base), "base")):
                forms = {"base": PLAIN_FORMATS["question-answer"], "guide": form}
                if method == "base":
                    forms = {"base": form, "guide": PLAIN_FORMATS["question-answer"]}
                settings = GenerationSettings(BlendSettings(method, gamma=0.6), max_tokens=24)
                reply = Conversation(pair, forms, settings).send(
                    "List three colours, separated by commas: 1,000 red,"
                )
                replies.append("".join(step.text for step in reply))
    assert replies[:2] == replies[2:]
    assert any("," in reply for reply in replies)
