"""What opens from the main screen: settings, pairs, earlier conversations, exports; and what commands do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

from textual import on, work
from textual.binding import Binding, BindingType

from blendin_local.engine.steps import Step
from blendin_local.errors import BlendinError
from blendin_local.history.exports import export
from blendin_local.history.imports import import_file
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.presentation.colour_scale import Mode
from blendin_local.tui.commands import Act, ChangeSettings, ChangeSystem, Refused, Say, parse, words
from blendin_local.tui.entry import View
from blendin_local.tui.loading import Prepared
from blendin_local.tui.mentions import expand
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.base import once_stopped
from blendin_local.tui.screens.conversations import Choice, ConversationsScreen, Deleted, Opened, Renamed
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.screens.pairs import PairChoice, PairsScreen
from blendin_local.tui.screens.settings import Chosen, SettingsScreen
from blendin_local.tui.screens.turn_actions import TurnActions
from blendin_local.tui.widgets.inspector import Inspector
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.prompt import Prompt
from blendin_local.tui.widgets.transcript import Transcript


class Dialogs(TurnActions):
    DOOR_BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "restart", "New", show=False, id="chat.new"),
        Binding("ctrl+o", "open", "Open", id="chat.open"),
        Binding("f2", "toggle_panel", "Panel", show=False, id="chat.panel"),
        Binding("f3", "pairs", "Models", show=False, id="chat.pairs"),
        Binding("f4", "settings", "Settings", id="chat.settings"),
        Binding("f5", "compare", "Side by side", show=False, id="chat.compare"),
    ]

    # Commands

    @on(Prompt.Commanded)
    def _command(self, message: Prompt.Commanded) -> None:
        command = parse(message.text, self.dialogue.setup.settings, self.prompt.names)
        match command:
            case Refused(says):
                self.tell(says, error=True)
                self.prompt.give_back(message.text)
            case Say(text):
                self.say(text)
            case ChangeSettings() | ChangeSystem() if self.coming is not None:
                self.tell("Other models are being loaded: change this when they are there.")
                self.prompt.give_back(message.text)
            case ChangeSettings(settings, says, seed_random):
                if seed_random is not None:
                    self.dialogue.seed = None if seed_random else settings.seed
                self.change(replace(self.dialogue.setup, settings=settings))
                self.tell(says)
            case ChangeSystem(system, says):
                self.change(replace(self.dialogue.setup, system=system))
                self.tell(says)
            case Act(name, argument):
                self._act(name, argument)

    def _act(self, name: str, argument: str) -> None:
        acts: dict[str, Callable[[], object]] = {
            "settings": self.action_settings,
            "reset": self._reset,
            "pair": lambda: self._pair(argument),
            "compare": self.action_compare,
            "again": self.action_again,
            "continue": self.action_go_on,
            "edit": self.action_edit,
            "delete": lambda: self.action_remove(self.dialogue.last),
            "undo": self.action_undo,
            "new": self._new,
            "open": lambda: self.action_open(argument),
            "rename": lambda: self._rename(argument),
            "export": lambda: self._export(argument),
            "import": lambda: self._import(argument),
            "copy": self.action_copy_code if argument else self.action_copy,
            "view": lambda: self.show_view(View(argument)),
            "colours": lambda: self.show_colours(cast(Mode, argument)),
            "inspect": self.action_inspect,
            "weak": lambda: self.action_weak(1),
            "theme": lambda: setattr(self.app, "theme", argument),
            "panel": self.action_toggle_panel,
            "help": self.action_help,
            "quit": self.app.action_quit,
        }
        if name in ("continue", "edit", "delete", "copy"):
            # A command speaks of the last message, whatever was chosen in the conversation before.
            self.transcript.select(None)
        result = acts[name]()
        if asyncio.iscoroutine(result):
            self.run_worker(result)

    def say(self, text: str) -> None:
        """Send a message, its files put into it."""
        raise NotImplementedError

    def expanded(self, text: str) -> str | None:
        """A message with the files that it mentions; None where one cannot be read."""
        try:
            result = expand(text, Path())
        except BlendinError as error:
            self.tell(str(error), error=True)
            return None
        if result.missing:
            self.tell(f"There is no file called {result.missing[0]}: it was sent as it stands.")
        return result.text

    # Settings

    def change(self, setup: Setup) -> None:
        """Ask for the next replies like this."""
        self.dialogue.change(setup)
        self.show_about()

    def show_about(self) -> None:
        """Show which pair is loaded, and the method of the next reply."""
        about = replace(self.prepared.about, blend=self.dialogue.setup.settings.blend)
        self.title_bar.show(about)

    @work
    async def action_settings(self) -> None:
        if self._others_come():
            return
        setup = self.dialogue.setup
        recommended = self.prepared.setup.settings
        screen = SettingsScreen(Chosen(setup.settings, setup.system, self.dialogue.seed is None), recommended)
        chosen = await self.app.push_screen_wait(screen)
        if chosen is None:
            return
        if self._others_come():
            return
        if chosen.seed_random:
            self.dialogue.seed = None
        elif self.dialogue.seed is None or chosen.settings.seed != setup.settings.seed:
            self.dialogue.seed = chosen.settings.seed
        self.change(replace(self.dialogue.setup, settings=chosen.settings, system=chosen.system))
        self.tell("The next reply is asked with these settings.")

    def _reset(self) -> None:
        if self._others_come():
            return
        self.change(replace(self.dialogue.setup, settings=self.prepared.setup.settings))
        self.tell("The settings are those recommended for the pair again.")

    def _others_come(self) -> bool:
        """Whether other models are being loaded, with settings of their own; says so."""
        return self.coming is not None and not self.may_act()

    # Pairs

    @once_stopped
    @work
    async def action_pairs(self) -> None:
        if not self._may_load():
            return
        loaded = self.prepared.setup if self.chat else None
        screen = PairsScreen(loaded, self.chat_app.prepare, self.chat_app.options)
        choice = await self.app.push_screen_wait(screen)
        if choice is not None:
            await self._load(choice)

    @once_stopped
    def _pair(self, argument: str) -> None:
        names = words(argument)
        if not names:
            self.action_pairs()
        elif self._may_load():
            choice = PairChoice(names[0]) if len(names) == 1 else PairChoice("", names[0], names[1])
            self.run_worker(self._load(choice))

    def _may_load(self) -> bool:
        if self.phase.is_writing or self.phase.is_loading:
            self.may_act()
            return False
        return True

    async def _load(self, choice: PairChoice, setup: Setup | None = None) -> None:
        """Load another pair. setup: how replies are asked for with it; the pair's own without it."""
        try:
            prepared = await asyncio.to_thread(self.chat_app.prepare, choice.pair, choice.base, choice.guide)
        except BlendinError as error:
            self.add_error(str(error))
            return
        if not self._may_load():
            return
        # The system prompt is the user's, not the pair's.
        setup = setup or replace(prepared.setup, system=self.dialogue.setup.system)
        self.coming = prepared, setup
        about = prepared.about
        if about.warning and self.chat is not None:
            about = replace(about, warning="The loaded pair makes way first.")
        self.loading_bar.about(about)
        self.show_phase(Phase.LOADING)
        self.worker.load(prepared.load, release_first=not prepared.fits)

    coming: tuple[Prepared, Setup] | None = None
    """The pair that is being loaded in the place of another, and how replies are asked for with it."""

    # Conversations

    _restart_asked = False

    @once_stopped
    def action_restart(self) -> None:
        """Begin a new conversation; the old one is kept, or given up at the second time."""
        if self.phase.is_writing:
            self.may_act()
            return
        if self.transcript.is_empty:
            self.tell("This conversation is new already.")
            return
        if self.chat_app.store is None and not self._restart_asked:
            self._restart_asked = True
            self.tell("Ctrl+N once more begins a new conversation; this one is not kept.")
            return
        self._new()

    @once_stopped
    def _new(self) -> None:
        if self.phase.is_writing or self.phase is Phase.WAITING:
            self.may_act()
            return
        self._restart_asked = False
        self.dialogue.restart()
        self._show_another()
        self.prompt.focus()

    def _show_another(self) -> None:
        self.stop_editing()
        self.forget_entries()
        self.transcript.select(None)
        self.rebuild(keep=False)
        self.show_figures()
        self.show_about()

    def _store_to_open_from(self) -> Store | None:
        """What is kept, where another conversation can be opened now; says why not."""
        if self.chat_app.store is None:
            self.tell("Conversations are not kept: `blendin config set chat.keep true` changes that.")
            return None
        return self.chat_app.store if self._may_load() else None

    @once_stopped
    @work
    async def action_open(self, query: str = "") -> None:
        store = self._store_to_open_from()
        if store is None:
            return
        await asyncio.to_thread(self.chat_app.journal.flush)
        choice = await self.app.push_screen_wait(ConversationsScreen(store, self.dialogue.id, query))
        await self._chosen(choice)

    async def _chosen(self, choice: Choice | None) -> None:
        match choice:
            case Opened(id):
                await self.resume(id)
            case Renamed(title):
                self.dialogue.title = title
            case Deleted():
                self._new()

    async def resume(self, id: str) -> None:
        """Go on with a conversation that was kept, with its pair."""
        store = self.chat_app.store
        assert store is not None
        try:
            kept = await asyncio.to_thread(store.open, id)
        except BlendinError as error:
            self.tell(str(error), error=True)
            return
        if not self._may_load():
            return
        setup, loaded = kept.setup, self.prepared.setup
        # Until its own models are there, and where they cannot be loaded, these answer.
        self.dialogue.resume(kept, loaded)
        self._show_another()
        if (setup.base, setup.guide) != (loaded.base, loaded.guide):
            choice = PairChoice(setup.pair) if setup.pair else PairChoice("", setup.base, setup.guide)
            await self._load(choice, setup)

    def _rename(self, title: str) -> None:
        self.dialogue.rename(title)
        self.tell(f"This conversation is called {self.dialogue.title} now.")

    @work
    async def _export(self, name: str) -> None:
        store, tree = self.chat_app.store, self.dialogue.tree.copy()

        def steps_of(turn: Turn) -> list[Step]:
            return turn.steps or (store.load_steps(turn.id) if store else [])

        title, setup = self.dialogue.title or "Conversation", self.dialogue.setup
        try:
            path = Path(name).expanduser()
            await asyncio.to_thread(export, title, setup, tree, path, steps_of=steps_of)
        except (BlendinError, RuntimeError) as error:
            # The latter for the home of somebody who has none.
            self.tell(str(error), error=True)
        else:
            self.tell(f"Written to {path}.")

    @once_stopped
    @work
    async def _import(self, name: str) -> None:
        store = self._store_to_open_from()
        if store is None:
            return
        try:
            id = await asyncio.to_thread(import_file, Path(name).expanduser(), store)
        except (BlendinError, RuntimeError) as error:
            self.tell(str(error), error=True)
        else:
            await self.resume(id)

    # Side by side

    def action_compare(self) -> None:
        """Answer with several methods."""
        raise NotImplementedError

    # The rest

    def action_toggle_panel(self) -> None:
        shown = self.panel.display
        self.set_class(not shown, "-panel-shown").set_class(shown, "-panel-hidden")

    def action_help(self) -> None:
        widgets = (type(self), Transcript, Prompt, Panel, Inspector)
        bindings = [binding for widget in widgets for binding in widget.BINDINGS]
        self.app.push_screen(HelpScreen([*bindings, *self.chat_app.BINDINGS], self.chat_app.preferences.keys))
