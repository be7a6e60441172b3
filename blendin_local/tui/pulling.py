"""Models being pulled while the interface goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from blendin_local.models.download import pull
from blendin_local.models.entries import ModelEntry
from blendin_local.tui.worker import sentence_of


class Pulling:
    """Pulls models in a thread, one after another; every attribute may be read at any time.

    name: the model on its way. done, total: bytes of it, total None if unknown. doing: what is done with
    them. ended: nothing more happens. error: one sentence if it went wrong.
    """

    def __init__(self, models: Sequence[ModelEntry]) -> None:
        self.models = models
        self.name = models[0].name
        self.done = 0
        self.total: int | None = None
        self.doing = ""
        self.ended = False
        self.error = ""
        self._given_up = threading.Event()
        # A daemon: a server that does not answer must not keep the process alive.
        threading.Thread(target=self._run, name="pull", daemon=True).start()

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def given_up(self) -> bool:
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Stop at the next report; what has come stays, and the next pull goes on from there."""
        self._given_up.set()

    def _run(self) -> None:
        try:
            for model in self.models:
                self.name = model.name
                self._report(0, None, "")
                pull(model, progress=self._report)
        except _GivenUp:
            pass
        except Exception as error:
            self.error = sentence_of(error)
        finally:
            self.ended = True

    def _report(self, done: int, total: int | None, doing: str) -> None:
        if self._given_up.is_set():
            raise _GivenUp
        self.done, self.total, self.doing = done, total, doing


class _GivenUp(BaseException):
    """As a KeyboardInterrupt, it is for nobody to handle on the way."""
