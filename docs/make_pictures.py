"""Takes the pictures in docs/pictures from the real chat with the demo pair: `make pictures`.

The replies are drawn with a fixed seed. They still differ from machine to machine in the last bits, and
with them now and then in a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from blendin_local.preferences.preferences import ChatPreferences, Preferences
from blendin_local.settings import DEFAULT_PAIR, GenerationSettings, ModelOptions
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.loading import Preparer
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen

PICTURES = Path(__file__).parent / "pictures"
WIDE, NARROW, LARGE = (120, 40), (80, 24), (160, 45)
QUESTION = "Why do leaves change their colour in autumn?"
SEED = 3


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    while not true():
        await pilot.pause(0.05)
    await pilot.pause(0.1)


async def take(name: str, size: tuple[int, int], *keys: str, theme: str = "textual-dark") -> None:
    """One picture: the question is asked, the reply awaited, and then these keys are pressed."""
    preparer = Preparer(
        ModelOptions(n_ctx=2048),
        lambda entry: GenerationSettings(entry.blend, entry.sampling, max_tokens=100),
    )
    preferences = Preferences(ChatPreferences(theme=theme))
    app = ChatApp(ChatSession(preparer(DEFAULT_PAIR), preparer, preferences=preferences, seed=SEED))
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.replies.phase is Phase.READY)
        screen.prompt.cursor_blink = False
        screen.prompt.insert(QUESTION)
        await pilot.press("enter")
        await until(pilot, lambda: screen.replies.phase is Phase.READY)
        await pilot.press(*keys)
        await until(pilot, lambda: screen.replies.phase is Phase.READY)
        if "f5" in keys:
            comparison = screen.comparison.screen
            assert comparison is not None
            await until(pilot, lambda: comparison.ended == len(preferences.compare.methods))
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title="blendin chat"), "utf-8")
        print(name)


async def main() -> None:
    await take("reply", WIDE, "f6")
    await take("light", WIDE, "f6", theme="textual-light")
    await take("markdown", WIDE)
    await take("inspector", WIDE, "tab", "right", "i")
    await take("colours", WIDE, "f6", "f7", "f7")
    await take("side-by-side", LARGE, "f5")
    await take("settings", WIDE, "f4")
    await take("small", NARROW, "f6")


if __name__ == "__main__":
    asyncio.run(main())
