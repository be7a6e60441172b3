"""What version 0.1.0 wrote is still read: its conversations, the output of a batch, a record, preferences."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.paths import TESTS
from support.tiny_gguf import never_ending, write_tiny

from blendin_local.cli import main
from blendin_local.history.store import Store
from blendin_local.models.catalogue import load_catalogue
from blendin_local.preferences.preferences import load_preferences

FILES = TESTS / "fixtures" / "version-0.1.0"
PAIR = ("--base", "base.gguf", "--guide", "guide.gguf")
VARYING = ("timings", "tokens_per_second")


@pytest.fixture
def pair_here(here: Path) -> Path:
    """The folder of the test, with the two models that the files were written with."""
    write_tiny(here / "base.gguf", n_ctx_train=1 << 16, bias=never_ending())
    write_tiny(here / "guide.gguf", vocabulary="bpe", n_ctx_train=1 << 16, bias=never_ending("bpe"))
    return here


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments])


def test_conversations_are_read_with_every_step(tmp_path: Path) -> None:
    shutil.copy(FILES / "conversations.db", tmp_path / "chats.db")
    with closing(Store(tmp_path / "chats.db")) as store:
        (listed,) = store.list()
        kept = store.open(listed.id)
        asked, reply = kept.tree.turns.values()
        steps = store.load_steps(reply.id)
    assert (asked.role, asked.text) == ("user", "Name a colour.")
    assert reply.text == "wereayeople has"
    assert [step.text for step in steps] == ["were", "ay", "eople", " has"]
    assert sum(step.intervened for step in steps) == 2


@pytest.mark.usefixtures("pair_here")
def test_the_output_of_a_batch_is_known_to_be_complete(here: Path) -> None:
    for name in ("rows.jsonl", "answers.jsonl"):
        shutil.copy(FILES / name, here / name)
    before = (here / "answers.jsonl").read_bytes()
    again = ("generate", *PAIR, "-i", "rows.jsonl", "-o", "answers.jsonl", "--temperature", "0.7", "--steps")
    done = invoked(*again, "-n", "4", "-q")
    assert done.exit_code == 1, done.output
    assert (here / "answers.jsonl").read_bytes() == before

    other = invoked(*again, "-n", "5", "-q")
    assert other.exit_code == 2
    assert "(--max-tokens is 5 and was 4)" in other.output


def test_a_record_gives_the_figures_that_it_gave() -> None:
    known = json.loads((FILES / "tune.json").read_text("utf-8"))
    done = invoked("tune", "--from", str(FILES / "record.npz"), "--json", "-q")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    settings = found.pop("settings")
    assert settings_of(settings) == settings_of(known.pop("settings"))
    for name, value in known.items():
        assert almost(found[name]) == almost(value), name


def settings_of(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["method"], row["gamma"], pytest.approx(row["bits_per_byte"], nan_ok=True)) for row in rows]


def almost(value: Any) -> Any:
    """The value with its floats rounded: the last digits are the processor's own."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: almost(each) for name, each in value.items()}
    return [almost(each) for each in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("pair_here")
def test_a_reply_has_the_same_text_and_keys() -> None:
    known = json.loads((FILES / "reply.json").read_text("utf-8"))
    done = invoked("generate", *PAIR, "Name a colour.", "-n", "4", "--json", "--seed", "3")
    found = json.loads(done.stdout)
    assert list(found) == list(known)
    assert [list(found[name]) for name in ("settings", "usage", "summary", "timings")] == [
        list(known[name]) for name in ("settings", "usage", "summary", "timings")
    ]
    for name in known.keys() - {*VARYING, "summary"}:
        assert found[name] == known[name], name
    assert almost_as(found["summary"], known["summary"])


def almost_as(found: dict[str, Any], known: dict[str, Any]) -> bool:
    return all(
        pytest.approx(value, abs=1e-4) == found[name] for name, value in known.items() if value is not None
    )


def test_preferences_and_catalogue_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.toml").write_text(
        '# By hand\n[chat]\nview = "tokens"\nhint_rate = 0.3\n[generation]\ngamma = 0.5\ntau = 0.25\n'
        'stop = ["END"]\n[models]\nn_ctx = 512\nbase_format = "chat"\n'
    )
    (folder / "pairs.toml").write_text(
        '[models.mine]\nsources = ["mine.gguf"]\n\n[pairs.ours]\nbase = "mine"\nguide = "other.gguf"\n'
        '[pairs.ours.blend]\nmethod = "tuned"\nprior = -1.5\n[pairs.ours.sampling]\ntemperature = 0.2\n'
        "[pairs.ours.calibration.base]\nconfidences = [0.1, 0.9]\nreliabilities = [0.2, 0.8]\n"
        "[pairs.ours.calibration.guide]\nconfidences = [0.1, 0.9]\nreliabilities = [0.1, 0.7]\n"
    )
    preferences = load_preferences()
    assert (preferences.chat.view, preferences.chat.hint_rate) == ("tokens", 0.3)
    assert (preferences.models.n_ctx, preferences.formats.base) == (512, "chat")
    entry = load_catalogue().pair("ours")
    settings = preferences.settings(entry.blend, entry.sampling)
    assert (settings.blend.method, settings.blend.prior, settings.blend.gamma) == ("tuned", -1.5, 0.5)
    assert settings.sampling.temperature == 0.2
    assert entry.calibration is not None
