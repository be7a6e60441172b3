"""Change the settings of the next reply, and load other pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from textual.screen import Screen

from blendin_local.errors import BlendinError
from blendin_local.history.tree import Setup
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.commands import ChangeSettings, ChangeSystem, words
from blendin_local.tui.screens.pairs import PairChoice, PairsScreen
from blendin_local.tui.screens.settings import Chosen, SettingsScreen
from blendin_local.tui.widgets.loading_bar import LoadingBar


@dataclass(eq=False)
class PairDialogs:
    """Actions on settings and pairs.

    host: the screen below the dialogs. add_error: shows why a pair cannot be loaded.
    """

    host: Screen[None]
    session: ChatSession
    replies: ReplyController
    loading_bar: LoadingBar
    tell: Tell
    add_error: Callable[[str], None]

    # Settings

    async def open_settings(self) -> None:
        """Open the form of all settings, and apply its result."""
        if not self.replies.may_set():
            return
        dialogue = self.session.dialogue
        setup, recommended = dialogue.setup, self.session.prepared.setup.settings
        shown = Chosen(setup.settings, setup.system, dialogue.seed is None)
        chosen = await self.host.app.push_screen_wait(SettingsScreen(shown, recommended))
        if chosen is None or not self.replies.may_set():
            return
        if chosen.seed_random:
            dialogue.seed = None
        elif dialogue.seed is None or chosen.settings.seed != setup.settings.seed:
            dialogue.seed = chosen.settings.seed
        self.replies.change(replace(dialogue.setup, settings=chosen.settings, system=chosen.system))
        self.tell("The next reply is asked with these settings.")

    def apply(self, command: ChangeSettings | ChangeSystem) -> bool:
        """Apply a command that changes settings; if that is not possible now, tell why and return False."""
        if self.replies.coming is not None:
            self.tell("Other models are being loaded: change this when they are there.")
            return False
        dialogue = self.session.dialogue
        match command:
            case ChangeSettings(settings, _, seed_random):
                if seed_random is not None:
                    dialogue.seed = None if seed_random else settings.seed
                self.replies.change(replace(dialogue.setup, settings=settings))
            case ChangeSystem(system):
                self.replies.change(replace(dialogue.setup, system=system))
        self.tell(command.says)
        return True

    def reset(self) -> None:
        """Reset the settings to those recommended for the pair."""
        if self.replies.may_set():
            recommended = self.session.prepared.setup.settings
            self.replies.change(replace(self.session.dialogue.setup, settings=recommended))
            self.tell("The settings are those recommended for the pair again.")

    # Pairs

    async def choose_pair(self) -> None:
        """Open the list of pairs, and load the chosen one."""
        if not self.replies.may_load():
            return
        loaded = self.session.prepared.setup if self.session.backend else None
        session = self.session
        screen = PairsScreen(loaded, session.prepare, session.changed_options or session.options)
        choice = await self.host.app.push_screen_wait(screen)
        if choice is not None:
            await self.load(choice)

    async def load_named(self, argument: str) -> None:
        """Load the pair, or base and guide, of a `/pair` command; without a name, open the list."""
        match words(argument):
            case []:
                await self.choose_pair()
            case [pair]:
                await self._load_if_allowed(PairChoice(pair))
            case [base, guide, *_]:
                await self._load_if_allowed(PairChoice("", base, guide))

    async def _load_if_allowed(self, choice: PairChoice) -> None:
        if self.replies.may_load():
            await self.load(choice)

    async def load(self, choice: PairChoice, setup: Setup | None = None) -> None:
        """Load another pair. setup: for the next replies, instead of that of the pair."""
        session = self.session
        try:
            choice = replace(choice, options=choice.options or session.changed_options)
            prepared = await asyncio.to_thread(choice.prepare, session.prepare)
        except BlendinError as error:
            self.add_error(str(error))
            return
        if not self.replies.may_load():
            return
        session.changed_options = choice.options
        about = prepared.about
        if about.warning and session.backend is not None:
            about = replace(about, warning="The loaded pair is unloaded first.")
        self.loading_bar.about(about)
        # The system prompt belongs to the user, not to the pair.
        self.replies.load(
            prepared, setup or replace(prepared.setup, system=self.session.dialogue.setup.system)
        )
