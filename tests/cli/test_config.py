"""`blendin config`: what it prints, to which stream, and with which exit code."""

from __future__ import annotations

import json
import sys

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.cli import LazyGroup
from blendin_local.cli.config import config
from blendin_local.files import data_dir
from blendin_local.preferences.preferences import KEYS, preferences_file


class Program(LazyGroup):
    """The whole program's way with errors, around this one command."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return config


@click.group(cls=Program)
def program() -> None:
    """Stands for the whole program."""


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(program, ["config", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


def test_alone_it_lists_every_key_with_value_default_and_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    run("set", "chat.view", "tokens")
    monkeypatch.setenv("BLENDIN_PAIR", "\x1b[2Jmine")
    result = run()
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if "." in line.split(" ")[0]}
    assert set(rows) == set(KEYS)
    assert rows["chat.view"][1:] == ["file", '"markdown"', '"tokens"']
    assert rows["chat.mouse"][1:] == ["default", "true", "true"]
    assert rows["chat.pair"][1:3] == ["BLENDIN_PAIR", '"demo"']
    assert rows["generation.gamma"][1:] == ["default", "-", "-"]
    assert "\x1b" not in result.stdout
    assert run("list").stdout == result.stdout


@pytest.mark.parametrize("arguments", [["--json"], ["list", "--json"]])
def test_the_list_as_json(arguments: list[str]) -> None:
    run("set", "keys.chat.stop", "f9")
    printed = json.loads(run(*arguments).stdout)
    assert printed["file"] == str(preferences_file())
    keys = {each["key"]: each for each in printed["keys"]}
    assert set(keys) == {*KEYS, "keys.chat.stop"}
    assert keys["chat.candidates"] == {
        "key": "chat.candidates",
        "value": 8,
        "default": 8,
        "from": "default",
        "about": KEYS["chat.candidates"].about,
    }
    assert keys["keys.chat.stop"]["value"] == "f9"
    assert keys["generation.gamma"]["value"] is None


@given(st.floats(-50, 50).map(repr))
def test_what_is_set_is_what_get_prints(number: str) -> None:
    assert run("set", "generation.prior", number).exit_code == 0
    assert run("get", "generation.prior").stdout == f"{number}\n"


@pytest.mark.parametrize(
    ("key", "typed", "printed"),
    [
        ("compare.methods", "base, tuned", "base,tuned"),
        ("chat.mouse", "False", "false"),
        ("chat.system", "-x --y\n[z]", "-x --y\n[z]"),
        ("models.n_gpu_layers", "-1", "-1"),
        ("keys.chat.stop", "escape, ctrl+g", "escape,ctrl+g"),
    ],
)
def test_set_and_get(key: str, typed: str, printed: str) -> None:
    result = run("set", key, typed)
    assert (result.exit_code, result.stdout) == (0, "")
    assert run("get", key).stdout == f"{printed}\n"


def test_a_key_without_a_value_is_told_by_the_exit_status() -> None:
    result = run("get", "generation.gamma")
    assert (result.exit_code, result.stdout) == (1, "")
    run("set", "generation.gamma", "0.5")
    assert run("get", "generation.gamma").exit_code == 0
    assert "no longer" in run("unset", "generation.gamma").stderr
    assert run("get", "generation.gamma").exit_code == 1
    assert run("unset", "generation.gamma").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "chat.candidates", "99"], "chat.candidates must be between 0 and 32, not 99."),
        (["set", "chat.candidates", "many"], "not 'many'."),
        (["set", "chat.mouse", "maybe"], "true or false"),
        (["set", "compare.methods", "base,nope"], "not ['base', 'nope']"),
        (["set", "compare.methods", ""], "compare.methods must be"),
        (["set", "gamma", "0.3"], "There is no key gamma (did you mean generation.gamma?)"),
        (["get", "chat.viwe"], "did you mean chat.view?"),
        (["unset", "chat.viwe"], "did you mean chat.view?"),
        (["set", "keys.", "f9"], "There is no key keys."),
        (["set", "chat.system", "\udcff"], "chat.system must be a text"),
    ],
)
def test_a_wrong_key_or_value_changes_nothing(arguments: list[str], said: str) -> None:
    run("set", "chat.view", "tokens")
    before = preferences_file().read_bytes()
    assert said in refusal(*arguments)
    assert preferences_file().read_bytes() == before


def test_it_says_where_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "BLENDIN_PAIR" not in run("set", "chat.pair", "mine").stderr
    monkeypatch.setenv("BLENDIN_PAIR", "other")
    assert "BLENDIN_PAIR" in run("set", "chat.pair", "mine").stderr
    assert "BLENDIN_PAIR" in run("unset", "chat.pair").stderr


def test_edit_makes_the_file_opens_it_and_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write('[chat.view]')"
    monkeypatch.setenv("VISUAL", f'"{sys.executable}" -c ""')
    assert run("edit").exit_code == 0
    assert "#pair" in preferences_file().read_text("utf-8")
    monkeypatch.setenv("VISUAL", f'"{sys.executable}" -c "{editor}"')
    assert "chat.view must be one of" in refusal("edit")
    assert "chat.view must be one of" in refusal()


def test_init_writes_a_file_once() -> None:
    assert run("init").exit_code == 0
    before = preferences_file().read_bytes()
    assert "exists already" in refusal("init")
    assert preferences_file().read_bytes() == before


def test_path_shows_every_folder_even_where_the_file_is_wrong() -> None:
    run("init")
    preferences_file().write_text("[nonsense")
    assert str(preferences_file()) in run("path").stdout
    assert json.loads(run("path", "--json").stdout)["data"] == str(data_dir())
