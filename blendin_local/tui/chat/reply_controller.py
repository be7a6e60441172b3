"""Load pairs, start and stop replies, and handle the events of the models' thread.

Called from the interface's thread only. A `ReplyView` and `ReplySink`s show the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest, ReplyStream
from blendin_local.engine.steps import Step
from blendin_local.errors import BlendinError
from blendin_local.history.tree import Setup
from blendin_local.tui.chat.interfaces import ReplyEnd, ReplySink, ReplyView
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.loading import Prepared
from blendin_local.tui.metrics import ReplyMetrics
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece, ReplyText
from blendin_local.tui.worker import Event, Loaded, LoadFailed, ReplyBegun, ReplyEnded

_METRICS_INTERVAL_S = 0.75
"""Interval at which metrics are drawn; shorter ones would take processor time from the models."""
_CHECKPOINT_INTERVAL_S = 0.8
"""Interval at which a reply is saved while it is written."""

_BUSY = {
    Phase.WRITING: "A reply is being written: stop it with Escape first.",
    Phase.STOPPING: "The reply is being stopped: one moment.",
    Phase.LOADING: "The models are being loaded: one moment.",
    Phase.WAITING: "The models are being loaded: one moment.",
    Phase.FAILED: "No models are loaded: F3 chooses others.",
}
"""Reasons for which the conversation cannot be changed now."""


class ReplyController:
    """Decides what may be done now, and moves replies from the models' thread to the conversation.

    sink: returns the current `ReplySink`. coming: the pair that is being loaded to replace another, with the
    setup of the next replies.
    """

    def __init__(self, session: ChatSession, view: ReplyView, sink: Callable[[], ReplySink]) -> None:
        self.phase = Phase.LOADING
        self.coming: tuple[Prepared, Setup] | None = None
        self._session = session
        self._dialogue = session.dialogue
        self._worker = session.worker
        self._view = view
        self._sink = sink
        self._text: ReplyText | None = None
        self._metrics = ReplyMetrics()
        self._waiting: ReplyRequest | None = None
        self._typed = ""
        self._postponed: list[Callable[[], object]] = []
        self._drawn_at = self._checkpoint_at = 0.0
        self._problem = ""

    # Permissions

    def may_act(self) -> bool:
        """Return whether a reply can be requested or the conversation changed; tell why not."""
        if reason := _BUSY.get(self.phase):
            self._view.tell(reason)
        return self.phase is Phase.READY

    def may_load(self) -> bool:
        """Return whether another pair or conversation can be loaded; tell why not."""
        return not (self.phase.is_writing or self.phase.is_loading) or self.may_act()

    def may_set(self) -> bool:
        """Return whether settings can be changed: not while a pair with its own is loading; tell why not."""
        return self.coming is None or self.may_act()

    def when_stopped(self, act: Callable[[], object]) -> None:
        """Call `act` now or, while a reply is being stopped, after its end."""
        if self.phase is Phase.STOPPING:
            self._postponed.append(act)
        else:
            act()

    @property
    def live_metrics(self) -> ReplyMetrics | None:
        """Metrics of the reply that is being written, None if there is none."""
        return self._metrics if self._text else None

    # Models

    def load_first(self) -> None:
        """Load the pair that the session was opened with."""
        self._set_phase(Phase.LOADING)
        self._worker.load(self._session.prepared.load)

    def load(self, prepared: Prepared, setup: Setup) -> None:
        """Load another pair. setup: for the next replies."""
        self.coming = prepared, setup
        self._set_phase(Phase.LOADING)
        self._worker.load(prepared.load, release_first=not prepared.fits)

    def change(self, setup: Setup) -> None:
        """Set the setup of the next replies."""
        self._dialogue.change(setup)
        self._view.show_pair()

    def _loaded(self, backend: ChatBackend) -> None:
        self._session.backend = backend
        waiting, self._waiting = self._waiting, None
        if self.coming is not None:
            (self._session.prepared, setup), self.coming = self.coming, None
            self.change(setup)
            if waiting is not None:
                # Render the waiting message again, for the new models.
                self._dialogue.take_back(question=False)
                waiting = self._dialogue.regenerate(seed=waiting.settings.seed)
        else:
            # A resumed conversation records the setup of the command line once its models are loaded.
            self._dialogue.change(self._dialogue.setup)
        self._set_phase(Phase.READY)
        self._view.show_metrics()
        if note := self._session.prepared.about.note:
            self._view.tell(note)
        if waiting is not None:
            self.start(waiting, typed=self._typed)

    def _load_failed(self, reason: str, backend: ChatBackend | None) -> None:
        self.coming, self._session.backend = None, backend
        self._take_back()
        self._view.load_failed(reason)
        self._set_phase(Phase.READY if backend is not None else Phase.FAILED)

    # Replies

    def start(self, request: ReplyRequest, *, typed: str = "") -> None:
        """Start the reply that the dialogue has prepared.

        typed: its message if that was typed; it returns to the input if the models do not read it.
        """
        reply = self._dialogue.reply
        assert reply is not None
        self._typed = typed
        self._sink().started(reply)
        if self.phase.is_loading:
            self._waiting = request
            self._set_phase(Phase.WAITING)
            return
        self._set_phase(Phase.WRITING)
        self._checkpoint_at = time.monotonic()
        self._worker.write(request)

    def start_or_tell(self, ask: Callable[[], ReplyRequest]) -> bool:
        """Start the reply that `ask` prepares; if it raises BlendinError, tell why and return False."""
        try:
            request = ask()
        except BlendinError as error:
            self._view.tell(str(error))
            return False
        self.start(request)
        return True

    def stop(self) -> bool:
        """Stop the current reply or cancel the current load; return False if there is none."""
        if self.phase is Phase.WRITING:
            self._worker.stop()
            self._set_phase(Phase.STOPPING)
        elif self.phase is Phase.WAITING:
            self._take_back()
            self._set_phase(Phase.LOADING)
        elif self.phase is Phase.LOADING:
            self._worker.cancel_load()
        else:
            return False
        return True

    def _take_back(self) -> None:
        """Return a message that the models have not read to the input."""
        typed, self._typed, self._waiting = self._typed, "", None
        self._dialogue.take_back(question=bool(typed))
        self._view.take_back(typed)

    def _set_phase(self, phase: Phase) -> None:
        self.phase = phase
        self._view.show_phase(phase)

    # Events of the models' thread

    def poll(self) -> None:
        """Handle all events since the last call."""
        events, steps = self._worker.events, list[Step]()
        if self.phase.is_loading:
            self._view.show_progress(*self._worker.progress)
        while events:
            event = events.popleft()
            if isinstance(event, Step):
                steps.append(event)
                continue
            self._write(steps)
            steps = []
            self._handle(event)
        self._write(steps)
        self._report_problem()
        if self._text:
            self._do_at_intervals()

    def _do_at_intervals(self) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= _METRICS_INTERVAL_S:
            self._drawn_at = now
            self._view.show_metrics()
        if now - self._checkpoint_at >= _CHECKPOINT_INTERVAL_S:
            self._checkpoint_at = now
            self._dialogue.checkpoint()

    def _report_problem(self) -> None:
        """Tell once that the conversation can no longer be saved."""
        if (problem := self._session.journal.problem) != self._problem:
            self._problem = problem
            if problem:
                self._view.tell(problem, error=True)

    def _handle(self, event: Event) -> None:
        match event:
            case Loaded(backend):
                self._loaded(backend)
            case LoadFailed(reason, backend):
                self._load_failed(reason, backend)
            case ReplyBegun(reply):
                self._begin(reply)
            case ReplyEnded():
                self._end(event)

    def _begin(self, reply: ReplyStream) -> None:
        assert self._session.backend is not None
        self._text, self._typed = ReplyText(), ""
        self._metrics = ReplyMetrics(reply.summary)
        self._dialogue.start_reply(reply, self._session.backend)
        if pieces := self._text.take(reply.prefix):
            self._show(pieces)
        self._metrics.add(reply.prefix)

    def _write(self, steps: list[Step]) -> None:
        if steps and self._text:
            self._dialogue.append_steps(steps)
            self._metrics.add(steps)
            self._show(self._text.take(steps))

    def _show(self, pieces: list[Piece]) -> None:
        if (reply := self._dialogue.reply) is not None:
            self._sink().write(reply, pieces, self._metrics.summary)

    def _end(self, ended: ReplyEnded) -> None:
        text, self._text = self._text, None
        on_path = self._dialogue.reply in self._dialogue.tree.path()
        if text:
            self._show(text.end(ended.text))
        turn = self._dialogue.end(ended.text, ended.finish_reason, ended.error)
        if turn is None and not text:
            self._take_back()
        self._set_phase(Phase.READY)
        cancelled = ended.finish_reason == "cancelled"
        self._sink().ended(ReplyEnd(turn, text is not None, on_path, cancelled, ended.error))
        if self.phase is not Phase.READY:
            # A comparison has started its next reply.
            return
        self._view.show_metrics()
        postponed, self._postponed = self._postponed, []
        for act in postponed:
            act()
