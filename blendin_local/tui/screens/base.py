"""What the parts of the main screen share: its widgets, its conversation, and how a reply is begun."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from textual.getters import query_one
from textual.screen import Screen
from textual.widget import Widget

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.reply_footer import reply_footer
from blendin_local.history.tree import Turn
from blendin_local.safe_text import sanitize
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.loading import Prepared
from blendin_local.tui.phase import Phase
from blendin_local.tui.widgets.inspector import Inspector
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.prompt import Prompt
from blendin_local.tui.widgets.status_line import StatusLine
from blendin_local.tui.widgets.title_bar import TitleBar
from blendin_local.tui.widgets.transcript import Transcript
from blendin_local.tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from blendin_local.tui.app import ChatApp

_Some = TypeVar("_Some", bound="BaseScreen")
_Given = ParamSpec("_Given")


def once_stopped(
    act: Callable[Concatenate[_Some, _Given], object],
) -> Callable[Concatenate[_Some, _Given], None]:
    """While a reply is being stopped, which takes a moment, a key waits instead of being refused."""

    @wraps(act)
    def now_or_then(screen: _Some, /, *args: _Given.args, **given: _Given.kwargs) -> None:
        if screen.phase is Phase.STOPPING:
            screen.postponed.append(partial(act, screen, *args, **given))
        else:
            act(screen, *args, **given)

    return now_or_then


class BaseScreen(Screen[None]):
    """prepared: the pair that is loaded, or being loaded for the first time."""

    title_bar = query_one(TitleBar)
    welcome = query_one(Welcome)
    transcript = query_one("#transcript", Transcript)
    prompt = query_one(Prompt)
    panel = query_one(Panel)
    inspector = query_one(Inspector)
    status = query_one(StatusLine)
    loading_bar = query_one(LoadingBar)

    def __init__(self, app: ChatApp, prepared: Prepared) -> None:
        super().__init__()
        self.chat_app = app
        self.prepared = prepared
        self.worker = app.models
        self.phase = Phase.LOADING
        self.chat: ChatBackend | None = None
        self.editing: Turn | None = None
        self.postponed: list[Callable[[], object]] = []
        self.view = View(app.preferences.chat.view)
        self._entries: dict[str, Entry] = {}

    @property
    def dialogue(self) -> Dialogue:
        return self.chat_app.dialogue

    @property
    def focus_chain(self) -> list[Widget]:
        """From the input, Tab leads up into the conversation; after it come panel and inspector."""
        return sorted(super().focus_chain, key=lambda widget: widget is not self.prompt)

    # Saying things

    def tell(self, text: str, *, error: bool = False) -> None:
        """Say one thing; a key pressed over and over does not pile it up."""
        self.app.clear_notifications()
        self.notify(sanitize(text), markup=False, severity="error" if error else "information")

    def may_act(self) -> bool:
        """Whether a reply can be asked for, or the conversation changed; says why not."""
        if self.phase is Phase.WRITING:
            self.tell("A reply is being written: stop it with Escape first.")
        elif self.phase is Phase.STOPPING:
            self.tell("The reply is being stopped: one moment.")
        elif self.phase.is_loading:
            self.tell("The models are being loaded: one moment.")
        elif self.phase is Phase.FAILED:
            self.tell("No models are loaded, so nobody can answer: F3 chooses others.")
        return self.phase is Phase.READY

    # Replies

    def start(self, request: ReplyRequest) -> None:
        """Have a reply written that the conversation has begun."""
        raise NotImplementedError

    def show_phase(self, phase: Phase) -> None:
        raise NotImplementedError

    def show_figures(self) -> None:
        """Show the figures of the reply under way, or of the selected one."""
        raise NotImplementedError

    # The transcript

    def rebuild(self, *, keep: bool = True) -> None:
        """Show the conversation's path as it is now; keep: without moving the view."""
        below: defaultdict[str | None, list[Turn]] = defaultdict(list)
        for turn in self.dialogue.tree.turns.values():
            below[turn.parent].append(turn)
        entries = []
        for turn in self.dialogue.tree.path():
            entries.append(self.entry_of(turn))
            self._set_foot(entries[-1], below[turn.parent])
        self.transcript.show(entries, keep=keep)
        self.show_emptiness()

    def entry_of(self, turn: Turn) -> Entry:
        """The entry that shows a turn, made when it is first wanted."""
        if (entry := self._entries.get(turn.id)) and entry.turn is turn:
            return entry
        if turn.is_reply:
            entry = Entry(Kind.REPLY, turn, self.view)
        else:
            entry = Entry(Kind.USER, turn)
            entry.append([(sanitize(turn.text), "user")])
        self._entries[turn.id] = entry
        return entry

    def forget_entries(self) -> None:
        """Another conversation is shown from now on."""
        self._entries.clear()

    def _set_foot(self, entry: Entry, siblings: list[Turn]) -> None:
        turn = entry.turn
        if turn is None or turn is self.dialogue.reply:
            return
        if turn.is_reply:
            entry.set_foot(reply_footer(turn, siblings))
        elif len(siblings) > 1:
            entry.set_foot(f"{siblings.index(turn) + 1}/{len(siblings)}")

    def add_error(self, text: str) -> None:
        self.add_line(Kind.ERROR, text, "error")

    def add_line(self, kind: Kind, text: str, tag: str = "note") -> None:
        """Say something in the transcript that is no part of the conversation."""
        entry = Entry(kind)
        entry.append([(sanitize(text), tag)])
        self.transcript.add(entry)
        self.show_emptiness()

    def show_emptiness(self) -> None:
        self.set_class(not self.transcript.is_empty, "-talking")

    def asking(self, request: ReplyRequest | None) -> None:
        """Start what the conversation asks for, if anything."""
        if request is not None:
            self.start(request)
        else:
            self.rebuild()
