"""The display of long work: few lines where no terminal shows a bar, with the time that is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clock import Clock

from blendin_local.presentation import progress_display
from blendin_local.presentation.formatting import duration
from blendin_local.presentation.progress_display import Display, download_progress, hash_progress
from blendin_local.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_display, "monotonic", clock)
    monkeypatch.setattr(progress_display, "is_terminal", lambda stream: False)
    return clock


def answer(display: Display, clock: Clock, every_s: float, total: int) -> None:
    """Answer an arm's questions, as `compare` tells of it."""
    for done in range(total + 1):
        left_s = every_s * (total - done) if done else None
        if done == total:
            display.log(f"demo: {total} questions answered")
        display.progress(Progress("demo · gsm8k", done, total, "questions", left_s))
        clock.now += every_s


def step(display: Display, work: str, done: int, total: int) -> None:
    display.log(work)
    display.progress(Progress(work, done, total))


def test_a_line_every_15_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        answer(display, clock, 5.0, 9)
    assert capsys.readouterr().err.splitlines() == [
        "demo · gsm8k: 3 of 9 questions, 30 s left",
        "demo · gsm8k: 6 of 9 questions, 15 s left",
        "demo: 9 questions answered",
    ]


def test_what_is_quick_has_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        answer(display, clock, 0.1, 50)
    assert capsys.readouterr().err.splitlines() == ["demo: 50 questions answered"]


def test_steps_say_how_long_their_rest_will_take(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Each at its own pace: 2 s for each of the questions, 4 s for each block of the text."""
    with Display() as display:
        for done in range(10):
            step(display, "options: demo", done, 10)
            clock.now += 2
        for done in range(5, 12, 2):
            step(display, "text: model", done, 13)
            clock.now += 8
    assert capsys.readouterr().err.splitlines() == [
        "options: demo",
        "options: demo: 8 of 10, 4 s left",
        "text: model",
        "text: model: 9 of 13, 16 s left",
    ]


def test_the_bar_tells_it_too(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_display, "is_terminal", lambda stream: True)
    with Display() as display:
        for done in (0, 1):
            display.progress(Progress("judge", done, 61))
            clock.now += 60
        fields = display._bars.tasks[0].fields
        assert (fields["count"].strip(), fields["left"]) == ("1/61", "60 min left")
    assert display._bars.tasks == []


def test_quiet_says_nothing_but_warnings(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(quiet=True) as display:
        answer(display, clock, 20.0, 3)
        step(display, "judge", 0, 3)
        hash_progress(display)(Path("large.gguf"), 1 << 29, 1 << 30)
        display.note("A note.")
        display.hint("A hint.")
        display.warn("Memory may not suffice.")
    assert capsys.readouterr().err == "Memory may not suffice.\n"


def test_a_large_file_that_is_hashed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    for done in range(3):
        hash_progress(display)(Path("large.gguf"), done << 28, 1 << 30)
        hash_progress(display)(Path("small.gguf"), done, 1 << 20)
        clock.now += 10
    assert capsys.readouterr().err == "hashing large.gguf: 512 of 1024 MB, 20 s left\n"


def test_a_load_after_something_long(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    clock.now += 20
    display.progress(Progress("loading base: demo.gguf", 0, 100, "%"))
    clock.now += 20
    display.progress(Progress("loading base: demo.gguf", 40, 100, "%"))
    assert capsys.readouterr().err.splitlines() == [
        "loading base: demo.gguf",
        "loading base: demo.gguf: 40 of 100 %, 30 s left",
    ]


def test_a_pull_has_a_line_for_each_stage(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = download_progress(Display())
    for label, total in (("downloading a", 12_000_000), ("checking a", None)):
        for done in (0, 6_000_000):
            report(done, total, label)
            clock.now += 1
    assert capsys.readouterr().err.splitlines() == ["downloading a (12 MB) …", "checking a …"]


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 89, 95, 5400, 7800)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "2 h 10 min",
    ]
