"""Loading a pair for a command line: what it will take, a progress bar, both on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.pair import LoadProgress, Pair
from blendin_local.llamacpp.model import LoadCancelled
from blendin_local.models.loading import PairFiles, load_pair
from blendin_local.safe_text import sanitize
from blendin_local.settings import ModelOptions


class _Closable(Protocol):
    def close(self) -> None: ...


Loaded = TypeVar("Loaded", bound=_Closable)


@contextmanager
def loaded(files: PairFiles, options: ModelOptions, *, quiet: bool = False) -> Iterator[Pair]:
    """The loaded pair, closed at the end. Raises ModelError, or KeyboardInterrupt at Ctrl-C."""
    seen = not quiet and is_terminal(sys.stderr)
    if warning := files.memory_warning(options):
        click.secho(warning, err=True, fg="yellow")
    elif seen:
        click.secho(files.memory_estimate(options), err=True, dim=True)
    with _progress(visible=seen) as progress:
        tasks = {
            role: progress.add_task(f"{role}: {sanitize(header.path.name)}", total=1.0)
            for role, header in (("base", files.base), ("guide", files.guide))
        }

        pair = stoppable(
            lambda report: load_pair(files, options, progress=report),
            lambda role, share: progress.update(tasks[role], completed=share),
        )
    try:
        yield pair
    finally:
        pair.close()


def stoppable(
    load: Callable[[LoadProgress], Loaded], progress: Callable[[str, float], None] = lambda role, share: None
) -> Loaded:
    """What `load` loads. Ctrl-C stops it, and then raises KeyboardInterrupt; nothing stays loaded.

    llama.cpp asks for progress in a callback, from which no exception can leave: Ctrl-C is an answer to it.
    """
    stopped = threading.Event()

    def report(role: str, share: float) -> bool:
        progress(role, share)
        return not stopped.is_set()

    found = None
    with interrupting(stopped.set), suppress(LoadCancelled):
        found = load(report)
    if found is None:
        raise KeyboardInterrupt
    if stopped.is_set():
        found.close()
        raise KeyboardInterrupt
    return found


def _progress(*, visible: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("loading {task.description}", style="dim", markup=False), BarColumn(bar_width=24))
    return Progress(*columns, console=console, transient=True, disable=not visible)
