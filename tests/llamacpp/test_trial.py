"""A file that llama.cpp does not survive costs a child process, and is told in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.gguf_copy import copy_with
from support.tiny_gguf import write_tiny

from blendin_local.errors import ModelError
from blendin_local.files import cache_dir
from blendin_local.llamacpp import trial
from blendin_local.llamacpp.header import read_header
from blendin_local.llamacpp.library import LoadCancelled
from blendin_local.llamacpp.model import open_model
from blendin_local.llamacpp.tokenizer import open_tokenizer
from blendin_local.llamacpp.trial import TRUST_VARIABLE, try_file, vouch_for


@pytest.fixture(autouse=True)
def trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUST_VARIABLE)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "good.gguf")


@pytest.fixture
def bad(good: Path) -> Path:
    """A file whose loading ends in a failed assertion."""
    return copy_with(good, good.with_name("bad.gguf"), texts={"llama.rope.scaling.type": "nonsense"})


def programs(monkeypatch: pytest.MonkeyPatch, code: str = "") -> list[str]:
    """Note the files that are tried, in a program of this code."""
    started: list[str] = []
    popen = subprocess.Popen
    if code:
        monkeypatch.setattr(trial, "_PROGRAM", ("-c", code))

    def start(command: list[str], **options: object) -> object:
        started.append(Path(command[-1]).name)
        return popen(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def test_a_file_is_tried_once(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = programs(monkeypatch)
    open_model(good).close()
    with open_tokenizer(read_header(good)):
        open_model(good).close()
    assert started == ["good.gguf"]


def test_the_same_bytes_elsewhere_are_known(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = programs(monkeypatch, "")
    try_file(read_header(good))
    copy = good.with_name("copy.gguf")
    copy.write_bytes(good.read_bytes())
    try_file(read_header(copy))
    assert started == ["good.gguf"]


def test_other_bytes_in_its_place_are_tried(good: Path, bad: Path) -> None:
    try_file(read_header(good))
    bad.replace(good)
    with pytest.raises(ModelError, match="does not survive"):
        try_file(read_header(good))


@pytest.mark.parametrize("opened", [open_model, lambda path: open_tokenizer(read_header(path)).__enter__()])
def test_a_crash_is_a_sentence_also_the_next_time(
    bad: Path, opened: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = programs(monkeypatch)
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            opened(bad)  # type: ignore[operator]
        said = str(caught.value)
        assert str(bad) in said and "does not survive loading it (an assertion fails)" in said
        assert "get the model again" in said and "\n" not in said
    assert started == ["bad.gguf"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "a memory fault"),
        ("import os; os.kill(os.getpid(), 8)", "a division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("held = []\nwhile True: held.append(bytearray(1 << 24))", "it takes more and more memory"),
    ],
)
def test_what_ends_the_process_is_named(
    good: Path, code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, code)
    with pytest.raises(ModelError, match=words):
        try_file(read_header(good))


def test_a_file_that_takes_too_long_is_not_condemned(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(trial, "_SHORTEST_S", 0.3)
    with pytest.raises(ModelError, match="did not load within") as caught:
        try_file(read_header(good))
    assert TRUST_VARIABLE in str(caught.value)
    monkeypatch.undo()
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)
    monkeypatch.setenv("BLENDIN_CACHE_DIR", str(good.parent / "cache"))
    try_file(read_header(good))


def test_a_trial_can_be_cancelled(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(LoadCancelled):
        open_model(good, progress=lambda share: False)
    assert not list((cache_dir() / "trials").glob("*"))


def test_files_with_a_checksum_and_trusted_ones_are_not_tried(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = programs(monkeypatch)
    header = read_header(good)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    try_file(header)
    monkeypatch.delenv(TRUST_VARIABLE)
    vouch_for(header)
    try_file(header)
    assert started == []


def test_reasons_of_llama_cpp_stay_its_own(good: Path) -> None:
    lacking = copy_with(good, good.with_name("lacking.gguf"), numbers={"llama.block_count": 7})
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load"):
        open_model(lacking)


def test_the_command_says_so_and_ends(bad: Path, good: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "blendin_local",
        "generate",
        "--base",
        str(bad),
        "--guide",
        str(good),
        "hi",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "does not survive" in done.stderr
