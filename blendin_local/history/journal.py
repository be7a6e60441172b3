"""One thread that writes to the store in order, so that no interface waits for a disk."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable

from blendin_local.errors import HistoryError
from blendin_local.history.store import Store

__all__ = ["Call", "Journal"]

Call = Callable[[Store], object]

_PAUSE_S = 1.0
"""Between two tries of a call that the disk, or another program, does not let through."""


class Journal:
    """Keeps what it is handed, in that order.

    A full disk or a lock may pass: such a call is tried until it gets through, the others waiting. One
    that fails for another reason is given up. problem: one sentence on what is not kept, "" where all is.
    """

    def __init__(self, store: Store | None) -> None:
        """store: None keeps nothing."""
        self.problem = ""
        self._store = store
        self._calls: deque[Call] = deque()
        self._lost = ""
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        if store:
            self._thread.start()

    def put(self, call: Call) -> None:
        """Have the thread call this with the store; what it captures must not change any more."""
        if self._store:
            with self._changed:
                self._calls.append(call)
                self._changed.notify_all()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until everything was written; False where it was not in time, or cannot be now."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls or self.problem != self._lost, seconds)
            return not self._calls

    def close(self, seconds: float = 10.0) -> bool:
        """Write what there is, trying each call once more, and close the store. False as for `flush`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._store and threading.current_thread() is not self._thread:
            self._thread.join(seconds)
        return not self.problem and not self._calls

    def _work(self) -> None:
        assert self._store
        while call := self._next():
            problem, passing = _try(call, self._store)
            with self._changed:
                self.problem = problem or self._lost
                if passing and not self._closing:
                    self._changed.wait(_PAUSE_S)
                else:
                    self._lost = self.problem
                    self._calls.popleft()
                self._changed.notify_all()
        _try(Store.close, self._store)

    def _next(self) -> Call | None:
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closing)
            return self._calls[0] if self._calls else None


def _try(call: Call, store: Store) -> tuple[str, bool]:
    """What went wrong, and whether that may pass."""
    try:
        call(store)
    except HistoryError as error:
        return str(error), isinstance(error.__cause__, sqlite3.OperationalError)
    except Exception as error:
        # Whatever it is, the conversation goes on.
        return f"A part of the conversation was not kept ({type(error).__name__}: {error}).", False
    return "", False
