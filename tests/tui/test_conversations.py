"""Tests of the list of saved conversations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

import blendin_local.tui
from blendin_local.history.search import ConversationInfo
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.tui.conversation_rows import heads, row, when
from blendin_local.tui.screens.conversations import Choice, ConversationsScreen, Deleted, Opened, Renamed

NARROW, WIDE = (80, 24), (200, 60)
HOSTILE = "[bold red]red[/] \x1b[31m \u202e\x02now"
NOW = datetime(2026, 3, 18, 15, 0).timestamp()


class Host(App[None]):
    CSS_PATH = str(Path(blendin_local.tui.__file__).parent / "css" / "conversations.tcss")

    def __init__(self, store: Store, current: str | None, query: str = "") -> None:
        super().__init__()
        self.list = ConversationsScreen(store, current, query, clock=lambda: NOW)
        self.results: list[Choice | None] = []

    def on_mount(self) -> None:
        self.push_screen(self.list, self.results.append)

    @property
    def titles(self) -> list[str]:
        return [listed.title for listed in self.list._listed]

    @property
    def chosen(self) -> str:
        chosen = self.list._chosen
        return chosen.id if chosen else ""

    @property
    def note(self) -> str:
        return str(self.list.query_one("#conversations-note", Static).content)

    @property
    def visible(self) -> str:
        rows = self.screen._compositor.render_strips(self.size)
        return "\n".join("".join(segment.text for segment in strip) for strip in rows)


async def settle(pilot: Pilot[None]) -> None:
    """Wait until the search has ended."""
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three conversations: sky, which was changed last; sea; and one with a hostile title."""
    with closing(Store(tmp_path / "chats.db")) as store:
        for id, title, text in (
            ("evil", HOSTILE, "nothing"),
            ("sea", "The sea", "Ships leave the harbour"),
            ("sky", "Why is the sky blue?", "Of Rayleigh scattering"),
        ):
            store.create(id, Setup("base.gguf", "guide.gguf", "demo"))
            store.save_turn(id, Turn("user", title, id=f"{id}0"))
            store.save_turn(id, Turn("assistant", text, f"{id}0"))
        yield store


@asynccontextmanager
async def listing(
    store: Store, current: str | None = None, query: str = "", size: tuple[int, int] = NARROW
) -> Iterator[tuple[Host, Pilot[None]]]:
    app = Host(store, current, query)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield app, pilot


@pytest.mark.parametrize("size", [NARROW, WIDE, (40, 12)])
async def test_the_list_shows_title_time_messages_and_pair(store: Store, size: tuple[int, int]) -> None:
    async with listing(store, "sea", size=size) as (app, _):
        assert [title.split()[0] for title in app.titles] == ["Why", "The", "[bold"]
        assert app.chosen == "sea"
        lines = [line for line in app.visible.splitlines() if "● The sea" in line]
        assert len(lines) == 1
        assert ("demo" in lines[0]) == (size[0] > 40)
        assert app.visible.count("●") == 2
        assert app.note == "3 conversations; ● is open now"
        assert "[bold red]" in app.visible
        assert "\x1b" not in app.visible


async def test_enter_opens_the_highlighted_conversation(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.results == [Opened("sea")]


async def test_a_click_opens_a_conversation(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.click("#conversations-rows", offset=(5, 2))
        await pilot.pause()
        assert app.results == [Opened("evil")]


@pytest.mark.parametrize("key", ["enter", "escape"])
async def test_choosing_the_current_conversation_changes_nothing(store: Store, key: str) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert app.results == [None]


async def test_typing_searches_and_enter_opens_the_first(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press(*"harb")
        await settle(pilot)
        assert app.titles == ["The sea"]
        assert "Ships leave the harbour" in app.visible
        # Letters typed in the list extend the search; U too, while there is nothing to undo.
        await pilot.press("down", *"ou", "backspace")
        await settle(pilot)
        assert app.list.search.value == "harbo"
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == [Opened("sea")]


async def test_matches_are_marked_without_colour(store: Store) -> None:
    async with listing(store, query="harbour") as (app, _):
        (option,) = app.list.rows.options
        (span,) = option.prompt.spans  # type: ignore[union-attr]
        assert option.prompt.plain[span.start : span.end] == "harbour"  # type: ignore[union-attr]
        assert span.style == "bold underline"


async def test_an_empty_list_says_why_it_is_empty(store: Store, tmp_path: Path) -> None:
    async with listing(store, query="[zebra]") as (app, pilot):
        assert "Nothing found for “[zebra]”." in app.visible
        assert "Title" not in app.visible
        await pilot.press("enter", "f2", "ctrl+d", "down")
        assert not app.results
        await pilot.press("ctrl+u")
        await settle(pilot)
        assert len(app.titles) == 3
    with closing(Store(tmp_path / "empty.db")) as empty:
        async with listing(empty) as (app, _):
            assert "No conversations yet." in app.visible


async def test_a_conversation_is_renamed(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("f2", *"Rayleigh", "ctrl+d", "delete", "enter")
        await pilot.pause()
        assert app.titles[0] == "Rayleigh"
        assert app.chosen == "sky"
        await pilot.press("down", "ctrl+e", *"lost", "escape")
        await pilot.pause()
        assert not app.results
        assert app.titles[1] == "The sea"
        assert [listed.title for listed in store.list()] == app.titles
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [Renamed("Rayleigh")]


async def test_renaming_another_conversation_returns_nothing(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("down", "f2", "backspace", "enter")
        await pilot.pause()
        # A blank title is replaced by the first line.
        assert app.titles[1] == "The sea"
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]


async def test_a_search_that_ends_while_renaming_does_not_change_the_target(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("f2")
        app.list.search.value = "harb"
        await settle(pilot)
        assert app.titles == ["The sea"]
        await pilot.press(*"Blue", "enter")
        await pilot.pause()
        assert store.open("sky").title == "Blue"
        assert store.open("sea").title == "The sea"


@pytest.mark.parametrize("undo", ["u", "ctrl+z"])
async def test_a_deleted_conversation_is_restored(store: Store, undo: str) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("down", "delete", "ctrl+d")
        await pilot.pause()
        assert app.titles == ["Why is the sky blue?"]
        assert app.note.startswith("Ctrl+Z brings back: [bold red]red[/] ␛[31m")
        await pilot.press(undo)
        await pilot.pause()
        assert app.chosen == "evil"
        await pilot.press(undo)
        await pilot.pause()
        assert app.chosen == "sea"
        assert len(store.list()) == 3
        assert app.list.search.value == ""
        assert app.note == "3 conversations; ● is open now"


async def test_conversations_deleted_earlier_are_restored(store: Store) -> None:
    for id in ("sea", "sky"):
        store.delete(id)
    async with listing(store, "evil") as (app, pilot):
        assert app.note == "1 conversation; ● is open now; Ctrl+Z brings back: Why is the sky blue?"
        # U in the list is searched for, unless a conversation was deleted in this list.
        await pilot.press("down", "u")
        await settle(pilot)
        assert (app.list.search.value, len(store.list())) == ("u", 1)
        await pilot.press("backspace")
        await settle(pilot)
        await pilot.press("ctrl+z", "ctrl+z", "ctrl+z")
        await pilot.pause()
        assert app.titles[:2] == ["Why is the sky blue?", "The sea"]
        assert app.note == "3 conversations; ● is open now"
        await pilot.press("escape")
        await pilot.pause()
    assert len(store.list()) == 3
    assert app.results == [None]


async def test_the_current_conversation_continues_if_another_program_deleted_it(store: Store) -> None:
    store.delete("sky")
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]


async def test_deleting_the_current_conversation_is_returned(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("ctrl+d", "escape")
        await pilot.pause()
        assert app.results == [Deleted()]
        assert [listed.id for listed in store.list()] == ["sea", "evil"]


async def test_delete_and_u_are_editing_keys_in_the_search_field(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("ctrl+d", *"u", "home", "delete", "x")
        await settle(pilot)
        assert app.list.search.value == "x"
        assert len(store.list()) == 2


async def test_deleting_the_last_one_leaves_an_empty_list(store: Store) -> None:
    async with listing(store, query="sea") as (app, pilot):
        await pilot.press("ctrl+d")
        await pilot.pause()
        assert "Nothing found" in app.visible
        await pilot.press("ctrl+z")
        await pilot.pause()
        assert app.titles == ["The sea"]


async def test_up_on_the_first_row_moves_to_the_search_field(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        await pilot.press("down")
        assert app.list.rows.has_focus
        await pilot.press("up", "up")
        assert app.list.search.has_focus


async def test_errors_of_the_store_are_shown(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        store._database.execute("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await pilot.press("ctrl+d")
            await pilot.pause()
            assert "locked" in app.note
            assert len(app.titles) == 3
        store.close()
        await pilot.press("s")
        await settle(pilot)
        assert "closed" in app.note


async def test_rows_fit_the_screen_after_a_resize(store: Store) -> None:
    async with listing(store, "sky", size=WIDE) as (app, pilot):
        await pilot.resize_terminal(*NARROW)
        await pilot.pause()
        width = app.list.rows.scrollable_content_region.width
        assert {cell_len(str(option.prompt)) for option in app.list.rows.options} == {width - 2}


@pytest.mark.parametrize("width", [20, 44, 59, 60, 110])
@pytest.mark.parametrize(
    "title", ["short", "long " * 30, "東京は日本の首都です" * 9, "👩‍💻" * 40, HOSTILE, ""]
)
def test_rows_are_as_wide_as_the_column_titles(title: str, width: int) -> None:
    listed = ConversationInfo("a", title, NOW, NOW, 1200, "東京" * 20)
    line = row(listed, width, NOW, current=True, found=False).plain
    assert "\n" not in line
    assert cell_len(line) == cell_len(heads(width).plain) == width


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ((2026, 3, 18, 14, 5), "today 14:05"),
        ((2026, 3, 17, 23, 59), "Tue 23:59"),
        ((2026, 3, 12, 9, 30), "Thu 09:30"),
        ((2026, 3, 11, 9, 30), "11 Mar"),
        ((2025, 12, 31, 23, 0), "31 Dec 2025"),
        ((2026, 3, 19, 8, 0), "19 Mar"),
    ],
)
def test_times_are_relative_to_today(moment: tuple[int, int, int, int, int], shown: str) -> None:
    assert when(datetime(*moment).timestamp(), NOW) == shown


async def test_a_layout_and_a_search_after_closing_are_harmless(store: Store) -> None:
    async with listing(store, "sky") as (app, pilot):
        closed = app.list
        await pilot.press("escape")
        await pilot.pause()
        closed._draw()
        closed._show(store.list())
        closed.check_action("rename", ())
