"""Open the dialogs of settings, pairs and conversations, and apply their results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from textual.screen import Screen

from blendin_local.engine.steps import Step
from blendin_local.errors import BlendinError
from blendin_local.files import is_open_to_chats, local_path
from blendin_local.history.exports import export
from blendin_local.history.imports import import_file
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.commands import ChangeSettings, ChangeSystem, words
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.conversations import Choice, ConversationsScreen, Deleted, Opened, Renamed
from blendin_local.tui.screens.pairs import PairChoice, PairsScreen
from blendin_local.tui.screens.settings import Chosen, SettingsScreen
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.prompt import Prompt


@dataclass(eq=False)
class Dialogs:
    """Actions on settings, pairs and whole conversations.

    host: the screen below the dialogs. add_error: shows why a pair cannot be loaded. show_another: shows
    the conversation that was opened. restart_confirmed: whether the user was told that a new conversation
    discards this one.
    """

    host: Screen[None]
    session: ChatSession
    replies: ReplyController
    loading_bar: LoadingBar
    prompt: Prompt
    tell: Tell
    add_error: Callable[[str], None]
    show_another: Callable[[], None]
    restart_confirmed: bool = False

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

    # New conversations

    def restart(self) -> None:
        """Begin a new conversation; if the old one is not saved, only when called a second time."""
        if self.replies.phase.is_writing:
            self.replies.may_act()
        elif not self.host.has_class("-talking"):
            self.tell("This conversation is new already.")
        elif self.session.store is None and not self.restart_confirmed:
            self.restart_confirmed = True
            self.tell("Press Ctrl+N again to begin a new conversation; this one will not be kept.")
        else:
            self.begin()

    def begin(self) -> None:
        """Begin a new conversation without a confirmation."""
        if self.replies.phase.is_writing or self.replies.phase is Phase.WAITING:
            self.replies.may_act()
            return
        self.restart_confirmed = False
        self.session.dialogue.restart()
        self.show_another()
        self.prompt.focus()

    # Saved conversations

    async def open_conversation(self, query: str = "") -> None:
        """List and search saved conversations, and open one."""
        store = self._store_to_open_from()
        if store is None:
            return
        await asyncio.to_thread(self.session.journal.flush)
        screen = ConversationsScreen(store, self.session.dialogue.id, query)
        await self._apply_choice(await self.host.app.push_screen_wait(screen))

    async def _apply_choice(self, choice: Choice | None) -> None:
        match choice:
            case Opened(id):
                await self.resume(id)
            case Renamed(title):
                self.session.dialogue.title = title
            case Deleted():
                self.replies.when_stopped(self.begin)

    def _store_to_open_from(self) -> Store | None:
        """Return the store if another conversation can be opened now, else tell why not and return None."""
        if self.session.store is None:
            self.tell("Conversations are not kept: `blendin config set chat.keep true` changes that.")
            return None
        return self.session.store if self.replies.may_load() else None

    async def resume(self, id: str) -> None:
        """Continue a saved conversation, and load its pair."""
        store = self.session.store
        assert store is not None
        try:
            kept = await asyncio.to_thread(store.open, id)
        except BlendinError as error:
            self.tell(str(error), error=True)
            return
        if not self.replies.may_load():
            return
        setup, loaded = kept.setup, self.session.prepared.setup
        # The loaded models answer until its own models are loaded, or if they cannot be.
        self.session.dialogue.resume(kept, loaded)
        self.show_another()
        if kept.damaged:
            self.tell(f"Left out, because they cannot be read: {kept.damaged} messages.", error=True)
        if (setup.base, setup.guide) != (loaded.base, loaded.guide):
            choice = PairChoice(setup.pair) if setup.pair else PairChoice("", setup.base, setup.guide)
            await self.load(choice, setup)

    def rename(self, title: str) -> None:
        """Change the title of the conversation."""
        self.session.dialogue.rename(title)
        self.tell(f"This conversation is called {self.session.dialogue.title} now.")

    # Files

    async def export(self, name: str) -> None:
        """Write the conversation to a .md, .json or .html file."""
        store, tree = self.session.store, self.session.dialogue.tree.copy()

        def steps_of(turn: Turn) -> list[Step]:
            return turn.steps or (store.load_steps(turn.id) if store else [])

        title, setup = self.session.dialogue.title or "Conversation", self.session.dialogue.setup
        path = local_path(name)
        if not self._may_use(path):
            return
        try:
            await asyncio.to_thread(export, title, setup, tree, path, steps_of=steps_of)
        except BlendinError as error:
            self.tell(str(error), error=True)
        else:
            self.tell(f"Written to {path}.")

    def _may_use(self, path: Path) -> bool:
        """Tell, and return False, if a file is outside the folder of a chat in a browser."""
        if is_open_to_chats(path):
            return True
        self.tell(
            f"{path} is outside the folder that this chat may use: see blendin web --folder.", error=True
        )
        return False

    async def import_file(self, name: str) -> None:
        """Import a conversation from JSON as a new one, and open it."""
        store = self._store_to_open_from()
        if store is None or not self._may_use(local_path(name)):
            return
        try:
            id = await asyncio.to_thread(import_file, local_path(name), store)
        except BlendinError as error:
            self.tell(str(error), error=True)
        else:
            await self.resume(id)
