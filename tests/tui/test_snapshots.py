"""Snapshot tests of the chat's screens (`pytest --snapshot-update` accepts changes)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import tiny_gguf
from support.chat_fakes import (
    FakeChat,
    FakeLoad,
    FakeReply,
    app_with,
    ask,
    no_pairs,
    press,
    ready,
    say,
    screen_of,
    steps_of,
    visible,
    wait_until,
)
from textual.pilot import Pilot
from textual.widgets import Footer, Input, TextArea

from blendin_local.engine.steps import Candidate, Candidates, Step
from blendin_local.errors import ModelError
from blendin_local.history import store as store_module
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.llamacpp.header import read_header
from blendin_local.models import memory_estimate
from blendin_local.models.available import AvailableModel, AvailablePair, Inventory, available_pair
from blendin_local.models.entries import ModelEntry
from blendin_local.preferences.preferences import ChatPreferences, Preferences
from blendin_local.presentation.colour_scale import MODES
from blendin_local.settings import ModelOptions
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat.metrics_display import MetricsDisplay
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens import pairs
from blendin_local.tui.screens.compare import CompareScreen
from blendin_local.tui.screens.conversations import ConversationsScreen
from blendin_local.tui.screens.pairs import PairsScreen

pytestmark = pytest.mark.slow

EACH_VARIANT = pytest.mark.parametrize("variant", ["80x24-light", "120x40-dark"])
QUESTION = "Why do leaves change their colour in autumn?"
REPLY = (
    "Leaves change their colour in autumn because the tree takes back the green of its leaves before winter. "
    "What remains are the yellow and red that were there all summer."
)
MARKDOWN = f"""\
# Autumn leaves

{REPLY.partition(". ")[0]}, which *costs less* than **growing** it anew.

1. the days grow short
2. the tree takes back its green
   - chlorophyll first
   - then the minerals

> Nothing gold can stay.

```python
def colour(day: int) -> str:
    return "red" if day > 280 else "green"
```

| month | colour | share |
|---|---|---:|
| September | green | 0.8 |
| October | red | 0.6 |

See `carotene` in [the book](https://example.org/leaves).
"""
COMPARED = ("Leaves change colour. Leaves", "The **chlorophyll** breaks down.", REPLY, "It is:\n\n- carotene")
NOW = datetime(2026, 3, 18, 15, 0).timestamp()

Scene = Callable[[Pilot[None], ChatApp], Awaitable[object]]
Matches = Callable[..., bool]


@pytest.fixture(autouse=True)
def fixed(prompt_pilot: None, monkeypatch: pytest.MonkeyPatch, compose: Any = Footer.compose) -> None:
    """Fix the numbers of the machine and the cursor, and restore the footer."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda field: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda field: None)
    monkeypatch.setattr(Footer, "compose", compose)
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(MetricsDisplay, "_memory_bytes", lambda display: 903_000_000)


@pytest.fixture
def matches(snap_compare: Any) -> Matches:
    """Compare a scene with its snapshot."""

    def compare(
        scene: Scene,
        *replies: str | FakeReply,
        variant: str = "80x24-dark",
        view: str = "tokens",
        load: FakeLoad | None = None,
    ) -> bool:
        width, height, theme = re.split("[x-]", variant)
        script = [FakeReply(steps(each)) if isinstance(each, str) else each for each in replies]
        chat = ChatPreferences(view=view, theme=f"textual-{theme}", looks_per_second=60)  # type: ignore[arg-type]
        app = app_with(load or FakeLoad(FakeChat(*script)), preferences=Preferences(chat))
        terminal_size = int(width), int(height)
        return bool(
            snap_compare(app, terminal_size=terminal_size, run_before=lambda pilot: scene(pilot, app))
        )

    return compare


async def answered(pilot: Pilot[None], app: ChatApp) -> None:
    await ready(pilot, app)
    await ask(pilot, app, QUESTION)


def after(opening: Scene, *keys: str) -> Scene:
    """Press keys before the snapshot."""

    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await opening(pilot, app)
        await pilot.press(*keys)

    return scene


def steps(text: str) -> list[Step]:
    """Steps with all metrics of the inspector and different bands."""
    made, words = [], [f"{word} ".encode() for word in text.split()[:7]]
    for i, each in enumerate(steps_of(text)):
        said = Candidate(each.data, 0.25 + 0.05 * (i % 8), each.outcome)
        others = [Candidate(word, 0.3 / (n + 2), 100 + n) for n, word in enumerate(words)]
        base, blend = (*others[:5], said), (said, *others[:6])
        each = replace(each, probability=said.probability, base_entropy=4.12, candidates=Candidates(base))
        if each.c_b is not None and each.c_g is not None:
            alpha = each.c_g / (each.c_b + each.c_g) + 0.1 * 0.25
            each = replace(each, alpha=alpha, agreement=0.25, divergence=0.1 * (i % 7))
            guide = (said, Candidate(b"", 0.02, 99), *others[1:4])
            each = replace(each, candidates=Candidates(base, guide, blend), guide_rank=0, guide_entropy=2.71)
        made.append(each)
    return made


SCENES = {
    "empty": (ready, "", "tokens"),
    "tokens": (answered, REPLY, "tokens"),
    "markdown": (answered, MARKDOWN, "markdown"),
    "suggestions": (after(answered, "/"), REPLY, "tokens"),
    "inspector": (after(answered, "tab", "right", "right", "i", "l"), REPLY, "tokens"),
    "help": (after(ready, "f1"), "", "tokens"),
    "settings": (after(ready, "f4"), "", "tokens"),
}


@EACH_VARIANT
@pytest.mark.parametrize("name", SCENES)
def test_scene(matches: Matches, name: str, variant: str) -> None:
    scene, reply, view = SCENES[name]
    assert matches(scene, reply, variant=variant, view=view)


def test_a_large_screen(matches: Matches) -> None:
    assert matches(answered, MARKDOWN, variant="200x60-dark", view="markdown")


def test_without_colour(matches: Matches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert matches(answered, REPLY, variant="120x40-dark")


@pytest.mark.parametrize("mode", MODES[1:])
def test_colours(matches: Matches, mode: str) -> None:
    scene = after(answered, *["f7"] * MODES.index(mode))  # type: ignore[arg-type]
    assert matches(scene, REPLY, variant="120x40-dark")


def test_a_reply_that_was_stopped(matches: Matches) -> None:
    """Other scripts, a list, dropped messages, and the panel on a narrow screen."""
    text = "Yes:\n\n1. 木の葉が色づく \N{MAPLE LEAF}\n2. أوراق الخريف\n3. " + REPLY

    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await ready(pilot, app)
        await say(pilot, app, "Why?\nAnd how?")
        await wait_until(pilot, lambda: "takes back" in screen_of(app).transcript.entries[-1].body.text)
        await press(pilot, app, "escape")
        await pilot.press("f2")

    assert matches(scene, FakeReply(steps_of(text), hold_at=16, dropped=2))


def test_editing_one_of_three_versions(matches: Matches) -> None:
    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await answered(pilot, app)
        for _ in range(2):
            await say(pilot, app, "/edit")
            await press(pilot, app, "question_mark", "enter")
        await pilot.press("tab", "up", "up", "left_square_bracket", "e")

    assert matches(scene, REPLY, "Because of the cold.", "It is the light.")


def test_loading(matches: Matches) -> None:
    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await wait_until(pilot, lambda: "50%" in visible(app))

    assert matches(scene, load=FakeLoad(FakeChat(), held=True))


def test_failed_load(matches: Matches) -> None:
    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.FAILED)

    error = ModelError("llama.cpp cannot load base-model.gguf: tensor data is not within the file bounds.")
    assert matches(scene, load=FakeLoad(FakeChat(), error=error))


@EACH_VARIANT
def test_side_by_side(matches: Matches, variant: str) -> None:
    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await ready(pilot, app)
        screen_of(app).prompt.insert(QUESTION)
        await pilot.press("f5")
        await wait_until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.ended == 4)
        await ready(pilot, app)

    assert matches(scene, *COMPARED, variant=variant)


@EACH_VARIANT
def test_conversations(
    matches: Matches, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=lambda: NOW)
    monkeypatch.setattr(store_module, "time", clock)
    with closing(Store(tmp_path / "chats.db")) as store:
        for days, text in enumerate((QUESTION, "The colour of the sea", "東京の紅葉", "A poem on " * 12)):
            clock.time = lambda days=days: NOW - days * 100_000  # type: ignore[misc]
            store.create(f"{days}", Setup("base-model", "guide-model", "demo" * (days % 2)))
            store.save_turn(f"{days}", Turn("user", text, id=f"{days}q"))
            store.save_turn(f"{days}", Turn("assistant", f"{REPLY} And its colour.", f"{days}q", f"{days}a"))

        async def scene(pilot: Pilot[None], app: ChatApp) -> None:
            await answered(pilot, app)
            screen = ConversationsScreen(store, "1", "colour", clock=lambda: NOW)
            await app.push_screen(screen)
            await wait_until(pilot, lambda: screen._listed)

        assert matches(scene, REPLY, variant=variant)


def stock(folder: Path) -> Inventory:
    """Pairs of every kind, whose files do not exist."""
    file = read_header(tiny_gguf.write_tiny(folder / "tiny.gguf", chat_template="{{ x }}"))

    def model(name: str, size: int) -> AvailableModel:
        header = replace(file, path=Path(f"/models/{name}.gguf"), name=name, size_bytes=size, n_params=size)
        return AvailableModel(name, name, header=header)

    base, guide, other = (
        model("base-model", 253_000_000),
        model("guide-model", 98_000_000),
        model("orca", 10**10),
    )
    loaded = replace(available_pair(base, guide), name="demo", title="demo", note="Two tiny models")
    far = ModelEntry("far-8b", ("hf:far/far",), size=4_900_000_000, licence="Some licence")
    absent = AvailablePair("far-8b", "guide-model", "far", "far", "One vocabulary", missing=(far,))
    wrong = AvailablePair(
        "gone", "guide-model", "gone", "gone", problem="The file /gone.gguf does not exist."
    )
    found = replace(available_pair(other, guide), note="one vocabulary; 42 times as large")
    return Inventory(loaded, (loaded, absent, wrong), (found,), (base, guide, other), whole=True)


@EACH_VARIANT
def test_pairs(matches: Matches, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = SimpleNamespace(inventory=stock(tmp_path), reading="", error="", stop=lambda: None)
    monkeypatch.setattr(pairs, "Search", lambda *given: search)

    async def scene(pilot: Pilot[None], app: ChatApp) -> None:
        await answered(pilot, app)
        screen = PairsScreen(app.session.dialogue.setup, no_pairs, ModelOptions(n_ctx=4096))
        await app.push_screen(screen)
        await wait_until(pilot, lambda: screen._stock.whole)
        await pilot.press("down")

    assert matches(scene, REPLY, variant=variant)
