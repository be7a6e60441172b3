"""The display of long work on stderr: a bar in a terminal, else a line now and then."""

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

from blendin_local.presentation.formatting import duration
from blendin_local.presentation.terminal import is_terminal
from blendin_local.progress import Progress, Watcher
from blendin_local.safe_text import sanitize

__all__ = ["Display", "download_progress", "hash_progress"]

_EVERY_S = 15.0
"""Seconds between two lines about the same work, where there is no bar."""
_NOTES_OF_A_KIND = 5
"""A file of ten thousand bad rows would hide everything else."""
_LARGE = 1 << 28
"""Bytes; a smaller file is hashed before anybody could read a message about it."""


def hash_progress(watcher: Watcher) -> Callable[[Path, int, int], None]:
    """A callback for `models.checksums.file_digest` that tells the watcher of large files."""

    def report(path: Path, done: int, size: int) -> None:
        if size >= _LARGE:
            watcher.progress(Progress(f"hashing {path.name}", done >> 20, size >> 20, "MB"))

    return report


def download_progress(watcher: Watcher) -> Callable[[int, int | None, str], None]:
    """A callback for `models.download.pull` that tells the watcher of each stage."""
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
    """Shows the work under way on one line; use it as a context manager, which erases that line.

    quiet: show nothing but warnings. in_lines: print lines in a terminal too, where the results of the work
    are written to it.
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
        # In lines: when progress was told last, and the last milestone.
        self._told_s = monotonic()
        self._logged = ""
        # The work under way, when it began, and how much of it was done then.
        self._work, self._began_s, self._first = "", 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide_bar()

    def hide_bar(self) -> None:
        """Erase the bar, until there is progress again."""
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
                text = f"Further rows of this kind ({kind}) are counted only."
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
        """Whether it is time for another line of progress."""
        return monotonic() - self._told_s >= _EVERY_S

    def tell(self, text: str) -> None:
        """Write a line of progress; the next one is due a while later."""
        self._told_s = monotonic()
        self.write(text)

    def write(self, text: str, style: str = "") -> None:
        """Write a line that stays, above the bar."""
        shown = " ".join(sanitize(text).split())
        if is_terminal(sys.stderr):
            self.console.print(Text(shown, style), soft_wrap=not self.in_place)
        elif sys.stderr is not None:
            print(shown, file=sys.stderr, flush=True)

    def _show(self, progress: Progress, left: str) -> None:
        count = "" if progress.total is None else f"{progress.done:,}/{progress.total:,} {progress.unit}"
        if progress.unit == "%":
            count = f"{progress.done}%"
        shown = {"total": progress.total, "completed": progress.done, "count": count, "left": left}
        description = " ".join(sanitize(progress.work).split())
        if self._bar is None:
            self._bars.start()
            self._bar = self._bars.add_task(description, **shown)  # type: ignore[arg-type]
        else:
            self._bars.update(self._bar, description=description, **shown)  # type: ignore[arg-type]

    def _left(self, progress: Progress) -> str:
        """How long the rest will take, by its own estimate or at the pace so far; "" where unknown."""
        now, done = monotonic(), progress.done
        if progress.work != self._work or done < self._first:
            self._work, self._began_s, self._first = progress.work, now, done
        left_s = progress.left_s
        if left_s is None and progress.total is not None and done > self._first:
            left_s = (now - self._began_s) / (done - self._first) * (progress.total - done)
        return "" if left_s is None else f"{duration(left_s)} left"
