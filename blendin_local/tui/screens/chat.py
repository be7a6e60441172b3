"""The chat's main screen: conversation, input and panel, and what each key does."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.screen import Screen
from textual.widgets import Footer

from blendin_local.inert import inert
from blendin_local.steps import Step
from blendin_local.tui.about import About
from blendin_local.tui.chat import Chat
from blendin_local.tui.figures import Figures
from blendin_local.tui.live_reply import LiveReply
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.prompt import Prompt
from blendin_local.tui.widgets.status_line import StatusLine
from blendin_local.tui.widgets.title_bar import TitleBar
from blendin_local.tui.widgets.transcript import Entry, Kind, Transcript
from blendin_local.tui.widgets.welcome import Welcome
from blendin_local.tui.worker import Event, Loaded, LoadFailed, ModelWorker, ReplyBegun, ReplyEnded

_LOOKS_PER_SECOND = 15
_PANEL_EVERY = 3
"""The figures are drawn at every third look only: nobody reads faster, and the models need the processor."""

_REFUSALS = {
    Phase.WRITING: "A reply is being written: wait for its end, or stop it with Escape.",
    Phase.STOPPING: "The reply is being stopped: one moment.",
    Phase.WAITING: "One message is waiting for the models already.",
    Phase.FAILED: "No models are loaded, so nobody can answer.",
}
"""Why a message is not sent; it stays in the input."""


class ChatScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+r", "again", "Again", id="chat.again"),
        Binding("ctrl+n", "restart", "New", id="chat.new"),
        Binding("f2", "toggle_panel", "Panel", id="chat.panel"),
        Binding("f1", "help", "Help", id="chat.help"),
    ]

    transcript = query_one(Transcript)
    prompt = query_one(Prompt)
    panel = query_one(Panel)
    status = query_one(StatusLine)
    loading_bar = query_one(LoadingBar)

    def __init__(self, worker: ModelWorker, about: About) -> None:
        super().__init__()
        self.phase = Phase.LOADING
        self._worker = worker
        self._about = about
        self._chat: Chat | None = None
        self._live: LiveReply | None = None
        self._entry: Entry | None = None
        self._replaced: Entry | None = None
        self._asked: tuple[str, Entry] | None = None
        self._looks = 0
        self._restart_asked = False

    def compose(self) -> ComposeResult:
        yield TitleBar(self._about)
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield Welcome(self._about, id="welcome")
                yield Transcript(id="transcript")
                yield LoadingBar(self._about, id="loading")
                yield StatusLine(id="status")
                yield Prompt(id="prompt")
            yield Panel(self._about, id="panel")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.prompt.focus()
        self._show_phase(Phase.LOADING)
        self._worker.start()
        self.set_interval(1 / _LOOKS_PER_SECOND, self.look)

    # What happened in the models' thread

    def look(self) -> None:
        """Take in everything that has happened since the last look."""
        events, steps = self._worker.events, list[Step]()
        if self.phase.is_loading:
            self.loading_bar.show(*self._worker.progress)
        while events:
            event = events.popleft()
            if isinstance(event, Step):
                steps.append(event)
                continue
            self._write(steps)
            steps = []
            self._handle(event)
        self._write(steps)
        self._looks += 1
        if self._live and self._looks % _PANEL_EVERY == 0:
            self._show_figures()

    def _handle(self, event: Event) -> None:
        match event:
            case Loaded(chat):
                self._chat = chat
                self._show_phase(Phase.READY)
                self.panel.show(Figures(), chat)
                if self._asked:
                    self._begin()
                    self._worker.send(self._asked[0])
            case LoadFailed(reason):
                self._show_phase(Phase.FAILED)
                self._take_back()
                self._add_error(reason)
            case ReplyBegun(reply):
                self._live, self._asked = LiveReply(reply), None
                self._write_pieces(self._live.begin())
            case ReplyEnded():
                self._end(event)

    def _write(self, steps: list[Step]) -> None:
        if steps and self._live:
            self._write_pieces(self._live.take(steps))

    def _write_pieces(self, pieces: list[tuple[str, str]]) -> None:
        if self._entry and pieces:
            self.transcript.write(self._entry, pieces)

    def _show_figures(self) -> None:
        if self._live and self._chat:
            self.panel.show(self._live.figures, self._chat)
            if self.phase is Phase.WRITING and self._live.steps:
                self.status.show_progress(self._live.figures.summary)

    # Replies

    def _begin(self) -> None:
        self._restart_asked = False
        self._entry = self.transcript.add(Kind.REPLY)
        self._show_phase(Phase.WRITING)

    def _end(self, ended: ReplyEnded) -> None:
        try:
            if self._live:
                self._write_pieces(self._live.end(ended.text, ended.finish_reason, ended.kept))
            if self._entry and not ended.kept and (self._replaced or not self._live):
                # Nothing came of it: what it was to replace stands again, or the message was not taken.
                self.transcript.take_out(self._entry)
                if self._replaced:
                    self.transcript.put(self._replaced)
                self._take_back()
            if ended.error:
                self._add_error(ended.error)
            self._show_figures()
        finally:
            self._live = self._entry = self._replaced = None
            self._show_phase(Phase.READY)

    def _add_error(self, text: str) -> None:
        self.transcript.add(Kind.ERROR, [(inert(text), "error")])
        self._show_emptiness()

    @on(Prompt.Sent)
    def _send(self, message: Prompt.Sent) -> None:
        if refusal := _REFUSALS.get(self.phase):
            self._tell(refusal)
            return
        entry = self.transcript.add(Kind.USER, [(inert(message.text), "user")])
        self._show_emptiness()
        self.prompt.clear()
        self._asked = (message.text, entry)
        if self.phase is Phase.LOADING:
            self._show_phase(Phase.WAITING)
        else:
            self._begin()
            self._worker.send(message.text)

    def _take_back(self) -> None:
        """Return a message that the models have not read to the input."""
        if self._asked:
            text, entry = self._asked
            self._asked = None
            self.transcript.take_out(entry)
            self.prompt.restore(text)
            self._show_emptiness()

    @on(Prompt.PageWanted)
    def _scroll(self, message: Prompt.PageWanted) -> None:
        if message.direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    # Keys

    def action_stop(self) -> None:
        if self.phase is Phase.WRITING:
            self._worker.stop()
            self._show_phase(Phase.STOPPING)
        elif self.phase is Phase.WAITING:
            self._take_back()
            self._show_phase(Phase.LOADING)
        else:
            self.prompt.focus()

    def action_again(self) -> None:
        last = self.transcript.last_reply
        if not self._may_act() or self._chat is None:
            return
        if last is None:
            self._tell("There is no reply yet that could be written again.")
            return
        if self._chat.settings.sampling.temperature == 0:
            self._tell("The temperature is 0, so the reply will be the same.")
        self._replaced = last
        self.transcript.take_out(last)
        self._begin()
        self._worker.again()

    def action_restart(self) -> None:
        if self.transcript.is_empty or not self._may_act():
            return
        if not self._restart_asked:
            self._restart_asked = True
            self._tell("Ctrl+N once more begins a new conversation; this one is not kept.")
            return
        self._restart_asked = False
        self._worker.restart()
        self.transcript.clear()
        self._show_emptiness()
        self.prompt.focus()

    def _may_act(self) -> bool:
        if self.phase.is_writing:
            self._tell("A reply is being written: stop it with Escape first.")
        return self.phase is Phase.READY

    def action_toggle_panel(self) -> None:
        shown = self.panel.display
        self.set_class(not shown, "-panel-shown").set_class(shown, "-panel-hidden")

    def _tell(self, text: str) -> None:
        """Say one thing; a key pressed over and over does not pile it up."""
        self.app.clear_notifications()
        self.notify(text, markup=False)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    # What is shown

    def _show_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.loading_bar.display = phase.is_loading
        self.status.show(phase)

    def _show_emptiness(self) -> None:
        self.set_class(not self.transcript.is_empty, "-talking")
