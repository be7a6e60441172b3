"""Rows from a pipe, read ahead by a thread: whoever feeds it slowly holds up no row under way."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

__all__ = ["arriving"]

Item = TypeVar("Item")

_AHEAD = 64
"""Rows that are held at most; a pipe that is not read makes its writer wait."""


def arriving(items: Iterable[Item]) -> Iterator[Item | None]:
    """The items, and None whenever the next one has not arrived yet. Raises whatever reading them raises.

    Whoever takes no more of them has to close what they are read from: the thread that waits there ends then.
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
        # Room for what the thread may be about to put.
        with suppress(Empty):
            queue.get_nowait()
