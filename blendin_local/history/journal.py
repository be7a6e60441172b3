"""Write to the store in order in a thread, so that the user interface does not wait for the disk."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable

from blendin_local.errors import HistoryError
from blendin_local.history.store import Store

__all__ = ["Call", "Journal"]

Call = Callable[[Store], object]

_RETRY_DELAY_S = 1.0
"""Delay before a call is repeated that failed because of a full disk or a lock."""


class Journal:
    """Calls the store in the order of `put`.

    A call that fails because of a full disk or a lock is repeated until it succeeds, while the others wait;
    any other failure drops the call. problem: one sentence on what is not saved, or "".
    """

    def __init__(self, store: Store | None) -> None:
        """store: None discards all calls."""
        self.problem = ""
        self._store = store
        self._calls: deque[Call] = deque()
        self._reported = ""
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        if store:
            self._thread.start()

    def put(self, call: Call) -> None:
        """Queue a call; objects that it captures must not change any more."""
        if self._store:
            with self._changed:
                self._calls.append(call)
                self._changed.notify_all()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until all calls are written; False on timeout or failure."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls or self.problem != self._reported, seconds)
            return not self._calls

    def close(self, seconds: float = 10.0) -> bool:
        """Try each remaining call once and close the store; False on timeout or failure."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._store and threading.current_thread() is not self._thread:
            self._thread.join(seconds)
        return not self.problem and not self._calls

    def _work(self) -> None:
        assert self._store
        while call := self._next():
            problem, temporary = _try(call, self._store)
            with self._changed:
                self.problem = problem or self._reported
                if temporary and not self._closing:
                    self._changed.wait(_RETRY_DELAY_S)
                else:
                    self._reported = self.problem
                    self._calls.popleft()
                self._changed.notify_all()
        _try(Store.close, self._store)

    def _next(self) -> Call | None:
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closing)
            return self._calls[0] if self._calls else None


def _try(call: Call, store: Store) -> tuple[str, bool]:
    """Run a call; return its error or "", and whether that may be temporary."""
    try:
        call(store)
    except HistoryError as error:
        return str(error), isinstance(error.__cause__, sqlite3.OperationalError)
    except Exception as error:
        # No error may end the thread.
        return f"A part of the conversation was not saved ({type(error).__name__}: {error}).", False
    return "", False
