"""`blendin tune` on tiny models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import write_tiny

from blendin_local.cli import main
from blendin_local.files import cache_dir
from blendin_local.methods import METHODS
from blendin_local.models.catalogue import load_catalogue
from blendin_local.tune import passes
from blendin_local.tune.costs import measure_costs
from blendin_local.tune.record import load_noted_record, load_record, save_record
from blendin_local.tune.scoring import score_text
from blendin_local.tune.setting_scores import FIXED_ALPHAS, GAMMAS

FAST = ("--threads", "1", "--n-ctx", "512")
ANSWERS = (
    "the people of the world are many", "it was said that he could not see", "Paris is the capital of France",
    "no more than two of them", "the water could be found there", "she would like to know when",
    "first he made it, then he said so", "hello world, the number is 3",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_tiny(folder / "base.gguf", vocabulary="spm", seed=1, sharp=2.0)
    write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2, sharp=2.0)
    write_tiny(folder / "other.gguf", vocabulary="spm", seed=3, sharp=2.0)
    rows = [{"id": f"n{n}", "prompt": f"Say {n}.", "response": said} for n, said in enumerate(ANSWERS)]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    many = [row | {"id": f"{row['id']}-{turn}", "prompt": f"{turn}?"} for turn in range(4) for row in rows]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, many)), "utf-8")
    return folder


@pytest.fixture
def models(folder: Path) -> list[str]:
    return ["--base", str(folder / "base.gguf"), "--guide", str(folder / "guide.gguf")]


@pytest.fixture
def asked(folder: Path, models: list[str]) -> list[str]:
    return [*models, *FAST, "--data", str(folder / "answers.jsonl")]


@pytest.fixture
def asked_more(folder: Path, models: list[str]) -> list[str]:
    """Enough answers for a setting to be saved."""
    return [*models, *FAST, "--data", str(folder / "many.jsonl")]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["tune", *arguments])


def tuned(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json", "--quiet")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    document: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    return document


def refusal(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    said = result.stderr.strip().removeprefix("Error: ")
    assert said.endswith((".", "?")) and "\n" not in said and "Traceback" not in said, said
    return said


def steady(document: dict[str, Any]) -> dict[str, Any]:
    """All that does not depend on a clock."""
    kept = json.loads(json.dumps(document))
    kept.pop("seconds")
    kept.pop("costs")
    for row in (
        kept["base"],
        kept["guide"],
        kept["best"],
        kept["recommendation"]["setting"],
        *kept["settings"],
    ):
        for name in ("tokens_per_second", "tokens_per_second_interval", "bytes_per_second", "pareto"):
            row.pop(name, None)
    return dict(kept)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The answers that models were made to read."""
    names: list[str] = []

    def spy(pair: Any, text: Any, *others: Any) -> Any:
        names.append(text.id)
        return score_text(pair, text, *others)

    monkeypatch.setattr(passes, "score_text", spy)
    return names


SETTING = {
    "method", "gamma", "alpha", "prior", "bits_per_byte", "interval", "fitting_bits_per_byte",
    "held_out_bits_per_byte", "held_out_interval", "intervention_rate", "intervention_rate_interval",
    "tokens_per_second", "tokens_per_second_interval", "bytes_per_second", "floored", "pareto",
}  # fmt: skip


def test_the_document_has_what_is_promised(asked: list[str]) -> None:
    document = tuned(*asked)
    assert {
        "pair", "references", "base", "guide", "settings", "best", "recommendation", "prior", "calibration",
        "uncertain", "hint", "verdict", "costs", "seconds", "versions",
    } <= document.keys()  # fmt: skip
    references = document["references"]
    assert (references["examples"], references["skipped"], references["seed"]) == (8, 0, 0)
    assert references["bytes"] == sum(len(said.encode()) for said in ANSWERS)
    assert references["held_out_examples"] == 4 and references["source"] == asked[-1]
    for role in ("base", "guide"):
        row = document[role]
        assert {
            "bits_per_byte",
            "interval",
            "tokens_per_second",
            "bytes_per_second",
            "accuracy",
        } <= row.keys()
        assert row["interval"][0] <= row["bits_per_byte"] <= row["interval"][1]
        assert row["tokens_per_second"] > 0 and 0 <= row["accuracy"] <= 1
        assert {"curve", "ece_raw", "ece_fitted", "bins", "fitted_on", "measured_on"} <= (
            document["calibration"][role].keys()
        )
    assert all(row.keys() >= SETTING for row in document["settings"])
    assert {row["method"] for row in document["settings"]} == set(METHODS)
    assert len(document["settings"]) == 3 + 11 * (len(METHODS) - 4 + len(FIXED_ALPHAS))
    assert document["best"] in document["settings"]
    assert document["recommendation"]["setting"] in document["settings"]
    assert document["recommendation"]["single"] in ("base", "guide")
    assert [each["gamma"] for each in document["prior"]["per_gamma"]] == list(GAMMAS)
    assert document["pair"]["base"] == asked[1] and len(document["pair"]["base_fingerprint"]) == 64
    assert document["pair"]["same_vocabulary"] is False
    assert document["costs"]["base_s"] > 0 and document["seconds"]["pass"] > 0
    assert {"blendin_local", "llama_cpp_python"} <= document["versions"].keys()
    assert isinstance(document["verdict"], str) and document["verdict"]
    assert document["hint"]["level"] == 0.2


def test_figures_follow_from_the_record(asked: list[str], tmp_path: Path) -> None:
    path = tmp_path / "it.npz"
    document = tuned(*asked, "--record", str(path))
    record = load_record(path)
    bits = -np.log2(record.p_base.astype(float)).sum() / record.bytes.sum()
    assert document["base"]["bits_per_byte"] == pytest.approx(bits)
    assert document["guide"]["bits_per_byte"] == pytest.approx(record.guide_bits.sum() / record.bytes.sum())
    assert document["references"]["positions"] == len(record)
    assert set(record.ids) == {f"n{n}" for n in range(8)} and list(record.ids) != sorted(record.ids)


def test_tables_for_people(asked: list[str]) -> None:
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "bits" in result.stdout and "blendin" in result.stdout
    assert "Traceback" not in result.output
    again = run(*asked)
    assert "Measured by an earlier run; --fresh measures anew." in again.stderr


def test_pages_and_tables_as_files(asked: list[str], tmp_path: Path) -> None:
    page, markdown = tmp_path / "page.html", tmp_path / "page.md"
    tuned(*asked, "-n", "40", "--report", str(page), "--markdown", str(markdown))
    assert "<html" in page.read_text("utf-8")[:200].lower() and "|" in markdown.read_text("utf-8")


# What is kept


def test_the_same_command_reads_nothing_again(asked: list[str], read: list[str]) -> None:
    first = tuned(*asked)
    assert len(read) == 8
    assert tuned(*asked) == {
        **first,
        "seconds": tuned(*asked)["seconds"] | {"analysis": pytest.approx(0, abs=60)},
    }
    assert len(read) == 8
    assert steady(tuned(*asked, "--fresh")) == steady(first)
    assert len(read) == 16


def test_more_tokens_add_and_fewer_select(asked: list[str], read: list[str]) -> None:
    some = tuned(*asked, "-n", "15")
    count = len(read)
    assert 1 < count < 8 and some["references"]["examples"] == count
    everything = tuned(*asked)
    assert len(read) == len(set(read)) == 8
    assert steady(tuned(*asked, "-n", "15")) == steady(some)
    assert len(read) == 8 and everything["references"]["positions"] > some["references"]["positions"] >= 15


@pytest.mark.parametrize(
    "change",
    [
        ["--seed", "1"], ["--system", "Be kind."], ["--raw"], ["--guide-format", "user-assistant"],
        ["--n-ctx", "300"], ["--kv-type", "f32"], ["--guide", "OTHER"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_another_question_is_another_pass(
    folder: Path, asked: list[str], read: list[str], change: list[str]
) -> None:
    tuned(*asked, "-n", "5")
    count = len(read)
    tuned(*asked, "-n", "5", *[str(folder / "other.gguf") if part == "OTHER" else part for part in change])
    assert len(read) > count
    assert len(list((cache_dir() / "records").iterdir())) == 2


def test_other_threads_cost_a_measurement_only(
    asked: list[str], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def spy(pair: Any, text: Any, *others: Any) -> Any:
        measured.append(text.id)
        return measure_costs(pair, text, *others)

    monkeypatch.setattr(passes, "measure_costs", spy)
    for threads, times in (("1", 1), ("2", 2), ("2", 2)):
        tuned(*asked, "-n", "5", "--threads", threads)
        assert len(measured) == times
    assert len(read) == len(set(read))


def test_a_longer_context_reads_what_was_too_long(folder: Path, asked: list[str], tmp_path: Path) -> None:
    """The advice of the message must help: what was left out was kept as left out, whatever the context."""
    long = tmp_path / "long.jsonl"
    rows = [{"prompt": "Say.", "response": "the people " * n} for n in (3, 4, 60)]
    long.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    given = [*asked[:-1], str(long)]
    result = run(*given, "--n-ctx", "100", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["references"]["skipped"] == 1
    assert "1 answer was left out. 3 is too long for" in result.stderr
    assert tuned(*given)["references"]["skipped"] == 0


def test_a_damaged_pass_heals(asked: list[str], read: list[str]) -> None:
    first = tuned(*asked)
    (kept,) = (cache_dir() / "records").iterdir()
    for part in kept.glob("part-*"):
        part.write_bytes(b"PK")
    assert steady(tuned(*asked)) == steady(first)
    (kept / "progress.json").write_text("{")
    assert steady(tuned(*asked)) == steady(first)
    assert len(read) == 24


# Records as files


def test_a_record_is_analysed_without_models(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it.npz"
    first = tuned(*asked, "-n", "40", "--record", str(path), "--seed", "3")
    monkeypatch.setattr(
        "blendin_local.models.loading.locate_pair", lambda *given: pytest.fail("looked for models")
    )
    again = tuned("--from", str(path), "--seed", "3")
    first.pop("seconds"), again.pop("seconds")
    assert again == first
    assert tuned("--from", str(path), "--seed", "4")["references"]["seed"] == 4


def test_records_that_cannot_be_used(asked: list[str], tmp_path: Path) -> None:
    path = tmp_path / "it.npz"
    assert "cannot be read: No such file" in refusal("--from", str(path))
    path.write_text("hello")
    assert "is not a record of `blendin tune`" in refusal("--from", str(path))
    tuned(*asked, "-n", "5", "--record", str(path))
    record, notes = load_noted_record(path)
    about = json.loads(notes)
    for bad in (
        "", "[]", "3", "[" * 99_999,
        json.dumps({**about, "costs": {"base_s": 1}}), json.dumps({**about, "costs": None}),
        json.dumps({**about, "pair": {"name": "x"}}), json.dumps({**about, "pair": []}),
        json.dumps({**about, "seconds": "long"}), json.dumps({**about, "versions": 3}),
        json.dumps({name: value for name, value in about.items() if name != "source"}),
        json.dumps({**about, "costs": {**about["costs"], "guide_s": []}}),
    ):  # fmt: skip
        save_record(record, path, bad)
        assert "is a record without its notes" in refusal("--from", str(path)), bad
    save_record(record, path, json.dumps({**about, "new": 1, "pair": {**about["pair"], "new": 2}}))
    assert tuned("--from", str(path))["pair"] == about["pair"]
    save_record(record.select([]), path, notes)
    refusal("--from", str(path))


# Saved


def test_what_is_saved_is_used(asked_more: list[str], models: list[str]) -> None:
    asked = asked_more
    result = run(*asked, "--save", "--name", "mine", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    chosen = document["recommendation"]["setting"]
    assert "Saved as the pair mine in " in result.stderr
    entry = load_catalogue().pairs["mine"]
    assert entry.blend.method == chosen["method"] and (entry.base, entry.guide) == (models[1], models[3])
    for name in ("gamma", "alpha", "prior"):
        assert chosen[name] is None or getattr(entry.blend, name) == chosen[name]
    assert entry.calibration is not None
    for role in ("base", "guide"):
        curve = document["calibration"][role]["curve"]
        confidences, reliabilities = entry.calibration[role]
        assert list(confidences) == pytest.approx(curve["confidences"])
        assert list(reliabilities) == pytest.approx(curve["reliabilities"])

    arguments = ["generate", "--pair", "mine", *FAST, "-n", "8", "--json", "--steps", "hello world"]
    written = CliRunner().invoke(main, arguments)
    assert written.exit_code == 0, written.output
    reply = json.loads(written.stdout)
    assert reply["settings"]["blend"]["method"] == chosen["method"]
    role = "r_g" if chosen["method"] == "guide" else "r_b"
    curve = document["calibration"]["guide" if chosen["method"] == "guide" else "base"]["curve"]
    low, high = min(curve["reliabilities"]), max(curve["reliabilities"])
    assert all(low - 1e-6 <= step[role] <= high + 1e-6 for step in reply["steps"])
    # By its name it is the same pair: what was measured counts, and --save needs no name any more.
    again = run("--pair", "mine", *asked[4:], "--save")
    assert again.exit_code == 0, again.output
    assert "Measured by an earlier run" in again.stderr and "Saved as the pair mine" in again.stderr


def test_too_few_answers_are_not_saved(asked: list[str]) -> None:
    result = run(*asked, "--save", "--name", "mine")
    assert result.exit_code == 2 and "bits per byte" in result.stdout
    assert "too few to tune a pair by, so nothing was saved" in result.stderr
    assert "mine" not in load_catalogue().pairs


def test_a_pair_is_saved_with_whole_paths(
    asked_more: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Saved as they were typed, the models could not be found from another folder."""
    monkeypatch.chdir(folder)
    result = run("--base", "base.gguf", "--guide", "guide.gguf", *asked_more[4:], "--save", "--name", "mine")
    assert result.exit_code == 0, result.output
    monkeypatch.chdir(tmp_path)
    entry = load_catalogue().pairs["mine"]
    assert (entry.base, entry.guide) == (str(folder / "base.gguf"), str(folder / "guide.gguf"))


def test_no_result_is_written_over_what_is_read_or_over_another(asked: list[str], tmp_path: Path) -> None:
    data = asked[-1]
    before = Path(data).read_bytes()
    assert "is read by this command" in refusal(*asked, "--record", data)
    assert Path(data).read_bytes() == before
    same = str(tmp_path / "same")
    assert "is also the file of --markdown" in refusal(*asked, "--markdown", same, "--report", same)


def test_what_decides_the_pass_is_refused_beside_a_record(asked: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "it.npz")
    tuned(*asked, "--record", path)
    for typed in (("--max-tokens", "5"), ("--n-ctx", "77"), ("--base-format", "raw"), ("--pair", "demo")):
        assert f"{typed[0]} has no effect with --from" in refusal("--from", path, *typed)


def test_a_record_can_be_saved_from(asked_more: list[str], tmp_path: Path) -> None:
    path = tmp_path / "it.npz"
    tuned(*asked_more, "--record", str(path))
    assert "have no name as a pair yet: add --name" in refusal("--from", str(path), "--save")
    assert run("--from", str(path), "--save", "--name", "later").exit_code == 0
    assert load_catalogue().pairs["later"].calibration is not None


# Tasks


def test_worked_answers_of_a_task(models: list[str], tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    rows = [
        {"question": f"What is {n} and 2?", "answer": f"It is the sum of {n} and 2.\n#### {n + 2}"}
        for n in range(4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    document = tuned(*models, *FAST, "--task", "gsm8k", "--data", str(path))
    assert document["references"]["source"] == f"gsm8k: {path}"
    assert document["references"]["examples"] == 4
    assert "needs the file of its questions: add --data FILE" in refusal(*models, "--task", "gsm8k")
    assert "There is no task 'gsm9k'" in refusal(*models, "--task", "gsm9k", "--data", str(path))
    path.write_text(json.dumps({"prompt": "Why?", "answer": "no", "match": "contains"}), "utf-8")
    assert "no worked answers" in refusal(*models, "--task", "custom", "--data", str(path))


def test_the_built_in_answers(models: list[str], read: list[str]) -> None:
    document = tuned(*models, *FAST, "-n", "200")
    assert document["references"]["source"] == "the built-in answers"
    assert document["references"]["positions"] >= 200 and len(read) < 10


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "x"], "--name needs --save: give both."),
        (["--save"], "These two models have no name as a pair yet: add --name NAME to --save."),
        (["--save", "--name", "a b"], "--name may hold only letters, digits and . _ -, not 'a b'."),
        (["--data", "none.jsonl"], "There is no file none.jsonl."),
        (["--record", "none/it.npz"], "--record none/it.npz cannot be written: there is no folder none."),
        (["--report", "none/it.html"], "there is no folder none."),
        (["--markdown", "none/it.md"], "there is no folder none."),
        (["--n-ctx", "-3"], "--n-ctx must be between"),
        (["--guide-format", "nope"], "Unknown prompt format 'nope'"),
        (["--base", "nope.gguf"], "nope.gguf"),
        (["--pair", "nope"], "nope"),
        (["--from", "it.npz", "--fresh"], "--base has no effect with --from"),
        (["--from", "it.npz"], "--base has no effect with --from"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr("blendin_local.models.loading.load_pair", lambda *given, **_: pytest.fail("loaded"))
    monkeypatch.chdir(tmp_path)
    assert said in refusal(*asked, *arguments)


@pytest.mark.parametrize(
    "flag", ["--system=x", "--raw", "--fresh", "--data=x", "--record=y.npz", "--pair=demo"]
)
def test_what_a_record_has_decided_already(flag: str, tmp_path: Path) -> None:
    name = flag.partition("=")[0]
    assert f"{name} has no effect with --from" in refusal("--from", str(tmp_path / "it.npz"), flag)


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--seed", "-1"], ["--nonsense"], ["-n", "many"]])
def test_what_click_refuses(asked: list[str], arguments: list[str]) -> None:
    result = run(*asked, *arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_where_nothing_fits(asked: list[str]) -> None:
    said = refusal(*asked, "--n-ctx", "8", "--quiet")
    assert said.startswith("None of the reference answers could be scored: n")
    assert "is too long for base, whose context holds" in said and "longer context" in said


def test_a_report_without_its_library(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr("blendin_local.models.loading.load_pair", lambda *given, **_: pytest.fail("loaded"))
    assert "blendin-local[report]" in refusal(*asked, "--report", str(tmp_path / "r.html"))


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="other permissions there")
def test_a_cache_that_cannot_be_written(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passes, "save_record", full)
    said = refusal(*asked, "--quiet")
    assert "No space left on device" in said


# Stopped


@pytest.fixture
def heard() -> Iterator[None]:
    """A program that runs in the background may have been started deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


on_unix = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C there")


@on_unix
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_keeps_what_was_scored(
    asked: list[str], read: list[str], heard: None, monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    expected = tuned(*asked, "--fresh")
    for part in (cache_dir() / "records").glob("*/*"):
        part.unlink()
    read.clear()
    spied = passes.score_text  # type: ignore[attr-defined]

    def press(pair: Any, text: Any, *others: Any) -> Any:
        if len(read) == 3:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        return spied(pair, text, *others)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "score_text", press)
        result = run(*asked)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Traceback" not in result.stderr
    if presses == 1:
        assert "positions: the same command resumes." in result.stderr
    done = len(read) - (presses == 1)
    assert done == 3
    assert steady(tuned(*asked)) == steady(expected)
    assert len(read) == 8 + (presses == 1)


@on_unix
def test_ctrl_c_while_the_speed_is_measured(
    asked: list[str], read: list[str], heard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every position was scored by then, and there was a NameError in place of that."""

    def press(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return measure_costs(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "measure_costs", press)
        result = run(*asked)
    assert (result.exit_code, result.stdout) == (130, ""), result.output
    assert "positions: the same command resumes." in result.stderr
    tuned(*asked)
    assert len(read) == 8


@on_unix
def test_killed_in_a_process_of_its_own(asked: list[str], read: list[str]) -> None:
    command = [sys.executable, "-m", "blendin_local", "tune", *asked, "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        # Whether it is loading, scoring or done by then: the same command gives the same.
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
    _, stderr = process.communicate()
    assert b"Traceback" not in stderr
    assert tuned(*asked)["references"]["examples"] == 8


def test_help_is_there_at_once() -> None:
    code = (
        "import sys\n"
        "from blendin_local.cli.tune import tune\n"
        "tune(['--help'], standalone_mode=False)\n"
        "loaded = [n for n in ('llama_cpp', 'scipy', 'plotly', 'rich', 'jinja2') if n in sys.modules]\n"
        "print('LOADED', loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--max-tokens" in done.stdout and "LOADED" in done.stdout
