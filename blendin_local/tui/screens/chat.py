"""The chat's main screen: what happens in the models' thread, and the replies that come of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import psutil
from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest
from blendin_local.engine.steps import Step
from blendin_local.history.tree import Turn
from blendin_local.presentation.explanation import weak_passages
from blendin_local.tui.commands import COMMANDS, Names
from blendin_local.tui.editable import editable
from blendin_local.tui.entry import Kind
from blendin_local.tui.loading import Prepared, model_name
from blendin_local.tui.metrics import Figures, PanelFigures, Totals
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece, ReplyText, pieces_of
from blendin_local.tui.screens.comparing import Comparing
from blendin_local.tui.screens.dialogs import Dialogs
from blendin_local.tui.screens.turn_actions import TurnActions
from blendin_local.tui.widgets.inspector import Inspector
from blendin_local.tui.widgets.key_line import KeyLine
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.prompt import Prompt
from blendin_local.tui.widgets.status_line import StatusLine
from blendin_local.tui.widgets.title_bar import TitleBar
from blendin_local.tui.widgets.transcript import Transcript
from blendin_local.tui.widgets.welcome import Welcome
from blendin_local.tui.worker import Event, Loaded, LoadFailed, ReplyBegun, ReplyEnded

if TYPE_CHECKING:
    from blendin_local.tui.app import ChatApp

_PANEL_EVERY_S = 0.75
"""The figures are drawn more seldom than the words: nobody reads faster, and the models need the time."""
_KEEP_EVERY_S = 0.8
"""How much of a reply may be lost with the process, in seconds."""

_REFUSALS = {
    Phase.WRITING: "A reply is being written: wait for its end, or stop it with Escape.",
    Phase.STOPPING: "The reply is being stopped: one moment.",
    Phase.WAITING: "One message is waiting for the models already.",
    Phase.FAILED: "No models are loaded, so nobody can answer: F3 chooses others.",
}
"""Why a message is not sent; it stays in the input."""


class ChatScreen(Comparing):
    BINDINGS: ClassVar[list[BindingType]] = [
        # Their order is that of the line at the foot, which has room for the first ones.
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("f1", "help", "Help", id="chat.help"),
        *TurnActions.TURN_BINDINGS,
        *Dialogs.DOOR_BINDINGS,
    ]

    def __init__(self, app: ChatApp, prepared: Prepared) -> None:
        super().__init__(app, prepared)
        self._live: ReplyText | None = None
        self._waiting: ReplyRequest | None = None
        self._typed = self._problem = ""
        self._figures = Figures()
        self._drawn = self._kept = 0.0
        self._process = psutil.Process()
        self._weighed = -1.0, 0
        self._shown: tuple[Turn, Figures, list[range]] | None = None

    def compose(self) -> ComposeResult:
        about = self.prepared.about
        yield TitleBar(about)
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield Welcome(about, id="welcome")
                yield Transcript(self._read, id="transcript")
                yield LoadingBar(about, id="loading")
                yield StatusLine(id="status")
                yield Prompt(names=self._names(), history=self.chat_app.prompt_history, id="prompt")
            yield Panel(about, id="panel")
            yield Inspector(id="inspector")
        yield KeyLine()

    def on_mount(self) -> None:
        chat = self.chat_app.preferences.chat
        self.show_colours(chat.colours)
        if chat.panel != "auto":
            self.add_class("-panel-shown" if chat.panel == "shown" else "-panel-hidden")
        self.prompt.focus()
        self.rebuild(keep=False)
        self.show_about()
        self.show_phase(Phase.LOADING)
        self.worker.load(self.prepared.load)
        self.set_interval(1 / chat.looks_per_second, self.look)

    def _names(self) -> Names:
        """What commands are completed from."""
        return replace(self.chat_app.names, themes=tuple(self.app.available_themes))

    def _read(self, turn: Turn) -> list[Piece]:
        return pieces_of(turn, self.dialogue.steps(turn))

    # What happened in the models' thread

    def look(self) -> None:
        """Take in everything that has happened since the last look."""
        events, steps = self.worker.events, list[Step]()
        if self.phase.is_loading:
            self.loading_bar.show(*self.worker.progress)
        while events:
            event = events.popleft()
            if isinstance(event, Step):
                steps.append(event)
                continue
            self._write(steps)
            steps = []
            self._handle(event)
        self._write(steps)
        if (problem := self.chat_app.journal.problem) != self._problem:
            self._problem = problem
            if problem:
                self.tell(problem, error=True)
        now = time.monotonic()
        if self._live and now - self._drawn >= _PANEL_EVERY_S:
            self._drawn = now
            self.show_figures()
            if self.inspecting:
                self.show_inspector()
        if self._live and now - self._kept >= _KEEP_EVERY_S:
            self._kept = now
            self.dialogue.checkpoint()

    def _handle(self, event: Event) -> None:
        match event:
            case Loaded(chat):
                self._loaded(chat)
            case LoadFailed(reason, chat):
                self._load_failed(reason, chat)
            case ReplyBegun(reply):
                assert self.chat is not None
                self._live, self._typed = ReplyText(), ""
                self._figures = Figures(reply.summary)
                self.dialogue.begun(reply, self.chat)
                self._write_pieces(self._live.take(reply.prefix))
                self._figures.add(reply.prefix)
            case ReplyEnded():
                self._end(event)

    def _loaded(self, chat: ChatBackend) -> None:
        self.chat = chat
        waiting, self._waiting = self._waiting, None
        if self.coming is not None:
            (self.prepared, setup), self.coming = self.coming, None
            self.change(setup)
            if waiting is not None:
                # The message was written for the models of before.
                self.dialogue.take_back(question=False)
                waiting = self.dialogue.again(seed=waiting.settings.seed)
        else:
            # A resumed conversation keeps what was asked for on the command line, once its models are there.
            self.dialogue.change(self.dialogue.setup)
        self.show_phase(Phase.READY)
        self.show_figures()
        if waiting is not None:
            self.start(waiting)

    def _load_failed(self, reason: str, chat: ChatBackend | None) -> None:
        self.coming, self.chat = None, chat
        self._take_back()
        self.add_error(reason)
        self.show_phase(Phase.READY if chat is not None else Phase.FAILED)

    # Replies

    def say(self, text: str) -> None:
        if refusal := _REFUSALS.get(self.phase):
            self.tell(refusal)
            self.prompt.restore(text)
            return
        expanded = self.expanded(text)
        if expanded is None:
            self.prompt.restore(text)
            return
        editing = self.editing
        if editing is not None and expanded == editable(editing.text):
            # What the input cannot show is part of the message all the same.
            expanded = editing.text
        self.stop_editing(self.prompt.text)
        request = self.dialogue.edit(editing, expanded) if editing else self.dialogue.send(expanded)
        self._typed = text if request else ""
        self.asking(request)

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        self.say(message.text)

    def start(self, request: ReplyRequest) -> None:
        reply = self.dialogue.reply
        assert reply is not None
        self._restart_asked = False
        # A reply that is continued in the middle of a conversation grows where it stands.
        self.rebuild(keep=reply is not self.dialogue.last)
        entry = self.entry_of(reply)
        entry.begin_again()
        self.transcript.changed(entry)
        if self.phase.is_loading:
            self._waiting = request
            self.show_phase(Phase.WAITING)
            return
        self.show_phase(Phase.WRITING)
        self._kept = time.monotonic()
        self.worker.write(request)

    def _write(self, steps: list[Step]) -> None:
        if steps and self._live:
            self.dialogue.take(steps)
            self._figures.add(steps)
            self._write_pieces(self._live.take(steps))
            if self.comparison:
                self.comparison.show(self._figures.summary)

    def _write_pieces(self, pieces: list[Piece]) -> None:
        reply = self.dialogue.reply
        if pieces and reply is not None:
            if self.comparison:
                self.comparison.write(pieces)
            else:
                self.transcript.write(self.entry_of(reply), pieces)

    def _end(self, ended: ReplyEnded) -> None:
        begun, self._live = self._live, None
        reply = self.dialogue.reply
        seen = reply in self.dialogue.tree.path()
        if begun and reply is not None:
            self._write_pieces(begun.end(ended.text))
        turn = self.dialogue.end(ended.text, ended.finish_reason, ended.error)
        if turn is not None and begun:
            self.entry_of(turn).over(self.view)
        elif turn is not None:
            # It was to be continued and was not: what it said before stands.
            self.forget_entries()
        if self.comparison:
            self.show_phase(Phase.READY)
            self.compared(turn, ended.error)
            return
        self.rebuild()
        if turn is None and not begun:
            # The models did not take the message: it goes back to where it was typed.
            self._take_back()
        elif turn is None and seen:
            reason = (
                "stopped before the first word" if ended.finish_reason == "cancelled" else "no words came"
            )
            self.add_line(Kind.NOTE, f"({reason}; Ctrl+R asks again)")
        if ended.error:
            self.add_error(ended.error)
        self.show_phase(Phase.READY)
        self.show_figures()
        if self.inspecting:
            self.show_inspector()
        postponed, self.postponed = self.postponed, []
        for act in postponed:
            act()

    def _take_back(self) -> None:
        """Return a message that the models have not read to the input."""
        typed, self._typed, self._waiting = self._typed, "", None
        self.dialogue.take_back(question=bool(typed))
        if typed:
            self.prompt.restore(typed)
        self.rebuild()

    # Keys

    def action_stop(self) -> None:
        """What Escape does, the nearest first; it never quits."""
        if self.phase is Phase.WRITING:
            self.worker.stop()
            self.show_phase(Phase.STOPPING)
        elif self.phase is Phase.WAITING:
            self._take_back()
            self.show_phase(Phase.LOADING)
        elif self.phase is Phase.LOADING:
            self.worker.cancel_load()
        elif self.inspecting and not self.prompt.has_focus:
            self.close_inspector()
        elif self.editing is not None:
            self.stop_editing()
        elif self.inspecting:
            self.close_inspector()
            self.prompt.focus()
        else:
            self.prompt.focus()

    @on(Prompt.PageWanted)
    def _scroll(self, message: Prompt.PageWanted) -> None:
        if message.direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    # What is shown

    def show_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.loading_bar.display = phase.is_loading
        self.status.show(phase)

    def show_figures(self) -> None:
        """Show the figures of the reply under way, else of the selected one, else of the last one."""
        turn, figures, passages = self._shown_reply()
        pointer = self.transcript.pointer
        setup = (turn.setup if turn else None) or self.dialogue.setup
        shown = PanelFigures(
            replace(
                self.prepared.about,
                base=model_name(setup.base),
                guide=model_name(setup.guide),
                pair=setup.pair,
                blend=setup.settings.blend,
            ),
            figures,
            Totals.of(reply.summary for reply in self.dialogue.replies),
            calibrated=turn.calibrated if turn else self.chat is not None and self.chat.calibrated,
            context_use=self.chat.context_use() if self.chat else {},
            memory=self._memory(),
            hint_rate=self.chat_app.preferences.chat.hint_rate,
            weak_passages=len(passages),
            weak_at=next((i for i, each in enumerate(passages) if pointer in each), None),
        )
        self.panel.show(shown)
        self.status.show_progress(shown, self._branch_of(turn))

    def _shown_reply(self) -> tuple[Turn | None, Figures, list[range]]:
        if self._live is not None:
            turn = self.dialogue.reply
            return turn, self._figures, weak_passages(turn.steps) if turn else []
        turn = self._selected(reply=True) or self._last_reply()
        if turn is None:
            return None, Figures(), []
        if (
            self._shown is None
            or self._shown[0] is not turn
            or len(turn.steps) != self._shown[1].summary.steps
        ):
            figures = Figures(turn.summary)
            figures.add(self.dialogue.steps(turn))
            self._shown = turn, figures, weak_passages(turn.steps)
        return self._shown

    def _memory(self) -> int:
        """Bytes of the process, at most a second old."""
        now = time.monotonic()
        if now - self._weighed[0] >= 1:
            self._weighed = now, self._process.memory_info().rss
        return self._weighed[1]

    def _branch_of(self, turn: Turn | None) -> tuple[int, int]:
        siblings = self.dialogue.tree.siblings(turn) if turn else []
        return (siblings.index(turn) + 1, len(siblings)) if turn in siblings else (1, 1)

    def system_commands(self) -> Iterable[SystemCommand]:
        """What the command palette lists of this screen."""
        acts = {
            name: spec for name, spec in COMMANDS.items() if spec.read is None and not spec.needs_argument
        }
        for name, spec in acts.items():
            title = name.capitalize()
            yield SystemCommand(title, spec.help, lambda name=name: self._act(name, ""))
