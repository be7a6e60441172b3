"""`blendin generate` on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len
from support.tiny_gguf import write_tiny, wrong_magic

from blendin_local.cli import main
from blendin_local.cli.show import _fit_cells
from blendin_local.methods import METHODS


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    base = write_tiny(tmp_path / "base.gguf", vocabulary="spm", seed=1)
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=2)
    return ["--base", str(base), "--guide", str(guide), "--threads", "1"]


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin)


def generate(pair: list[str], *arguments: str, prompt: str = "hello world") -> dict[str, Any]:
    result = run("generate", *pair, "--json", "-n", "24", *arguments, prompt)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_reply_is_on_stdout_and_the_summary_on_stderr(pair: list[str]) -> None:
    result = run("generate", *pair, "-n", "12", "hello world")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert "tokens/s" in result.stderr and "tokens/s" not in result.stdout
    assert "confidence (not calibrated)" in result.stderr


def test_json_holds_everything_that_the_documentation_promises(pair: list[str]) -> None:
    document = generate(pair, "--steps", "--gamma", "0.7")
    fields = "text finish_reason settings models usage summary timings tokens_per_second steps"
    assert set(fields.split()) <= document.keys()
    assert {"base_s", "guide_s", "blend_s", "total_s", "first_token_s"} <= document["timings"].keys()
    promised = "text base_tokens source c_b c_g agreement alpha intervened guide_decoded"
    assert all(set(promised.split()) <= step.keys() for step in document["steps"])
    assert "".join(step["text"] for step in document["steps"]) == document["text"]
    assert document["summary"]["interventions"] == sum(step["intervened"] for step in document["steps"])
    assert document["usage"]["base"]["prompt_tokens"] > 0
    assert document["settings"]["blend"]["gamma"] == 0.7


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes(pair: list[str], method: str) -> None:
    document = generate(pair, "--method", method, "--temperature", "0")
    assert document["settings"]["blend"]["method"] == method
    assert document["usage"]["guide"]["decoded_tokens"] == 0 or method != "base"
    assert document["usage"]["base"]["decoded_tokens"] == 0 or method != "guide"


def test_gamma_zero_writes_what_the_base_writes(pair: list[str]) -> None:
    assert generate(pair, "--gamma", "0")["text"] == generate(pair, "--method", "base")["text"]


def test_the_same_seed_gives_the_same_reply(pair: list[str]) -> None:
    hot = ("--temperature", "1", "--seed")
    assert generate(pair, *hot, "3")["text"] == generate(pair, *hot, "3")["text"]
    assert generate(pair, *hot, "3")["text"] != generate(pair, *hot, "4")["text"]


def test_alpha_alone_means_the_method_fixed(pair: list[str]) -> None:
    blend = generate(pair, "--alpha", "0.25")["settings"]["blend"]
    assert (blend["method"], blend["alpha"]) == ("fixed", 0.25)


def test_paper_is_greedy_and_asks_nobody_when_to_stop(pair: list[str]) -> None:
    settings = generate(pair, "--paper")["settings"]
    assert settings["sampling"]["temperature"] == 0 and settings["sampling"]["dry_multiplier"] == 0
    assert settings["blend"]["guide_stop"] is False


def test_explicit_options_win_over_paper(pair: list[str]) -> None:
    settings = generate(pair, "--paper", "--temperature", "1", "--guide-stop")["settings"]
    assert settings["sampling"]["temperature"] == 1
    assert settings["blend"]["guide_stop"] is True


def test_a_prompt_can_come_from_a_file_or_from_standard_input(pair: list[str], tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("hello world", "utf-8")
    expected = generate(pair)["text"]
    for arguments, stdin in (
        (["--file", str(file)], None),
        (["--file", "-"], "hello world"),
        ([], "hello world"),
    ):
        result = run("generate", *pair, "--json", "-n", "24", *arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["text"] == expected


def test_raw_gives_both_models_the_bare_text(pair: list[str]) -> None:
    plain, raw = generate(pair)["usage"]["base"], generate(pair, "--raw")["usage"]["base"]
    assert raw["prompt_tokens"] < plain["prompt_tokens"]


def test_a_stop_string_is_never_shown(pair: list[str]) -> None:
    text = generate(pair, "--method", "base")["text"]
    stop = text[len(text) // 2 :][:3]
    document = generate(pair, "--method", "base", "--stop", stop)
    assert document["finish_reason"] == "stop string"
    assert document["text"] == text[: text.index(stop)]


def test_the_token_view_has_a_line_for_each_step(pair: list[str]) -> None:
    result = run(
        "generate", *pair, "--view", "tokens", "-n", "5", "--gamma", "1", "--temperature", "0", "hello"
    )
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:6]] == list("12345")


@pytest.mark.parametrize("text", ["", "short", "日本語" * 9, "x" * 40, "日" + "x" * 40])
def test_columns_are_as_wide_for_every_text(text: str) -> None:
    assert cell_len(_fit_cells(text, 24)) == 24
    assert _fit_cells(text, 24).startswith(text[:8])
    assert _fit_cells(text, 24).endswith("…") == (cell_len(text) > 24)


def test_colours_follow_the_option_and_the_terminal(pair: list[str]) -> None:
    coloured = run("generate", *pair, "--gamma", "1", "-n", "8", "--color", "always", "hello")
    plain = run("generate", *pair, "--gamma", "1", "-n", "8", "hello")
    assert "\x1b[" in coloured.stdout
    assert "\x1b[" not in plain.stdout


BAD_INPUT = {
    "unknown pair": (["--pair", "dmeo", "hello"], "demo"),
    "unknown model": (["--base", "gemma-3-27m", "hello"], "gemma-3-270m"),
    "missing file": (["--base", "./nowhere.gguf", "hello"], "nowhere.gguf"),
    "gamma too large": (["--gamma", "1.5", "hello"], "gamma"),
    "gamma not a number": (["--gamma", "nan", "hello"], "gamma"),
    "alpha for another method": (["--alpha", "0.5", "--method", "nudge", "hello"], "fixed"),
    "negative temperature": (["--temperature", "-1", "hello"], "temperature"),
    "no tokens": (["-n", "0", "hello"], "--max-tokens must be between 1 and 16777216, not 0."),
    "a flag unlike its setting": (["--threads", "-1", "hello"], "--threads must be"),
    "a flag unlike its setting, given shortly": (["-t", "101", "hello"], "--temperature must be"),
    "seed too large": (
        ["--seed", f"{1 << 63}", "hello"],
        "not 9223372036854775808.",
    ),
    "steps without json": (["--steps", "hello"], "--steps needs --json"),
    "candidates without steps": (["--json", "--candidates", "3", "hello"], "--candidates needs --steps"),
    "two kinds of output": (["--json", "--view", "tokens", "hello"], "--view tokens and --json"),
    "endless prompt": (["--file", "/dev/zero"], "/dev/zero is longer than any context"),
    "empty stop": (["--stop", "", "hello"], "Error: --stop must not be empty.\n"),
    "empty prompt": (["  "], "prompt is empty"),
    "two prompts": (["--file", "x", "hello"], "not both"),
    "missing prompt file": (["--file", "nowhere.txt"], "nowhere.txt"),
    "unknown format": (["--base-format", "poem", "hello"], "poem"),
    "chat format without a template": (["--base-format", "chat", "hello"], "no chat template"),
    "prompt longer than the context": (["hello world " * 600], "too long"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(pair: list[str], case: str) -> None:
    arguments, word = BAD_INPUT[case]
    given = [] if {"--pair", "--base"} & set(arguments) else pair
    result = run("generate", *given, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert word in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_files_that_are_no_models_get_one_sentence(pair: list[str], tmp_path: Path) -> None:
    embedder = write_tiny(tmp_path / "bert.gguf", arch="bert")
    magic = wrong_magic(tmp_path / "base.gguf", tmp_path / "magic.gguf")
    for path in (embedder, magic, tmp_path):
        result = run("generate", "--base", str(path), *pair[2:], "hello")
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1 and path.name in result.stderr


def test_the_version_and_help_need_no_models() -> None:
    assert run("--version").stdout.startswith("blendin")
    listed = run("--help").stdout
    assert all(name in listed for name in ("generate", "chat", "models", "bench"))
