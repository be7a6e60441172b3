"""Pull models in the background."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from blendin_local.models.download import pull
from blendin_local.models.entries import ModelEntry
from blendin_local.tui.worker import sentence_of


class Pulling:
    """Pulls models in a thread, one after another; its attributes may be read from any thread.

    name: the current model. done, total: its bytes, total None if unknown. doing: the current activity.
    ended: whether the thread is done. error: one sentence if it failed.
    """

    def __init__(self, models: Sequence[ModelEntry]) -> None:
        self.models = models
        self.name = models[0].name
        self.done = 0
        self.total: int | None = None
        self.doing = ""
        self.ended = False
        self.error = ""
        self._cancelled = threading.Event()
        # A daemon, so that a server that does not answer cannot keep the process alive.
        threading.Thread(target=self._run, name="pull", daemon=True).start()

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop at the next progress report; the partial file stays, and the next pull continues it."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            for model in self.models:
                self.name = model.name
                self._report(0, None, "")
                pull(model, progress=self._report)
        except _Cancelled:
            pass
        except Exception as error:
            self.error = sentence_of(error)
        finally:
            self.ended = True

    def _report(self, done: int, total: int | None, doing: str) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
        self.done, self.total, self.doing = done, total, doing


class _Cancelled(BaseException):
    """Raised to end a pull; a BaseException, so that no handler on the way catches it."""
