"""Models alone on a text, on tiny models in llama.cpp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.compare_fakes import model_of, single
from support.tiny_gguf import write_tiny

from blendin_local.compare import quantizations
from blendin_local.compare.answers import Answers
from blendin_local.compare.arms import ArmModel
from blendin_local.compare.loading import load_models
from blendin_local.compare.quantizations import compare_quantizations, reference_of, singles
from blendin_local.compare.result import FidelityRow
from blendin_local.engine.pair import Pair
from blendin_local.errors import EvaluationError
from blendin_local.llamacpp.header import read_header
from blendin_local.settings import ModelOptions

TEXT = b"hello world the sky is blue and water could go. " * 30


@pytest.fixture
def answers(tmp_path: Path) -> Any:
    opened = Answers(tmp_path / "answers.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ArmModel]:
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder / "first.gguf", vocabulary="spm", seed=1)
    write_tiny(folder / "second.gguf", vocabulary="spm", seed=2)
    write_tiny(folder / "third.gguf", vocabulary="bpe", seed=3)
    names = ("first", "second", "third")
    return [replace(model_of(name), header=read_header(folder / f"{name}.gguf")) for name in names]


def test_a_row_for_each_model(
    answers: Answers, models: list[ArmModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizations, "SPEED_TOKENS", 8)
    loads: list[tuple[str, ...]] = []

    def load(wanted: tuple[ArmModel, ...], options: ModelOptions) -> Pair:
        loads.append(tuple(model.name for model in wanted))
        return load_models(wanted, options)

    told: list[tuple[str, int, int]] = []

    def rows() -> tuple[FidelityRow, ...]:
        return compare_quantizations(
            models, models[0], TEXT, answers, load, ModelOptions(n_threads=1), n_ctx=32, chunks=2,
            progress=lambda *progress: told.append(progress),
        )  # fmt: skip

    first, second, third = found = rows()
    assert loads == [
        ("first",),
        ("first",),
        ("second",),
        ("first", "second"),
        *[("third",), ("first",), ("third",)],
    ]
    assert [row.model for row in found] == ["first", "second", "third"]
    assert {row.reference for row in found} == {"first"}
    assert first.kld is None and third.kld is None
    assert (second.mean_kld or 0) > 0 and 0 <= second.same_top <= 1
    assert second.ppl_ratio == pytest.approx(second.perplexity / first.perplexity, rel=1e-6)
    # Bits per byte are over the same bytes, which the reference's chunks have.
    assert first.bytes == second.bytes == third.bytes > 0
    for row in found:
        assert row.perplexity > 1 and row.bits_per_byte > 0 and row.tokens_per_second > 0
        assert row.size_bytes > 0 and (row.chunks, row.n_ctx) == (2, 32)
    assert told[0][0] == "first" and told[-1][1] == told[-1][2]
    # Kept by content: nothing is loaded again, and another text is another measurement.
    loads.clear()
    assert rows() == found
    assert loads == []
    compare_quantizations(
        models[:1], models[0], TEXT + b"!", answers, load, ModelOptions(n_threads=1), n_ctx=32, chunks=2
    )
    assert loads == [("first",)]


@pytest.mark.parametrize("kept", [{}, {"perplexity": 1.0}, {"kld": 3}, "one figure more", "figures of text"])
def test_what_was_kept_in_another_shape_is_measured_again(
    answers: Answers, models: list[ArmModel], monkeypatch: pytest.MonkeyPatch, kept: Any
) -> None:
    monkeypatch.setattr(quantizations, "SPEED_TOKENS", 2)

    def rows() -> tuple[FidelityRow, ...]:
        return compare_quantizations(
            models, models[0], TEXT, answers, load_models, ModelOptions(n_threads=1), n_ctx=32, chunks=2
        )

    whole, read = rows(), answers.measurement

    def other(key: str) -> Any:
        found = read(key)
        if kept == "one figure more":
            return found and found | {"more": 1.0}
        return found and dict.fromkeys(found, "x") if kept == "figures of text" else kept

    monkeypatch.setattr(answers, "measurement", other)
    # Speed and memory differ from run to run.
    again, before = (
        [replace(row, tokens_per_second=0, peak_memory=0) for row in each] for each in (rows(), whole)
    )
    assert again == before


def test_a_text_that_is_too_short(answers: Answers, models: list[ArmModel]) -> None:
    with pytest.raises(EvaluationError, match="two chunks of 512 are needed"):
        compare_quantizations(
            models[:1], models[0], b"short", answers, load_models, ModelOptions(n_threads=1)
        )


def test_the_reference(models: list[ArmModel]) -> None:
    assert reference_of(models, "") is models[0]
    assert reference_of(models, "second") is models[1]
    assert reference_of(models, str(models[2].header.path)) is models[2]
    assert reference_of(models, "third.gguf") is models[2]
    with pytest.raises(
        EvaluationError, match="reference fourth is none of the models compared: first, second"
    ):
        reference_of(models, "fourth")


def test_models_named_for_themselves_come_first() -> None:
    arms = [single("base"), single("guide", "guide"), single("q8", "model"), single("base")]
    assert [model.name for model in singles(arms)] == ["q8", "base", "guide"]
