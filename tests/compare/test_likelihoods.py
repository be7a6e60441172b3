"""Multiple choice by likelihood: against plain decodes, kept by question, priced for every method."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.compare_fakes import VOCABULARY, Loader, blend, item_of, run_of, single
from support.fakes import FakeModel, dreaming
from support.tiny_gguf import write_tiny

from blendin_local.compare import likelihoods
from blendin_local.compare.answers import Answers
from blendin_local.compare.likelihoods import choose, own_bits, reading_options
from blendin_local.compare.loading import load_models
from blendin_local.engine.prompts import Prompt
from blendin_local.errors import EvaluationError
from blendin_local.llamacpp.header import read_header
from blendin_local.settings import ModelOptions
from blendin_local.tune.record import empty_record
from blendin_local.tune.scoring import ROWS

BASE, GUIDE = single("base"), single("guide", "guide")
SURE = blend(BASE, GUIDE, "never asks", gamma=0.0)
EVER = blend(BASE, GUIDE, "guide's words", method="nudge", gamma=1.0)
OPTIONS = ("yes", "no", "may be", "the sky is blue")
ITEMS = [item_of(str(n), f"is {n} blue", options=OPTIONS, gold=n % 4) for n in range(6)]
RUN = run_of([*ITEMS, item_of("open")])
MINDS = {
    "base": dreaming(VOCABULARY, 1, 2.0, of_text=True),
    "guide": dreaming(VOCABULARY, 2, 2.0, of_text=True),
}


@pytest.fixture
def answers(tmp_path: Path) -> Any:
    opened = Answers(tmp_path / "answers.db")
    yield opened
    opened.close()


def chosen(answers: Answers, load: Loader, arms: Any = (BASE, GUIDE, SURE, EVER), run: Any = RUN) -> Any:
    return choose(arms, [run, run_of([item_of("no options")], name="other")], answers, load, ModelOptions())


def plain_bits(model: FakeModel, prompt: list[int], said: list[int]) -> float:
    """-log2 of the tokens, each from a decode of its own."""
    bits = 0.0
    for place, token in enumerate(said):
        logits = model.mind((*prompt, *said[:place])).astype(np.float64)
        bits -= math.log2(math.exp(logits[token]) / np.exp(logits).sum())
    return bits


@pytest.mark.parametrize("n_outputs", [1, 3, 1000])
def test_own_bits_against_plain_decodes(n_outputs: int) -> None:
    model = FakeModel(VOCABULARY, MINDS["base"], n_outputs=n_outputs, n_batch=max(2, n_outputs))
    prompt = Prompt(tokens_of("Question: is the sky blue\nAnswer:"), b" ")
    texts = (*OPTIONS, "é")
    said = [model.tokenize(b" " + text.encode()) for text in texts]
    expected = [plain_bits(model, prompt.tokens, tokens) for tokens in said]
    np.testing.assert_allclose(own_bits(model, prompt, texts), expected, rtol=1e-5)
    # The prompt was read once; options only differ at their ends.
    assert model.decoded < len(prompt.tokens) + 5 * 12


def test_bits_depend_on_nothing_that_was_read_before() -> None:
    """llama.cpp's answers to the same tokens depend on how they are cut into batches (a tenth of a bit)."""
    prompt = Prompt(tokens_of("Question: is the sky blue\nAnswer:"), b" ")
    alone, after = (FakeModel(VOCABULARY, MINDS["base"]) for _ in range(2))
    own_bits(alone, prompt, OPTIONS)
    for other in ("Question: is the sky", "Question: is the sky blue\nAnswer:", "?"):
        own_bits(after, Prompt(tokens_of(other), b" "), ("no", "the sky"))
        before = len(after.decodes)
        own_bits(after, prompt, OPTIONS)
        assert after.decodes[before:] == alone.decodes, other
    one = FakeModel(VOCABULARY, MINDS["base"])
    own_bits(one, prompt, OPTIONS[-1:])
    assert one.decodes == [alone.decodes[0], alone.decodes[-1]], "nor on the options before"


def test_a_prompt_of_one_token() -> None:
    model = FakeModel(VOCABULARY, MINDS["base"])
    first, _, again = own_bits(model, Prompt([0], b" "), ("yes", "the sky", "yes"))
    assert first == again == pytest.approx(plain_bits(model, [0], model.tokenize(b" yes")), rel=1e-5)


def test_a_model_alone_and_a_pair_read_in_the_same_decodes(answers: Answers) -> None:
    """Else a pair that never asks could choose otherwise than its base alone."""
    long = " ".join(["the sky is blue and"] * 20)
    item = item_of("long", options=("yes", long, "no"), gold=0)
    load = Loader(MINDS)
    choose((BASE, SURE), [run_of([ITEMS[0], item])], answers, load, ModelOptions())
    alone, with_guide = (pair.base.decodes for pair in load.opened)  # type: ignore[attr-defined]
    assert alone == with_guide and max(len(decode[0]) for decode in alone) == ROWS


def test_decodes_of_another_size_are_another_reading(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(answers, Loader(MINDS), (BASE,))
    monkeypatch.setattr(likelihoods, "ROWS", ROWS // 2)
    load = Loader(MINDS)
    chosen(answers, load, (BASE,))
    assert load.loads == [("base",)]


def test_what_has_another_shape_is_read_again(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(answers, Loader(MINDS))
    monkeypatch.setattr(answers, "measurement", lambda key: {"bits": [1.0, "x"]})
    monkeypatch.setattr(answers, "record", lambda key: empty_record())
    load = Loader(MINDS)
    again = chosen(answers, load, (BASE, GUIDE))
    assert load.loads == [("base",), ("guide",)]
    np.testing.assert_array_equal(first["base", "made"], again["base", "made"])
    for odd in ({}, {"bits": 3}, {"bits": [1.0]}):
        monkeypatch.setattr(answers, "measurement", lambda key, odd=odd: odd)
        chosen(answers, load, (BASE,))
    assert load.loads[2:] == [("base",)] * 3


def tokens_of(text: str) -> list[int]:
    return FakeModel(VOCABULARY, MINDS["base"]).tokenize(text.encode())


def test_a_text_that_does_not_fit() -> None:
    model = FakeModel(VOCABULARY, MINDS["base"], n_ctx=8)
    with pytest.raises(EvaluationError, match="does not fit the context of fake"):
        own_bits(model, Prompt([0] * 6, b" "), ["the sky is blue"])


def test_every_arm_chooses_and_open_questions_have_no_choice(answers: Answers) -> None:
    load = Loader(MINDS)
    found = chosen(answers, load)
    assert set(found) == {(arm.name, "made") for arm in (BASE, GUIDE, SURE, EVER)}
    assert load.loads == [("base",), ("guide",), ("base", "guide")]
    for whole, by_bytes in found.values():
        assert np.isnan(whole[-1]) and np.isnan(by_bytes[-1])
        assert set(whole[:-1]) <= {0.0, 1.0}
    # A pair that never asks chooses as its base does, from the record of the pair.
    np.testing.assert_array_equal(found["base", "made"], found["never asks", "made"])


def test_the_likeliest_is_chosen(answers: Answers) -> None:
    whole, by_bytes = chosen(answers, Loader(MINDS), (BASE,))["base", "made"]
    model = FakeModel(VOCABULARY, MINDS["base"])
    for place, item in enumerate(ITEMS):
        prompt = tokens_of(f"Question: {item.messages[0].content}\nAnswer:")
        bits = [plain_bits(model, prompt, model.tokenize(b" " + text.encode())) for text in OPTIONS]
        each = [b / len(text) for b, text in zip(bits, OPTIONS, strict=True)]
        assert whole[place] == (bits.index(min(bits)) == item.gold)
        assert by_bytes[place] == (each.index(min(each)) == item.gold)


def test_what_was_read_is_kept_by_question(answers: Answers) -> None:
    first = chosen(answers, Loader(MINDS), run=run_of(ITEMS[:3]))
    load = Loader(MINDS)
    again = chosen(answers, load, run=run_of(ITEMS[:3]))
    assert load.loads == []
    for key, found in first.items():
        np.testing.assert_array_equal(found, again[key])
    longer = Loader(MINDS)
    chosen(answers, longer)
    assert longer.loads and longer.decodes < 300
    # Another threshold needs no model.
    other, priced = blend(BASE, GUIDE, "other", gamma=0.5), Loader(MINDS)
    chosen(answers, priced, (other,))
    assert priced.loads == []
    changed = Loader(MINDS)
    chosen(answers, changed, (BASE,), run_of([replace(ITEMS[0], options=("a", "b"), gold=0)]))
    assert changed.loads == [("base",)]


def test_a_question_that_does_not_fit_has_no_choice(answers: Answers) -> None:
    long = item_of("long", "is the sky blue " * 400, options=OPTIONS, gold=0)
    found = chosen(answers, Loader(MINDS), run=run_of([long, ITEMS[0]]))
    for whole, _ in found.values():
        assert np.isnan(whole[0]) and not np.isnan(whole[1])
    load = Loader(MINDS)
    chosen(answers, load, run=run_of([long, ITEMS[0]]))
    assert load.loads == [], "that it does not fit is known now"


def test_in_llama_cpp_a_model_alone_and_the_record_of_a_pair_agree(answers: Answers, tmp_path: Path) -> None:
    write_tiny(tmp_path / "base.gguf", vocabulary="spm", seed=1)
    write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=2)
    base = replace(BASE.models[0], header=read_header(tmp_path / "base.gguf"))
    guide = replace(GUIDE.models[0], header=read_header(tmp_path / "guide.gguf"))
    arms = (replace(BASE, base=base), replace(GUIDE, guide=guide), replace(SURE, base=base, guide=guide))
    items = [item_of(str(n), f"hello {n}", options=("the world", "Paris", "no"), gold=0) for n in range(3)]
    found = choose(arms, [run_of(items)], answers, load_models, ModelOptions(n_ctx=256, n_threads=1))
    np.testing.assert_array_equal(found["base", "made"], found["never asks", "made"])
    options = reading_options(ModelOptions(n_ctx=256, n_threads=1))
    with closing(load_models((base,), options)) as pair:
        tokens = pair.base.tokenize(b"hello")
        (whole,) = own_bits(pair.base, Prompt(tokens, b" "), ["world"])  # type: ignore[arg-type]
        said = pair.base.tokenize(b" world")
        pair.base.rewind(0, 0)
        expected = 0.0
        pair.base.advance({0: tokens})
        for token in said:
            logits = pair.base.logits(0).astype(np.float64)
            expected -= (logits[token] - np.log(np.exp(logits).sum())) / np.log(2)
            pair.base.advance({0: [token]})
    assert whole == pytest.approx(expected, abs=1e-3)
