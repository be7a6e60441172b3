"""Progress on stderr: a bar in a terminal, one line for each stage elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from blendin_local.models.download.transfer import Progress as Callback
from blendin_local.safe_text import sanitize


@contextmanager
def download_progress(name: str) -> Iterator[Callback]:
    """A callback for `blendin_local.models.download.pull` that shows how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_for_each_stage()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        # Made at the first report: what is already here shows nothing.
        stages: dict[str, TaskID] = {}

        def report(done: int, total: int | None, label: str) -> None:
            if label not in stages:
                for task in stages.values():
                    bars.remove_task(task)
                stages.clear()
                stages[label] = bars.add_task(sanitize(label), total=total)
            bars.update(stages[label], completed=done, total=total)

        yield report


def _line_for_each_stage() -> Callback:
    last = ""

    def report(done: int, total: int | None, label: str) -> None:
        nonlocal last
        if label != last:
            size = "" if total is None else f" ({total / 1e6:,.0f} MB)"
            click.echo(f"{sanitize(label)}{size} …", err=True)
            last = label

    return report


@contextmanager
def reading() -> Iterator[Callable[[Path], None]]:
    """A callback that shows which file is being read, in a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda path: None
        return
    with console.status("") as status:
        yield lambda path: status.update(Text(sanitize(f"reading {path.name}")))
