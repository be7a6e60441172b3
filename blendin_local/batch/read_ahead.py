"""Read rows of a pipe ahead in a thread, so that a slow pipe does not delay rows in progress."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

__all__ = ["read_ahead"]

Item = TypeVar("Item")

_AHEAD = 64
"""Maximum number of rows read ahead; beyond it, the writer of the pipe waits."""


def read_ahead(items: Iterable[Item]) -> Iterator[Item | None]:
    """Yield the items, and None whenever the next one has not arrived. Raises errors of reading.

    A caller that stops early must close the source of the items, which ends the thread.
    """
    queue: Queue[tuple[Item] | BaseException | None] = Queue(_AHEAD)
    left = threading.Event()

    def read() -> None:
        try:
            for item in items:
                queue.put((item,))
                if left.is_set():
                    return
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    threading.Thread(target=read, name="rows", daemon=True).start()
    try:
        while True:
            try:
                found = queue.get_nowait()
            except Empty:
                yield None
                continue
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        left.set()
        # Make room for an item that the thread may be about to put.
        with suppress(Empty):
            queue.get_nowait()
