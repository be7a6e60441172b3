"""`blendin models`: what it prints, to which stream, and with which exit code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import tiny_gguf
from support.fake_server import FakeServer, ServedFile, serving

from blendin_local.cli import main
from blendin_local.files import models_dir
from blendin_local.models import download as sources
from blendin_local.models.catalogue import user_catalogue_file


def run(*arguments: object, **options: object) -> Result:
    result = CliRunner().invoke(main, ["models", *map(str, arguments)], **options)  # type: ignore[arg-type]
    if isinstance(result.exception, Exception):
        raise result.exception
    return result


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def printed_json(*arguments: object) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    return json.loads(result.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def pair_of_files(tmp_path: Path) -> tuple[Path, Path]:
    base = tiny_gguf.write_tiny(tmp_path / "base.gguf", vocabulary="spm", n_layer=3)
    guide = tiny_gguf.write_tiny(tmp_path / "guide-instruct.gguf", vocabulary="bpe", chat_template="{{ x }}")
    return base, guide


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(sources.transfer, "_RETRY_DELAY_S", 0.0)
    with serving() as server:
        yield server


@pytest.fixture
def known_model(server: FakeServer, pair_of_files: tuple[Path, Path]) -> str:
    """A model of the user's catalogue that can be pulled from a server."""
    content = pair_of_files[0].read_bytes()
    server.files["/tiny.gguf"] = ServedFile(content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = user_catalogue_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'[models.tiny]\nsources = ["{server.url}/tiny.gguf"]\nsha256 = "{sha256}"\n'
        f'[pairs.mine]\nbase = "tiny"\nguide = "{pair_of_files[1]}"\n'
    )
    return "tiny"


# list --------------------------------------------------------------------------------------------------


def test_list_shows_pairs_models_and_places(known_model: str) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "gemma-3-270m + smollm2-135m-instruct" in result.stdout
    assert "Not tried by this project" in result.stdout
    assert str(models_dir()) in result.stdout
    shown = printed_json("list")
    demo = next(pair for pair in shown["pairs"] if pair["name"] == "demo")  # type: ignore[index,union-attr]
    assert (demo["base"], demo["guide"]) == ("gemma-3-270m", "smollm2-135m-instruct")
    tiny = next(model for model in shown["models"] if model["name"] == "tiny")  # type: ignore[index,union-attr]
    assert tiny["path"] is None


# pull and remove ---------------------------------------------------------------------------------------


def test_pull_then_list_then_remove(known_model: str) -> None:
    result = run("pull", "tiny")
    path = models_dir() / "tiny" / "tiny.gguf"
    assert result.stdout == f"tiny: {path}\n"
    # Not a terminal: a line for each stage, and nothing of it on stdout.
    assert result.stderr.splitlines()[0].startswith("downloading tiny.gguf (")
    again = run("pull", "tiny")
    assert (again.stdout, again.stderr) == (f"tiny: {path}\n", "")

    kept = run("remove", "tiny", input="n\n")
    assert kept.exit_code == 1
    assert path.exists()
    assert "tiny is deleted." in run("remove", "tiny", "--yes").stdout
    assert not path.exists()
    assert "has not been pulled" in refusal("remove", "tiny", "--yes")


def test_pull_of_a_pair_takes_what_is_no_file_already(known_model: str, server: FakeServer) -> None:
    assert run("pull", "mine").stdout == f"tiny: {models_dir() / 'tiny' / 'tiny.gguf'}\n"
    assert len(server.asked("GET", "tiny.gguf")) == 1
    run("pull", "mine", "tiny", "--force")
    assert len(server.asked("GET", "tiny.gguf")) == 2


def test_pull_of_a_url(server: FakeServer) -> None:
    server.files["/a.gguf"] = ServedFile(b"GGUF")
    assert run("pull", f"{server.url}/a.gguf").stdout.endswith("a.gguf\n")


def test_pull_without_a_name_takes_the_demo_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sources, "pull", lambda entry, **options: asked.append(entry.name) or Path("/x"))
    run("pull")
    assert asked == ["gemma-3-270m", "smollm2-135m-instruct"]


def test_pull_that_is_broken_off_says_that_it_can_go_on(
    known_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(entry: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "pull", stop)
    result = run("pull", "tiny")
    assert result.exit_code == 130
    assert result.stderr == "Stopped. The same command resumes the download.\n"


def test_pull_refusals(known_model: str, server: FakeServer, pair_of_files: tuple[Path, Path]) -> None:
    assert "did you mean tiny" in refusal("pull", "tinny")
    assert "is a file on this machine already" in refusal("pull", pair_of_files[0])
    assert "A model's name is missing" in refusal("pull", "")
    assert "write pypi:NAME==VERSION" in refusal("pull", "pypi:foo")
    assert "must set `file`, the name of the joined file" in refusal("pull", "pypi:foo==1.0")
    server.files.clear()
    assert "has no such file (404)" in refusal("pull", "tiny")


@pytest.mark.parametrize("source", ["hf:", "hf:..", "url:", "https://", "pypi:-"])
def test_half_a_source_does_not_stand_for_the_folder_of_all_models(known_model: str, source: str) -> None:
    run("pull", known_model)
    assert "does not name a model" in refusal("remove", source, "--yes")
    assert (models_dir() / known_model).exists()


def test_remove_only_forgets_a_file_that_lies_elsewhere(
    tmp_path: Path, pair_of_files: tuple[Path, Path]
) -> None:
    user_catalogue_file().parent.mkdir(parents=True)
    user_catalogue_file().write_text(f'[models.mine]\nsources = ["{pair_of_files[0]}"]\n')
    run("pull", "mine")
    result = run("remove", "mine", "--yes")
    assert f"is kept in another folder: {pair_of_files[0]} (delete it yourself)" in result.stdout
    assert pair_of_files[0].exists()
    assert not (models_dir() / "mine").exists()


# inspect -----------------------------------------------------------------------------------------------


def test_inspect_one_file(pair_of_files: tuple[Path, Path]) -> None:
    result = run("inspect", pair_of_files[1])
    assert result.exit_code == 0
    assert "Tiny llama bpe 0" in result.stdout
    assert "7 characters" in result.stdout
    assert "Needs about 0.0 GB" in result.stdout
    shown = printed_json("inspect", pair_of_files[1])
    (model,) = shown["models"]  # type: ignore[misc]
    assert model["chat_template"] == "{{ x }}"
    assert model["can_be_blended"] is True
    assert model["memory"]["total"] > model["memory"]["file"] == model["size"]
    assert "pair" not in shown


def test_inspect_two_files_with_different_vocabularies(
    pair_of_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("inspect", *pair_of_files)
    assert "The vocabularies differ and are mapped by bytes" in result.stdout
    # No weights are loaded for that.
    monkeypatch.setitem(sys.modules, "blendin_local.llamacpp.model", None)
    pair = printed_json("inspect", *pair_of_files)["pair"]
    spelled = tiny_gguf.tiny_vocabulary("bpe").pieces
    base = set(tiny_gguf.tiny_vocabulary("spm").pieces)
    text = [piece for piece in spelled if piece]
    shared = sum(piece in base for piece in text)
    assert pair == {
        "same_vocabulary": False,
        "guide_tokens": len(text),
        "shared_tokens": shared,
        "shared_share": round(shared / len(text), 4),
    }


def test_inspect_two_files_with_one_vocabulary_loads_neither(
    tmp_path: Path, pair_of_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_gguf.write_tiny(tmp_path / "other.gguf", vocabulary="spm", seed=7, n_layer=2)
    monkeypatch.setitem(sys.modules, "blendin_local.llamacpp.tokenizer", None)
    result = run("inspect", pair_of_files[0], other)
    assert "Both have the same vocabulary" in result.stdout
    assert "The guide has no chat template" in result.stdout
    swapped = run("inspect", other, pair_of_files[0])
    assert "The guide is larger than the base" in swapped.stdout


def test_inspect_embedding_model_says_what_it_is(tmp_path: Path, pair_of_files: tuple[Path, Path]) -> None:
    bert = tiny_gguf.write_tiny(tmp_path / "bert.gguf", arch="bert")
    assert "bert.gguf is an embedding model: it cannot be blended." in run("inspect", bert).stdout
    pair = printed_json("inspect", pair_of_files[0], bert)
    assert pair["models"][1]["unusable"] == "an embedding model"  # type: ignore[index]


def test_inspect_takes_names_and_pairs(known_model: str, pair_of_files: tuple[Path, Path]) -> None:
    assert "run `blendin models pull tiny`" in refusal("inspect", "tiny")
    run("pull", "tiny")
    assert len(printed_json("inspect", "mine")["models"]) == 2  # type: ignore[arg-type]


def test_inspect_refusals(tmp_path: Path, pair_of_files: tuple[Path, Path]) -> None:
    assert "is empty" in refusal("inspect", tiny_gguf.empty(tmp_path / "e.gguf"))
    assert "A model's name is missing" in refusal("inspect", "")
    assert "/dev/zero is not a regular file" in refusal("inspect", "/dev/zero")
    assert "~nobody-of-this-name/a.gguf does not exist" in refusal("inspect", "~nobody-of-this-name/a.gguf")
    assert run("inspect", "a", "b", "c").exit_code == 2
    assert run("inspect").exit_code == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_names_from_strangers_are_shown_as_they_are(
    tmp_path: Path, pair_of_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File names are bytes: some are no UTF-8, some would clear the screen."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    path = (tmp_path / "odd").with_name(os.fsdecode(b"\xff\x1b[2J[bold]x.gguf"))
    pair_of_files[0].rename(path)
    for result in (run("inspect", path), run("find", tmp_path), run("inspect", path, pair_of_files[1])):
        assert result.exit_code == 0
        assert "\ufffd␛[2J[bold]x.gguf" in result.stdout.replace("\n", "")
    printed_json("inspect", path)
    assert "\ufffd␛[2J[bold]x.gguf.x does not exist" in refusal("inspect", f"{path}.x")


# find --------------------------------------------------------------------------------------------------


def test_find_shows_files_what_was_left_out_and_pairs(
    tmp_path: Path, pair_of_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = tmp_path / "some [red]folder"
    folder.mkdir()
    tiny_gguf.empty(folder / "empty.gguf")
    for file in pair_of_files:
        file.rename(folder / file.name)
    result = run("find", folder)
    assert str(folder / "base.gguf") in result.stdout
    assert f"Left out: {folder / 'empty.gguf'} (is empty: delete it and get the model again)" in result.stdout
    assert "base + guide-instruct: vocabularies are mapped by bytes" in result.stdout
    shown = printed_json("find", folder)
    assert [model["name"] for model in shown["models"]] == ["base", "guide-instruct"]  # type: ignore[index,union-attr]
    assert shown["left_out"][0]["name"] == "empty"  # type: ignore[index]
    assert shown["pairs"][0]["guide"] == str(folder / "guide-instruct.gguf")  # type: ignore[index]


def test_find_nothing_and_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "No GGUF files found" in run("find").stdout
    assert "does not exist" in refusal("find", tmp_path / "none")


# The whole program -------------------------------------------------------------------------------------


def test_program_prints_one_sentence_and_exits_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blendin_local", "models", "inspect", str(tmp_path / "none.gguf")],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "none.gguf does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_loads_neither_llama_cpp_nor_numpy() -> None:
    script = (
        "import sys; from blendin_local.cli.models import models; "
        "print(sorted({'llama_cpp', 'numpy', 'rich', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
