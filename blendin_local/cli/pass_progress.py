"""How far a pass over reference answers is, on stderr: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blendin_local.cli.terminal import is_terminal

__all__ = ["pass_progress"]

_LINE_EVERY_S = 15.0


@contextmanager
def pass_progress(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback that is told the positions scored so far, and those wanted."""
    if quiet:
        yield None
        return
    if not is_terminal(sys.stderr):
        yield _lines()
        return
    columns = (TextColumn("reading answers"), BarColumn(bar_width=24), MofNCompleteColumn())
    positions = (TextColumn("positions", style="dim"), TimeRemainingColumn())
    with Progress(*columns, *positions, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines() -> Callable[[int, int], None]:
    said = monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        if monotonic() - said > _LINE_EVERY_S:
            said = monotonic()
            click.echo(f"{done} of {total} positions", err=True)

    return report
