"""How far a comparison is, where no terminal shows a bar: few lines, with the time that is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clock import Clock

from blendin_local.cli import compare_progress
from blendin_local.cli.compare_progress import CompareProgress, duration
from blendin_local.compare.writing import ArmProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(compare_progress, "monotonic", clock)
    monkeypatch.setattr(compare_progress, "is_terminal", lambda stream: False)
    return clock


def answer(progress: CompareProgress, clock: Clock, every_s: float, total: int) -> None:
    for done in range(total + 1):
        progress.arm(ArmProgress("demo", "gsm8k", done, total, every_s * (total - done) if done else None))
        clock.now += every_s


def test_a_line_every_15_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with CompareProgress() as progress:
        answer(progress, clock, 5.0, 9)
    assert capsys.readouterr().err.splitlines() == [
        "demo · gsm8k: 3 of 9, 30 s left for this arm",
        "demo · gsm8k: 6 of 9, 15 s left for this arm",
        "demo: 9 questions answered",
    ]


def test_what_is_quick_has_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with CompareProgress() as progress:
        answer(progress, clock, 0.1, 50)
    assert capsys.readouterr().err.splitlines() == ["demo: 50 questions answered"]


def test_steps_say_how_long_their_rest_will_take(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Each at its own pace: 2 s for each of the questions, 4 s for each block of the text."""
    with CompareProgress() as progress:
        for done in range(10):
            progress.step("options: demo", done, 10)
            clock.now += 2
        for done in range(5, 12, 2):
            progress.step("text: model", done, 13)
            clock.now += 8
    assert capsys.readouterr().err.splitlines() == [
        "options: demo",
        "options: demo: 8 of 10, 4 s left",
        "text: model",
        "text: model: 9 of 13, 16 s left",
    ]


def test_the_bar_tells_it_too(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_progress, "is_terminal", lambda stream: True)
    progress = CompareProgress()
    for done in (0, 1):
        progress.step("judge", done, 61)
        clock.now += 60
    assert progress._bar.tasks[0].fields["eta"] == "60 min left"


def test_quiet_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with CompareProgress(quiet=True) as progress:
        answer(progress, clock, 20.0, 3)
        progress.step("judge", 0, 3)
        progress.hashing(Path("large.gguf"), 1 << 29, 1 << 30)
    assert capsys.readouterr().err == ""


def test_a_large_file_that_is_read_through(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = CompareProgress()
    for done in range(3):
        progress.hashing(Path("large.gguf"), done << 28, 1 << 30)
        clock.now += 10
    assert capsys.readouterr().err == "reading large.gguf through (MB): 512 of 1024, once for each file\n"


def test_a_load_after_something_long(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    told = CompareProgress().loading("demo")
    clock.now += 20
    told("base", 0.0)
    clock.now += 20
    told("base", 0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["loading demo (base)", "loading demo (base): 40 of 100"]


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 89, 95, 5400, 7800)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "2 h 10 min",
    ]
