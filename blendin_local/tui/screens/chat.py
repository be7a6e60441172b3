"""The main screen of the chat: its layout, and the calls of its keys and commands."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget

from blendin_local.history.tree import Turn
from blendin_local.presentation.colour_scale import Mode
from blendin_local.safe_text import sanitize
from blendin_local.tui.chat.comparison import Comparison
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.dialogs import Dialogs
from blendin_local.tui.chat.interfaces import ReplySink
from blendin_local.tui.chat.message_actions import MessageActions
from blendin_local.tui.chat.metrics_display import MetricsDisplay
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.chat.token_actions import TokenActions
from blendin_local.tui.commands import COMMANDS, Act, Names, Refused, Say, parse
from blendin_local.tui.entry import View
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece, pieces_of
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.widgets.inspector import Inspector
from blendin_local.tui.widgets.key_line import KeyLine
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.prompt import Prompt
from blendin_local.tui.widgets.status_line import StatusLine
from blendin_local.tui.widgets.title_bar import TitleBar
from blendin_local.tui.widgets.transcript import Transcript
from blendin_local.tui.widgets.welcome import Welcome


class ChatScreen(Screen[None]):
    """Composes the widgets and the actions; a `ReplyView`. names: complete arguments of commands.

    Keys of the transcript act on the selected message.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # In the order of the footer, which shows the first ones.
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("f1", "command('help')", "Help", id="chat.help"),
        Binding("ctrl+r", "command('again')", "Again", show=False, id="chat.again"),
        Binding("f6", "toggle_views", "View", id="chat.view"),
        Binding("f7", "next_colours", "Colours", show=False, id="chat.colours"),
        Binding("f8", "command('weak')", "Weak passage", show=False, id="chat.weak"),
        Binding("ctrl+n", "restart", "New", show=False, id="chat.new"),
        Binding("ctrl+o", "command('open')", "Open", id="chat.open"),
        Binding("f2", "command('panel')", "Panel", show=False, id="chat.panel"),
        Binding("f3", "command('pair')", "Models", show=False, id="chat.pairs"),
        Binding("f4", "command('settings')", "Settings", id="chat.settings"),
        Binding("f5", "command('compare')", "Side by side", show=False, id="chat.compare"),
    ]

    def __init__(self, session: ChatSession, names: Names) -> None:
        super().__init__()
        self.session = session
        self.dialogue = session.dialogue
        about, chat = session.prepared.about, session.preferences.chat
        self.title_bar = TitleBar(about)
        self.welcome = Welcome(about, id="welcome")
        self.transcript = Transcript(self._pieces_of, id="transcript")
        self.loading_bar = LoadingBar(about, id="loading")
        self.status = StatusLine(id="status")
        self.prompt = Prompt(names=names, history=session.prompt_history, id="prompt")
        self.panel = Panel(about, id="panel")
        self.inspector = Inspector(id="inspector")

        self.conversation = ConversationView(self.transcript, self.dialogue, View(chat.view))
        self.replies = ReplyController(session, self, self._sink)
        self.metrics = MetricsDisplay(session, self.replies, self.conversation, self.panel, self.status)
        self.messages = MessageActions(
            self.prompt,
            self.dialogue,
            self.replies,
            self.conversation,
            self.metrics,
            self.tell,
            self._copy,
        )
        self.tokens = TokenActions(self.dialogue, self.replies, self.conversation, self.inspector, self.tell)
        self.dialogs = Dialogs(
            self,
            session,
            self.replies,
            self.loading_bar,
            self.prompt,
            self.tell,
            self.conversation.add_error,
            self._show_another,
        )
        self.comparison = Comparison(
            self,
            self.dialogue,
            session.preferences.compare.methods,
            self.replies,
            self.conversation,
            self.messages,
            self.metrics,
            self.tell,
        )

    def compose(self) -> ComposeResult:
        yield self.title_bar
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield self.welcome
                yield self.transcript
                yield self.loading_bar
                yield self.status
                yield self.prompt
            yield self.panel
            yield self.inspector
        yield KeyLine()

    def on_mount(self) -> None:
        chat = self.session.preferences.chat
        self.show_colours(chat.colours)
        if chat.panel != "auto":
            self.add_class("-panel-shown" if chat.panel == "shown" else "-panel-hidden")
        self.prompt.focus()
        self.conversation.rebuild(keep=False)
        self.show_pair()
        self.replies.load_first()
        self.set_interval(1 / chat.looks_per_second, self.replies.poll)

    @property
    def focus_chain(self) -> list[Widget]:
        """The widgets in the order of Tab: prompt, transcript, panel, inspector."""
        return sorted(super().focus_chain, key=lambda widget: widget is not self.prompt)

    def _sink(self) -> ReplySink:
        return self.comparison if self.comparison.is_open else self.conversation

    def _pieces_of(self, turn: Turn) -> list[Piece]:
        return pieces_of(turn, self.dialogue.steps(turn))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)

    # The `ReplyView`

    def tell(self, text: str, *, error: bool = False) -> None:
        """Show one notification in place of earlier ones, so that repeated keys do not pile them up."""
        self.app.clear_notifications()
        self.notify(sanitize(text), markup=False, severity="error" if error else "information")

    def show_phase(self, phase: Phase) -> None:
        self.loading_bar.display = phase.is_loading
        self.status.show(phase)
        if phase.is_writing or phase is Phase.WAITING:
            self.dialogs.restart_confirmed = False

    def show_progress(self, role: str, share: float) -> None:
        self.loading_bar.show(role, share)

    def show_pair(self) -> None:
        about = self.session.prepared.about
        self.title_bar.show(replace(about, blend=self.dialogue.setup.settings.blend))

    def show_metrics(self) -> None:
        self.metrics.show()
        if self.tokens.inspecting:
            self.tokens.show()

    def take_back(self, typed: str) -> None:
        if typed:
            self.prompt.restore(typed)
        self.conversation.rebuild()

    def load_failed(self, reason: str) -> None:
        self.conversation.add_error(reason)

    def _show_another(self) -> None:
        """Show the dialogue after it was replaced by another conversation."""
        self.messages.stop_editing()
        self.conversation.restart()
        self.metrics.show()
        self.show_pair()

    # Messages of the widgets

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        self.messages.send(message.text)

    @on(Prompt.Commanded)
    def _commanded(self, message: Prompt.Commanded) -> None:
        match parse(message.text, self.dialogue.setup.settings, self.prompt.names):
            case Refused(says):
                self.tell(says, error=True)
                self.prompt.give_back(message.text)
            case Say(text):
                self.messages.send(text)
            case Act(name, argument):
                self._typed(name, argument)
            case change if not self.dialogs.apply(change):
                self.prompt.give_back(message.text)

    @on(Prompt.PageWanted)
    def _scroll(self, message: Prompt.PageWanted) -> None:
        if message.direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    @on(Transcript.Pointed)
    def _pointed(self, message: Transcript.Pointed) -> None:
        if message.transcript is self.transcript:
            self.tokens.show()
            self.metrics.show()

    @on(Inspector.Move)
    def _move(self, message: Inspector.Move) -> None:
        self.transcript.action_step_token(message.delta)

    @on(Inspector.Branch)
    def _branch(self, message: Inspector.Branch) -> None:
        self.replies.when_stopped(lambda: self.tokens.branch(message.candidate))

    # Commands

    def _act(self, name: str, argument: str = "") -> None:
        """Run a command by its name."""
        dialogs, when_stopped = self.dialogs, self.replies.when_stopped
        acts: dict[str, Callable[[], object]] = {
            "settings": lambda: self._open(dialogs.open_settings),
            "reset": dialogs.reset,
            "pair": lambda: self._open_when_stopped(lambda: dialogs.load_named(argument)),
            "compare": lambda: when_stopped(self.comparison.begin),
            "again": lambda: when_stopped(self.messages.again),
            "continue": lambda: when_stopped(self.messages.go_on),
            "edit": lambda: when_stopped(self.messages.edit),
            "delete": lambda: when_stopped(lambda: self.messages.remove(self.dialogue.last)),
            "undo": lambda: when_stopped(self.messages.undo),
            "new": lambda: when_stopped(dialogs.begin),
            "open": lambda: self._open_when_stopped(lambda: dialogs.open_conversation(argument)),
            "rename": lambda: dialogs.rename(argument),
            "export": lambda: self._open(lambda: dialogs.export(argument)),
            "import": lambda: self._open_when_stopped(lambda: dialogs.import_file(argument)),
            "copy": self.messages.copy_code if argument else self.messages.copy,
            "view": lambda: self.show_view(View(argument)),
            "colours": lambda: self.show_colours(cast(Mode, argument)),
            "inspect": self.tokens.inspect,
            "weak": lambda: self.tokens.go_to_weak(1),
            "theme": lambda: setattr(self.app, "theme", argument),
            "panel": self._toggle_panel,
            "help": self._show_help,
            "quit": lambda: self._open(self.app.action_quit),
        }
        acts[name]()

    def _typed(self, name: str, argument: str = "") -> None:
        if name in ("continue", "edit", "delete", "copy"):
            # A typed command acts on the last message, not on the selected one.
            self.transcript.select(None)
        self._act(name, argument)

    def system_commands(self) -> Iterable[SystemCommand]:
        """Yield the commands of the command palette."""
        for name, spec in COMMANDS.items():
            if spec.read is None and not spec.needs_argument:
                yield SystemCommand(name.capitalize(), spec.help, partial(self._typed, name))

    def _open(self, dialog: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a dialog as a worker, because it waits for the user or a file."""
        self.run_worker(dialog())

    def _open_when_stopped(self, dialog: Callable[[], Coroutine[None, None, None]]) -> None:
        self.replies.when_stopped(lambda: self._open(dialog))

    # Actions of keys: changes of the conversation wait for a reply that is being stopped

    def action_stop(self) -> None:
        """Do the first that applies: stop, close the inspector, end editing, go to the input."""
        if self.replies.stop():
            return
        if self.tokens.inspecting and not self.prompt.has_focus:
            self.tokens.close()
        elif self.messages.editing is not None:
            self.messages.stop_editing()
        else:
            if self.tokens.inspecting:
                self.tokens.close()
            self.prompt.focus()

    def action_command(self, name: str, argument: str = "") -> None:
        """Run a command on the selected message, if any."""
        self._act(name, argument)

    def action_remove(self) -> None:
        self.replies.when_stopped(self.messages.remove)

    def action_sibling(self, direction: int) -> None:
        self.replies.when_stopped(lambda: self.messages.sibling(direction))

    def action_branch(self, number: int) -> None:
        self.tokens.branch_to(number)

    def action_weak(self, direction: int) -> None:
        self.tokens.go_to_weak(direction)

    def action_restart(self) -> None:
        self.replies.when_stopped(self.dialogs.restart)

    def _show_help(self) -> None:
        widgets = (type(self), Transcript, Prompt, Panel, Inspector, type(self.app))
        bindings = [binding for widget in widgets for binding in widget.BINDINGS]
        self.app.push_screen(HelpScreen(bindings, self.session.preferences.keys))

    # Views and colours

    def _toggle_panel(self) -> None:
        shown = self.panel.display
        self.set_class(not shown, "-panel-shown").set_class(shown, "-panel-hidden")

    def action_toggle_view(self) -> None:
        self.conversation.toggle_view()

    def action_toggle_thinking(self) -> None:
        self.conversation.toggle_thinking()

    def action_toggle_views(self) -> None:
        markdown = self.conversation.view is View.MARKDOWN
        self.show_view(View.TOKENS if markdown else View.MARKDOWN)

    def action_next_colours(self) -> None:
        self.show_colours(self.conversation.next_colours)

    def show_view(self, view: View) -> None:
        """Set the view of all replies."""
        self.conversation.show_view(view)
        self.metrics.show_legend()
        self.metrics.show()

    def show_colours(self, mode: Mode) -> None:
        """Set the colour mode of tokens."""
        self.conversation.show_colours(mode)
        self.metrics.show_legend()
