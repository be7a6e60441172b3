"""Thinking and template variables at the command line: replies, rows, preferences and catalogue entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.thinking_templates import HARMONY, OPENING, PLAIN
from support.tiny_gguf import never_ending, write_tiny

import blendin_local as blendin
from blendin_local.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def pair_of(folder: Path, base: str, guide: str) -> list[str]:
    paths = []
    for name, template, seed in (("base", base, 1), ("guide", guide, 2)):
        path = write_tiny(
            folder / f"{name}.gguf", vocabulary="bpe", seed=seed, chat_template=template,
            control=["<think>", "</think>"], bias=never_ending("bpe"),
        )  # fmt: skip
        paths += [f"--{name}", str(path)]
    return [*paths, "--threads", "1"]


@pytest.fixture
def thinkers(tmp_path: Path) -> list[str]:
    return pair_of(tmp_path, OPENING, OPENING)


def document(*arguments: str) -> dict[str, Any]:
    done = run("generate", *arguments, "--json", "--max-thinking", "5", "-n", "4", "hello")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_thinking_is_apart_in_json(thinkers: list[str]) -> None:
    found = document(*thinkers, "--steps")
    assert found["reasoning"] and "think>" not in found["reasoning"] + found["text"]
    thinking = [step for step in found["steps"] if step.get("thinking")]
    answer = [step for step in found["steps"] if not step.get("thinking")]
    assert "".join(step["text"] for step in thinking).strip() == found["reasoning"]
    assert "".join(step["text"] for step in answer) == found["text"]
    assert len(answer) == 4 and found["settings"]["max_thinking"] == 5
    summary = found["summary"]
    assert summary["thinking"]["steps"] == len(thinking) and summary["answer"]["steps"] == 4
    assert 0 < summary["thinking"]["mean_reliability"] < 1


def test_thinking_goes_to_stderr(thinkers: list[str]) -> None:
    found = document(*thinkers)
    shown = run("generate", *thinkers, "--max-thinking", "5", "-n", "4", "hello")
    assert shown.stdout.strip("\n") == found["text"].strip("\n")
    assert found["reasoning"] in shown.stderr
    assert "thinking" in shown.stderr and "answer 4 tokens" in shown.stderr
    quiet = run("generate", *thinkers, "--max-thinking", "5", "-n", "4", "-q", "hello")
    assert (quiet.stdout, quiet.stderr) == (shown.stdout, "")


def test_a_reply_without_thinking_has_the_keys_it_had(tmp_path: Path) -> None:
    found = document(*pair_of(tmp_path, PLAIN, PLAIN), "--steps")
    assert "reasoning" not in found and "max_thinking" not in found["settings"]
    assert not {"thinking", "answer"} & found["summary"].keys()
    assert all("thinking" not in step for step in found["steps"])


@pytest.mark.parametrize("thinker", ["base", "guide"])
def test_the_interface_says_that_one_model_does_not_think(tmp_path: Path, thinker: str) -> None:
    pair = pair_of(tmp_path, *((OPENING, PLAIN) if thinker == "base" else (PLAIN, OPENING)))
    done = run("generate", *pair, "-n", "3", "hello")
    assert f"Thinking is off, because only the {thinker} can think" in done.stderr
    assert "thinking" not in done.stderr.partition("Thinking is off")[2].partition("\n")[2]
    for silent in (("--thinking", "on"), ("--thinking", "off")):
        assert "Thinking is off" not in run("generate", *pair, "-n", "3", *silent, "hello").stderr


def test_thinking_is_apart_in_rows(thinkers: list[str], tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "hello"}\n{"prompt": "world"}\n')
    command = ["generate", *thinkers, "-i", str(rows), "-o", str(out), "--max-thinking", "5", "-n", "4", "-q"]
    assert run(*command).exit_code == 0
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(result["reasoning"] and "think>" not in result["text"] for result in results)
    assert all(result["summary"]["answer"]["steps"] == 4 for result in results)
    other = run(*command, "--thinking", "off")
    assert other.exit_code == 2 and "format" in other.output


def test_rows_say_that_one_model_does_not_think(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, PLAIN, OPENING)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "hello"}\n')
    done = run("generate", *pair, "-i", str(rows), "-o", str(tmp_path / "out.jsonl"), "-n", "4")
    assert "Thinking is off, because only the guide can think" in done.stderr


def test_template_variables_reach_the_prompts(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, HARMONY, HARMONY)

    def prompt_tokens(*options: str) -> tuple[int, int]:
        usage = document(*pair, "--method", "ensemble", *options)["usage"]
        return usage["base"]["prompt_tokens"], usage["guide"]["prompt_tokens"]

    usual = prompt_tokens()
    longer = prompt_tokens("--template-var", "reasoning_effort=extraordinarily high")
    assert longer[0] > usual[0] and longer[1] > usual[1]
    base = prompt_tokens("--base-template-var", "reasoning_effort=extraordinarily high")
    assert base == (longer[0], usual[1])
    guide = prompt_tokens(
        "--template-var",
        "reasoning_effort=medium",
        "--guide-template-var",
        "reasoning_effort=extraordinarily high",
    )
    assert guide == (usual[0], longer[1])


def test_preferences_and_catalogue_set_template_variables(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, HARMONY, HARMONY)
    usual = document(*pair)["usage"]["base"]["prompt_tokens"]
    models = tmp_path / "config"
    models.mkdir()
    (models / "pairs.toml").write_text(
        f'[pairs.mine]\nbase = "{pair[1]}"\nguide = "{pair[3]}"\n'
        '[pairs.mine.base_variables]\nreasoning_effort = "extraordinarily high"\n'
    )
    longer = document("--pair", "mine", "--threads", "1")["usage"]["base"]["prompt_tokens"]
    assert longer > usual
    typed = document("--pair", "mine", "--threads", "1", "--base-template-var", "reasoning_effort=medium")
    assert typed["usage"]["base"]["prompt_tokens"] == usual
    done = run("config", "set", "models.base_template_vars", '["reasoning_effort=extraordinarily high"]')
    assert done.exit_code == 0, done.output
    assert document(*pair)["usage"]["base"]["prompt_tokens"] == longer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--template-var", "thinking"), "--template-var: thinking has no value: write thinking=VALUE."),
        (("--base-template-var", "a b=1"), "--base-template-var: 'a b' cannot be the name"),
        (
            ("--guide-template-var", "x=" + "y" * 70_000),
            "--guide-template-var: the template variable x is longer",
        ),
        (("--thinking", "perhaps"), "'perhaps' is not one of"),
    ],
)
def test_wrong_variables_are_refused(thinkers: list[str], options: tuple[str, ...], said: str) -> None:
    done = run("generate", *thinkers, *options, "hello")
    assert done.exit_code == 2 and said in done.output and "Traceback" not in done.output


def test_a_wrong_variable_in_the_catalogue_is_said_with_its_place(tmp_path: Path) -> None:
    models = tmp_path / "config"
    models.mkdir()
    (models / "pairs.toml").write_text(
        '[pairs.mine]\nbase = "a.gguf"\nguide = "b.gguf"\n[pairs.mine.guide_variables]\nday = 2026-01-01\n'
    )
    done = run("models", "list")
    assert done.exit_code == 2 and "pairs.mine.guide_variables" in done.output and "day" in done.output


def test_python_tells_thinking_and_answer_apart(thinkers: list[str]) -> None:
    with blendin.load(base=thinkers[1], guide=thinkers[3], n_threads=1) as pair:
        chat = pair.chat(max_thinking=5, max_tokens=4)
        reply = chat.send("hello").finish()
        assert reply.reasoning and "think>" not in reply.text
        # What was thought is not sent again.
        assert [message.content for message in chat.messages] == ["hello", reply.text]
        assert reply.to_dict()["reasoning"] == reply.reasoning
    with blendin.load(base=thinkers[1], guide=thinkers[3], n_threads=1, thinking="off") as pair:
        assert pair.reply("hello", max_tokens=4).finish().reasoning == ""
