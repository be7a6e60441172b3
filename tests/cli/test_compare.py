"""`blendin compare` on tiny models."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.paths import ROOT
from support.tiny_gguf import write_tiny

from blendin_local.cli.compare import compare
from blendin_local.cli.compare_specs import task_specs
from blendin_local.compare import request
from blendin_local.compare import writing as running
from blendin_local.compare.plan import ARM_KEYS, RUN_KEYS, TASK_KEYS
from blendin_local.compare.settings import TaskSpec
from blendin_local.errors import BlendinError, EvaluationError
from blendin_local.preferences.preferences import load_preferences


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    write_tiny(folder / "base.gguf", vocabulary="spm", seed=1)
    write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2)
    write_tiny(folder / "other.gguf", vocabulary="spm", seed=3)
    rows = [{"prompt": f"hello world {n}", "answer": "the", "match": "contains"} for n in range(5)]
    (folder / "made.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    exam = [
        {"question": f"which {n}", "A": "the", "B": "world", "C": "Paris", "D": "no", "answer": "B"}
        for n in range(3)
    ]
    (folder / "exam.jsonl").write_text("\n".join(map(json.dumps, exam)), "utf-8")
    (folder / "text.txt").write_text("hello world the sky is blue and water could go. " * 30, "utf-8")
    return folder


@pytest.fixture
def pair(folder: Path) -> list[str]:
    return ["--base", str(folder / "base.gguf"), "--guide", str(folder / "guide.gguf")]


@pytest.fixture
def made(folder: Path) -> list[str]:
    return ["--task", "custom", "--data", str(folder / "made.jsonl"), "-n", "6", "--threads", "1"]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(compare, list(arguments))
    if isinstance(result.exception, BlendinError):
        raise result.exception
    return result


def document(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.stderr == ""
    return found


def steady(found: dict[str, Any]) -> dict[str, Any]:
    """What a run gives again: all but times and memory."""
    kept = json.loads(json.dumps(found))
    kept.pop("seconds")
    for cell in kept["cells"]:
        cell.pop("tokens_per_second")
    for arm in kept["arms"]:
        arm.pop("peak_memory")
    return dict(kept)


CELL = {
    "arm", "task", "n", "scored", "value", "interval", "against", "intervention_rate", "changed_rate",
    "guide_word_rate", "mean_alpha", "loop_share", "shortened", "length", "finish_reasons",
    "tokens_per_second", "options", "guide_rank",
}  # fmt: skip


def test_the_document_has_what_is_promised(pair: list[str], made: list[str], folder: Path) -> None:
    found = document(
        *pair, *made, "--task", "mmlu", "--data", str(folder / "exam.jsonl"), "--methods", "nudge"
    )
    assert found.keys() == {
        "arms", "tasks", "cells", "fidelity", "across", "disagreements", "seed", "limit", "max_tokens",
        "hint_level", "versions", "seconds",
    }  # fmt: skip
    assert [arm["name"] for arm in found["arms"]] == ["base", "guide", "base+guide nudge γ=0.4"]
    assert [arm["kind"] for arm in found["arms"]] == ["base", "guide", "pair"]
    arm = found["arms"][2]
    assert {
        "name", "kind", "base", "guide", "method", "settings", "files", "peak_memory", "family",
    } <= arm.keys()  # fmt: skip
    assert arm["settings"]["temperature"] == 0 and arm["settings"]["gamma"] == 0.4
    assert [file["role"] for file in arm["files"]] == ["base", "guide"]
    assert {"role", "name", "path", "size_bytes", "quantization", "fingerprint"} <= arm["files"][0].keys()
    assert [(task["name"], task["items"], task["chance"]) for task in found["tasks"]] == [
        ("custom", 5, None),
        ("mmlu", 3, 0.25),
    ]
    assert len(found["cells"]) == 6
    for cell in found["cells"]:
        assert cell.keys() == CELL
        assert cell["n"] == cell["scored"] == (5 if cell["task"] == "custom" else 3)
        assert (cell["options"] is not None) == (cell["task"] == "mmlu")
        assert sum(cell["finish_reasons"].values()) == cell["n"]
    pair_cell = found["cells"][2]
    assert pair_cell["against"]["base"]["arm"] == "base" and pair_cell["against"]["guide"]["arm"] == "guide"
    assert 0 <= pair_cell["intervention_rate"] <= 1
    assert (found["seed"], found["limit"], found["max_tokens"], found["across"]) == (0, 50, 6, None)
    assert set(found["disagreements"]) == {"custom", "mmlu"}


def test_the_hint_level_is_that_of_the_preferences(
    pair: list[str], made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = load_preferences()
    assert document(*pair, *made, "--limit", "1")["hint_level"] == usual.chat.hint_rate
    other = replace(usual, chat=replace(usual.chat, hint_rate=0.33))
    monkeypatch.setattr("blendin_local.preferences.preferences.load_preferences", lambda: other)
    assert document(*pair, *made, "--limit", "1")["hint_level"] == 0.33


def test_tables_go_to_stdout_and_the_rest_to_stderr(pair: list[str], made: list[str]) -> None:
    result = run(*pair, *made, "--read", "1")
    assert result.exit_code == 0, result.output
    assert "custom: accuracy, 5 questions" in result.stdout and "base+guide blendin γ=0.4" in result.stdout
    assert result.stdout.count("━━ custom") == 1
    assert "guide: 5 questions answered" in result.stderr and "questions answered" not in result.stdout
    again = run(*pair, *made, "--quiet")
    assert again.stderr == ""


def test_nothing_is_worked_out_twice(
    pair: list[str], made: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    first = document(*pair, *made)
    loads: list[Any] = []
    monkeypatch.setattr(request, "load_models", lambda *given: loads.append(given) or pytest.fail("loaded"))
    assert steady(document(*pair, *made)) == steady(first)
    assert steady(document(*pair, *made, "--limit", "3"))["tasks"][0]["items"] == 3
    with pytest.raises(pytest.fail.Exception):
        run(*pair, *made, "--gamma", "0.5")
    with pytest.raises(pytest.fail.Exception):
        run(*pair, *made, "--fresh")
    assert len(loads) == 2


def test_files_are_written(pair: list[str], made: list[str], tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    names = {"--csv": "t.csv", "--markdown": "t.md", "--report": "t.html", "--answers": "t.jsonl"}
    flags = [part for flag, name in names.items() for part in (flag, str(tmp_path / name))]
    assert run(*pair, *made, *flags).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text("utf-8").splitlines()))
    assert [row["arm"] for row in rows] == ["base", "guide", "base+guide blendin γ=0.4"]
    assert "| arm |" in (tmp_path / "t.md").read_text("utf-8")
    assert "base+guide blendin" in (tmp_path / "t.html").read_text("utf-8")
    answers = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 15 and {"task", "item", "arm", "prompt", "reply", "value"} <= answers[0].keys()


def test_figures_on_a_text_stand_beside_the_table_of_tasks(
    folder: Path, made: list[str], tmp_path: Path
) -> None:
    models = ["--model", str(folder / "base.gguf"), "--model", str(folder / "guide.gguf")]
    text = ["--text", str(folder / "text.txt"), "--text-ctx", "32", "--chunks", "2"]
    assert run(*models, *text, *made, "--csv", str(tmp_path / "t.csv")).exit_code == 0
    rows, figures = (
        list(csv.DictReader((tmp_path / name).read_text("utf-8").splitlines()))
        for name in ("t.csv", "t.fidelity.csv")
    )
    assert [row["arm"] for row in rows] == ["base", "guide"] and rows[1][
        "against_reference_test"
    ] == "McNemar"
    assert [row["model"] for row in figures] == ["base", "guide"]
    # Of two vocabularies over the same bytes.
    assert figures[0]["bytes"] == figures[1]["bytes"] != ""


def test_no_result_is_written_over_what_is_read_or_another_result(
    folder: Path, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "load_models", lambda *given: pytest.fail("loaded"))
    for name in ("base.gguf", "text.txt", "made.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "plan.toml").write_text(
        "[run]\ntext = 'text.txt'\n[[tasks]]\nname = 'custom'\ndata = 'made.jsonl'\n"
        "[[arms]]\nmodel = 'base.gguf'\n".replace("base.gguf", str(tmp_path / "base.gguf"))
    )
    plan = str(tmp_path / "plan.toml")
    (tmp_path / "link.csv").symlink_to(tmp_path / "base.gguf")
    for name in ("plan.toml", "text.txt", "made.jsonl", "base.gguf", "link.csv"):
        with pytest.raises(EvaluationError, match="is read by this command: name another file"):
            run(plan, "--csv", str(tmp_path / name))
    twice = ["--markdown", str(tmp_path / "t.x"), "--answers", str(tmp_path / "." / "t.x")]
    with pytest.raises(EvaluationError, match=r"--answers .* is also the file of --markdown"):
        run(plan, *twice)
    beside = ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.fidelity.csv")]
    with pytest.raises(EvaluationError, match=r"--csv, for the text, .* is also the file of --markdown"):
        run(plan, *beside)


def test_two_quantizations_on_a_text(folder: Path, tmp_path: Path) -> None:
    models = ["--model", str(folder / "base.gguf"), "--model", str(folder / "other.gguf")]
    text = ["--text", str(folder / "text.txt"), "--text-ctx", "32", "--chunks", "2", "--threads", "1"]
    found = document(*models, *text, "--csv", str(tmp_path / "t.csv"))
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text("utf-8").splitlines()))
    assert [row["model"] for row in rows] == ["base", "other"] and not (tmp_path / "t.fidelity.csv").exists()
    assert [row["model"] for row in found["fidelity"]] == ["base", "other"]
    assert found["fidelity"][1]["kld"]["mean"] > 0 and found["cells"] == []
    other = document(*models, *text, "--reference", "other")
    assert {row["reference"] for row in other["fidelity"]} == {"other"}
    table = run(*models, *text)
    assert "Mean KLD" in table.stdout


def test_a_plan_and_flags_over_it(folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'[run]\nlimit = 2\nmax_tokens = 4\n[[tasks]]\nname = "custom"\ndata = "{folder / "made.jsonl"}"\n'
        f'[[arms]]\nbase = "{folder / "base.gguf"}"\nguide = "{folder / "guide.gguf"}"\n'
        'method = ["nudge", "doubt"]\n',
        "utf-8",
    )
    found = document(str(plan), "--threads", "1")
    assert [arm["method"] for arm in found["arms"]] == ["base", "guide", "nudge", "doubt"]
    assert (found["tasks"][0]["items"], found["tasks"][0]["max_tokens"]) == (2, 4)
    more = document(str(plan), "--limit", "3", "--model", str(folder / "other.gguf"), "--threads", "1")
    assert more["tasks"][0]["items"] == 3 and more["arms"][-1]["kind"] == "model"


def test_what_a_short_context_costs_is_said(pair: list[str], made: list[str]) -> None:
    lost = run(*pair, *made, "--n-ctx", "8")
    assert lost.exit_code == 0, lost.output
    assert "15 prompts did not fit the context and were not answered: give a larger --n-ctx" in lost.stderr
    found = document_despite(*pair, *made, "--limit", "1", "--shots", "4", "--n-ctx", "64")
    assert [cell["shortened"] for cell in found["cells"]] == [1, 1, 1]


def document_despite(*arguments: str) -> dict[str, Any]:
    """The document of a run that has something to warn of."""
    result = run(*arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert "lost worked examples" in result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_several_files_of_one_task(folder: Path, pair: list[str]) -> None:
    data = ["--task", "custom", "--data", str(folder / "made.jsonl"), "--data", str(folder / "made.jsonl")]
    found = document(*pair, *data, "-n", "2", "--limit", "1", "--threads", "1")
    assert [task["name"] for task in found["tasks"]] == ["custom made (1)", "custom made (2)"]


def test_questions_that_lost_their_options_are_counted(folder: Path, tmp_path: Path) -> None:
    whole = {"question": "which", "A": "the", "B": "world", "C": "no", "answer": "B"}
    rows = [whole, dict.fromkeys("ABC", "") | {"question": "which", "answer": "2"}]
    (tmp_path / "arc.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    asked = ["--task", "arc_challenge", "--data", str(tmp_path / "arc.jsonl"), "-n", "2", "--no-options"]
    result = run("--model", str(folder / "base.gguf"), *asked, "--quiet", "--threads", "1")
    assert "1 of 2 questions" in result.stderr and "left out" in result.stderr


def test_a_system_prompt_in_place_of_the_tasks(folder: Path, pair: list[str]) -> None:
    asked: list[Any] = []
    key = running.answer_key

    def spy(arm: Any, item: Any, *rest: Any) -> str:
        asked.append([message.role for message in item.messages])
        return key(arm, item, *rest)

    exam = [
        "--task",
        "mmlu",
        "--data",
        str(folder / "exam.jsonl"),
        "-n",
        "1",
        "--no-options",
        "--threads",
        "1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "answer_key", spy)
        found = document(*pair, *exam, "--system", "", "--limit", "1")
    assert asked and all(roles == ["user"] for roles in asked)
    assert found["cells"][0]["options"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "custom"], "There are 1 --task and 0 --data: give each task its file"),
        (["--data", "x.jsonl"], "--data x.jsonl needs --task"),
        (["--task", "gsm9k", "--data", "x"], "There is no task 'gsm9k'"),
        (["--task", "gsm8k", "--data", "none.jsonl"], "none.jsonl"),
        ([], "There is nothing to compare by"),
        (["MADE", "--methods", "bass"], "Unknown method 'bass'"),
        (["MADE", "--methods", ","], "No method is named"),
        (["MADE", "--gamma", "low"], "--gamma must be numbers separated by commas, not 'low'"),
        (["MADE", "--gamma", "2"], "--gamma must be between 0 and 1, not 2.0"),
        (["MADE", "--top-p", "3"], "--top-p must be between"),
        (["MADE", "--n-ctx", "-4"], "--n-ctx must be between"),
        (["MADE", "--shots", "5"], "5 worked examples cannot be taken"),
        (["MADE", "--judge", "http://localhost:1"], "--judge has nothing to do"),
        (["MADE", "--csv", "none/t.csv"], "there is no folder none"),
        (["MADE", "--json", "--read"], "--read and --json exclude each other"),
        (["--text", "none.txt"], "The text none.txt cannot be read"),
        (["MADE", "--reference", "x"], "--reference needs a text: add --text FILE"),
        (["MADE", "--chunks", "2"], "--chunks needs a text"),
        (["MADE", "--text-ctx", "64"], "--text-ctx needs a text"),
        (["MADE", "--model", ""], "--model is empty"),
        (["MADE", "--pair", ""], "--pair is empty"),
        (["plan.toml"], "The plan plan.toml cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    pair: list[str], made: list[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.setattr(request, "load_models", lambda *given: pytest.fail("loaded"))
    given = [part for each in arguments for part in (made if each == "MADE" else [each])]
    with pytest.raises(BlendinError) as caught:
        run(*pair, *given)
    assert sentence in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_which_file_belongs_to_which_task() -> None:
    assert task_specs(["a", "b"], ["1", "2"], False) == [TaskSpec("a", "1"), TaskSpec("b", "2")]
    assert task_specs(["a"], ["1", "2"], False) == [TaskSpec("a", "1"), TaskSpec("a", "2")]
    assert task_specs(["a", "b"], ["1"], True) == [TaskSpec("a", "1"), TaskSpec("b", "hub:")]
    assert task_specs(["a"], [], True) == [TaskSpec("a", "hub:")]
    assert task_specs([], [], False) == []
    with pytest.raises(EvaluationError, match="There are 2 --task and 3 --data"):
        task_specs(["a", "b"], ["1", "2", "3"], True)


def test_every_key_of_a_plan_is_documented() -> None:
    page = (ROOT / "docs/compare.md").read_text("utf-8")
    rows = {
        name: page.split(f"| `{name}` |")[1].split("\n")[0] for name in ("[run]", "[[tasks]]", "[[arms]]")
    }
    for name, keys in (("[run]", RUN_KEYS), ("[[tasks]]", TASK_KEYS), ("[[arms]]", ARM_KEYS)):
        assert set(re.findall(r"`(\w+)`", rows[name])) == set(keys), name


def test_half_a_pair_and_settings_without_a_pair(folder: Path, made: list[str]) -> None:
    with pytest.raises(BlendinError, match="--base needs --guide; a model alone is --model"):
        run("--base", str(folder / "base.gguf"), *made)
    with pytest.raises(BlendinError, match="Methods and their settings need a pair"):
        run("--model", str(folder / "base.gguf"), "--methods", "nudge", *made)


def test_a_report_without_its_library_is_refused_at_once(
    pair: list[str], made: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr(request, "load_models", lambda *given: pytest.fail("loaded"))
    with pytest.raises(BlendinError, match=r"blendin-local\[report\]"):
        run(*pair, *made, "--report", str(tmp_path / "r.html"))


def test_help_is_there_at_once() -> None:
    code = (
        "import sys\n"
        "from blendin_local.cli.compare import compare\n"
        "compare(['--help'], standalone_mode=False)\n"
        "loaded = [n for n in ('llama_cpp', 'scipy', 'plotly', 'rich', 'jinja2') if n in sys.modules]\n"
        "print('LOADED', loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout and "--datasets" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C there")
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    pair: list[str], made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    keep = running.Answers.save_answer
    kept: list[str] = []

    def press(self: Any, key: str, answer: Any) -> None:
        keep(self, key, answer)
        kept.append(key)
        if len(kept) == 7:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(running.Answers, "save_answer", press)
        result = run(*pair, *made)
    signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130 and result.stdout == ""
    assert "the same command resumes" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(request, "compare", interrupted)
        assert "the same command without --fresh resumes" in run(*pair, *made, "--fresh").stderr
    again: list[str] = []
    monkeypatch.setattr(
        running.Answers, "save_answer", lambda self, key, answer: again.append(key) or keep(self, key, answer)
    )
    document(*pair, *made)
    assert len(again) == 15 - 7


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
def test_killed_twice_and_resumed_gives_the_same_table(
    pair: list[str], made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*pair, *made, "-n", "24", "--gamma", "0.6"]
    undisturbed = document(*arguments)
    cache = tmp_path / "other cache"
    code = "import sys; from blendin_local.cli.compare import compare; compare(sys.argv[1:])"
    for _ in range(2):
        before = kept_answers(cache)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"BLENDIN_CACHE_DIR": str(cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None and kept_answers(cache) < before + 2:
            time.sleep(0.01)
        process.kill()
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, stderr.decode()
    assert 4 <= kept_answers(cache) < 15
    monkeypatch.setenv("BLENDIN_CACHE_DIR", str(cache))
    assert steady(document(*arguments)) == steady(undisturbed)


def interrupted(*given: Any, **more: Any) -> Any:
    raise KeyboardInterrupt


def kept_answers(cache: Path) -> int:
    path = cache / "answers.db"
    if not path.exists():
        return 0
    database = sqlite3.connect(path)
    try:
        return int(database.execute("SELECT count(*) FROM kept WHERE kind = 'answer'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        database.close()
