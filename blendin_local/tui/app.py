"""The app: it owns the models' thread, the colours, what is kept, and how it all ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.terminal_theme import TerminalTheme
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from blendin_local.engine.steps import Step
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.journal import Journal
from blendin_local.history.store import SavedConversation, Store
from blendin_local.preferences.preferences import Preferences
from blendin_local.presentation.colour_scale import BAND_COLOURS
from blendin_local.safe_text import sanitize
from blendin_local.settings import ModelOptions
from blendin_local.tui.commands import Names
from blendin_local.tui.loading import Prepare, Prepared
from blendin_local.tui.prompt_history import PromptHistory
from blendin_local.tui.screens.chat import ChatScreen
from blendin_local.tui.worker import ModelWorker, ReplyBegun, ReplyEnded

_SOURCE_COLOURS = {
    # Dark and light; all at least 4.5 : 1 against the background of every theme of Textual's.
    "source-base": ("#f2f2f2", "#1c1c1c"),
    "source-guide": ("#5fd7ff", "#004f7a"),
    "source-both": ("#8fe388", "#145214"),
    "source-blend": ("#e3b5ff", "#6a1b9a"),
}
_COLOURS = _SOURCE_COLOURS | BAND_COLOURS
_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (160, "-very-wide")]
# What code in a reply is coloured with on light themes, at least 4.5 : 1.
_PALETTE = [
    (31, 31, 31), (150, 0, 24), (20, 82, 20), (95, 82, 0),
    (0, 60, 160), (106, 27, 154), (0, 79, 122), (89, 89, 89),
]  # fmt: skip
_LIGHT = TerminalTheme((224, 224, 224), (31, 31, 31), _PALETTE, _PALETTE)
_PATIENCE_S = 20.0
"""How long quitting waits for the models' thread: a decode stops in its middle, a load does not always."""
_DAY_S = 86_400
_STYLES = Path(__file__).parent


class ChatApp(App[None]):
    """`make_app` makes it."""

    TITLE = "blendin"
    CSS_PATH: ClassVar = [_STYLES / "app.tcss", *sorted((_STYLES / "css").glob("*.tcss"))]
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit")]

    def __init__(
        self,
        prepared: Prepared,
        prepare: Prepare,
        preferences: Preferences,
        store: Store | None,
        history: Path | None,
        names: Names,
        options: ModelOptions,
        seed: int | None,
        resume: SavedConversation | None,
    ) -> None:
        super().__init__()
        self.ansi_theme_light = _LIGHT
        self.models = ModelWorker()
        self.preferences = preferences
        self.store = store
        self.journal = Journal(store)
        self.prepare = prepare
        self.names = names
        self.options = options
        self.prompt_history = PromptHistory(history)
        self.dialogue = Dialogue(
            prepared.setup,
            self.journal,
            steps_of=store.load_steps if store else lambda id: [],
            seed=seed,
            candidates=preferences.chat.candidates,
        )
        if resume:
            self.dialogue.resume(resume, prepared.setup)
        self.chat_screen = ChatScreen(self, prepared)

    def get_default_screen(self) -> ChatScreen:
        return self.chat_screen

    def on_mount(self) -> None:
        wanted = self.preferences.chat.theme
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            self.notify(f"There is no theme called {sanitize(wanted)}.", severity="warning", markup=False)
        self.set_keymap(dict(self.preferences.keys))
        if self.store:
            days = self.preferences.chat.keep_deleted_days
            self.journal.put(lambda store: store.purge(days * _DAY_S))
        if sys.platform != "win32" and not self.is_headless:
            # Textual heeds neither: the terminal would stay as no shell can use it, the last words unkept.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._told_to_end)
            signal.signal(signal.SIGHUP, self._hung_up)

    def _told_to_end(self) -> None:
        self.exit(return_code=128 + signal.SIGTERM)

    def _hung_up(self, number: int, _frame: object) -> None:
        # The loop may be waiting for a terminal that is gone, and would do so for ever.
        def leave() -> None:
            self._let_go()
            os._exit(128 + number)

        threading.Thread(target=leave, name="hang-up").start()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        dark = self.current_theme.dark
        return {name: colours[0 if dark else 1] for name, colours in _COLOURS.items()}

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if isinstance(screen, ChatScreen):
            yield from screen.system_commands()

    async def action_quit(self) -> None:
        self.models.close()
        self.exit()

    async def on_unmount(self) -> None:
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        """However the app ends, free the models and keep the last words before it does."""
        self.models.close()
        self.dialogue.checkpoint()
        self.models.join(_PATIENCE_S)
        self._take_last_words()
        self.journal.close()

    def _take_last_words(self) -> None:
        """Keep what the models' thread said after the last look."""
        events = self.models.events
        while events and self.dialogue.reply is not None:
            match events.popleft():
                case ReplyBegun(reply) if self.chat_screen.chat is not None:
                    self.dialogue.begun(reply, self.chat_screen.chat)
                case Step() as step:
                    self.dialogue.take([step])
                case ReplyEnded(text, reason, error):
                    self.dialogue.end(text, reason, error)
        self.dialogue.checkpoint()


def make_app(
    prepared: Prepared,
    *,
    prepare: Prepare,
    preferences: Preferences | None = None,
    store: Store | None = None,
    history: Path | None = None,
    names: Names | None = None,
    options: ModelOptions | None = None,
    seed: int | None = None,
    resume: SavedConversation | None = None,
) -> ChatApp:
    """The chat app.

    prepared: the pair that it opens with; its models load in a thread of the app's. prepare: makes others.
    store: where conversations are kept, None keeps none. history: a file for what was typed. names: what
    commands are completed from, beside themes. options: how models are opened, for estimates. seed: of the
    first reply, None draws one. resume: the
    conversation to go on with.
    """
    return ChatApp(
        prepared,
        prepare,
        preferences or Preferences(),
        store,
        history,
        names or Names(),
        options or ModelOptions(),
        seed,
        resume,
    )
