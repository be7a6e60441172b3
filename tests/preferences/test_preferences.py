"""The preferences' file: what it may say, what it means, and how it is changed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.paths import ROOT

from blendin_local.errors import SettingError
from blendin_local.files import data_dir
from blendin_local.formats import ROLES, Formats
from blendin_local.methods import METHODS
from blendin_local.preferences.preferences import (
    KEYS,
    SECTIONS,
    Preferences,
    find_values,
    key_named,
    load_preferences,
    preferences_file,
)
from blendin_local.preferences.writer import (
    default_text,
    remove_preference,
    write_default,
    write_preference,
)
from blendin_local.settings import (
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    setting_names,
)


def saved(text: str) -> Path:
    file = preferences_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("utf-8"))
    return file


def refusal(text: str) -> str:
    """What is said about such a file, which the sentence must name."""
    file = saved(text)
    with pytest.raises(SettingError) as caught:
        load_preferences()
    sentence = str(caught.value)
    assert str(file) in sentence
    assert "\n" not in sentence
    return sentence


def test_without_a_file_the_defaults_hold() -> None:
    assert not preferences_file().exists()
    assert load_preferences() == Preferences()
    assert load_preferences().chat.pair == "demo"
    assert load_preferences().models == ModelOptions()


def test_every_section_reaches_its_place() -> None:
    saved(
        '[chat]\npair = "mine"\nhint_rate = 1\n[generation]\ngamma = 0\nmax_tokens = 9\n'
        '[models]\nn_ctx = 128\n[compare]\nmethods = ["guide"]\n[keys]\n"chat.stop" = "escape, ctrl+g"\n'
    )
    read = load_preferences()
    assert (read.chat.pair, read.chat.view) == ("mine", "markdown")
    assert type(read.chat.hint_rate) is float
    assert read.generation == {"gamma": 0.0, "max_tokens": 9}
    assert read.models == ModelOptions(n_ctx=128)
    assert read.compare.methods == ("guide",)
    assert read.keys == {"chat.stop": "escape,ctrl+g"}


def test_every_setting_of_a_reply_has_a_key() -> None:
    """A new setting must be told of, or left out on purpose."""
    own = set(setting_names(GenerationSettings)) - {"blend", "sampling"}
    settings = (*setting_names(BlendSettings), *setting_names(SamplingSettings), *own)
    assert {key.name for key in KEYS.values() if key.section == "generation"} == set(settings)
    left_out = {
        "n_seq",
        "n_outputs",
        "shared_cache",
        "n_contexts",
        "base_options",
        "guide_options",
        "explicit",
    }
    assert {key.name for key in KEYS.values() if key.section == "models"} == (
        set(setting_names(ModelOptions)) - left_out
        | {f"{role}_{key}" for role in ROLES for key in ("format", "template_vars")}
        | {"thinking"}
    )
    assert all(key.about for key in KEYS.values())


def test_the_file_changes_what_the_pair_recommends() -> None:
    blend, sampling = BlendSettings(gamma=0.3, prior=1), SamplingSettings(temperature=0.7, top_k=40)
    assert Preferences().settings(blend, sampling) == GenerationSettings(blend, sampling)
    changed = Preferences(generation={"gamma": 0.5, "top_k": 7, "max_tokens": 9})
    assert changed.settings(blend, sampling) == GenerationSettings(
        BlendSettings(gamma=0.5, prior=1), SamplingSettings(temperature=0.7, top_k=7), max_tokens=9
    )


def test_seed_stop_and_formats_reach_their_places() -> None:
    assert (Preferences().seed, Preferences().formats) == (None, Formats())
    saved('[generation]\nseed = 7\nstop = ["\\nQ:", "a, b"]\n[models]\nguide_format = "raw"\nn_ctx = 128\n')
    read = load_preferences()
    assert read.seed == 7
    assert read.settings(BlendSettings(), SamplingSettings()) == GenerationSettings(
        seed=7, stop=("\nQ:", "a, b")
    )
    assert (read.formats, read.models) == (Formats(guide="raw"), ModelOptions(n_ctx=128))


def test_temperature_0_drops_the_penalties_of_the_pair_but_not_those_of_the_file() -> None:
    sampling = SamplingSettings(temperature=0.7, top_k=40, dry_multiplier=0.8)
    greedy = Preferences(generation={"temperature": 0.0, "top_k": 7})
    assert greedy.settings(BlendSettings(), sampling).sampling == SamplingSettings(top_k=7)


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    saved('[chat]\npair = "of-the-file"\n')
    assert find_values()["chat.pair"].origin == "file"
    assert find_values()["chat.view"].origin == "default"
    monkeypatch.setenv("BLENDIN_PAIR", "of-the-shell")
    assert load_preferences().chat.pair == "of-the-shell"
    assert find_values()["chat.pair"].origin == "BLENDIN_PAIR"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[chat]\nviwe = 'tokens'", "There is no key chat.viwe (did you mean chat.view?)"),
        ("view = 'tokens'", "There is no key view (did you mean chat.view?)"),
        ("[chta]\nview = 'tokens'", "there is no section chta (did you mean [chat]?)"),
        ("chat = 3", "chat"),
        ("[chat]\ncandidates = 'many'", "chat.candidates must be a whole number, not 'many'."),
        ("[chat]\ncandidates = 33", "chat.candidates must be between 0 and 32, not 33."),
        ("[chat]\ncandidates = 1.0", "a whole number, not 1.0."),
        ("[chat]\ncandidates = true", "a whole number, not True."),
        ("[chat]\nhint_rate = nan", "chat.hint_rate must be between 0 and 1, not nan."),
        ("[chat]\nkeep = 1", "chat.keep must be true or false, not 1."),
        ("[chat]\npair = {}", "chat.pair must be a text, not {}."),
        ("[chat]\nview = 'html'", "chat.view must be one of markdown, tokens, not 'html'."),
        ("[generation]\ngamma = 2", "generation.gamma must be between 0 and 1, not 2"),
        ("[generation]\nunit = 'line'", "one of token, word"),
        ("[generation]\nseed = -1", "generation.seed must be between 0 and"),
        ("[generation]\nseed = 1.0", "generation.seed must be a whole number, not 1.0."),
        (
            "[generation]\nstop = 'x'",
            'generation.stop must be a list of texts that are not empty, such as ["End", "\\n"], not',
        ),
        ("[generation]\nstop = ['']", "generation.stop must be a list of texts"),
        ("[generation]\nstop = [1]", "generation.stop must be a list of texts"),
        ("[models]\nbase_format = 3", "models.base_format must be a text, not 3."),
        ("[models]\nn_ctx = -1", "models.n_ctx must be between 0"),
        (f"[models]\nn_ctx = 1{'0' * 400}", "models.n_ctx must be"),
        (f"[generation]\ngamma = 1{'0' * 400}", "generation.gamma must be"),
        ("[models]\nn_seq = 2", "There is no key models.n_seq"),
        ("[compare]\nmethods = []", "compare.methods must be a list of different names out of base, guide"),
        ("[compare]\nmethods = ['base', 'base']", "not ['base', 'base']"),
        ("[compare]\nmethods = ['base', []]", "compare.methods must be"),
        ("[keys]\nchat.stop = 'escape'", "a name with a dot goes into quotes"),
        ("[keys]\n'chat.stop' = ''", "keys separated by commas"),
        ("[keys]\n'chat.stop' = 'escape,,x'", "keys separated by commas"),
        ("[keys]\n'chat.stop' = 'ctrl g'", "keys separated by commas"),
        ("[chat", "cannot be read"),
        ("[chat]\n'a\\nb' = 1", "There is no key"),
    ],
)
def test_a_wrong_file_gets_one_sentence(text: str, said: str) -> None:
    assert said in refusal(text)


def test_a_file_that_is_no_text_gets_one_sentence() -> None:
    saved("").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match=r"config\.toml cannot be read"):
        load_preferences()


FILE = """\
# Mine.
[chat]   # how I chat
# tokens, for now
view = "tokens"  # !

[compare]
methods = [
    "base",  # first
    "guide",
]
"""


def test_a_change_keeps_comments_and_order() -> None:
    file = saved(FILE)
    write_preference("chat.view", "markdown")
    assert file.read_text("utf-8") == FILE.replace('"tokens"', '"markdown"')
    write_preference("chat.mouse", False)
    write_preference("keys.chat.stop", "f9")
    text = file.read_text("utf-8")
    for comment in re.findall(r"#.*", FILE):
        assert comment in text
    assert load_preferences().chat.mouse is False
    assert load_preferences().keys == {"chat.stop": "f9"}
    for name in ("chat.mouse", "keys.chat.stop", "chat.view"):
        assert remove_preference(name)
    assert not remove_preference("chat.view")
    assert load_preferences() == Preferences(compare=load_preferences().compare)
    assert load_preferences().compare.methods == ("base", "guide")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chat.mouse = true\n",
        "chat = { mouse = true }\n",
        "[chat]\r\nmouse = true\r\n",
        "[models]\n[chat]",
    ],
)
def test_a_change_fits_any_form_of_the_file(text: str) -> None:
    saved(text)
    write_preference("chat.view", "tokens")
    write_preference("compare.methods", ("guide",))
    read = load_preferences()
    assert (read.chat.view, read.compare.methods, read.chat.mouse) == ("tokens", ("guide",), True)


@pytest.mark.parametrize("text", ["chat = 3\n", "[[chat]]\n", "[chat\n"])
def test_a_file_that_cannot_be_changed_stays(text: str) -> None:
    file = saved(text)
    with pytest.raises(SettingError, match=r"config\.toml"):
        write_preference("chat.view", "tokens")
    assert file.read_text("utf-8") == text


def test_what_is_wrong_can_be_mended_key_by_key() -> None:
    saved("[chat]\nviwe = 1\nview = 'html'\n")
    write_preference("chat.view", "tokens")
    assert remove_preference("chat.viwe")
    assert load_preferences().chat.view == "tokens"
    with pytest.raises(SettingError, match=r"chat\.view"):
        remove_preference("chat.viwe")


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("")
    preferences_file().parent.mkdir(parents=True)
    preferences_file().symlink_to(kept)
    write_preference("chat.view", "tokens")
    assert preferences_file().is_symlink()
    assert "tokens" in kept.read_text("utf-8")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "chat.system": TEXTS,
    "chat.candidates": st.integers(0, 32),
    "generation.prior": st.floats(-50, 50),
    "chat.keep": st.booleans(),
    "compare.methods": st.lists(st.sampled_from(list(METHODS)), min_size=1, unique=True).map(tuple),
    "generation.seed": st.integers(0, (1 << 63) - 1),
    "generation.stop": st.lists(TEXTS.filter(bool)).map(tuple),
    "models.base_format": TEXTS,
    "keys.chat.stop": st.lists(st.sampled_from(["escape", "ctrl+g", "f1"]), min_size=1).map(",".join),
}


@given(st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])))
@example(("chat.system", '"""\r\n\x00\x7f\x85\u2028\\\t[chat]\n#'))
def test_what_is_written_is_what_is_read(named: tuple[str, Any]) -> None:
    name, value = named
    saved(FILE)
    write_preference(name, value)
    assert find_values()[name].value == value
    key = key_named(name)
    assert key.parse(key.show(value)) == value


def test_a_text_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(SettingError, match=r"chat\.system must be a text"):
        write_preference("chat.system", "\udcff")
    assert not preferences_file().exists()


def test_the_default_file_sets_nothing_and_shows_every_key() -> None:
    file = write_default()
    assert load_preferences() == Preferences()
    with pytest.raises(SettingError, match="exists already"):
        write_default()
    file.write_text(re.sub(r"^#(?=[^ ])", "", default_text(), flags=re.MULTILINE))
    assert set(find_values()) == {*KEYS, "keys.chat.stop"}
    assert all(each.origin == "file" for each in find_values().values())
    assert load_preferences().settings(BlendSettings(), SamplingSettings()) == GenerationSettings()
    assert set(tomllib.loads(default_text())) == set(SECTIONS)


def test_the_page_of_preferences_is_fresh() -> None:
    """docs/config.md is completed by `make docs`."""
    code = "import sys; sys.path.insert(0, 'docs'); import make_config; sys.stdout.write(make_config.page())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert (ROOT / "docs/config.md").read_bytes() == done.stdout, "run `make docs`"


def test_the_data_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLENDIN_DATA_DIR", str(tmp_path / "data"))
    assert data_dir() == tmp_path / "data"
    monkeypatch.delenv("BLENDIN_DATA_DIR")
    assert data_dir().name == "blendin-local"
