"""Loading a pair for a command line: what it will take, a progress bar, both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from blendin_local.loading import PairFiles, load_pair
from blendin_local.pair import Pair
from blendin_local.settings import ModelOptions


@contextmanager
def loaded(files: PairFiles, options: ModelOptions, *, quiet: bool = False) -> Iterator[Pair]:
    """The loaded pair, closed at the end. Raises ModelError."""
    seen = not quiet and sys.stderr.isatty()
    if warning := files.memory_warning(options):
        click.secho(warning, err=True, fg="yellow")
    elif seen:
        click.secho(files.memory_estimate(options), err=True, dim=True)
    with _progress(visible=seen) as progress:
        tasks = {
            role: progress.add_task(f"{role}: {header.path.name}", total=1.0)
            for role, header in (("base", files.base), ("guide", files.guide))
        }

        def update(role: str, share: float) -> bool:
            progress.update(tasks[role], completed=share)
            return True

        pair = load_pair(files, options, progress=update)
    try:
        yield pair
    finally:
        pair.close()


def _progress(*, visible: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("[dim]loading {task.description}", markup=True), BarColumn(bar_width=24))
    return Progress(*columns, console=console, transient=True, disable=not visible)
