"""Tests of the chat in terminals of any size: resizes and keys never end it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from support.chat_fakes import FOOTER, FakeReply, chatting, screen_of, steps_of, visible, with_choices
from support.nightly import some_of
from textual.errors import NoWidget
from textual.pilot import Pilot
from textual.widgets import Footer

from blendin_local.history.store import Store
from blendin_local.preferences.preferences import ChatPreferences, ComparePreferences, Preferences
from blendin_local.tui.app import ChatApp

SIZES = [(80, 24), (20, 6), (1, 1), (40, 24), (30, 10), (2, 40), (160, 3)]
"""Columns and rows; neighbours differ much."""

REPLY = (
    "# Leaves\n\nThey **lose** their green, 葉っぱ, and a-very-long-word-that-has-to-be-folded.\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nprint('one line of code longer than others')\n```\n\n- end"
)

OPENING = {
    "conversation": ("tab", "k", "l", "l"),
    "inspector": ("tab", "l", "i"),
    "panel": ("f2", "tab", "tab"),
    "suggestions": ("/",),
    "help": ("f1",),
    "settings": ("f4",),
    "pairs": ("f3",),
    "any two models": ("f3", "f3", "f4"),
    "conversations": ("ctrl+o",),
    "renaming": ("ctrl+o", "down", "f2"),
    "comparison": (*"Why?", "f5"),
    "palette": ("ctrl+p",),
}
"""Keys that open each part of the interface."""

KEYS = (
    *(
        "f1",
        "f2",
        "f3",
        "f4",
        "f5",
        "f6",
        "f7",
        "f8",
        "ctrl+o",
        "ctrl+n",
        "ctrl+r",
        "ctrl+p",
        "ctrl+z",
        "ctrl+d",
    ),
    *("up", "down", "left", "right", "pageup", "pagedown", "home", "end", "tab", "shift+tab", "ctrl+j"),
    *("enter", "escape", "escape", "backspace", "delete", "space", "/", "@", "1", "2"),
    *"abcdehiklmnrtuvyNY[]葉",
)


@asynccontextmanager
async def conversing(folder: Path, size: tuple[int, int]) -> AsyncIterator[tuple[Pilot[None], ChatApp]]:
    """A saved conversation with one reply, whose steps have candidates."""
    steps = [with_choices(step, "more", "葉", "\n") for step in steps_of(REPLY)]
    preferences = Preferences(ChatPreferences(), compare=ComparePreferences(("base", "guide")))
    with closing(Store(folder / "chats.db")) as store:
        async with chatting(
            *(FakeReply(steps) for _ in range(200)),
            size=size,
            asked="Why do leaves change their colour?",
            store=store,
            preferences=preferences,
        ) as (pilot, app, _):
            yield pilot, app


def check(app: ChatApp) -> None:
    assert app._exception is None
    visible(app)


@pytest.mark.parametrize("opening", OPENING.values(), ids=OPENING)
async def test_everything_can_be_resized(opening: tuple[str, ...], tmp_path: Path) -> None:
    async with conversing(tmp_path, (80, 24)) as (pilot, app):
        await pilot.press(*opening)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await pilot.press("down", "right", "pagedown", "up")
            assert app.size == size
            check(app)


@pytest.mark.parametrize(("columns", "rows"), some_of([(20, 6), (1, 1)], SIZES))
async def test_everything_opens_at_any_size(columns: int, rows: int, tmp_path: Path) -> None:
    async with conversing(tmp_path, (columns, rows)) as (pilot, app):
        for opening in OPENING.values():
            await pilot.press(*opening, "down", "right", "pagedown", "tab")
            check(app)
            while len(app.screen_stack) > 1:
                await pilot.press("escape")
            screen_of(app).prompt.clear()
            screen_of(app).prompt.focus()


async def test_conversation_and_input_fit_into_20_columns_and_6_rows(tmp_path: Path) -> None:
    async with conversing(tmp_path, (20, 6)) as (pilot, app):
        screen = screen_of(app)
        await pilot.press(*"And?")
        assert "│ And?" in visible(app)
        assert screen.transcript.region.height >= 2
        assert screen.region.contains_region(screen.prompt.region)


@pytest.mark.parametrize("seed", some_of([1, 2], range(1, 30)))
async def test_keys_clicks_and_resizes(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Footer, "compose", FOOTER)
    chance = random.Random(seed)
    async with conversing(tmp_path, chance.choice(SIZES)) as (pilot, app):
        for _ in range(50):
            drawn = chance.random()
            if drawn < 0.25:
                await pilot.resize_terminal(chance.randint(1, 120), chance.randint(1, 40))
            elif drawn < 0.35:
                place = chance.randrange(app.size.width), chance.randrange(app.size.height)
                # The pilot finds nothing at a place that is not laid out yet.
                with suppress(NoWidget):
                    await pilot.click(offset=place)
            else:
                await pilot.press(chance.choice(KEYS))
            check(app)
