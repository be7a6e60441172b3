"""`blendin bench` on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import write_tiny

from blendin_local import bench
from blendin_local.cli import main


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    base = write_tiny(tmp_path / "base.gguf", vocabulary="spm", seed=1)
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=2)
    return ["--base", str(base), "--guide", str(guide), "--threads", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_bench_prints_the_promised_figures(pair: list[str]) -> None:
    result = run("bench", *pair, "--tokens", "16", "--rounds", "1", "--methods", "base,blendin", "--json")
    assert result.exit_code == 0, result.output
    methods = json.loads(result.stdout)["methods"]
    assert list(methods) == ["base", "blendin"]
    for figures in methods.values():
        assert {"overhead", "tokens_per_second", "first_token_s", "guide_decode_ratio"} <= figures.keys()
        assert figures["overhead"] > 0
    assert methods["base"]["guide_decode_ratio"] == 0
    table = run("bench", *pair, "--tokens", "8", "--rounds", "1", "--methods", "guide")
    assert table.exit_code == 0 and "overhead" in table.stdout


def test_bench_refuses_an_unknown_method(pair: list[str]) -> None:
    result = run("bench", *pair, "--methods", "bass")
    assert result.exit_code == 2 and "bass" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tokens", "512"], "--tokens must be fewer than the 512 that the context holds, not 512."),
        (["--tokens", "100", "--n-ctx", "100"], "--tokens must be fewer than the 100 "),
        (["--gamma", "2"], "--gamma must be between 0 and 1, not 2.0."),
        (["--methods", " , "], "No method is named"),
    ],
)
def test_bench_refuses_what_cannot_be_measured(pair: list[str], arguments: list[str], sentence: str) -> None:
    result = run("bench", *pair, "--rounds", "1", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1


def test_a_method_given_twice_is_measured_once(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    measure = bench.bench_method

    def spy(files: Any, pair: Any, blend: Any, **options: Any) -> Any:
        measured.append(blend.method)
        return measure(files, pair, blend, **options)

    monkeypatch.setattr(bench, "bench_method", spy)
    result = run("bench", *pair, "--tokens", "2", "--rounds", "1", "--methods", "guide,base, guide", "--json")
    assert result.exit_code == 0, result.output
    assert measured == ["guide", "base"] == list(json.loads(result.stdout)["methods"])


def test_rounds_of_different_length(pair: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Floating-point rounding may end one round a step sooner: medians of such rounds were a ValueError."""
    times = iter([[1.0, 2.0, 3.0], [3.0, 4.0], [2.0, 6.0, 5.0]])
    summary = SimpleNamespace(interventions=0, guide_decoded=0)
    reply = SimpleNamespace(summary=summary)
    monkeypatch.setattr(bench, "_record_reply", lambda *given: (reply, [], next(times)))
    monkeypatch.setattr(bench, "replay", lambda log: [5.0])
    result = run("bench", *pair, "--tokens", "3", "--rounds", "3", "--methods", "base", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["methods"]["base"]
    assert (figures["tokens"], figures["first_token_s"], figures["engine_s"]) == (3, 2.0, 2.0 + 4.0 + 4.0)
    assert figures["overhead"] == 2.0
