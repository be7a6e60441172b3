"""The catalogue: what the shipped one holds, what is wrong in a user's, and how names become files."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.examples import examples

from blendin_local.errors import CatalogueError
from blendin_local.files import cache_dir, config_dir, hub_cache_dir, models_dir
from blendin_local.models import catalogue as module
from blendin_local.models.catalogue import load_catalogue, user_catalogue_file
from blendin_local.models.catalogue_writer import save_pair
from blendin_local.models.download.store import Pulled, find_pulled, write_record
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.settings import BlendSettings, SamplingSettings


def user_file(text: str) -> Path:
    path = user_catalogue_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def refusal(text: str) -> str:
    path = user_file(text)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Places ------------------------------------------------------------------------------------------------


def test_places_come_from_the_environment_or_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config_dir() == tmp_path / "config"
    assert cache_dir() == tmp_path / "cache"
    assert models_dir() == tmp_path / "cache" / "models"
    monkeypatch.setenv("BLENDIN_CACHE_DIR", "~/elsewhere")
    assert cache_dir() == Path(os.environ["HOME"]) / "elsewhere"
    monkeypatch.delenv("BLENDIN_CACHE_DIR")
    monkeypatch.delenv("BLENDIN_CONFIG_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "blendin-local" in str(cache_dir())
    assert "blendin-local" in str(config_dir())


def test_cache_of_the_hub_follows_its_own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert hub_cache_dir() == Path.home() / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub_cache_dir() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/y")
    assert hub_cache_dir() == Path("/y/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/z")
    assert hub_cache_dir() == Path("/z")


# The shipped catalogue ---------------------------------------------------------------------------------


def test_shipped_pairs_name_shipped_models() -> None:
    catalogue = load_catalogue()
    for pair in catalogue.pairs.values():
        assert catalogue.model(pair.base) is not catalogue.model(pair.guide)
        assert pair.description
    demo = catalogue.pair("demo")
    assert (demo.base, demo.guide) == ("gemma-3-270m", "smollm2-135m-instruct")
    reversed_demo = catalogue.pair("demo-reversed")
    assert (reversed_demo.base, reversed_demo.guide) == (demo.guide, demo.base)
    # `blendin models pull NAME` takes both.
    assert not set(catalogue.pairs) & set(catalogue.models)


def test_shipped_models_say_where_they_come_from_and_what_was_tried() -> None:
    for entry in load_catalogue().models.values():
        assert entry.licence
        tried = all(source.startswith("pypi:") for source in entry.sources)
        assert bool(entry.sha256) == bool(entry.size)
        assert tried or ("Not tried by this project" in entry.note and entry.checked)
        assert bool(entry.sha256) != ("No checksum found" in entry.checked)
        assert entry.size or entry.approximate_size
        assert entry.thinking == ("thinks before it answers" in entry.note)


def test_a_stated_checksum_tells_a_pulled_file_whatever_its_source(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    write_record(ModelEntry("a", ("hf:o/r:a.gguf",)), [Pulled(path, "1" * 64)])
    pinned = ModelEntry("a", ("hf:o/r@main:a.gguf",), sha256="1" * 64)
    assert find_pulled(pinned) == path
    assert find_pulled(replace(pinned, sha256="2" * 64)) is None
    assert find_pulled(replace(pinned, sha256="")) is None


def test_wheels_carry_the_catalogue_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "blendin_local"
    package.mkdir()
    (package / "pairs.toml").write_text('[models.inside]\nsources = ["pypi:x==1"]\n')
    monkeypatch.setattr(module, "__file__", str(package / "models" / "catalogue.py"))
    assert list(load_catalogue().models) == ["inside"]
    (package / "pairs.toml").unlink()
    with pytest.raises(CatalogueError, match="install blendin-local again"):
        load_catalogue()


# The user's --------------------------------------------------------------------------------------------


def test_users_entries_join_and_replace_the_shipped_ones() -> None:
    user_file(
        """
[models."my-7b.q4"]
sources = ["/models/my-7b.gguf"]
note = "mine"
[models.gemma-3-270m]
sources = ["/models/gemma.gguf"]
[pairs.demo]
base = "my-7b.q4"
guide = "smollm2-135m-instruct"
[pairs.demo.blend]
method = "nudge"
gamma = 1
unit = "word"
[pairs.demo.sampling]
temperature = 0.7
top_k = 40
[pairs.demo.calibration.base]
confidences = [0, 0.5, 1]
reliabilities = [0.1, 0.1, 0.9]
[pairs.demo.calibration.guide]
confidences = [0.2]
reliabilities = [0.3]
"""
    )
    catalogue = load_catalogue()
    assert catalogue.model("my-7b.q4").origin == user_catalogue_file()
    assert catalogue.model("gemma-3-270m").sources == ("/models/gemma.gguf",)
    pair = catalogue.pair("demo")
    assert pair.blend == BlendSettings(method="nudge", gamma=1.0, unit="word")
    assert pair.sampling == SamplingSettings(temperature=0.7, top_k=40)
    assert pair.calibration == {
        "base": ((0.0, 0.5, 1.0), (0.1, 0.1, 0.9)),
        "guide": ((0.2,), (0.3,)),
    }
    assert catalogue.pair("demo-reversed").calibration is None


PAIR = '[pairs.x]\nbase = "a"\nguide = "b"\n'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[models", "cannot be read"),
        ("model = 1", "the key model is unknown (did you mean models?)"),
        ('[models."a b"]', "may hold only letters"),
        ("[models]\nx = 1", "[models.x]: it must be a table"),
        ("[models.x]", "sources must be a list"),
        ("[models.x]\nsources = []", "sources must be a list"),
        ('[models.x]\nsources = "hf:a/b"', "sources must be a list"),
        ('[models.x]\nsources = ["a"]\nsourcs = 1', "(did you mean sources?)"),
        ('[models.x]\nsources = ["a"]\nfile = "../a"', "plain file name"),
        ('[models.x]\nsources = ["a"]\nsize = "1 GB"', "size must be a whole number"),
        ('[models.x]\nsources = ["a"]\nsize = true', "size must be a whole number"),
        ('[models.x]\nsources = ["a"]\nsize = 0', "number of bytes"),
        ('[models.x]\nsources = ["a"]\nsha256 = "ABC"', "64 hexadecimal digits"),
        ('[models.llama-3.2-1b]\nsources = ["a"]', '[models."llama-3.2-1b"]'),
        ('[pairs.x]\nbase = "a"', "base and guide must both be given"),
        (PAIR + "blend = 1", "blend must be a table"),
        (PAIR + "[pairs.x.blend]\ngama = 0.4", "(did you mean gamma?)"),
        (PAIR + "[pairs.x.blend]\ngamma = 4", "[pairs.x.blend]: gamma must be between 0 and 1, not 4"),
        (PAIR + "[pairs.x.blend]\ngamma = nan", "gamma must be between 0 and 1"),
        (PAIR + '[pairs.x.blend]\ngamma = "a"', "gamma must be a number"),
        (PAIR + "[pairs.x.blend]\ncompete_k = 1.5", "compete_k must be a whole number"),
        (PAIR + "[pairs.x.blend]\nguide_stop = 1", "guide_stop must be true or false"),
        (PAIR + '[pairs.x.blend]\nmethod = "magic"', "method must be one of"),
        (PAIR + "[pairs.x.sampling]\ntop_k = -1", "top_k must be"),
        (PAIR + "[pairs.x.calibration.base]\nconfidences=[0]\nreliabilities=[0]", "both base and guide"),
    ],
)
def test_wrong_entries_are_named_with_file_and_table(text: str, what: str) -> None:
    assert what in refusal(text)


@pytest.mark.parametrize(
    ("confidences", "reliabilities", "what"),
    [
        ("[0, 1]", "[0]", "equally many"),
        ("[]", "[]", "at least one"),
        ("[0, 2]", "[0, 1]", "between 0 and 1"),
        ("[0, true]", "[0, 1]", "between 0 and 1"),
        ("[0.5, 0.5]", "[0, 1]", "must rise"),
        ("[0.6, 0.5]", "[0, 1]", "must rise"),
        ("[0.5, 0.6]", "[1, 0]", "must not fall"),
    ],
)
def test_wrong_calibration_is_refused(confidences: str, reliabilities: str, what: str) -> None:
    good = "confidences=[0, 1]\nreliabilities=[0, 1]\n"
    bad = f"confidences={confidences}\nreliabilities={reliabilities}\n"
    assert what in refusal(f"{PAIR}[pairs.x.calibration.base]\n{good}[pairs.x.calibration.guide]\n{bad}")


# Names to files ----------------------------------------------------------------------------------------


def test_unknown_names_bring_those_that_look_like_them() -> None:
    catalogue = load_catalogue()
    with pytest.raises(CatalogueError, match=r"no model called gema-3-270m \(did you mean gemma-3-270m"):
        catalogue.model("gema-3-270m")
    with pytest.raises(CatalogueError, match=r"no pair called dmo \(did you mean demo\?\)"):
        catalogue.pair("dmo")
    with pytest.raises(CatalogueError, match="demo is a pair, not a model"):
        catalogue.resolve_model("demo")
    with pytest.raises(CatalogueError, match="gemma-3-270m is a model, not a pair"):
        catalogue.pair("gemma-3-270m")
    with pytest.raises(CatalogueError, match="no model called zzz; `blendin models list`"):
        catalogue.resolve_model("zzz")


def test_paths_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "home" / "a.gguf"
    file.write_bytes(b"GGUF")
    catalogue = load_catalogue()
    assert catalogue.resolve_model(str(file)) == file
    assert catalogue.resolve_model("~/a.gguf") == file
    monkeypatch.chdir(file.parent)
    assert catalogue.resolve_model("a.gguf") == Path("a.gguf")
    with pytest.raises(CatalogueError, match=r"none.gguf does not exist"):
        catalogue.resolve_model("none.gguf")
    with pytest.raises(CatalogueError, match="is a folder"):
        catalogue.resolve_model(str(tmp_path))


def test_names_stand_for_pulled_files_only(tmp_path: Path) -> None:
    catalogue = load_catalogue()
    with pytest.raises(CatalogueError, match="run `blendin models pull smollm2-135m-instruct`"):
        catalogue.resolve_model("smollm2-135m-instruct")
    source = "hf:me/tiny-GGUF:tiny.gguf"
    with pytest.raises(CatalogueError, match=f"run `blendin models pull {source}`"):
        catalogue.resolve_model(source)
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    write_record(catalogue.model(source), [Pulled(file, "")])
    assert load_catalogue().resolve_model(source) == file


def test_sources_given_in_full_have_names_of_their_own() -> None:
    catalogue = load_catalogue()
    entry = catalogue.model("hf:me/tiny-GGUF:*Q4_K_M.gguf")
    assert entry.sources == ("hf:me/tiny-GGUF:*Q4_K_M.gguf",)
    assert entry.name == "me-tiny-GGUF-Q4_K_M.gguf"
    assert catalogue.model("https://example.org/a/b.gguf").name == "example.org-a-b.gguf"


# Saving ------------------------------------------------------------------------------------------------

TUNED = PairEntry(
    name="mine.v2",
    base="my base.gguf",
    guide="hf:me/x:y.gguf",
    description='A "quoted" \\ description \u2028 with \x7f everything\n',
    blend=BlendSettings(method="tuned", prior=-1.75, gamma=0.55),
    sampling=SamplingSettings(temperature=0.7),
    calibration={"base": ((0.0, 1e-7, 1.0), (0.1, 0.2, 0.9)), "guide": ((0.0, 1.0), (0.0, 1.0))},
)


def same(pair: PairEntry, other: PairEntry) -> bool:
    fields = ("name", "base", "guide", "description", "blend", "sampling", "calibration")
    return all(getattr(pair, field) == getattr(other, field) for field in fields)


def test_saved_pair_comes_back_whole() -> None:
    assert save_pair(TUNED) == user_catalogue_file()
    assert same(load_catalogue().pair("mine.v2"), TUNED)
    first = user_catalogue_file().read_text("utf-8")
    save_pair(TUNED)
    assert user_catalogue_file().read_text("utf-8") == first


def test_saving_keeps_comments_order_and_other_entries() -> None:
    before = """# My pairs.
[models.a]
sources = ["/a.gguf"]  # on the big disk

[pairs."mine.v2"]  # tuned last week
base = "x"  # the large one
guide = "y"
[pairs."mine.v2".blend]
gamma = 0.1

# This one is dear to me.
[pairs.other]
base = "a"
guide = "a"
description = '''
[not a table]
'''
"""
    file = user_file(before)
    save_pair(TUNED)
    after = file.read_text("utf-8")
    assert '# My pairs.\n[models.a]\nsources = ["/a.gguf"]  # on the big disk\n' in after
    # The entry is edited where it stands, and the comment of the next one stays in front of that.
    assert '[pairs."mine.v2"]  # tuned last week\n' in after
    assert f'base = "{TUNED.base}"  # the large one\n' in after
    assert after.endswith(before[before.index("# This one is dear to me.\n[pairs.other]") :])
    catalogue = load_catalogue()
    assert same(catalogue.pair("mine.v2"), TUNED)
    assert catalogue.pair("other").base == "a"


@pytest.mark.parametrize(
    "text",
    [
        'pairs.demo = {base = "a", guide = "b"}  # short\n',
        '[pairs]\ndemo = {base = "a", guide = "b"}  # short\n',
        '# short\n[pairs.x]\nbase = """\n[pairs.demo]\n"""\nguide = "b"\n',
        '[pairs.demo]  # short\nbase = "a"\n[models.m]\nsources = ["/m"]\n[pairs.demo.blend]\ngamma = 0.5\n',
        '[pairs.demo]  # short\r\nbase = "a"\r\nguide = "b"\r\n',
    ],
)
def test_saving_edits_every_form_of_table(text: str) -> None:
    file = user_file(text)
    before = tomllib.loads(text)
    wanted = replace(TUNED, name="demo")
    save_pair(wanted)
    after = tomllib.loads(file.read_text("utf-8"))
    assert same(load_catalogue().pair("demo"), wanted)
    assert after.get("models") == before.get("models")
    assert after["pairs"].get("x") == before["pairs"].get("x")
    assert "# short" in file.read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "name", "remedy"),
    [
        ('pairs = {x = {base = "a", guide = "b"}}\n', "demo", "so write it as [pairs.demo] first."),
        ('pairs = {x = {base = "a", guide = "b"}}\n', "a.b", 'so write it as [pairs."a.b"] first.'),
        ('pairs.demo.base = "a"\npairs.demo.guide = "b"\n', "demo", "so write it as [pairs.demo] first."),
        ("[pairs]\ndemo = 3\n", "demo", "so write it as [pairs.demo] first."),
        ("pairs = 3\n", "demo", "so delete it first."),
        ("[[pairs]]\nx = 1\n", "demo", "so delete it first."),
    ],
)
def test_a_file_that_cannot_be_edited_stays_as_it_is(text: str, name: str, remedy: str) -> None:
    file = user_file(text)
    with pytest.raises(CatalogueError, match=f"The pair {re.escape(name)} cannot be saved in ") as caught:
        save_pair(PairEntry(name=name, base="a", guide="b"))
    assert str(caught.value).endswith(remedy)
    assert file.read_text("utf-8") == text
    assert os.listdir(file.parent) == ["pairs.toml"]


def test_saving_into_a_broken_or_forbidden_file_is_one_sentence(tmp_path: Path) -> None:
    user_file("[broken")
    with pytest.raises(CatalogueError, match="cannot be saved"):
        save_pair(TUNED)
    with pytest.raises(CatalogueError, match="cannot be saved"):
        save_pair(TUNED, tmp_path / "config" / "pairs.toml" / "below.toml")


@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    gamma=st.floats(0, 1),
    points=st.lists(st.floats(0, 1), min_size=1, unique=True).map(sorted),
)
def test_any_text_and_number_survives_saving(base: str, gamma: float, points: list[float]) -> None:
    curve = (tuple(points), tuple(points))
    pair = PairEntry(
        "p", base, "g", blend=BlendSettings(gamma=gamma), calibration={"base": curve, "guide": curve}
    )
    assert same(load_catalogue(save_pair(pair)).pair("p"), pair)


@pytest.mark.parametrize("name", ["mine", "tuned"])
def test_saving_keeps_the_line_ends_of_windows(name: str) -> None:
    file = user_catalogue_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b'# Mine\r\n[pairs.mine]\r\nbase = "a"\r\nguide = "b"\r\n')
    save_pair(replace(TUNED, name=name))
    data = file.read_bytes()
    assert data.startswith(b"# Mine\r\n") and data.count(b"\n") == data.count(b"\r\n")


def test_saved_file_is_plain_toml() -> None:
    save_pair(TUNED)
    document = tomllib.loads(user_catalogue_file().read_text("utf-8"))
    assert document["pairs"]["mine.v2"]["blend"]["prior"] == -1.75
    # Settings are written in full, so that a later default does not change the pair.
    assert set(document["pairs"]["mine.v2"]["sampling"]) == set(SamplingSettings.__dataclass_fields__)


def test_entries_are_values() -> None:
    assert ModelEntry("a", ("b",)) == ModelEntry("a", ("b",))
    with pytest.raises(AttributeError):
        ModelEntry("a", ("b",)).name = "c"  # type: ignore[misc]
