"""What the chat looks like: compared with pictures (`pytest --snapshot-update` takes them anew)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chat_fakes import FakeReply, app_of, steps_of, wait_until
from textual.pilot import Pilot

from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
THEMES = {"dark": "textual-dark", "light": "textual-light"}
REPLY = (
    "Leaves change their colour in autumn because the tree takes back the green of its leaves before winter. "
    "What remains are the yellow and red that were there all summer."
)


def scene(theme: str, *, asked: bool = False, help_open: bool = False) -> Callable[[Pilot[None]], Any]:
    """Brings the app to where the picture is taken, with nothing moving."""

    async def run_before(pilot: Pilot[None]) -> None:
        app = pilot.app
        app.theme = THEMES[theme]
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await wait_until(pilot, lambda: screen.query("Prompt"))
        screen.prompt.cursor_blink = False
        await wait_until(pilot, lambda: screen.phase is Phase.READY)
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
