"""Arms from wishes: files found, combinations made, singles added once, names that tell them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.compare_fakes import header_of
from support.tiny_gguf import write_tiny

from blendin_local.compare.arms import Arm, ArmSpec, make_arms
from blendin_local.compare.naming import name_models
from blendin_local.errors import CatalogueError, EvaluationError, ModelError, PromptError, SettingError
from blendin_local.formats import Formats
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.models.families import family_of
from blendin_local.settings import BlendSettings

MakeArms = Callable[..., tuple[Arm, ...]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder / "base.gguf", vocabulary="spm", seed=1)
    write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2, chat_template="{{ messages[-1].content }}")
    write_tiny(folder / "other.gguf", vocabulary="spm", seed=3)
    return folder


@pytest.fixture
def made(folder: Path) -> MakeArms:
    pair = PairEntry(
        "mine", str(folder / "base.gguf"), str(folder / "guide.gguf"), blend=BlendSettings(gamma=0.3)
    )
    backwards = PairEntry("back", str(folder / "guide.gguf"), str(folder / "base.gguf"))
    catalogue = Catalogue({}, {"mine": pair, "back": backwards})

    def make(*wishes: ArmSpec) -> tuple[Arm, ...]:
        return make_arms(wishes, catalogue, lambda path: hashlib.sha256(path.read_bytes()).hexdigest())

    return make


def names(arms: tuple[Arm, ...]) -> list[str]:
    return [arm.name for arm in arms]


def test_base_and_guide_alone_are_always_among_the_arms(made: MakeArms) -> None:
    arms = made(ArmSpec(pair="mine"))
    assert [(arm.name, arm.kind, arm.method) for arm in arms] == [
        ("base", "base", "base"),
        ("guide", "guide", "guide"),
        ("mine blendin γ=0.3", "pair", "blendin"),
    ]
    base, guide, pair = arms
    assert pair.alone("base", arms) is base and pair.alone("guide", arms) is guide
    assert base.alone("base", arms) is None
    assert (guide.base, guide.guide and guide.guide.name) == (None, "guide")
    assert pair.settings.sampling.temperature == 0


def test_every_combination_is_an_arm_and_what_has_no_effect_is_tried_once(made: MakeArms) -> None:
    values = {"method": ("base", "guide", "nudge", "blendin", "ensemble"), "gamma": (0.3, 0.5)}
    arms = made(ArmSpec(pair="mine", blend=values))
    assert names(arms)[2:] == [
        "mine nudge γ=0.3",
        "mine nudge γ=0.5",
        "mine blendin γ=0.3",
        "mine blendin γ=0.5",
        "mine ensemble",
    ]


def test_a_model_is_one_arm_whichever_pairs_share_it(made: MakeArms, folder: Path) -> None:
    copy = folder / "copy.gguf"
    copy.write_bytes((folder / "base.gguf").read_bytes())
    arms = made(ArmSpec(pair="mine"), ArmSpec(pair="back"), ArmSpec(model=str(copy)), ArmSpec(pair="mine"))
    assert [arm.kind for arm in arms] == ["base", "guide", "pair", "pair"]
    base, guide, _, back = arms
    assert (back.alone("base", arms), back.alone("guide", arms)) == (guide, base)
    assert names(arms)[2:] == ["mine blendin γ=0.3", "back blendin γ=0.4"]


def test_a_model_that_is_sampled_otherwise_is_another_arm(made: MakeArms) -> None:
    arms = made(ArmSpec(pair="mine"), ArmSpec(pair="mine", sampling={"temperature": (0.5,)}))
    assert len(arms) == 6
    greedy, hot = arms[2], arms[5]
    assert greedy.alone("base", arms) is arms[0] and hot.alone("base", arms) is arms[3]
    assert names(arms)[0] == "base temperature=0" and names(arms)[3] == "base temperature=0.5"
    assert len(set(names(arms))) == 6


def test_formats_of_a_role(made: MakeArms) -> None:
    arms = made(ArmSpec(pair="mine", formats=Formats(guide="raw")))
    assert [model.format.name for model in arms[2].models] == ["question-answer", "raw"]
    assert arms[1].models[0].format.name == "raw"
    with pytest.raises(PromptError, match="no chat template"):
        made(ArmSpec(pair="mine", formats=Formats(base="chat")))


def test_two_models_without_a_pair_and_models_alone(made: MakeArms, folder: Path) -> None:
    given: dict[str, Any] = {"base": str(folder / "other.gguf"), "guide": str(folder / "guide.gguf")}
    arms = made(ArmSpec(**given), ArmSpec(model=str(folder / "base.gguf"), name="my own"))
    assert names(arms) == ["other", "guide", "other+guide blendin γ=0.4", "my own"]
    assert arms[3].kind == "model"


def test_alpha_alone_means_fixed(made: MakeArms) -> None:
    arms = made(ArmSpec(pair="mine", blend={"alpha": (0.25, 0.75)}))
    assert names(arms)[2:] == ["mine fixed α=0.25 γ=0.3", "mine fixed α=0.75 γ=0.3"]
    with pytest.raises(SettingError, match=r"^alpha belongs to the method fixed, not to nudge"):
        made(ArmSpec(pair="mine", blend={"alpha": (0.25,), "method": ("nudge",)}))
    both = made(ArmSpec(pair="mine", blend={"alpha": (0.2, 0.4), "method": ("nudge", "fixed")}))
    assert len(both) == 2 + 1 + 2


def test_arms_alike_in_name_say_how_they_differ(made: MakeArms) -> None:
    arms = made(ArmSpec(pair="mine", blend={"unit": ("token", "word"), "guide_stop": (True, False)}))
    assert len(set(names(arms))) == 6
    assert names(arms)[2] == "mine blendin γ=0.3 unit=token guide_stop=True"


def test_paper_asks_nobody_when_to_stop(made: MakeArms) -> None:
    assert made(ArmSpec(pair="mine", paper=True))[2].settings.blend.guide_stop is False
    spec = ArmSpec(pair="mine", paper=True, blend={"guide_stop": (True,)})
    assert made(spec)[2].settings.blend.guide_stop is True


@pytest.mark.parametrize(
    ("spec", "error", "sentence"),
    [
        (ArmSpec(pair="mnie"), CatalogueError, r"no pair called mnie \(did you mean mine\?\)"),
        (ArmSpec(model="nothing.gguf"), CatalogueError, "does not exist"),
        (ArmSpec(pair="mine", blend={"gamma": (2.0,)}, where="In p.toml, [arms 1]: "), SettingError,
         r"^In p\.toml, \[arms 1\]: gamma must be between 0 and 1, not 2.0"),
        (ArmSpec(pair="mine", sampling={"top_p": (2.0,)}), SettingError, r"^top_p must be between"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_sentence(
    made: MakeArms, spec: ArmSpec, error: Any, sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        made(spec)
    assert str(caught.value).count("\n") == 0


def test_no_arms_and_no_model(made: MakeArms, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="nothing to compare: name a pair"):
        made()
    write_tiny(tmp_path / "bert.gguf", arch="bert")
    with pytest.raises(ModelError, match="cannot write text"):
        made(ArmSpec(model=str(tmp_path / "bert.gguf")))


def test_names_from_the_catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry("tiny", ("hf:a/b:c.gguf",))
    catalogue = Catalogue({"tiny": entry}, {})
    monkeypatch.setattr(Catalogue, "resolve_model", lambda self, text: folder / "base.gguf")
    (arm,) = make_arms([ArmSpec(model="tiny")], catalogue, str)
    assert arm.name == "tiny"


def test_models_of_one_name_are_told_apart() -> None:
    q8, q2 = header_of("model"), replace(header_of("model"), quantization="Q2_K")
    there = replace(header_of("model"), path=Path("/there/model.gguf"))
    assert name_models({"1": ("", q8), "2": ("", q2)}) == {"1": "model Q8_0", "2": "model Q2_K"}
    assert name_models({"1": ("", q8), "2": ("", there)}) == {"1": "models/model", "2": "there/model"}
    assert name_models({"1": ("", q8), "2": ("", q8)}) == {"1": "models/model", "2": "models/model (2)"}
    assert name_models({"1": ("named", q8), "2": ("", q2)}) == {"1": "named", "2": "model"}
    split = replace(q8, path=Path("/models/big-00001-of-00002.gguf"))
    assert name_models({"1": ("", split)}) == {"1": "big"}


@pytest.mark.parametrize(
    ("architecture", "name", "family"),
    [
        ("gemma3", "Gemma 3 270M", "gemma"),
        ("gemma2", "anything", "gemma"),
        ("qwen3", "Qwen3 4B", "qwen"),
        ("llama", "SmolLM2 135M Instruct", "smollm"),
        ("llama", "Meta-Llama-3.1-8B", "llama"),
        ("llama", "Llama-3.2-1B-Instruct", "llama"),
        ("llama", "Mistral-7B-v0.1", "mistral"),
        ("llama", "123", "llama"),
    ],
)
def test_families(architecture: str, name: str, family: str) -> None:
    assert family_of(header_of("file", architecture=architecture, title=name)) == family
