"""`blendin chat` as a command: line by line through pipes, and what it opens with."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import write_tiny

from blendin_local.cli import main
from blendin_local.cli.chat import _seed as seed_of
from blendin_local.formats import Formats
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.preferences.preferences import Preferences
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.tui.app import ChatApp


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    base = write_tiny(tmp_path / "base.gguf", seed=1)
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=2)
    return ["--base", str(base), "--guide", str(guide), "--base-format", "user-assistant", "--threads", "1"]


def piped(pair: list[str], *arguments: str, stdin: str | bytes) -> Result:
    return CliRunner().invoke(main, ["chat", *pair, "-n", "8", "-t", "0.8", *arguments], input=stdin)


def test_every_line_gets_a_reply(pair: list[str]) -> None:
    result = piped(pair, "--seed", "1", stdin="hello world\n\n  \nhow are you\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert result.stderr == ""
    assert "textual" not in result.stdout


def test_a_seeded_chat_can_be_repeated_and_its_replies_differ(pair: list[str]) -> None:
    one, same, other = (
        piped(pair, "--seed", seed, "--raw", stdin="hello\nhello\n").stdout for seed in ("1", "1", "2")
    )
    assert one == same != other
    assert len(one.splitlines()) > 1


def test_a_message_that_fails_is_told_and_the_rest_is_answered(pair: list[str]) -> None:
    result = piped(pair, "--n-ctx", "64", stdin="long " * 200 + "\nhello\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: The prompt is too long")
    assert result.stdout.strip()


def test_an_error_is_no_command_to_the_terminal(pair: list[str], tmp_path: Path) -> None:
    """It names what a stranger's file says, here an escape sequence in the role of a template's error."""
    template = tmp_path / "evil.jinja"
    template.write_text("{{ raise_exception('\x1b]0;taken\x07\x1b[31mred') }}")
    result = piped(pair, "--base-format", str(template), stdin="hello\n")
    assert result.exit_code != 0 and "red" in result.stderr
    assert "\x1b" not in result.stderr and "\x07" not in result.stderr


def test_bytes_that_are_no_text_do_not_end_the_chat(pair: list[str]) -> None:
    result = piped(pair, stdin=b"hello \xff\xfe\n")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--base", "nowhere.gguf"], "does not exist"),
        (["--gamma", "2"], "gamma must be between 0 and 1"),
        (["--guide-format", "chat"], "no chat template"),
        (["--pair", "nothing"], "no pair called nothing"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_loaded(
    pair: list[str], arguments: list[str], reason: str
) -> None:
    if "--pair" in arguments:
        pair = []
    result = piped(pair, *arguments, stdin="hello\n")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_pipe_keeps_nothing_and_has_nothing_to_resume(pair: list[str], tmp_path: Path) -> None:
    assert piped(pair, stdin="hello\n").exit_code == 0
    assert not (tmp_path / "data").exists()
    result = piped(pair, "--resume", stdin="hello\n")
    assert result.exit_code == 2
    assert "No conversation to resume" in result.stderr


def test_a_pipe_needs_no_textual(pair: list[str]) -> None:
    code = (
        "import sys\nfrom blendin_local.cli import main\n"
        f"main({['chat', *pair, '-n', '2']!r}, standalone_mode=False)"
    )
    script = f"import sys\ntry:\n    exec({code!r})\nfinally:\n    print('LOADED', 'textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], input=b"hello\n", capture_output=True)
    assert b"LOADED False" in done.stdout, done.stderr


def test_ctrl_c_in_a_pipe_ends_the_chat_with_what_was_said(pair: list[str]) -> None:
    command = [sys.executable, "-m", "blendin_local", "chat", *pair, "-n", "100000", "--n-ctx", "512"]
    with subprocess.Popen(
        [*command, "--no-guide-stop", "-t", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"hello world\n" * 200)
        process.stdin.flush()
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.wait()
        assert process.returncode == 130
        assert b"Traceback" not in process.stderr.read()


# Going on with a conversation


@pytest.fixture
def kept(pair: list[str], tmp_path: Path) -> Iterator[Setup]:
    """How the latest conversation asks for its replies."""
    blend = BlendSettings(method="nudge", gamma=0.2)
    settings = GenerationSettings(blend, SamplingSettings(top_k=3), seed=4, stop=("END",))
    setup = Setup(pair[1], pair[3], "", "Kept.", settings, Formats("raw", "raw"))
    (tmp_path / "data").mkdir()
    with closing(Store(tmp_path / "data" / "conversations.db")) as store:
        store.create("old", setup)
        store.save_turn("old", Turn("user", "what was said", id="old"))
        yield setup


def resumed(monkeypatch: pytest.MonkeyPatch, *typed: str) -> Dialogue:
    """The conversation of the app that `chat --resume` opens, without its screen."""
    apps: list[ChatApp] = []

    def run(app: ChatApp, **_: object) -> None:
        apps.append(app)
        app._return_code = 0
        app.session.journal.close()

    monkeypatch.setattr("blendin_local.cli.chat.screen_available", lambda: True)
    monkeypatch.setattr(ChatApp, "run", run)
    result = CliRunner().invoke(main, ["chat", "--resume", "--threads", "1", *typed])
    assert result.exit_code == 0, result.output
    return apps[0].session.dialogue


def test_a_conversation_goes_on_as_it_was_kept(kept: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    dialogue = resumed(monkeypatch)
    assert dialogue.setup == kept
    assert [turn.text for turn in dialogue.tree.path()] == ["what was said"]


def test_what_is_typed_wins_over_what_was_kept(kept: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ("--gamma", "0.9", "--system", "", "--stop", "HALT", "--seed", "8", "--guide-format", "auto")
    dialogue = resumed(monkeypatch, *typed, "--base-format", "user-assistant")
    settings = kept.settings
    changed = replace(settings, blend=replace(settings.blend, gamma=0.9), seed=8, stop=("HALT",))
    assert dialogue.setup == replace(
        kept, settings=changed, system="", formats=Formats("user-assistant", "auto")
    )
    assert dialogue.seed == 8


@pytest.mark.parametrize(("typed", "preferred", "seed"), [(0, 5, 0), (None, 5, 5), (None, None, None)])
def test_a_seed_that_was_typed_goes_before_the_preferred_one(
    typed: int | None, preferred: int | None, seed: int | None
) -> None:
    """Zero is a seed like any other."""
    preferences = Preferences(generation={} if preferred is None else {"seed": preferred})
    assert seed_of({"seed": typed}, preferences) == seed
