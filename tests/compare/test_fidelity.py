"""The pass over a text: which tokens are decoded and scored, and figures against a plain computation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from support.fakes import CONTROL, FakeModel, dreaming, vocabulary_of, words_and_bytes
from support.fakes import TEXT as NORMAL
from support.requantized import requantized
from support.tiny_gguf import Kind, write_tiny

from blendin_local.compare import fidelity
from blendin_local.compare.fidelity import (
    measure_fidelity,
    measure_perplexity,
    measure_text_chunks,
    scoring_options,
    text_chunks,
)
from blendin_local.engine.language_model import Cancellation, Logits
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import BlendinError, EvaluationError, ModelError, SettingError
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.models.loading import PairFiles
from blendin_local.settings import ModelOptions

TEXT = b"The water did not look the same to her, and she would go down to see it once more. " * 6
EXAMPLES = resources.files("blendin_local.tune").joinpath("examples.jsonl")

PLAIN = words_and_bytes("_the _water _look ed")
WITH_BOS = replace(PLAIN, bos=0, adds_bos=True)


def fake(vocabulary: Vocabulary = PLAIN, seed: int = 0, **options: int) -> FakeModel:
    return FakeModel(vocabulary, dreaming(vocabulary, seed), name=f"fake-{seed}", **options)


def is_one_sentence(message: object) -> bool:
    return str(message).endswith(".") and "\n" not in str(message) and str(message).count(". ") == 0


# Which tokens


@pytest.mark.parametrize("vocabulary", [PLAIN, WITH_BOS], ids=["plain", "bos"])
def test_only_the_second_half_of_each_chunk_is_scored(vocabulary: Vocabulary) -> None:
    """n_ctx 8: of each chunk the tokens at places 5, 6 and 7 count, predicted from all before them.

    A BOS token begins the text, and so moves the cuts by one; in later chunks it stands in for a token.
    """
    model = fake(vocabulary)
    tokens = model.tokenize(TEXT[:40])
    if vocabulary is WITH_BOS:
        tokens = [0, *tokens]
    expected = []
    for start in range(0, len(tokens) - 7, 8):
        chunk = tokens[start : start + 8]
        context = [0, *chunk[1:]] if vocabulary is WITH_BOS else chunk
        for place in (5, 6, 7):
            row = model.mind(tuple(context[:place])).astype(np.float64)
            expected.append(np.logaddexp.reduce(row) - row[chunk[place]])
    found = measure_perplexity(model, TEXT[:40], n_ctx=8)
    assert found.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-6)
    assert (found.positions, found.chunks, found.n_ctx) == (len(expected), len(tokens) // 8, 8)
    # The last token of a chunk predicts nothing that is scored.
    assert model.decoded == 7 * found.chunks


def test_published_figures_are_made_of_255_predictions_a_chunk() -> None:
    model = FakeModel(PLAIN, lambda tokens: np.zeros(len(PLAIN), np.float32))
    found = measure_perplexity(model, b"x" * 1100)
    assert (found.n_ctx, found.chunks, found.positions) == (512, 2, 510)
    # Every one of these tokens is one byte, and all tokens are equally probable.
    assert found.perplexity == pytest.approx(len(PLAIN))
    assert found.bits_per_byte == pytest.approx(math.log2(len(PLAIN)))
    assert found.bits_per_byte_se == pytest.approx(0, abs=1e-9)


def test_bits_per_byte_count_the_bytes_of_the_scored_tokens() -> None:
    vocabulary = words_and_bytes([b"four"])
    model = FakeModel(vocabulary, lambda tokens: np.zeros(len(vocabulary), np.float32))
    found = measure_perplexity(model, b"four" * 20, n_ctx=8)
    assert found.bits_per_byte == pytest.approx(math.log2(len(vocabulary)) / 4)


def test_fewer_chunks_are_the_first_ones() -> None:
    whole, part = (measure_perplexity(fake(), TEXT[:90], n_ctx=8, chunks=n) for n in (None, 3))
    assert whole.chunks > part.chunks == 3
    # Of the first 24 tokens alone, as if the text ended there.
    tokens = fake().tokenize(TEXT)[:24]
    assert measure_perplexity(fake(), PLAIN.decode(tokens), n_ctx=8) == part
    assert measure_perplexity(fake(), TEXT[:90], n_ctx=8, chunks=1000) == whole


@pytest.mark.parametrize(("n_batch", "n_outputs"), [(3, 1000), (1000, 2), (1, 1)])
def test_small_batches_change_no_figure(n_batch: int, n_outputs: int) -> None:
    def found(**options: int) -> fidelity.Fidelity:
        return measure_fidelity(fake(seed=1), fake(seed=2, **options), TEXT, n_ctx=16)

    assert found(n_batch=n_batch, n_outputs=n_outputs) == found()


def test_a_decode_asks_for_no_more_logits_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "_LOGIT_BYTES", 4 * 4 * len(PLAIN))
    model = fake()
    measure_perplexity(model, TEXT, n_ctx=32, chunks=1)
    assert [len(decode[0]) for decode in model.decodes] == [16, 4, 4, 4, 3]


def test_options_leave_room_for_the_rows_of_one_decode() -> None:
    small, large = scoring_options(49_152), scoring_options(262_144, ModelOptions(n_threads=3, n_seq=4))
    assert (small.n_ctx, small.n_seq, small.n_outputs) == (512, 1, 256)
    assert (large.n_outputs, large.n_threads, large.n_seq) == (64, 3, 1)
    assert scoring_options(1 << 30).n_outputs == 1


def test_progress_ends_with_all_predictions() -> None:
    seen: list[tuple[int, int]] = []
    model = fake(n_outputs=2)
    found = measure_perplexity(model, TEXT, n_ctx=8, progress=lambda *both: seen.append(both))
    assert seen[-1] == (found.positions, found.positions)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == 2 * found.chunks


# Two models


def test_a_model_with_another_of_the_same_weights() -> None:
    for model in (fake(seed=1), shared := fake(seed=1)):
        found = measure_fidelity(shared, model, TEXT, n_ctx=16)
        assert found.ppl_ratio == 1 and found.ppl_ratio_se == 0 and found.same_top == 1
        assert set(found.kld.values()) == {0} and set(found.delta_p.values()) == {0}
        assert found.own == measure_perplexity(fake(seed=1), TEXT, n_ctx=16)


def test_reference_and_model_are_not_confused() -> None:
    """The first is the measure: both perplexities, and the ratio, change places when the models do."""
    forth = measure_fidelity(fake(seed=1), fake(seed=2), TEXT, n_ctx=16)
    back = measure_fidelity(fake(seed=2), fake(seed=1), TEXT, n_ctx=16)
    assert forth.reference == measure_perplexity(fake(seed=1), TEXT, n_ctx=16) == back.own
    assert forth.own == measure_perplexity(fake(seed=2), TEXT, n_ctx=16) == back.reference
    assert forth.ppl_ratio == pytest.approx(1 / back.ppl_ratio)
    assert forth.delta_p["mean"] == pytest.approx(-(back.delta_p["mean"] or 0))
    assert forth.kld["mean"] != pytest.approx(back.kld["mean"])


def test_what_sequences_held_before_does_not_matter() -> None:
    model = fake(seed=2)
    model.advance({0: [5, 6, 7]})
    expected = measure_fidelity(fake(seed=1), fake(seed=2), TEXT, n_ctx=16)
    assert measure_fidelity(fake(seed=1), model, TEXT, n_ctx=16) == expected


# Two vocabularies

FRENCH = "L’été est là où l’eau a été. ".encode() * 8


@pytest.mark.parametrize("text", [TEXT, FRENCH], ids=["ascii", "french"])
@pytest.mark.parametrize("vocabulary", [PLAIN, WITH_BOS], ids=["plain", "bos"])
def test_another_vocabulary_reads_the_same_bytes(vocabulary: Vocabulary, text: bytes) -> None:
    """Bits per byte of two models are comparable only over the same bytes of one text."""
    reference = fake(vocabulary)
    cut = measure_perplexity(reference, text, n_ctx=16)
    stretches = text_chunks(reference, text, n_ctx=16)
    assert len(stretches) == cut.chunks
    other = words_and_bytes([b"he", b"er", " à".encode(), "été".encode(), b"e d", b"ok"])
    found = measure_text_chunks(fake(other, seed=3), stretches, n_ctx=16)
    scored = b"".join(stretch.scored for stretch in stretches)
    assert found.n_bytes == len(scored)
    if text is TEXT:
        assert found.n_bytes == cut.n_bytes
    else:
        assert 0 <= cut.n_bytes - found.n_bytes <= 3 * cut.chunks, "but for characters that a chunk cuts"
    for stretch in stretches:
        assert stretch.before + stretch.scored in text
    # Each piece in its own tokens, predicted from what stands before it in its chunk alone.
    model, bits, positions = fake(other, seed=3), 0.0, 0
    for stretch in stretches:
        context, said = model.tokenize(stretch.before), model.tokenize(stretch.scored)
        for place, token in enumerate(said):
            row = model.mind((*context, *said[:place])).astype(np.float64)
            bits += (np.logaddexp.reduce(row) - row[token]) / math.log(2)
        positions += len(said)
    assert (found.positions, found.n_ctx) == (positions, 16)
    assert found.bits_per_byte == pytest.approx(bits / len(scored), rel=1e-6)


def test_the_reference_itself_reads_stretches_as_it_reads_chunks() -> None:
    letters = words_and_bytes()
    model = FakeModel(letters, dreaming(letters, 1))
    whole = measure_perplexity(model, TEXT, n_ctx=16)
    assert measure_text_chunks(model, text_chunks(model, TEXT, n_ctx=16), n_ctx=16) == whole


def test_bytes_that_no_token_spells_count() -> None:
    vocabulary = vocabulary_of([(b"", CONTROL), (b"a", NORMAL), (b"b", NORMAL)])
    model = FakeModel(vocabulary, lambda tokens: np.zeros(3, np.float32))
    found = measure_text_chunks(
        model, [fidelity.TextChunk(b"ab", b"abxxa"), fidelity.TextChunk(b"a", b"bxx")]
    )
    assert (found.positions, found.n_bytes) == (4, 8)
    assert found.bits_per_byte == pytest.approx(4 * math.log2(3) / 8)


def test_a_stretch_that_is_too_long_loses_its_beginning() -> None:
    stretch = fidelity.TextChunk(b"abcdef", b"xyz")
    for n_ctx, known in ((100, b"abcdef"), (5, b"def"), (3, b"f")):
        model = fake(words_and_bytes(), n_ctx=n_ctx)
        measure_text_chunks(model, [stretch])
        assert model.vocabulary.decode(model.cached(0)) == known + b"xy"
    with pytest.raises(EvaluationError, match="does not fit fake-0, whose context holds 2") as caught:
        measure_text_chunks(fake(words_and_bytes(), n_ctx=2), [stretch])
    assert is_one_sentence(caught.value)


# What cannot be done


def test_different_vocabularies_are_refused() -> None:
    other = fake(words_and_bytes("_other"), seed=2)
    with pytest.raises(EvaluationError, match=r"fake-2 and fake-0 have different.*bits per byte") as caught:
        measure_fidelity(fake(), other, TEXT, n_ctx=8)
    assert is_one_sentence(caught.value)
    assert not other.decodes


@pytest.mark.parametrize(
    ("error", "about", "text", "options"),
    [
        (EvaluationError, "15 tokens for fake-0, but two chunks of 8", b"x" * 15, {"n_ctx": 8}),
        (EvaluationError, "two chunks of 64 are needed", TEXT[:100], {"n_ctx": 64}),
        (EvaluationError, "two chunks", b"", {"n_ctx": 8}),
        (EvaluationError, "not UTF-8 at byte 3", b"caf\xe9 au lait", {"n_ctx": 8}),
        (EvaluationError, "holds 100 tokens, fewer than a chunk of 128", TEXT, {"n_ctx": 128}),
        (SettingError, "n_ctx must be at least 8, not 7", TEXT, {"n_ctx": 7}),
        (SettingError, "chunks must be at least 1, not 0", TEXT, {"n_ctx": 8, "chunks": 0}),
    ],
)
def test_unusable_texts_and_sizes(
    error: type[BlendinError], about: str, text: bytes, options: dict[str, int]
) -> None:
    for measure in (
        lambda: measure_perplexity(fake(n_ctx=100), text, **options),
        lambda: measure_fidelity(fake(n_ctx=100), fake(seed=1), text, **options),
    ):
        with pytest.raises(error, match=about) as caught:
            measure()
        assert is_one_sentence(caught.value)


def test_two_chunks_are_enough() -> None:
    assert measure_perplexity(fake(), b"x" * 16, n_ctx=8).chunks == 2
    with pytest.raises(EvaluationError):
        measure_perplexity(fake(), b"x" * 15, n_ctx=8)


def test_the_other_model_must_hold_a_chunk_too() -> None:
    with pytest.raises(EvaluationError, match="fake-1 holds 20"):
        measure_fidelity(fake(), fake(seed=1, n_ctx=20), TEXT, n_ctx=32)
    with pytest.raises(EvaluationError, match="fake-1 is full"):
        measure_fidelity(fake(), fake(seed=1, n_cells=20), TEXT, n_ctx=32)


def test_a_model_that_answers_nonsense_is_named() -> None:
    def mind(tokens: tuple[int, ...]) -> Logits:
        return np.full(len(PLAIN), np.nan, np.float32)

    broken = FakeModel(PLAIN, mind, name="broken")
    for measure in (
        lambda: measure_perplexity(broken, TEXT, n_ctx=8),
        lambda: measure_fidelity(fake(), broken, TEXT, n_ctx=8),
        lambda: measure_fidelity(broken, fake(), TEXT, n_ctx=8),
    ):
        with pytest.raises(ModelError, match="broken answers with NaN") as caught:
            measure()
        assert is_one_sentence(caught.value)


def test_an_interrupt_ends_the_pass_at_the_next_decode() -> None:
    model, cancellation = fake(), Cancellation()
    model.watch(cancellation)
    model.before_decode = lambda number: cancellation.cancel() if number == 2 else None
    with pytest.raises(KeyboardInterrupt):
        measure_perplexity(model, TEXT, n_ctx=16)
    assert len(model.decodes) == 2


# llama.cpp, against a plain computation: one token at a time, everything in float64


def plain_distributions(model: GgufModel, text: bytes, n_ctx: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each scored token and the log-probabilities in its place."""
    tokens = model.tokenize_special(text, add_special=True)
    bos = tokens[0] if tokens[0] in model.vocabulary.special_tokens else None
    for start in range(0, len(tokens) // n_ctx * n_ctx, n_ctx):
        chunk = tokens[start : start + n_ctx]
        model.forget()
        for place, token in enumerate(chunk[:-1]):
            model.advance({0: [bos if bos is not None and place == 0 else token]})
            if place >= n_ctx // 2:
                row = model.logits(0).astype(np.float64)
                odds = np.exp(row - row.max())
                yield chunk[place + 1], np.log(odds / odds.sum())
    model.forget()


def plain_figures(reference: GgufModel, model: GgufModel, text: bytes, n_ctx: int) -> dict[str, float]:
    """The issue's figures by their definitions, as a page of mathematics would write them."""
    both = zip(*(plain_distributions(one, text, n_ctx) for one in (reference, model)), strict=True)
    nll, reference_nll, kld, delta, same, size = [], [], [], [], [], 0
    for (token, log_p), (same_token, log_q) in both:
        assert token == same_token
        reference_nll.append(-log_p[token])
        nll.append(-log_q[token])
        kld.append(sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True)))
        delta.append(math.exp(log_q[token]) - math.exp(log_p[token]))
        same.append(int(np.argmax(log_p)) == int(np.argmax(log_q)))
        size += len(model.vocabulary.token_bytes(token))
    return {
        "perplexity": math.exp(np.mean(nll)),
        "reference": math.exp(np.mean(reference_nll)),
        "bits_per_byte": sum(nll) / math.log(2) / size,
        "kld": float(np.mean(kld)),
        "kld_max": max(kld),
        "delta": float(np.mean(delta)),
        "rms": float(np.mean(np.square(delta))) ** 0.5,
        "same_top": float(np.mean(same)),
        "positions": len(nll),
    }


@pytest.mark.parametrize("kind", ["spm", "spm-prefix", "bpe"])
def test_random_models_against_a_plain_computation(kind: Kind, tmp_path: Path) -> None:
    options = scoring_options(1000, ModelOptions(n_batch=10, n_threads=1), n_ctx=32)
    with ExitStack() as opened:
        reference, model = (
            opened.enter_context(
                closing(
                    open_model(write_tiny(tmp_path / f"{seed}.gguf", vocabulary=kind, seed=seed), options)
                )
            )
            for seed in (1, 2)
        )
        found = measure_fidelity(reference, model, TEXT, n_ctx=32)
        alone = measure_perplexity(model, TEXT, n_ctx=32)
        plain = plain_figures(reference, model, TEXT, 32)
    assert found.own == alone
    close = {"rel": 1e-3, "abs": 1e-5}
    assert found.own.positions == plain["positions"]
    assert found.own.perplexity == pytest.approx(plain["perplexity"], **close)
    assert found.reference.perplexity == pytest.approx(plain["reference"], **close)
    assert found.own.bits_per_byte == pytest.approx(plain["bits_per_byte"], **close)
    assert found.kld["mean"] == pytest.approx(plain["kld"], **close)
    assert found.kld["max"] == pytest.approx(plain["kld_max"], **close)
    assert found.delta_p["mean"] == pytest.approx(plain["delta"], **close)
    assert found.delta_p["rms"] == pytest.approx(plain["rms"], **close)
    assert found.same_top == pytest.approx(plain["same_top"], abs=2 / plain["positions"])


@pytest.mark.nightly
@pytest.mark.real
def test_two_quantizations_of_a_real_model(demo_files: PairFiles) -> None:
    """Q8_0 made of the Q4_1 file says what that says, nearly; Q2_K does not, and is worse by any measure."""
    text = "\n\n".join(json.loads(line)["response"] for line in EXAMPLES.read_text("utf-8").splitlines())
    source = demo_files.guide.path
    # One thread: several wait for each other busily, and crawl where other programs hold the processor.
    options = scoring_options(demo_files.guide.n_vocab, ModelOptions(n_threads=1), n_ctx=64)
    with ExitStack() as opened:
        paths: Sequence[Path] = [source, requantized(source, "Q8_0"), requantized(source, "Q2_K")]
        reference, *others = (opened.enter_context(closing(open_model(path, options))) for path in paths)
        near, far = (measure_fidelity(reference, one, text.encode(), n_ctx=64, chunks=4) for one in others)
    for found in (near, far):
        assert found.own.positions == 4 * 31
        assert found.kld["min"] is not None and found.kld["min"] >= 0
        assert found.own.perplexity_se is not None and found.ppl_ratio_se is not None
        # Both saw the same tokens: their ratio is far more certain than either perplexity.
        assert found.ppl_ratio_se / found.ppl_ratio < found.own.perplexity_se / found.own.perplexity / 2
    assert near.reference == far.reference
    assert 0 < near.kld["mean"] < 0.02 < 0.1 < far.kld["mean"] < 2
    assert near.same_top > 0.9 > far.same_top > 0.4
    assert abs(near.ppl_ratio - 1) < 0.05 < far.ppl_ratio - 1
    assert near.delta_p["rms"] < 0.04 < far.delta_p["rms"]
    assert near.correlation > 0.99 > far.correlation > 0.7
    assert 0.5 < near.reference.bits_per_byte < 1.5
