"""Ctrl-C: exit code 130 and no traceback, whatever is under way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import never_ending, write_tiny

from blendin_local import bench
from blendin_local.cli import main
from blendin_local.engine.interrupt import interrupting
from blendin_local.llamacpp.library import LogLines, api

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C there")


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    base = write_tiny(tmp_path / "base.gguf", n_ctx_train=1 << 16, bias=never_ending())
    guide = write_tiny(
        tmp_path / "guide.gguf", vocabulary="bpe", n_ctx_train=1 << 16, bias=never_ending("bpe")
    )
    return ["--base", str(base), "--guide", str(guide), "--threads", "1"]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A program that runs in the background may have been started deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("presses", [1, 2])
def test_a_reply_is_kept_as_far_as_it_was_written(pair: list[str], presses: int) -> None:
    endless = ["-n", "100000", "--n-ctx", "0", "--no-guide-stop", "--gamma", "0"]
    command = [sys.executable, "-m", "blendin_local", "generate", *pair, *endless, "hello"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.read(1)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert first + stdout
    assert b"Traceback" not in stderr


def test_the_second_press_waits_for_nothing() -> None:
    heard: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupting(lambda: heard.append("first")):
        signal.raise_signal(signal.SIGINT)
        heard.append("going on")
        signal.raise_signal(signal.SIGINT)
        heard.append("never")
    assert heard.index("first") < heard.index("going on") and "never" not in heard
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_load_is_stopped(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp calls Python while it loads: an exception raised there was printed and forgotten."""
    load, add = api.llama_model_load_from_file, LogLines.add
    loads: list[str] = []

    def press(lines: LogLines, level: int, text: str) -> None:
        monkeypatch.setattr(LogLines, "add", add)
        signal.raise_signal(signal.SIGINT)

    def spy(path: bytes, params: Any) -> Any:
        if not loads:
            monkeypatch.setattr(LogLines, "add", press)
        loads.append(Path(path.decode()).name)
        return load(path, params)

    monkeypatch.setattr(api, "llama_model_load_from_file", spy)
    result = run("generate", *pair, "hello")
    assert (result.exit_code, result.output) == (130, "")
    assert LogLines.add is add, "the signal was never sent"
    assert loads in (["base.gguf"], ["base.gguf", "guide.gguf"])


def test_a_measurement_is_stopped(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "replay", lambda log: signal.raise_signal(signal.SIGINT))
    result = run("bench", *pair, "--tokens", "4", "--methods", "base")
    assert (result.exit_code, result.output) == (130, "")
