"""Standard streams that are terminals, pipes, or not there at all."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny

from blendin_local.cli import main
from blendin_local.cli.terminal import is_terminal, screen_available


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_an_open_terminal_is_one() -> None:
    closed = Terminal()
    closed.close()
    assert is_terminal(Terminal())
    assert not any(map(is_terminal, (None, io.StringIO(), closed)))


@pytest.mark.parametrize("missing", [None, "stdin", "stdout", "stderr"])
@pytest.mark.parametrize("instead", [None, io.StringIO()])
def test_a_screen_needs_three_terminals_or_a_driver(
    monkeypatch: pytest.MonkeyPatch, missing: str | None, instead: io.StringIO | None
) -> None:
    monkeypatch.delenv("TEXTUAL_DRIVER", raising=False)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, instead if name == missing else Terminal())
    assert screen_available() is (missing is None)
    monkeypatch.setenv("TEXTUAL_DRIVER", "some.module:Driver")
    assert screen_available()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("generate BASE GUIDE hello -n 3", 0),
        ("generate BASE GUIDE", 2),
        ("generate BASE GUIDE --file -", 2),
        ("models inspect base.gguf", 0),
        ("bench BASE GUIDE --tokens 2 --rounds 1 --methods base", 0),
    ],
)
def test_commands_work_without_any_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int
) -> None:
    """A program that is started without a console has None in place of each stream."""
    monkeypatch.chdir(tmp_path)
    write_tiny(Path("base.gguf"), vocabulary="spm")
    write_tiny(Path("guide.gguf"), vocabulary="bpe")
    given = arguments.replace("BASE", "--base base.gguf").replace("GUIDE", "--guide guide.gguf").split()
    with monkeypatch.context() as patch:
        for name in ("stdin", "stdout", "stderr"):
            patch.setattr(sys, name, None)
        with pytest.raises(SystemExit) as ended:
            main(given)
    assert ended.value.code == code
