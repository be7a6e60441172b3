"""Display progress on stderr: a bar in a terminal, else a line every 15 seconds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from blendin_local.presentation.formatting import duration, line
from blendin_local.presentation.terminal import is_terminal
from blendin_local.progress import Progress, Watcher

__all__ = ["Display", "download_progress", "hash_progress"]

_EVERY_S = 15.0
"""Seconds between two progress lines, where there is no bar."""
_NOTES_OF_A_KIND = 5
"""Most notes of one kind that are printed; a file may have thousands of bad rows."""
_LARGE = 1 << 28
"""Bytes; smaller files are hashed too fast for a message."""


def hash_progress(watcher: Watcher) -> Callable[[Path, int, int], None]:
    """Return a callback for `models.checksums.file_digest` that reports large files to the watcher."""

    def report(path: Path, done: int, size: int) -> None:
        if size >= _LARGE:
            watcher.progress(Progress(f"hashing {path.name}", done >> 20, size >> 20, "MB"))

    return report


def download_progress(watcher: Watcher) -> Callable[[int, int | None, str], None]:
    """Return a callback for `models.download.pull` that reports each stage to the watcher."""
    stage = ""

    def report(done: int, total: int | None, label: str) -> None:
        nonlocal stage
        if label != stage:
            stage = label
            watcher.log(f"{label}{'' if total is None else f' ({total / 1e6:,.0f} MB)'} …")
        in_mb = None if total is None else total // 1_000_000
        watcher.progress(Progress(label, done // 1_000_000, in_mb, "MB"))

    return report


class Display(Watcher):
    """Shows progress on one line; a context manager that erases it at the end.

    quiet: show only warnings. in_lines: print lines even in a terminal, for work whose results go to it.
    """

    def __init__(self, *, quiet: bool = False, in_lines: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.in_place = not quiet and not in_lines and is_terminal(sys.stderr)
        self.in_place = self.in_place and not self.console.is_dumb_terminal
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[left]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            disable=not self.in_place,
        )
        self._bar: TaskID | None = None
        self._notes = Counter[str]()
        # Line mode: time of the last progress line, and the last milestone.
        self._told_s = monotonic()
        self._logged = ""
        # The current work, the time of its first report, and `done` then.
        self._work, self._began_s, self._first = "", 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide_bar()

    def hide_bar(self) -> None:
        """Erase the bar until the next progress."""
        if self._bar is not None:
            self._bars.stop()
            self._bars.remove_task(self._bar)
            self._bar = None

    def progress(self, progress: Progress) -> None:
        left = self._left(progress)
        if self.in_place:
            self._show(progress, left)
        elif not self.quiet and self.is_due:
            total = f" of {progress.total}" if progress.total is not None else ""
            far = f": {progress.done}{total} {progress.unit}".rstrip() if progress.done else ""
            self.tell(", ".join(part for part in (f"{progress.work}{far}", left) if part))

    def note(self, text: str, kind: str | None = None) -> None:
        if self.quiet:
            return
        if kind is not None:
            self._notes[kind] += 1
            if self._notes[kind] > _NOTES_OF_A_KIND + 1:
                return
            if self._notes[kind] > _NOTES_OF_A_KIND:
                text = f"Further rows of this kind ({kind}) are only counted."
        self.write(text)

    def warn(self, text: str) -> None:
        self.write(text, "yellow")

    def hint(self, text: str) -> None:
        if self.in_place:
            self.write(text, "dim")

    def log(self, text: str) -> None:
        if not self.in_place and not self.quiet and text != self._logged:
            self._logged = text
            self.tell(text)

    @property
    def is_due(self) -> bool:
        """Whether the next progress line is due."""
        return monotonic() - self._told_s >= _EVERY_S

    def tell(self, text: str) -> None:
        """Write a progress line and restart the interval."""
        self._told_s = monotonic()
        self.write(text)

    def write(self, text: str, style: str = "") -> None:
        """Write a permanent line above the bar."""
        shown = line(text)
        if is_terminal(sys.stderr):
            self.console.print(Text(shown, style), soft_wrap=not self.in_place)
        elif sys.stderr is not None:
            print(shown, file=sys.stderr, flush=True)

    def _show(self, progress: Progress, left: str) -> None:
        count = "" if progress.total is None else f"{progress.done:,}/{progress.total:,} {progress.unit}"
        if progress.unit == "%":
            count = f"{progress.done}%"
        shown = {"total": progress.total, "completed": progress.done, "count": count, "left": left}
        description = line(progress.work)
        if self._bar is None:
            self._bars.start()
            self._bar = self._bars.add_task(description, **shown)  # type: ignore[arg-type]
        else:
            self._bars.update(self._bar, description=description, **shown)  # type: ignore[arg-type]

    def _left(self, progress: Progress) -> str:
        """Return the remaining time, by the work's own estimate or by the rate so far; "" if unknown."""
        now, done = monotonic(), progress.done
        if progress.work != self._work or done < self._first:
            self._work, self._began_s, self._first = progress.work, now, done
        left_s = progress.left_s
        if left_s is None and progress.total is not None and done > self._first:
            left_s = (now - self._began_s) / (done - self._first) * (progress.total - done)
        return "" if left_s is None else f"{duration(left_s)} left"
