"""`blendin completion`: scripts for the shells, and what they offer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete
from click.testing import CliRunner

from blendin_local.cli import main
from blendin_local.cli.complete_names import complete_model, complete_name, complete_pair
from blendin_local.cli.completion import completion
from blendin_local.cli.config import config
from blendin_local.models.catalogue import load_catalogue, user_catalogue_file
from blendin_local.preferences.preferences import KEYS


@click.group()
def group() -> None:
    """Stands for the whole program."""


@group.command()
@click.option("--pair", shell_complete=complete_pair)
@click.option("--base", shell_complete=complete_model)
@click.argument("name", shell_complete=complete_name)
def use(**values: str) -> None:
    """Takes names."""


group.add_command(config)
group.add_command(completion)


def offered(*words: str) -> list[CompletionItem]:
    *arguments, incomplete = words
    return BashComplete(group, {}, "blendin", "_BLENDIN_COMPLETE").get_completions(arguments, incomplete)


def names(*words: str) -> list[str]:
    return [item.value for item in offered(*words)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = CliRunner().invoke(group, ["completion", shell])
    assert named.exit_code == 0
    assert f"_BLENDIN_COMPLETE={shell}_complete" in named.stdout
    monkeypatch.setenv("SHELL", f"/usr/local/bin/{shell}")
    assert CliRunner().invoke(group, ["completion"]).stdout == named.stdout


@pytest.mark.parametrize("shell", ["", "/bin/tcsh"])
def test_an_unknown_shell_is_asked_for(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", shell)
    result = CliRunner().invoke(group, ["completion"])
    assert result.exit_code == 2
    assert "bash, zsh, fish" in result.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "blendin"
    code = "from blendin_local.cli import main; main(prog_name='blendin')"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}"\n')
    program.chmod(0o755)
    source = CliRunner().invoke(main, ["completion", "bash"])
    script = (
        source.stdout
        if source.exit_code == 0
        else BashComplete(main, {}, "blendin", "_BLENDIN_COMPLETE").source()
    )

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _blendin_completion '{program}'"
        shown = f"{script}\n{asked}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "--norc", "-c", shown], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("blendin", "gen") == ["generate"]
    assert complete("blendin", "models", "in") == ["inspect"]
    assert "--max-tokens" in complete("blendin", "generate", "--max")


def test_pairs_and_models_are_offered_by_name() -> None:
    catalogue = load_catalogue()
    assert names("use", "--pair", "") == list(catalogue.pairs)
    assert names("use", "--pair", "dem") == [name for name in catalogue.pairs if name.startswith("dem")]
    assert names("use", "--base", "") == list(catalogue.models)
    assert names("use", "") == [*catalogue.pairs, *catalogue.models]


def test_where_no_model_fits_files_are_offered() -> None:
    assert [(item.type, item.value) for item in offered("use", "--base", "./mod")] == [("file", "./mod")]


def test_a_broken_catalogue_offers_nothing_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    user_catalogue_file().parent.mkdir(parents=True)
    user_catalogue_file().write_text("[pairs")
    assert names("use", "--pair", "") == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_descriptions_stay_on_their_line(shell: type[BashComplete]) -> None:
    user_catalogue_file().parent.mkdir(parents=True)
    user_catalogue_file().write_text(
        '[pairs.odd]\nbase = "a"\nguide = "b"\ndescription = "x\\n\\u001b[2Jy"\n'
    )
    item = next(item for item in offered("use", "--pair", "odd"))
    assert item.help == "x ␛[2Jy"
    text = shell(group, {}, "blendin", "_BLENDIN_COMPLETE").format_completion(item)
    assert "\x1b" not in text


def test_keys_and_their_values_are_offered() -> None:
    assert names("config", "get", "") == list(KEYS)
    assert names("config", "set", "chat.vi") == ["chat.view"]
    assert names("config", "set", "chat.view", "") == ["markdown", "tokens"]
    assert names("config", "set", "chat.mouse", "t") == ["true"]
    assert names("config", "set", "chat.pair", "dem") == names("use", "--pair", "dem") != []
    assert names("config", "set", "compare.methods", "base,gu") == ["base,guide"]
    assert "base,base" not in names("config", "set", "compare.methods", "base,")
    assert names("config", "set", "nonsense", "") == []
    assert names("config", "set", "chat.system", "") == []
