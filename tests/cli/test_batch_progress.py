"""How far a job is: lines that stay in place in a terminal of any width, and few lines elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.batch_results import answer, failure
from support.clock import Clock
from support.paths import TESTS
from support.terminal import Terminal

from blendin_local.batch.job_stats import JobStats
from blendin_local.cli.batch_progress import BatchProgress
from blendin_local.presentation import progress_display


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_display, "monotonic", clock)
    monkeypatch.setattr(progress_display, "is_terminal", lambda stream: False)
    return clock


Errors = Callable[[], list[str]]


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Errors:
    def lines() -> list[str]:
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    return lines


# Lines


def test_a_line_at_the_beginning_every_15_seconds_and_at_the_end(clock: Clock, errors: Errors) -> None:
    stats = JobStats(clock)
    with BatchProgress(total=10) as progress:
        progress.update(stats, 2)
        for place in range(10):
            clock.now += 5
            stats.add(failure(place) if place == 4 else answer(place, steps=20))
            progress.update(stats, 2)
    assert errors() == [
        "0 of 10 rows (0%), 2 in progress",
        "3 of 10 rows (30%), 35 s left, 4.0 tokens/s, intervention rate 10%, 2 in progress",
        "6 of 10 rows (60%), 20 s left, 3.3 tokens/s, 1 failed, intervention rate 10%, 2 in progress",
        "9 of 10 rows (90%), 5 s left, 3.6 tokens/s, 1 failed, intervention rate 10%, 2 in progress",
        "10 of 10 rows (100%), 3.6 tokens/s, 1 failed, intervention rate 10%",
    ]


def test_of_a_pipe_nobody_knows_the_total(clock: Clock, errors: Errors) -> None:
    stats = JobStats(clock)
    stats.add(answer(0), kept=True)
    with BatchProgress() as progress:
        progress.update(stats)
    assert errors() == ["1 row, intervention rate 10%, 1 kept from before"]


def test_all_of_nothing_is_done(clock: Clock, errors: Errors) -> None:
    with BatchProgress(total=0) as progress:
        progress.update(JobStats(clock))
    assert errors() == ["0 of 0 rows (100%)"]


def test_hundred_percent_is_the_end(clock: Clock, errors: Errors) -> None:
    stats = JobStats(clock)
    for place in range(999):
        stats.add(answer(place), kept=True)
    with BatchProgress(total=1000) as progress:
        progress.update(stats)
    assert errors()[0].startswith("999 of 1,000 rows (99%)")


def test_notes_are_lines_and_of_one_kind_the_first_five(clock: Clock, errors: Errors) -> None:
    with BatchProgress(total=100) as progress:
        for place in range(50):
            progress.note(f"row {place}: too\nlong \x1b[31m", "too long")
        progress.note("row 7: no prompt", "bad row")
        for _ in range(7):
            progress.note("stopping")
    said = errors()
    assert said[:5] == [f"row {place}: too long ␛[31m" for place in range(5)]
    assert (
        said[5:]
        == ["Further rows of this kind (too long) are only counted.", "row 7: no prompt"] + ["stopping"] * 7
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(
    clock: Clock, errors: Errors, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(progress_display, "is_terminal", lambda stream: terminal)
    stats = JobStats(clock)
    with BatchProgress(total=3, quiet=True) as progress:
        for place in range(3):
            clock.now += 20
            stats.add(answer(place))
            progress.update(stats, 1)
            progress.note("a note", "kind")
    assert errors() == []


def test_where_answers_go_to_the_terminal_nothing_stays_in_place(
    clock: Clock, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_display, "is_terminal", lambda stream: True)
    with BatchProgress(total=3, in_lines=True) as progress:
        progress.update(JobStats(clock))
    assert errors() == ["0 of 3 rows (0%)"]


# Lines in place


def shown(stats: JobStats, width: int, total: int | None, active: int = 8) -> list[str]:
    """What stands in a terminal of that width."""
    progress = BatchProgress(total=total, in_lines=True, quiet=True)
    progress.update(stats, active)
    stream = io.StringIO()
    progress.console = Console(file=stream, width=width, force_terminal=False)
    progress.console.print(progress._display())
    return stream.getvalue().splitlines()


TEXTS = st.sampled_from(
    ("水はどこから来るのか。" * 30, "👨‍👩‍👧 🇩🇪 ❤️ 👍🏽 " * 30, "a\nb\tc\x1b[2J\r\n" * 50, "", "e\u0301" * 200)
) | st.text(max_size=300)


@given(TEXTS, TEXTS, st.integers(40, 200), st.none() | st.integers(0, 10**7), st.booleans())
def test_no_line_is_wider_than_the_terminal(
    text: str, id: str, width: int, total: int | None, failed: bool
) -> None:
    clock = Clock()
    stats = JobStats(clock)
    for place in range(30):
        stats.add(failure(place) if place % 9 == 0 else answer(place), kept=place < 12)
    clock.now += 7e5
    stats.add(failure(30, message=text) if failed else answer(30, text, id=id))
    lines = shown(stats, width, total)
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= width - 2
    assert "\x1b" not in "".join(lines)


def test_where_there_is_little_room_what_matters_most_is_kept() -> None:
    clock = Clock()
    stats = JobStats(clock)
    for place in range(30):
        stats.add(failure(place) if place % 9 == 0 else answer(place), kept=place < 12)
        clock.now += place >= 12
    wide, narrow = shown(stats, 120, 60), shown(stats, 40, 60)
    assert wide[0].startswith("━" * 40 + "  30 of 60 rows (50%)  30 s left")
    assert wide[1].split(" · ") == [
        "17.8 tokens/s",
        "4 failed",
        "intervention rate 10%",
        "8 in progress",
        "12 kept from before",
    ]
    assert wide[2] == "row-30  The tide is drawn by the moon."
    assert narrow[0].endswith("30 of 60 rows (50%)  30 s left")
    assert narrow[1] == "17.8 tokens/s · 4 failed"


JOB = """
import os, sys, time
sys.path.insert(0, {tests!r})
from support.batch_results import answer, failure
from blendin_local.batch.job_stats import JobStats
from blendin_local.cli.batch_progress import BatchProgress
def wait():
    while not os.path.exists({go!r}):
        time.sleep(0.02)
    os.remove({go!r})
stats = JobStats()
with BatchProgress(total=8) as progress:
    for place in range(4):
        stats.add(failure(place) if place == 2 else answer(place, f"Answer {{place}}"))
        progress.update(stats, 3)
    progress.note("row 3: no prompt", "bad row")
    wait()
    stats.add(answer(4, "The last one. " * 50))
    progress.update(stats, 3)
    wait()
print("after")
"""


@pytest.mark.slow
def test_a_terminal_shows_it_in_place_and_has_its_screen_back(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    go = tmp_path / "go"
    script.write_text(JOB.format(tests=str(TESTS), go=str(go)))
    with Terminal(str(script), size=(60, 12)) as terminal:
        seen = terminal.wait("row-4  Answer 3").splitlines()
        assert seen[0] == "row 3: no prompt"
        assert "4 of 8 rows (50%)" in seen[1] and "1 failed" in seen[2]
        terminal.resize(45, 12)
        go.touch()
        seen = terminal.wait(lambda text: "5 of 8" in text and "row-5  The last" in text).splitlines()
        assert max(map(len, seen)) <= 45
        go.touch()
        assert terminal.end() == 0
        left = [line for line in terminal.text.splitlines() if line]
        assert left[0] == "row 3: no prompt" and left[-1] == "after"
        assert "of 8 rows" not in terminal.text
        assert terminal.as_it_was
