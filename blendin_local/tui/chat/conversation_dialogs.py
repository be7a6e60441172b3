"""Begin, open, rename, export and import conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textual.screen import Screen

from blendin_local.engine.steps import Step
from blendin_local.errors import BlendinError
from blendin_local.history.exports import export
from blendin_local.history.imports import import_file
from blendin_local.history.store import Store
from blendin_local.history.tree import Turn
from blendin_local.tui.chat.dialogs import PairDialogs
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.conversations import Choice, ConversationsScreen, Deleted, Opened, Renamed
from blendin_local.tui.screens.pairs import PairChoice
from blendin_local.tui.widgets.prompt import Prompt


@dataclass(eq=False)
class ConversationDialogs:
    """Actions on whole conversations.

    host: the screen below the dialogs. show_another: shows the conversation that was opened.
    restart_confirmed: whether the user was told that a new conversation discards this one.
    """

    host: Screen[None]
    session: ChatSession
    replies: ReplyController
    pairs: PairDialogs
    prompt: Prompt
    tell: Tell
    show_another: Callable[[], None]
    restart_confirmed: bool = False

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

    async def open(self, query: str = "") -> None:
        """List and search saved conversations, and open one."""
        store = self._store_to_open_from()
        if store is None:
            return
        await asyncio.to_thread(self.session.journal.flush)
        screen = ConversationsScreen(store, self.session.dialogue.id, query)
        await self._chosen(await self.host.app.push_screen_wait(screen))

    async def _chosen(self, choice: Choice | None) -> None:
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
        if (setup.base, setup.guide) != (loaded.base, loaded.guide):
            choice = PairChoice(setup.pair) if setup.pair else PairChoice("", setup.base, setup.guide)
            await self.pairs.load(choice, setup)

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
        try:
            path = Path(name).expanduser()
            await asyncio.to_thread(export, title, setup, tree, path, steps_of=steps_of)
        except (BlendinError, RuntimeError) as error:
            # `expanduser` raises RuntimeError if there is no home folder.
            self.tell(str(error), error=True)
        else:
            self.tell(f"Written to {path}.")

    async def import_file(self, name: str) -> None:
        """Import a conversation from JSON as a new one, and open it."""
        store = self._store_to_open_from()
        if store is None:
            return
        try:
            id = await asyncio.to_thread(import_file, Path(name).expanduser(), store)
        except (BlendinError, RuntimeError) as error:
            self.tell(str(error), error=True)
        else:
            await self.resume(id)
