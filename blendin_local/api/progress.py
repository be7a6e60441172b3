"""Report the progress of long work to a caller of the library."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from blendin_local.presentation.progress_display import Display
from blendin_local.presentation.terminal import is_terminal
from blendin_local.progress import Progress, Watcher

__all__ = ["ShowProgress", "open_watcher"]

ShowProgress = Callable[[Progress], None] | Literal[False] | None
"""A callback for progress; None: a bar on stderr if that is a terminal; False: no progress."""

_LOG = logging.getLogger("blendin_local")


class _LogWatcher(Watcher):
    """Sends messages to the logger `blendin_local`, and progress to a callback, if there is one."""

    def __init__(self, show: Callable[[Progress], None] | None) -> None:
        self._show = show

    def progress(self, progress: Progress) -> None:
        if self._show:
            self._show(progress)

    def note(self, text: str, kind: str | None = None) -> None:
        _LOG.info(text)

    def warn(self, text: str) -> None:
        _LOG.warning(text)

    def log(self, text: str) -> None:
        _LOG.info(text)


@contextmanager
def open_watcher(show: ShowProgress) -> Iterator[Watcher]:
    """Provide the watcher for a `progress` argument."""
    if show is None and is_terminal(sys.stderr):
        with Display() as display:
            yield display
    else:
        yield _LogWatcher(show or None)
