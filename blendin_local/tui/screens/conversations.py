"""List saved conversations: search, open, rename and delete them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from blendin_local.errors import HistoryError
from blendin_local.history.search import ConversationInfo
from blendin_local.history.store import Store
from blendin_local.presentation.formatting import line
from blendin_local.safe_text import sanitize
from blendin_local.tui.conversation_rows import CURRENT, heads, row
from blendin_local.tui.screens.dialog import Dialog

_PAUSE_S = 0.12
"""Delay of the search after the last key."""
_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """Another conversation was chosen."""

    id: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """The current conversation was renamed, and no other one chosen."""

    title: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The current conversation was deleted, and no other one chosen."""


Choice = Opened | Renamed | Deleted


class ConversationsScreen(Dialog[Choice | None]):
    """Returns a `Choice`, or None if the current conversation continues unchanged."""

    # Delete and U act in the list only: in the search field they are keys of the field.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", priority=True, id="conversations.close"),
        Binding("f2,ctrl+e", "rename", "Rename", priority=True, id="conversations.rename"),
        Binding("ctrl+d", "delete", "Delete", priority=True, id="conversations.delete"),
        Binding("delete", "delete", "Delete", id="conversations.delete_row"),
        Binding("ctrl+z", "undo", "Undo", priority=True, id="conversations.undo"),
        Binding("u", "undo", "Undo", id="conversations.undo_row"),
        Binding("down", "rows('cursor_down')", show=False, id="conversations.down"),
        Binding("pagedown", "rows('page_down')", show=False, id="conversations.page_down"),
        Binding("pageup", "rows('page_up')", show=False, id="conversations.page_up"),
    ]

    def __init__(
        self,
        store: Store,
        current: str | None = None,
        query: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """current: the id of the open conversation. query: the initial search."""
        super().__init__()
        # Not queried: a late layout or search may ask for them when the screen is being removed.
        self.search = Input(
            placeholder="words of a title or a message", select_on_focus=False, id="conversations-search"
        )
        self.title_field = Input(id="conversations-title")
        self.rows = _Rows(id="conversations-rows", markup=False)
        self._box = Vertical(id="conversations")
        self._heads = Static(id="conversations-heads", markup=False)
        self._empty = Static(id="conversations-empty", markup=False)
        self._note_line = Static(id="conversations-note", markup=False)
        self._store = store
        self._current = current
        self._query = query
        self._clock = clock
        self._listed: list[ConversationInfo] = []
        self._deleted: list[ConversationInfo] = []
        self._deleted_before: list[ConversationInfo] | None = None
        self._renamed: ConversationInfo | None = None
        self._new_title: str | None = None
        self._searched = ""

    def compose(self) -> ComposeResult:
        self.search.value = self._query
        with self._box:
            yield self.search
            yield self.title_field
            yield self._heads
            yield self.rows
            yield self._empty
            yield self._note_line

    def on_mount(self) -> None:
        self._box.border_title = "Conversations"
        self.search.border_title = "Search"
        self.title_field.border_title = "New title"
        self._show_keys()
        self.search.focus()
        self._find()

    # The list

    @on(Input.Changed, "#conversations-search")
    def _typed(self) -> None:
        self._find(_PAUSE_S)

    @work(exclusive=True)
    async def _find(self, pause: float = 0.0) -> None:
        await asyncio.sleep(pause)
        query = self.search.value
        try:
            if self._deleted_before is None:
                self._deleted_before = list(reversed(await asyncio.to_thread(self._store.deleted, _LIMIT)))
            listed = await asyncio.to_thread(self._store.list, query, _LIMIT)
        except HistoryError as error:
            self._note(str(error), wrong=True)
            return
        gone = {each.id for each in self._deleted}
        self._searched = query.strip()
        self._show(
            [each for each in listed if each.id not in gone], None if self._searched else self._current
        )
        self._count()

    def _show(self, listed: list[ConversationInfo], highlighted: str | None = None, at: int = 0) -> None:
        """Show rows with the cursor on the conversation `highlighted`, else on the row `at`."""
        self._listed = listed
        self.set_class(not listed, "-empty")
        found = f"Nothing found for “{line(self._searched)}”." if self._searched else "No conversations yet."
        self._empty.update(Content(found))
        self._draw()
        ids = [each.id for each in listed]
        place = ids.index(highlighted) if highlighted in ids else min(at, len(ids) - 1)
        self.rows.highlighted = place if listed else None

    def _draw(self) -> None:
        """Lay out the rows for the current width."""
        width = max(20, self.rows.scrollable_content_region.width - 2)
        self._heads.update(heads(width))
        now, highlighted = self._clock(), self.rows.highlighted
        self.rows.set_options(
            Option(row(each, width, now, current=each.id == self._current, found=bool(self._searched)))
            for each in self._listed
        )
        self.rows.highlighted = highlighted

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @property
    def _chosen(self) -> ConversationInfo | None:
        place = self.rows.highlighted
        return None if place is None or place >= len(self._listed) else self._listed[place]

    # Keys

    def action_rows(self, move: str) -> None:
        """Move from the search field into the list."""
        if self._listed and not self._renaming:
            self.rows.focus()
            getattr(self.rows, f"action_{move}")()

    def on_key(self, event: events.Key) -> None:
        # Printable keys in the list go to the search field.
        undoes = event.key == "u" and self._deleted
        if self.focused is self.rows and not undoes and (event.is_printable or event.key == "backspace"):
            self.search.focus()
            if event.character and event.is_printable:
                self.search.insert_text_at_cursor(event.character)
            else:
                self.search.action_delete_left()
            event.stop()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("rename", "delete"):
            return not self._renaming and self._chosen is not None
        if action == "undo":
            return not self._renaming and bool(self._deleted or self._deleted_before)
        return True

    @on(Input.Submitted, "#conversations-search")
    @on(OptionList.OptionSelected)
    def _open(self) -> None:
        if (chosen := self._chosen) is None:
            return
        self.dismiss(Opened(chosen.id) if chosen.id != self._current else self._outcome())

    def action_leave(self) -> None:
        if self._renaming:
            self._end_renaming()
        else:
            self.dismiss(self._outcome())

    def _outcome(self) -> Choice | None:
        if any(each.id == self._current for each in self._deleted):
            return Deleted()
        return None if self._new_title is None else Renamed(self._new_title)

    # Renaming

    @property
    def _renaming(self) -> bool:
        return self._renamed is not None

    def action_rename(self) -> None:
        if (chosen := self._chosen) is not None:
            self._renamed = chosen
            self.title_field.value = line(chosen.title)
            self.add_class("-renaming")
            self.rows.disabled = True
            self.title_field.focus()
            self._show_keys()

    def _end_renaming(self) -> None:
        self._renamed = None
        self.remove_class("-renaming")
        self.rows.disabled = False
        self.rows.focus()
        self._show_keys()

    @on(Input.Submitted, "#conversations-title")
    async def _rename(self, message: Input.Submitted) -> None:
        # Not the highlighted one: a search may have changed the list meanwhile.
        chosen = self._renamed
        self._end_renaming()
        if chosen is None or message.value == line(chosen.title):
            return
        with self._explained():
            title = await asyncio.to_thread(self._store.set_title, chosen.id, message.value)
            if chosen.id == self._current:
                self._new_title = title
            renamed = [replace(each, title=title) if each.id == chosen.id else each for each in self._listed]
            self._show(renamed, chosen.id)

    # Deleting

    async def action_delete(self) -> None:
        chosen, place = self._chosen, self.rows.highlighted
        if chosen is None or place is None:
            return
        with self._explained():
            await asyncio.to_thread(self._store.delete, chosen.id)
            self._deleted.append(chosen)
            self._show([each for each in self._listed if each is not chosen], at=place)
            self._note(f"Ctrl+Z brings back: {line(chosen.title)}")

    async def action_undo(self) -> None:
        """Restore the conversation that was deleted last, also before the list was opened."""
        deleted = self._deleted or self._deleted_before
        if not deleted:
            return
        with self._explained():
            last = deleted[-1]
            await asyncio.to_thread(self._store.undelete, last.id)
            deleted.remove(last)
            restored = sorted([*self._listed, last], key=lambda each: each.updated, reverse=True)
            self._show(restored, last.id)
            self._count()

    # Notes around the list

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Show errors of the store."""
        try:
            yield
        except HistoryError as error:
            self._note(str(error), wrong=True)

    def _count(self) -> None:
        count = len(self._listed)
        said = [f"{count} {'found' if self._searched else 'conversation' if count == 1 else 'conversations'}"]
        if count >= _LIMIT:
            said = [f"the latest {count}; search for older ones"]
        if any(each.id == self._current for each in self._listed):
            said.append(f"{CURRENT} is open now")
        if not count:
            said.clear()
        if deleted := self._deleted or self._deleted_before:
            said.append(f"Ctrl+Z brings back: {line(deleted[-1].title)}")
        self._note("; ".join(said))

    def _note(self, text: str, *, wrong: bool = False) -> None:
        self._note_line.update(Content(sanitize(text)))
        self._note_line.set_class(wrong, "-wrong")

    def _show_keys(self) -> None:
        keys = "Enter opens · F2 renames · Delete, Ctrl+D deletes · Esc closes"
        self._box.border_subtitle = "Enter renames · Esc cancels" if self._renaming else keys


class _Rows(OptionList):
    """A list in which Up on the first row moves to the search field."""

    def action_cursor_up(self) -> None:
        if self.highlighted:
            super().action_cursor_up()
        else:
            self.screen.focus_previous()
