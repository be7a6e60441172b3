"""How far a comparison is, on stderr: a bar where that is a terminal, else lines, not many of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from blendin_local.cli.terminal import is_terminal
from blendin_local.compare.run import Watcher
from blendin_local.compare.writing import ArmProgress
from blendin_local.presentation.formatting import duration
from blendin_local.safe_text import sanitize

__all__ = ["CompareProgress", "duration"]

_LARGE = 1 << 28
"""Files smaller than this are hashed before anybody could read a message about it."""
_EVERY_S = 15.0
"""Where there is no bar, what takes long is heard of so often."""


class CompareProgress(Watcher):
    """Shows one line for what is under way; use it as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._seen = not quiet and is_terminal(sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}", style="dim", markup=False),
            console=Console(stderr=True),
            transient=True,
            disable=not self._seen,
        )
        self._line: TaskID | None = None
        # For logs: when something was said last, and of what the beginning was.
        self._said_s = monotonic()
        self._said = ""
        # The step under way: its name, when it began, and how much of it was done then.
        self._step, self._began_s, self._first = "", 0.0, 0

    def __enter__(self) -> CompareProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def arm(self, progress: ArmProgress) -> None:
        eta = "" if progress.eta_s is None else f"{duration(progress.eta_s)} left for this arm"
        if progress.done == progress.total and progress.eta_s is not None:
            self._say(f"{progress.arm}: {progress.total} questions answered")
        self._show(f"{progress.arm} · {progress.task}", progress.done, progress.total, eta)

    def step(self, what: str, done: int, total: int) -> None:
        self._say(what)
        self._show(what, done, total, self._left(what, done, total))

    def _left(self, what: str, done: int, total: int) -> str:
        """How long the rest of a step will take at its pace so far."""
        now = monotonic()
        if what != self._step or done < self._first:
            self._step, self._began_s, self._first = what, now, done
        if done == self._first:
            return ""
        return f"{duration((now - self._began_s) / (done - self._first) * (total - done))} left"

    def hashing(self, path: Path, done: int, size: int) -> None:
        """A model file is read through to know it again."""
        if size >= _LARGE:
            self._show(f"reading {path.name} through (MB)", done >> 20, size >> 20, "once for each file")

    def reading(self, name: str, done: int) -> None:
        """Results of an earlier run are read, so many so far."""
        self._show(f"reading {name}", done, done, "")

    def loading(self, name: str) -> Callable[[str, float], None]:
        """What is told how far a load is."""
        return lambda role, share: self._show(f"loading {name} ({role})", round(100 * share), 100, "")

    def _show(self, text: str, done: int, total: int, eta: str) -> None:
        if not self._seen:
            if monotonic() - self._said_s >= _EVERY_S:
                far = f": {done} of {total}{', ' if eta else ''}{eta}" if done else ""
                self._write(f"{text}{far}")
            return
        description = sanitize(text).replace("\n", " ")
        if self._line is None:
            self._line = self._bar.add_task(description, total=total, completed=done, eta=eta)
        else:
            self._bar.update(self._line, description=description, total=total, completed=done, eta=eta)

    def _say(self, text: str) -> None:
        """A line for logs, which cannot show a bar; once for each thing."""
        if not self._seen and text != self._said:
            self._said = text
            self._write(text)

    def _write(self, text: str) -> None:
        self._said_s = monotonic()
        if not self._quiet:
            click.echo(sanitize(text).replace("\n", " "), err=True)
