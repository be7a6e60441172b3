"""Tests of parsing and completing slash commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from blendin_local.errors import SettingError
from blendin_local.history.exports import SUFFIXES
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings, setting_names
from blendin_local.tui.commands import (
    SPECS,
    Act,
    ChangeSettings,
    ChangeSystem,
    Names,
    Refused,
    Say,
    is_command,
    message_of,
    parse,
    typed_for,
    words,
)
from blendin_local.tui.completions import completions
from blendin_local.tui.setting_fields import FIELDS, changed

SETTINGS = GenerationSettings()
NAMES = Names(
    pairs={"demo": "the demo pair", "twins": ""},
    models=("small", "large"),
    themes=("nord", "high-contrast", "contrast"),
)


def settings_after(line: str, before: GenerationSettings = SETTINGS) -> GenerationSettings:
    command = parse(line, before)
    assert isinstance(command, ChangeSettings), command
    return command.settings


def refusal(line: str, names: Names | None = None) -> str:
    command = parse(line, SETTINGS, names)
    assert isinstance(command, Refused), command
    assert command.says.endswith((".", "?")) and "\n" not in command.says
    return command.says


def offered(line: str, names: Names = NAMES) -> list[str]:
    return [each.text for each in completions(line, names, first=True)]


# Settings


def test_every_setting_has_a_field() -> None:
    names = {
        *setting_names(BlendSettings),
        *setting_names(SamplingSettings),
        "max_tokens",
        "max_thinking",
        "seed",
        "stop",
    }
    assert set(FIELDS) == names
    assert all(field.help for field in FIELDS.values())


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_parses_its_own_text(name: str) -> None:
    settings = GenerationSettings(
        BlendSettings(method="tiered", gamma=0.123456789, unit="word", guide_stop=False),
        SamplingSettings(temperature=1 / 3, top_k=7),
        seed=(1 << 63) - 1,
        stop=("\n\nQuestion:", "back\\slash", "  x "),
    )
    assert changed(settings, {name: FIELDS[name].text(settings)}) == settings


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/method guide", "method", "guide"),
        ("/gamma 0.25", "gamma", 0.25),
        ("/set compete_k 9", "compete_k", 9),
        ("/set compete-k  9 ", "compete_k", 9),
        ("/set guide_stop off", "guide_stop", False),
        ("/set unit word", "unit", "word"),
        ("/temperature 0", "temperature", 0.0),
        ("/set top_k 3", "top_k", 3),
        ("/max-tokens 64", "max_tokens", 64),
        ("/set max_tokens 64", "max_tokens", 64),
        ("/seed 12", "seed", 12),
        ("/set stop \\n\\nQ:\nEnd", "stop", ("\n\nQ:", "End")),
        ("/set stop", "stop", ()),
    ],
)
def test_commands_change_one_setting(line: str, name: str, value: object) -> None:
    after = settings_after(line, GenerationSettings(stop=("old",)))
    whole = {**vars_of(after.blend), **vars_of(after.sampling), **vars_of(after)}
    assert whole[name] == value
    differing = [key for key in FIELDS if FIELDS[key].text(after) != FIELDS[key].text(SETTINGS)]
    assert set(differing) <= {name, "stop"}


def vars_of(settings: object) -> dict[str, object]:
    return {name: getattr(settings, name) for name in setting_names(type(settings))}


def test_alpha_implies_the_method_fixed_as_on_the_command_line() -> None:
    after = settings_after("/alpha 0.3").blend
    assert (after.alpha, after.method) == (0.3, "fixed")


def test_a_seed_is_random_or_a_number() -> None:
    assert parse("/seed random", SETTINGS) == parse("/set seed random", SETTINGS)
    commands = [parse(line, SETTINGS) for line in ("/seed random", "/seed 3", "/gamma 0.1")]
    assert [c.seed_random for c in commands if isinstance(c, ChangeSettings)] == [True, False, None]


def test_a_change_is_confirmed_and_says_if_it_has_no_effect() -> None:
    command = parse("/set tau 0.2", SETTINGS)
    assert isinstance(command, ChangeSettings)
    assert command.says == "From the next reply on, tau is 0.2 (only for tiered)."


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("/gamma 2", "gamma must be between 0 and 1"),
        ("/gamma x", "gamma must be a number, not 'x'"),
        ("/gamma nan", "gamma must be between"),
        ("/gamma", "/gamma X"),
        ("/set top_k 1.5", "top_k must be a whole number"),
        ("/set top_k " + "9" * 400, "top_k must be between 0 and 16777216"),
        ("/set guide_stop perhaps", "on or off"),
        ("/set unit", "one of token, word"),
        ("/set gama 1", "did you mean gamma"),
        ("/method blendn", "method must be one of"),
        ("/again now", "/again takes no argument"),
        ('/export ""', "/export FILE"),
        ("/view source", "/view does not know source"),
        ("/colours alhpa", "did you mean alpha?"),
        ("/pair a b c", "/pair takes"),
        ("/gama 0.3", "did you mean /gamma"),
        ("/usr/bin/env python", "typed with //"),
        ("/", "no command /"),
        ("/ gamma", "no command /"),
    ],
)
def test_wrong_commands_and_arguments_are_refused_with_a_sentence(line: str, part: str) -> None:
    assert part in refusal(line)


def test_an_unknown_setting_raises_setting_error() -> None:
    with pytest.raises(SettingError, match="no setting"):
        changed(SETTINGS, {"colour": "1"})


def test_a_setting_is_idle_exactly_where_it_changes_nothing() -> None:
    def idle(name: str, **blend: object) -> bool:
        return bool(FIELDS[name].idle(GenerationSettings(BlendSettings(**blend))))  # type: ignore[arg-type]

    assert idle("gamma", method="ensemble") and not idle("gamma", method="nudge")
    assert idle("max_intervention_rate", method="base")
    assert not idle("max_intervention_rate", method="ensemble")
    assert idle("guide_stop", gamma=0.0) and not idle("guide_stop")
    assert [m for m in METHODS if not idle("prior", method=m)] == ["tuned"]
    assert idle("top_k") and not FIELDS["top_k"].idle(changed(SETTINGS, {"temperature": "1"}))
    assert idle("penalty_window")
    off = changed(SETTINGS, {"dry_multiplier": "1", "penalty_window": "0"})
    assert not FIELDS["penalty_window"].idle(off)


# Other commands


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_command_is_parsed_with_its_argument(spec: object) -> None:
    argument = {"NAME VALUE": "gamma 0.2", "X": "0.2", "N": "2", "N|random": "2", "NAME": "guide"}
    text = argument.get(spec.argument, (spec.choices or ("a b",))[0])  # type: ignore[attr-defined]
    line = f"/{spec.name} {text}" if spec.argument else f"/{spec.name}"  # type: ignore[attr-defined]
    assert not isinstance(parse(line, SETTINGS), Refused | Say)


def test_acts_carry_their_argument() -> None:
    assert parse("/quit", SETTINGS) == Act("quit")
    assert parse("/rename  Leaves in autumn ", SETTINGS) == Act("rename", "Leaves in autumn")
    assert parse("/open", SETTINGS) == Act("open")
    assert parse("/open  two words ", SETTINGS) == Act("open", "two words")
    assert parse('/open "two words"', SETTINGS) == Act("open", '"two words"')
    assert words('"my base.gguf" small') == ["my base.gguf", "small"]


@pytest.mark.parametrize("typed", ["a b.json", '"a b.json"', '"a b.json'])
def test_file_names_may_be_quoted(typed: str) -> None:
    assert parse(f"/export {typed}", SETTINGS) == Act("export", "a b.json")
    assert parse(f"/open {typed}", SETTINGS) == Act("import", "a b.json")


def test_a_system_prompt_can_have_several_lines_and_be_removed() -> None:
    command = parse("/system Be brief.\nBe kind.", SETTINGS)
    assert isinstance(command, ChangeSystem) and command.system == "Be brief.\nBe kind."
    command = parse("/system", SETTINGS)
    assert isinstance(command, ChangeSystem) and command.system == ""


def test_unknown_themes_are_refused_if_the_themes_are_known() -> None:
    assert parse("/theme nord", SETTINGS, NAMES) == Act("theme", "nord")
    assert "did you mean nord?" in refusal("/theme nort", NAMES)


@pytest.mark.parametrize(
    ("typed", "message"), [("hello /you", "hello /you"), ("//usr is full", "/usr is full"), (" /x", " /x")]
)
def test_messages_are_not_commands(typed: str, message: str) -> None:
    assert not is_command(typed)
    assert parse(typed, SETTINGS) == Say(message)
    assert message_of(typed_for(message)) == message


# Completion


def test_commands_are_completed_from_a_prefix() -> None:
    assert offered("/se") == ["/seed ", "/set ", "/settings"]
    assert offered("/set") == ["/set ", "/settings"]
    assert offered("/pair twins", Names(pairs={"twins-2": "", "twins": ""})) == ["twins", "twins-2"]
    assert len(offered("/")) == len(SPECS)
    assert offered("/nothing") == offered("hello") == offered("//se") == []


def test_a_complete_command_offers_nothing() -> None:
    assert offered("/quit") == offered("/method guide") == offered("/gamma ") == offered("/quit ") == []


def test_arguments_are_completed() -> None:
    assert offered("/method ") == list(METHODS)
    assert offered("/set guide") == ["guide_stop "]
    assert "presence_penalty " in offered("/set penalty")
    assert offered("/set unit ") == ["token", "word"]
    assert offered("/pair ") == ["demo", "twins", "small", "large"]
    assert offered("/pair small ") == ["small", "large"]
    assert offered("/theme no") == ["nord"]
    assert offered("/theme con") == ["contrast", "high-contrast"]
    assert offered("/view ") == ["markdown", "tokens"]
    assert offered("/view tokens x") == []
    assert offered("/copy ") == ["code"]
    assert offered("/seed r") == ["random"]


def test_a_completion_has_a_start_and_a_description() -> None:
    (word,) = completions("/set unit w", NAMES, first=True)
    assert (word.text, word.start) == ("word", len("/set unit "))
    assert completions("/pair d", NAMES, first=True)[0].description == "the demo pair"


def test_commands_are_completed_on_the_first_line_only() -> None:
    assert completions("/se", NAMES, first=False) == []


def test_export_completes_folders_and_suffixes(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    names = Names(folder=tmp_path)
    assert offered("/export no", names) == ["notes/", "no.md", "no.html", "no.json"]
    assert offered("/export notes/talk.j", names) == ["notes/talk.json"]
    assert offered("/export talk.md", names) == offered('/export "a talk.md"', names) == []
    assert offered('/export "notes/a', names) == [f"notes/a{end}" for end in SUFFIXES]


def test_open_completes_files_for_a_typed_path(tmp_path: Path) -> None:
    (tmp_path / "demos").mkdir()
    for name in ("demo talk.json", "demo.txt"):
        (tmp_path / "demos" / name).touch()
    names = Names(folder=tmp_path)
    assert offered("/open dem", names) == []
    assert offered("/open demos/d", names) == offered('/open "demos/d', names) == ["demos/demo talk.json"]


def test_files_are_completed_after_an_at_sign(tmp_path: Path) -> None:
    (tmp_path / "my notes").mkdir()
    (tmp_path / "my notes" / "a.txt").touch()
    (tmp_path / "my.txt").touch()
    names = Names(folder=tmp_path)

    def after(line: str) -> list[str]:
        return [line[: each.start] + each.text for each in completions(line, names, first=False)]

    assert after("see @my") == ['see @"my notes/', "see @my.txt"]
    assert after('see @"my notes/') == ['see @"my notes/a.txt"']
    assert after("see @my.txt") == after("me@my") == after("see @my.txt and") == []
