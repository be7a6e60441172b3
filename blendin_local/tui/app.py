"""The Textual app of the chat: themes and colours, signals, closing of the session."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.terminal_theme import TerminalTheme
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

import blendin_local.tui.textual_fixes  # noqa: F401
from blendin_local.presentation.colour_scale import BAND_COLOURS
from blendin_local.safe_text import sanitize
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.commands import Names
from blendin_local.tui.editable import editable
from blendin_local.tui.screens.chat import ChatScreen

_SOURCE_COLOURS = {
    # For dark and light themes: contrast of at least 4.5 : 1 with the background of every Textual theme.
    "source-base": ("#f2f2f2", "#1c1c1c"),
    "source-guide": ("#5fd7ff", "#004f7a"),
    "source-both": ("#8fe388", "#145214"),
    "source-blend": ("#e3b5ff", "#6a1b9a"),
}
_COLOURS = _SOURCE_COLOURS | BAND_COLOURS
_COLUMNS = [(0, "-narrow"), (100, "-wide"), (160, "-very-wide")]
_ROWS = [(0, "-low"), (10, "-high")]
# Colours of code in replies on light themes, with a contrast of at least 4.5 : 1.
_PALETTE = [
    (31, 31, 31), (150, 0, 24), (20, 82, 20), (95, 82, 0),
    (0, 60, 160), (106, 27, 154), (0, 79, 122), (89, 89, 89),
]  # fmt: skip
_LIGHT = TerminalTheme((224, 224, 224), (31, 31, 31), _PALETTE, _PALETTE)
_DAY_S = 86_400
_STYLES = Path(__file__).parent


class ChatApp(App[None]):
    """Shows a session. names: the names that complete arguments of commands; the app adds its themes."""

    TITLE = "blendin"
    CSS_PATH: ClassVar = [_STYLES / "app.tcss", *sorted((_STYLES / "css").glob("*.tcss"))]
    HORIZONTAL_BREAKPOINTS = _COLUMNS
    VERTICAL_BREAKPOINTS = _ROWS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit")]

    def __init__(self, session: ChatSession, names: Names | None = None) -> None:
        super().__init__()
        self.ansi_theme_light = _LIGHT
        self.session = session
        self._names = names or Names()

    def get_default_screen(self) -> ChatScreen:
        return ChatScreen(self.session, replace(self._names, themes=tuple(self.available_themes)))

    def on_mount(self) -> None:
        preferences, session = self.session.preferences, self.session
        wanted = preferences.chat.theme
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            self.notify(f"There is no theme called {sanitize(wanted)}.", severity="warning", markup=False)
        self.set_keymap(dict(preferences.keys))
        if session.store:
            days = preferences.chat.keep_deleted_days
            session.journal.put(lambda store: store.purge(days * _DAY_S))
        if sys.platform != "win32" and not self.is_headless:
            # Textual handles neither: they would leave the terminal in raw mode and lose the last steps.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminate)
            signal.signal(signal.SIGHUP, self._hang_up)

    def _terminate(self) -> None:
        self.exit(return_code=128 + signal.SIGTERM)

    def _hang_up(self, number: int, _frame: object) -> None:
        # The event loop may be blocked by a write to the closed terminal, so it cannot end the app.
        def leave() -> None:
            self.session.close()
            os._exit(128 + number)

        threading.Thread(target=leave, name="hang-up").start()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Paste) and not event.is_forwarded:
            event.text = editable(event.text)
        await super().on_event(event)

    @property
    def clipboard(self) -> str:
        """The text that Ctrl+V pastes, without control characters."""
        return editable(super().clipboard)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        dark = self.current_theme.dark
        return {name: colours[0 if dark else 1] for name, colours in _COLOURS.items()}

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if isinstance(screen, ChatScreen):
            yield from screen.system_commands()

    async def action_quit(self) -> None:
        self.session.worker.close()
        self.exit()

    async def on_unmount(self) -> None:
        # Frees the models and saves the reply under way, however the app ends.
        await asyncio.to_thread(self.session.close)
