"""The app: it owns the models' thread, the colours of the sources, and how it all ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from blendin_local.tui.about import About
from blendin_local.tui.chat import Load
from blendin_local.tui.screens.chat import ChatScreen
from blendin_local.tui.worker import ModelWorker

_SOURCE_COLOURS = {
    # Dark and light; all at least 4.5 : 1 against the background of every theme of Textual's.
    "source-base": ("#f2f2f2", "#1c1c1c"),
    "source-guide": ("#5fd7ff", "#004f7a"),
    "source-both": ("#8fe388", "#145214"),
    "source-blend": ("#e3b5ff", "#6a1b9a"),
}
_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
_PATIENCE_S = 20.0
"""How long quitting waits for the models' thread: a decode stops in its middle, a load does not always."""


class ChatApp(App[None]):
    """`make_app` makes it."""

    TITLE = "blendin"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit")]

    def __init__(self, load: Load, about: About) -> None:
        super().__init__()
        self.models = ModelWorker(load)
        self._about = about

    def get_default_screen(self) -> ChatScreen:
        return ChatScreen(self.models, self._about)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        dark = self.current_theme.dark
        return {name: colours[0 if dark else 1] for name, colours in _SOURCE_COLOURS.items()}

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if isinstance(screen, ChatScreen):
            yield SystemCommand("Stop", "Stop the reply; what was said stays", screen.action_stop)
            yield SystemCommand("Again", "Write the last reply again", screen.action_again)
            yield SystemCommand("New", "Begin a new conversation", screen.action_restart)
            yield SystemCommand("Panel", "Show or hide the panel", screen.action_toggle_panel)
            yield SystemCommand("Help", "All keys, and what the figures mean", screen.action_help)

    async def action_quit(self) -> None:
        self.models.close()
        self.exit()

    async def on_unmount(self) -> None:
        # However the app ends, the models are freed before its loop does.
        self.models.close()
        await asyncio.to_thread(self.models.join, _PATIENCE_S)


def make_app(load: Load, about: About) -> ChatApp:
    """The chat app.

    load: loads the models, in a thread of the app's, and returns the conversation with them. about: what is
    known of the pair before.
    """
    return ChatApp(load, about)
