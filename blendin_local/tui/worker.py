"""The models' thread: it loads models, writes replies and frees models.

The interface queues jobs and polls a deque of events. The thread posts no messages to the interface's event
loop, so a fast model cannot flood it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

from blendin_local.engine.chat_backend import ChatBackend, LoadBackend, ReplyRequest, ReplyStream
from blendin_local.engine.steps import FinishReason, Step
from blendin_local.errors import BlendinError


@dataclass(frozen=True, slots=True)
class Loaded:
    """New models are loaded and have replaced the old ones."""

    chat: ChatBackend


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Loading failed. reason: one sentence. chat: the old models if they are loaded, else None."""

    reason: str
    chat: ChatBackend | None = None


@dataclass(frozen=True, slots=True)
class ReplyBegun:
    """The prompt is rendered, and the models start to read it; the next events are the reply's `Step`s."""

    reply: ReplyStream


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last event of a reply, also if it failed before `ReplyBegun`.

    text: the whole reply, which may end in text that no step released. error: one sentence if it failed.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    error: str = ""


Event = Step | Loaded | LoadFailed | ReplyBegun | ReplyEnded


@dataclass(slots=True, eq=False)
class _Loading:
    """A requested load; it can be cancelled until it ends."""

    load: LoadBackend
    release_first: bool = False
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Writing:
    """A requested reply; it can be stopped before it begins."""

    request: ReplyRequest
    reply: ReplyStream | None = None
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            self.request.cancellation.cancel()
            if self.reply is not None:
                self.reply.cancel()

    def begun(self, reply: ReplyStream) -> None:
        with self.lock:
            self.reply = reply
            if self.stopped:
                reply.cancel()


class ModelWorker:
    """Runs a `ChatBackend` in a thread; its methods may be called from the interface's thread.

    events: oldest first. progress: role of the model that is being loaded, "" if none, and the loaded share.
    """

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.progress = ("", 0.0)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._loadings: list[_Loading] = []
        self._writings: list[_Writing] = []
        self._chat: ChatBackend | None = None
        self._load: LoadBackend | None = None
        # A daemon, so that a load that cannot be interrupted never keeps the process alive.
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    # Called in the interface's thread

    def load(self, load: LoadBackend, *, release_first: bool = False) -> None:
        """Replace the loaded models; ends in `Loaded` or `LoadFailed`.

        release_first: free the old models first, because both do not fit into memory; they are loaded again
        if the new ones fail.
        """
        loading = _Loading(load, release_first)
        self._loadings.append(loading)
        self.progress = ("", 0.0)
        self._do(lambda: self._replace(loading))

    def cancel_load(self) -> None:
        """Cancel the current load and all queued ones; the old models stay."""
        for loading in tuple(self._loadings):
            loading.cancelled = True

    def write(self, request: ReplyRequest) -> None:
        """Queue a reply, which yields the events `ReplyBegun`, its steps, and `ReplyEnded`."""
        writing = _Writing(request)
        self._writings.append(writing)
        self._do(lambda: self._write(writing))

    def stop(self) -> None:
        """Stop the current reply and all queued ones."""
        for writing in tuple(self._writings):
            writing.stop()

    def close(self) -> None:
        """Stop everything, free the models and end the thread, without waiting for it (see `join`).

        Queued jobs are dropped without an event.
        """
        self._closing.set()
        self.stop()
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; False if it still runs."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        if self._thread.ident is None and not self._closing.is_set():
            self._thread.start()

    # Called in the models' thread

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None and not self._closing.is_set():
                job()
        finally:
            self._free()

    def _free(self) -> None:
        chat, self._chat = self._chat, None
        _close(chat)

    def _replace(self, loading: _Loading) -> None:
        def report(role: str, share: float) -> bool:
            self.progress = (role, share)
            return wanted()

        def wanted() -> bool:
            return not (loading.cancelled or self._closing.is_set())

        new, reason = None, "Loading was cancelled."
        try:
            if wanted():
                if loading.release_first:
                    self._free()
                new = loading.load(report)
        except Exception as error:
            if wanted():
                reason = sentence_of(error)
        self._loadings.remove(loading)
        if new is None or not wanted():
            # A cancel may arrive after the last progress report, when the load can no longer be interrupted.
            _close(new)
            reason += self._restored()
            self.events.append(LoadFailed(reason, self._chat))
            return
        self._free()
        self._chat, self._load = new, loading.load
        self.events.append(Loaded(new))

    def _restored(self) -> str:
        """Load the old models again if they were freed for the new ones; return a sentence if that fails."""
        if self._chat is not None or self._load is None or self._closing.is_set():
            return ""
        # Progress of the old models would be shown as that of the new ones.
        self.progress = ("", 0.0)
        try:
            self._chat = self._load(lambda role, share: not self._closing.is_set())
        except Exception as error:
            return f" The old models cannot be loaded again either: {sentence_of(error)}"
        return ""

    def _write(self, writing: _Writing) -> None:
        reply, error = None, ""
        try:
            if self._chat is None:
                raise BlendinError("No models are loaded.")
            reply = self._chat.write(writing.request)
            writing.begun(reply)
            self.events.append(ReplyBegun(reply))
            # Only an append between two steps, so that the interface does not slow down the models.
            for step in reply:
                self.events.append(step)
        except Exception as failure:
            error = sentence_of(failure)
        finally:
            self._writings.remove(writing)
        text, reason = (reply.text, reply.finish_reason) if reply else ("", None)
        if reply is None and writing.stopped:
            reason, error = "cancelled", ""
        self.events.append(ReplyEnded(text, reason, error))


def _close(chat: ChatBackend | None) -> None:
    """Free models. Errors are ignored: the thread must survive to load the next models."""
    if chat is not None:
        with suppress(Exception):
            chat.close()


def sentence_of(error: Exception) -> str:
    """Return an error as a sentence for the user; an unexpected one is named by its type, to be reported."""
    if isinstance(error, BlendinError):
        return str(error)
    return f"Something went wrong inside blendin ({type(error).__name__}: {error})."
