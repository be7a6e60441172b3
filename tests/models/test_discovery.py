"""Finding models where other programs keep them, and pairs among them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_gguf

from blendin_local.errors import ModelError
from blendin_local.files import models_dir
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.discovery import LocalModel, scan, suggest_pairs


@pytest.fixture(autouse=True)
def no_cache_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def tiny(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return tiny_gguf.write_tiny(path, **options)  # type: ignore[arg-type]


def ollama(store: Path, manifest: str, **layers: Path) -> None:
    """Keep files as Ollama does: blobs by checksum, and a manifest that names them."""
    entries = []
    for kind, file in layers.items():
        digest = f"sha256:{len(str(file)):064x}"
        blob = store / "blobs" / digest.replace(":", "-")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(file.read_bytes())
        entries.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest})
    path = store / "manifests" / manifest
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schemaVersion": 2, "layers": entries}))


def test_every_place_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    source = tiny(tmp_path / "x" / "source.gguf")
    tiny(models_dir() / "a" / "pulled.gguf")
    blob = tiny(home / ".cache/huggingface/hub/models--me--x/blobs/abc")
    snapshot = home / ".cache/huggingface/hub/models--me--x/snapshots/c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "hub.gguf").symlink_to(blob)
    tiny(home / ".lmstudio/models/me/x/studio.gguf")
    tiny(home / ".cache/lm-studio/models/old.gguf")
    llama_cpp = "Library/Caches/llama.cpp" if sys.platform == "darwin" else ".cache/llama.cpp"
    tiny(home / llama_cpp / "cpp.gguf")
    ollama(home / ".ollama/models", "registry.ollama.ai/library/llama3.2/1b", model=source)
    tiny(tmp_path / "mine" / "below" / "own.gguf")

    found = list(scan([tmp_path / "mine"]))
    assert [(each.place, each.name) for each in found] == [
        ("blendin", "pulled"),
        ("Hugging Face cache", "hub"),
        ("LM Studio", "studio"),
        ("LM Studio", "old"),
        ("llama.cpp", "cpp"),
        ("Ollama", "llama3.2:1b"),
        (str(tmp_path / "mine"), "own"),
    ]
    assert all(each.header and not each.problem for each in found)
    assert found[1].path == snapshot / "hub.gguf"


def test_places_follow_the_programs_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny(tmp_path / "x" / "source.gguf")
    tiny(tmp_path / "hub" / "h.gguf")
    tiny(tmp_path / "cpp" / "c.gguf")
    ollama(tmp_path / "ollama", "hf.co/me/tiny-GGUF/Q4_K_M", model=source)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "cpp"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    assert [each.name for each in list(scan())] == ["h", "c", "hf.co/me/tiny-GGUF:Q4_K_M"]


def test_names_that_ollama_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    one, two = tiny(tmp_path / "x" / "1.gguf"), tiny(tmp_path / "x" / "22.gguf", seed=2)
    ollama(tmp_path, "registry.ollama.ai/someone/model/latest", model=one, projector=two, params=one)
    model, projector = list(scan())
    assert (model.name, model.problem) == ("someone/model:latest", "")
    assert "projector" in projector.problem


def test_broken_manifests_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    for i, text in enumerate(
        ["{", "[]", '{"layers": [{"mediaType": 1}]}', '{"layers": 3}', "\udcff", "[" * 99_999]
    ):
        path = tmp_path / "manifests" / "r" / "l" / "m" / str(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    missing = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:1"}
    (tmp_path / "manifests" / "r" / "l" / "m" / "gone").write_text(json.dumps({"layers": [missing]}))
    os.mkfifo(tmp_path / "manifests" / "r" / "l" / "m" / "pipe")
    assert list(scan()) == []


def test_one_file_is_listed_once_however_many_names_it_has(tmp_path: Path) -> None:
    file = tiny(tmp_path / "a" / "one.gguf")
    (tmp_path / "a" / "two.gguf").symlink_to(file)
    (tmp_path / "a" / "dangling.gguf").symlink_to(tmp_path / "none")
    assert [each.name for each in list(scan([tmp_path / "a", str(tmp_path / "a")]))] == ["one"]


def test_what_cannot_be_blended_says_why(tmp_path: Path) -> None:
    good = tiny(tmp_path / "z.gguf")
    tiny(tmp_path / "bert.gguf", arch="bert")
    tiny(tmp_path / "mmproj-model-f16.gguf")
    tiny_gguf.truncated(good, tmp_path / "cut.gguf", -5)
    tiny_gguf.empty(tmp_path / "empty.gguf")
    tiny_gguf.wrong_magic(good, tmp_path / "wrong.gguf")
    (tmp_path / ".hidden.gguf").write_bytes(b"")
    (tmp_path / "other.txt").write_text("no model")
    found = {each.name: each.problem for each in list(scan([tmp_path]))}
    assert found.pop("z") == ""
    assert found.pop("bert") == "an embedding model"
    assert found.pop("mmproj-model-f16") == "a projector for images or sound"
    assert found.pop("cut").startswith("is cut off")
    assert found.pop("empty").startswith("is empty")
    assert found.pop("wrong").startswith("is not a GGUF file")
    assert found == {}


def test_later_parts_of_split_models_are_left_out(tmp_path: Path) -> None:
    for number in (1, 2):
        tiny(tmp_path / f"big-0000{number}-of-00002.gguf")
    assert [each.name for each in list(scan([tmp_path]))] == ["big-00001-of-00002"]


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The folder .*none does not exist"):
        list(scan([tmp_path / "none"]))


def test_progress_names_each_file(tmp_path: Path) -> None:
    tiny(tmp_path / "a.gguf")
    tiny(tmp_path / "b.gguf")
    seen: list[Path] = []
    list(scan([tmp_path], progress=seen.append))
    assert [path.name for path in seen] == ["a.gguf", "b.gguf"]


# Pairs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    return read_header(tiny(tmp_path_factory.mktemp("pairs") / "a.gguf"))


def model(
    header: GgufHeader, name: str, n_params: int, fingerprint: str, template: str | None = None
) -> LocalModel:
    header = replace(
        header,
        name=name,
        n_params=n_params,
        fingerprint=fingerprint,
        chat_template=template,
        architecture="llama",
    )
    return LocalModel(name, Path(f"/{name}.gguf"), "folder", 1, header)


def test_pairs_prefer_one_vocabulary_one_family_and_a_pretrained_base(header: GgufHeader) -> None:
    llama_base = model(header, "Llama-3.2-3B", 3000, "L")
    llama_guide = model(header, "Llama-3.2-1B-Instruct", 1000, "L", "{{ x }}")
    llama_large = model(header, "Llama-3.1-8B-Instruct", 8000, "L", "{{ x }}")
    gemma_base = model(header, "gemma-3-4b-pt", 4000, "G")
    pairs = suggest_pairs([gemma_base, llama_large, llama_guide, llama_base])
    assert [(pair.base.name, pair.guide.name) for pair in pairs] == [
        ("Llama-3.2-3B", "Llama-3.2-1B-Instruct"),
        ("Llama-3.1-8B-Instruct", "Llama-3.2-1B-Instruct"),
        ("gemma-3-4b-pt", "Llama-3.2-1B-Instruct"),
    ]
    assert pairs[0].same_vocabulary
    assert pairs[0].reasons == (
        "same vocabulary",
        "both llama",
        "the base is only pretrained",
        "the guide has 33% of its parameters",
    )
    assert pairs[1].reasons[2] == "the base is instruction-tuned too"
    assert not pairs[2].same_vocabulary
    assert pairs[2].reasons[:2] == ("vocabularies are mapped by bytes", "gemma and llama")
    assert len(suggest_pairs([gemma_base, llama_large, llama_guide, llama_base], limit=1)) == 1


def test_one_vocabulary_counts_for_more_than_one_family(header: GgufHeader) -> None:
    guide = model(header, "llama-it", 1000, "L")
    relative = model(header, "llama-large", 9000, "other")
    same = model(header, "qwen-with-that-vocabulary", 4000, "L")
    assert [pair.base for pair in suggest_pairs([guide, relative, same])] == [same, relative]


def test_no_pair_of_a_model_with_itself_or_with_a_guide_as_large(header: GgufHeader) -> None:
    one = model(header, "a-instruct", 1000, "L", "{{ x }}")
    assert suggest_pairs([one, replace(one, path=Path("/other.gguf"))]) == []
    nearly = model(header, "b", 1100, "L")
    assert suggest_pairs([one, nearly]) == []
    assert suggest_pairs([replace(one, problem="broken"), model(header, "c", 9000, "L")]) == []


def test_other_quantizations_are_no_other_pairs(header: GgufHeader) -> None:
    base = model(header, "llama-base", 4000, "L")
    guides = [replace(model(header, "llama-it", 1000, "L"), path=Path(f"/{i}.gguf")) for i in range(3)]
    assert [pair.guide.path for pair in suggest_pairs([base, *guides])] == [Path("/0.gguf")]


@pytest.mark.parametrize(
    ("name", "template", "instruct"),
    [
        ("Llama-3.2-1B-Instruct", None, True),
        ("gemma-3-1b-it-Q4_K_M", None, True),
        ("Qwen3-4B-Base", "{{ x }}", False),
        ("gemma-3-4b-pt", "{{ x }}", False),
        ("Qwen3-0.6B", "{{ x }}", True),
        ("Llama-3.2-3B", None, False),
        ("smollm-italian", None, False),
        ("mistral-7b-chat", None, True),
    ],
)
def test_who_follows_instructions(
    header: GgufHeader, name: str, template: str | None, instruct: bool
) -> None:
    assert model(header, name, 1, "", template).instruct == instruct


def test_family_is_the_name_s_or_the_architecture(header: GgufHeader) -> None:
    assert model(header, "SmolLM2 135M", 1, "").family == "smollm"
    assert model(header, "Qwen3 4B", 1, "").family == "qwen"
    unknown = replace(header, name="", architecture="newarch")
    assert LocalModel("x", Path("/x.gguf"), "", 1, unknown).family == "newarch"
    assert LocalModel("x", Path("/x.gguf"), "", 1).family == ""
