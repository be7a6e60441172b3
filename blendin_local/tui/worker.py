"""The thread that owns the models: it loads them, writes replies, and frees them.

The interface hands it work and takes what happened from a deque, as often as it likes to look. Nothing is
posted from here into the interface's loop, so a fast model cannot flood it.
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
    """The models are ready, and have taken the place of those before them."""

    chat: ChatBackend


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The models could not be loaded; one sentence says why.

    chat: the models of before, which are still there or there again; None if there are none.
    """

    reason: str
    chat: ChatBackend | None = None


@dataclass(frozen=True, slots=True)
class ReplyBegun:
    """The prompt is made, and the models begin to read it. The steps follow as they are."""

    reply: ReplyStream


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last event of a reply, also of one that failed before it began.

    text: all of it; it may end in text that no step released. error: one sentence if it failed.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    error: str = ""


Event = Step | Loaded | LoadFailed | ReplyBegun | ReplyEnded


@dataclass(slots=True, eq=False)
class _Loading:
    """A load that was asked for; it may be given up before it has begun, and until its end."""

    load: LoadBackend
    release_first: bool = False
    given_up: bool = False


@dataclass(slots=True, eq=False)
class _Writing:
    """A reply that was asked for; it may be stopped before it has begun."""

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
    """Runs a chat in a thread of its own; every method may be called from the interface's thread.

    events: what happened, oldest first. progress: the role of the model being loaded ("" if none is), and
    the share of it.
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

    # From the interface

    def load(self, load: LoadBackend, *, release_first: bool = False) -> None:
        """Load models in the place of those that are loaded; ends in `Loaded` or `LoadFailed`.

        release_first: free the old ones before, because both do not fit; they are loaded again if the new
        ones fail.
        """
        loading = _Loading(load, release_first)
        self._loadings.append(loading)
        self.progress = ("", 0.0)
        self._do(lambda: self._replace(loading))

    def cancel_load(self) -> None:
        """Give up the load under way, and those that wait behind it: the models of before stay."""
        for loading in tuple(self._loadings):
            loading.given_up = True

    def write(self, request: ReplyRequest) -> None:
        """Write a reply: `ReplyBegun`, its steps, then `ReplyEnded`."""
        writing = _Writing(request)
        self._writings.append(writing)
        self._do(lambda: self._write(writing))

    def stop(self) -> None:
        """Stop the reply under way, and those that wait behind it."""
        for writing in tuple(self._writings):
            writing.stop()

    def close(self) -> None:
        """Stop everything, free the models, and let the thread end. Does not wait: see `join`.

        What was not begun is dropped without an event.
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

    # In the thread

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
            return not (loading.given_up or self._closing.is_set())

        new, reason = None, "The load was given up."
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
            # It is also given up where it was told so too late to be interrupted.
            _close(new)
            reason += self._restored()
            self.events.append(LoadFailed(reason, self._chat))
            return
        self._free()
        self._chat, self._load = new, loading.load
        self.events.append(Loaded(new))

    def _restored(self) -> str:
        """Load the old models again if they were freed for the new ones; return what to add to the reason."""
        if self._chat is not None or self._load is None or self._closing.is_set():
            return ""
        # The shares of old models would be taken for those of the new.
        self.progress = ("", 0.0)
        try:
            self._chat = self._load(lambda role, share: not self._closing.is_set())
        except Exception as error:
            return f" The models of before cannot be loaded again either: {sentence_of(error)}"
        return ""

    def _write(self, writing: _Writing) -> None:
        reply, error = None, ""
        try:
            if self._chat is None:
                raise BlendinError("No models are loaded, so nobody can answer.")
            reply = self._chat.write(writing.request)
            writing.begun(reply)
            self.events.append(ReplyBegun(reply))
            # Appending is all that happens between two steps: it costs the models nothing.
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
    """Free models. Whatever goes wrong there must not cost the thread, and with it the next models."""
    if chat is not None:
        with suppress(Exception):
            chat.close()


def sentence_of(error: Exception) -> str:
    """Return what a user is told. An error that is not ours is a defect; its kind helps to report it."""
    if isinstance(error, BlendinError):
        return str(error)
    return f"Something went wrong inside blendin ({type(error).__name__}: {error})."
