"""What the chat looks like: compared with pictures (`pytest --snapshot-update` takes them anew)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chat_fakes import ABOUT, FakeChat, FakeLoad, FakeReply, app_of, steps_of, wait_until
from textual.pilot import Pilot

from blendin_local.errors import ModelError
from blendin_local.tui.app import make_app
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
THEMES = {"dark": "textual-dark", "light": "textual-light"}
REPLY = (
    "Leaves change their colour in autumn because the tree takes back the green of its leaves before winter. "
    "What remains are the yellow and red that were there all summer."
)


async def still(pilot: Pilot[None], theme: str = "dark", phase: Phase = Phase.READY) -> ChatScreen:
    """The main screen in a phase, with nothing moving."""
    app = pilot.app
    app.theme = THEMES[theme]
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    await wait_until(pilot, lambda: screen.query("Prompt"))
    screen.prompt.cursor_blink = False
    await wait_until(pilot, lambda: screen.phase is phase)
    return screen


def scene(theme: str, *, asked: bool = False, help_open: bool = False) -> Callable[[Pilot[None]], Any]:
    """Brings the app to where the picture is taken."""

    async def run_before(pilot: Pilot[None]) -> None:
        screen = await still(pilot, theme)
        if asked:
            screen.prompt.insert("Why do leaves change their colour in autumn?")
            await pilot.press("enter")
            await pilot.pause()
            await wait_until(pilot, lambda: screen.phase is Phase.READY)
        if help_open:
            await pilot.press("f1")
        await pilot.pause()

    return run_before


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_first_screen(snap_compare: Any, size: str, theme: str) -> None:
    app, _ = app_of()
    assert snap_compare(app, terminal_size=SIZES[size], run_before=scene(theme))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_a_reply(snap_compare: Any, size: str, theme: str) -> None:
    app, _ = app_of(FakeReply(steps_of(REPLY)))
    assert snap_compare(app, terminal_size=SIZES[size], run_before=scene(theme, asked=True))


@pytest.mark.parametrize("size", SIZES)
def test_help(snap_compare: Any, size: str) -> None:
    app, _ = app_of()
    assert snap_compare(app, terminal_size=SIZES[size], run_before=scene("dark", help_open=True))


def test_a_reply_without_colour(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, _ = app_of(FakeReply(steps_of(REPLY)))
    assert snap_compare(app, terminal_size=SIZES["120x40"], run_before=scene("dark", asked=True))


def test_loading(snap_compare: Any) -> None:
    app = make_app(FakeLoad(FakeChat(), held=True), ABOUT)

    async def run_before(pilot: Pilot[None]) -> None:
        screen = await still(pilot, phase=Phase.LOADING)
        await wait_until(pilot, lambda: "50%" in str(screen.loading_bar.content))

    assert snap_compare(app, terminal_size=SIZES["80x24"], run_before=run_before)


def test_failed_load(snap_compare: Any) -> None:
    error = ModelError("llama.cpp cannot load base-model.gguf: tensor data is not within the file bounds.")
    app = make_app(FakeLoad(FakeChat(), error=error), ABOUT)

    async def run_before(pilot: Pilot[None]) -> None:
        await still(pilot, phase=Phase.FAILED)

    assert snap_compare(app, terminal_size=SIZES["80x24"], run_before=run_before)


def test_stopped_reply_beside_the_panel_on_a_small_screen(snap_compare: Any) -> None:
    """Other scripts, a list, old messages left out, the panel over part of the screen."""
    text = "Yes:\n\n1. 木の葉が色づく \N{MAPLE LEAF}\n2. أوراق الخريف\n3. " + REPLY
    app, _ = app_of(FakeReply(steps_of(text), hold_at=16, dropped=2))

    async def run_before(pilot: Pilot[None]) -> None:
        screen = await still(pilot)
        screen.prompt.insert("Why?\nAnd how?")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "takes back" in screen.transcript.entries[-1].body.text)
        await pilot.press("escape")
        await wait_until(pilot, lambda: screen.phase is Phase.READY)
        await pilot.press("f2")
        await pilot.pause()

    assert snap_compare(app, terminal_size=SIZES["80x24"], run_before=run_before)
