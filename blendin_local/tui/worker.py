"""The thread that owns the models: it loads them, writes replies, and frees them.

The interface hands it work and takes what happened from a deque, as often as it likes to look. Nothing is
posted from here into the interface's loop, so a fast model cannot flood it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from blendin_local.errors import BlendinError
from blendin_local.steps import FinishReason, Step
from blendin_local.tui.chat import Chat, Load, ReplyLike


@dataclass(frozen=True, slots=True)
class Loaded:
    """The models are ready."""

    chat: Chat


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The models could not be loaded; one sentence says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReplyBegun:
    """The prompt is made, and the models begin to read it. The steps follow as they are."""

    reply: ReplyLike


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last event of a reply, also of one that failed before it began.

    text: all of it; it may end in text that no step released. kept: it is part of the conversation now.
    error: one sentence if it failed.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    kept: bool = False
    error: str = ""


Event = Step | Loaded | LoadFailed | ReplyBegun | ReplyEnded


class ModelWorker:
    """Runs a chat in a thread of its own; every method may be called from the interface's thread."""

    def __init__(self, load: Load) -> None:
        self.events: deque[Event] = deque()
        self.progress = ("", 0.0)
        self._load = load
        self._jobs: SimpleQueue[Callable[[Chat], None] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._reply: ReplyLike | None = None
        self._stopping = False
        # A daemon, so that a load that cannot be interrupted never keeps the process alive.
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    # From the interface

    def start(self) -> None:
        self._thread.start()

    def send(self, text: str) -> None:
        """Write the reply to a message: steps in the events, then `ReplyEnded`."""
        self._submit(lambda chat: self._write(chat, lambda: chat.send(text)))

    def again(self) -> None:
        """Write another reply to the last message."""
        self._submit(lambda chat: self._write(chat, chat.again))

    def restart(self) -> None:
        """Forget the conversation."""
        self._submit(lambda chat: chat.restart())

    def stop(self) -> None:
        """Stop the reply under way, or the one that is about to begin."""
        with self._lock:
            self._stopping = True
            if self._reply is not None:
                self._reply.cancel()

    def close(self) -> None:
        """Stop everything, free the models, and let the thread end. Does not wait: see `join`."""
        self._closing.set()
        self.stop()
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; False if it still runs."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _submit(self, job: Callable[[Chat], None]) -> None:
        self._stopping = False
        self._jobs.put(job)

    # In the thread

    def _run(self) -> None:
        try:
            chat = self._load(self._report)
        except Exception as error:
            if not self._closing.is_set():
                self.events.append(LoadFailed(_sentence(error)))
            return
        try:
            self.events.append(Loaded(chat))
            while (job := self._jobs.get()) is not None and not self._closing.is_set():
                job(chat)
        finally:
            chat.close()

    def _report(self, role: str, share: float) -> bool:
        self.progress = (role, share)
        return not self._closing.is_set()

    def _write(self, chat: Chat, begin: Callable[[], ReplyLike]) -> None:
        reply, kept, error = None, False, ""
        try:
            reply = begin()
            with self._lock:
                self._reply = reply
                if self._stopping or self._closing.is_set():
                    reply.cancel()
            self.events.append(ReplyBegun(reply))
            # Appending is all that happens between two steps: it costs the models nothing.
            for step in reply:
                self.events.append(step)
        except Exception as failure:
            error = _sentence(failure)
        with self._lock:
            self._reply = None
        if reply is None:
            self.events.append(ReplyEnded(error=error))
            return
        try:
            kept = chat.keep(reply)
        except Exception as failure:
            error = error or _sentence(failure)
        self.events.append(ReplyEnded(reply.text, reply.finish_reason, kept, error))


def _sentence(error: Exception) -> str:
    """What a user is told. An error that is not ours is a defect; its kind helps to report it."""
    if isinstance(error, BlendinError):
        return str(error)
    return f"Something went wrong inside blendin ({type(error).__name__}: {error})."
