"""`blendin generate --input` and its files: none that is read is written over; how a job goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.batch_commands import one_sentence, pair_in, prompts, results_in, texts_in, write_rows

from blendin_local.batch import run_manifest as identity
from blendin_local.cli import main
from blendin_local.engine import prompts as prompts_module
from blendin_local.errors import ModelError
from blendin_local.models import loading

DATED = (
    "{{ strftime_now('%H') }}:{% for m in messages %}{{ m.content }} {% endfor %}{{ strftime_now('%d %B') }}"
)

Command = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return pair_in(tmp_path_factory.mktemp("models"))


@pytest.fixture
def command(pair: list[str]) -> Command:
    """`blendin generate PAIR -i in.jsonl` and more options; exit: the code it must end with."""

    def command(*options: str, exit: int = 0) -> Result:
        result = CliRunner().invoke(main, ["generate", *pair, "-n", "6", "-i", "in.jsonl", *options])
        assert result.exit_code == exit, (result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return command


# None that is read is written over


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["-i", "-", "-o", "in.jsonl", "--overwrite"],
        ["-i", "/dev/stdin", "-o", "in.jsonl", "--overwrite"],
        ["-i", "in.jsonl", "-o", "-"],
        ["-i", "in.jsonl", "-o", "other name", "--overwrite"],
        ["-i", "-", "-o", "out.jsonl", "--report", "in.jsonl"],
    ],
    ids=" ".join,
)
def test_an_input_is_never_its_own_output(pair: list[str], options: list[str]) -> None:
    """It would be read for ever."""
    path = write_rows(Path("in.jsonl"), prompts(3))
    Path("other name").hardlink_to(path)
    before = path.read_bytes()
    with path.open() as stdin, path.open("a") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "blendin_local", "generate", *pair, "-n", "6", *options],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, path.read_bytes()) == (2, before)
    one_sentence(done.stderr, "this command", "name another file")


@pytest.mark.parametrize("flag", ["--base-format", "--guide-format"])
def test_a_prompt_template_is_never_written_over(command: Command, flag: str) -> None:
    write_rows(Path("in.jsonl"), prompts(1))
    Path("mine.jinja").write_text("{{ messages[0].content }}")
    Path("link").hardlink_to("mine.jinja")
    for out in ("mine.jinja", "link"):
        for place in (["-o", out], ["-o", "out.jsonl", "--report", out]):
            stderr = command(*place, flag, "mine.jinja", "--overwrite", exit=2).stderr
            one_sentence(stderr, out, "name another file")
    assert Path("mine.jinja").read_text() == "{{ messages[0].content }}"


def test_a_model_is_never_written_over_by_another_of_its_names(command: Command, pair: list[str]) -> None:
    write_rows(Path("in.jsonl"), prompts(1))
    Path("link").symlink_to(pair[1])
    before = Path(pair[1]).read_bytes()
    one_sentence(command("-o", "link", "--overwrite", exit=2).stderr, "name another file")
    assert Path(pair[1]).read_bytes() == before


def test_a_model_that_cannot_be_loaded_costs_no_answers(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(Path("in.jsonl"), prompts(2))
    command("-o", "out.jsonl")
    before = Path("out.jsonl").read_bytes()

    def load(*_arguments: object, **_options: object) -> None:
        raise ModelError("There is no memory.")

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_pair", load)
        assert "no memory" in command("-o", "out.jsonl", "--overwrite", "--gamma", "0.9", exit=2).stderr
    assert Path("out.jsonl").read_bytes() == before
    command("-o", "out.jsonl", "--overwrite", "--gamma", "0.9")
    found = results_in(Path("out.jsonl")).values()
    assert [result["settings"]["blend"]["gamma"] for result in found] == [0.9, 0.9]


# What goes on


class Clock(datetime):
    """Stands where it is set."""

    at = datetime(2026, 3, 1, 23, 59, 58)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Clock]]:
    for module in (identity, prompts_module):
        monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(Clock, "at", Clock.at)
    yield Clock


def test_a_job_that_goes_on_after_midnight_shows_the_date_of_its_beginning(
    command: Command, clock: type[Clock]
) -> None:
    Path("mine.jinja").write_text(DATED)
    write_rows(Path("in.jsonl"), prompts(6))
    dated = ["--base-format", "mine.jinja", "--guide-format", "mine.jinja"]
    command("-o", "whole.jsonl", *dated)
    command("-o", "out.jsonl", "--limit", "3", *dated)
    clock.at = datetime(2026, 3, 2, 0, 0, 1)
    command("-o", "out.jsonl", *dated)
    assert texts_in(Path("out.jsonl")) == texts_in(Path("whole.jsonl"))
    dates = {result["settings"]["date"] for result in results_in(Path("out.jsonl")).values()}
    assert dates == {"2026-03-01T23:59:58"}
    command("-o", "out.jsonl", "--overwrite", *dated)
    found = results_in(Path("out.jsonl"))
    assert {result["settings"]["date"] for result in found.values()} == {"2026-03-02T00:00:01"}
    # The date is in the prompts: others are answered.
    assert texts_in(Path("out.jsonl")) != texts_in(Path("whole.jsonl"))
    command("-o", "plain.jsonl")
    assert all("date" not in result["settings"] for result in results_in(Path("plain.jsonl")).values())


def test_rows_that_were_too_long_are_answered_in_a_longer_context(command: Command) -> None:
    long = {"id": "long", "prompt": "the water of the world " * 12}
    write_rows(Path("in.jsonl"), [*prompts(2), long])
    stderr = command("-o", "out.jsonl", "--n-ctx", "64", exit=1).stderr
    assert "too long for the context: give --retry-failed and a larger --n-ctx" in " ".join(stderr.split())
    before = results_in(Path("out.jsonl"))
    assert before["long"]["error"]["kind"] == "too long"
    command("-o", "out.jsonl", "--n-ctx", "256", "--retry-failed")
    after = results_in(Path("out.jsonl"))
    assert after["long"]["error"] is None and after["long"]["text"]
    assert all(after[id] == before[id] for id in before if id != "long")
    command("-o", "whole.jsonl", "--n-ctx", "256")
    assert texts_in(Path("out.jsonl")) == texts_in(Path("whole.jsonl"))
