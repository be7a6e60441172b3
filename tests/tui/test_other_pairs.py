"""Tests of loading another pair during a chat."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from support.chat_fakes import (
    ABOUT,
    FakeChat,
    FakeLoad,
    FakeReply,
    app_with,
    ask,
    chatting,
    has_ended,
    pairs_of,
    press,
    ready,
    replies,
    say,
    screen_of,
    steps_of,
    texts,
    told,
    unpolled,
    visible,
    wait_until,
)

from blendin_local.errors import ModelError
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.settings import GenerationSettings
from blendin_local.tui.loading import Prepare, Prepared
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.pairs import PairsScreen
from blendin_local.tui.screens.settings import SettingsScreen


async def test_another_pair_replaces_the_first_and_answers_a_waiting_message() -> None:
    chat = FakeChat(*replies("from the other"))
    load = FakeLoad(chat, held=True)
    async with chatting(*replies("one"), asked="Why?", prepare=pairs_of(other=load)) as (pilot, app, first):
        await say(pilot, app, "/system Mine.")
        await say(pilot, app, "/pair other")
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.LOADING)
        await pilot.press("ctrl+o", "f3")
        assert len(app.screen_stack) == 1
        await say(pilot, app, "And?")
        assert screen_of(app).replies.phase is Phase.WAITING
        load.finish.set()
        await ready(pilot, app)
        await wait_until(pilot, lambda: chat.requests)
        await ready(pilot, app)
        assert first.closed.is_set()
        assert texts(app) == ["Why?", "one", "And?", "from the other"]
        assert [message.content for message in chat.requests[0].messages] == ["Mine.", "Why?", "one", "And?"]
        reply = app.session.dialogue.last
        assert reply is not None and reply.setup is not None
        assert (reply.setup.base, reply.setup.pair) == ("other-base", "other")
        assert "other-base + other-guide" in visible(app)


async def test_the_old_pair_stays_if_another_cannot_be_loaded() -> None:
    broken = FakeLoad(FakeChat(), error=ModelError("The file [b]is[/b] \x1b[31m damaged."))
    held = FakeLoad(FakeChat(), held=True)
    prepare = pairs_of(broken=broken, held=held)
    async with chatting(*replies("one", "two"), asked="Why?", prepare=prepare) as (pilot, app, chat):
        setup = app.session.dialogue.setup
        await say(pilot, app, "/pair broken")
        await wait_until(pilot, lambda: "The file [b]is[/b] ␛[31m damaged." in texts(app)[-1])
        await ready(pilot, app)
        await say(pilot, app, "/pair held")
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.LOADING)
        await pilot.press("escape")
        await ready(pilot, app)
        assert "cancelled" in texts(app)[-1]
        assert held.cancelled
        assert app.session.dialogue.setup == setup
        await ask(pilot, app, "And?")
        assert (len(chat.requests), ABOUT.models in visible(app)) == (2, True)


async def test_a_conversation_is_resumed_with_its_pair_or_the_loaded_one(store: Store) -> None:
    with closing(Store(store.path)) as other:
        for name in ("other", "broken"):
            setup = Setup(f"{name}-base", f"{name}-guide", name, system=f"For {name}.")
            kept = replace(setup, settings=GenerationSettings(max_tokens=77))
            other.create(name, kept)
            other.save_turn(name, Turn("user", f"about {name}", id=name))
    chat = FakeChat(*replies("other"))
    prepare = pairs_of(other=FakeLoad(chat), broken=FakeLoad(FakeChat(), error=ModelError("Damaged.")))
    async with chatting(prepare=prepare, store=Store(store.path)) as (pilot, app, _):
        screen = screen_of(app)
        await screen.dialogs.resume("other")
        await ready(pilot, app)
        setup = app.session.dialogue.setup
        assert (setup.base, setup.system, setup.settings.max_tokens) == ("other-base", "For other.", 77)
        assert screen.session.prepared.about.pair == "other"
        await screen.dialogs.resume("broken")
        await wait_until(pilot, lambda: texts(app)[-1] == "Damaged.")
        await ready(pilot, app)
        setup = app.session.dialogue.setup
        assert (setup.base, setup.system, setup.settings.max_tokens) == ("other-base", "For broken.", 77)
        await press(pilot, app, "ctrl+r")
        assert texts(app) == ["about broken", "other"]
        await screen.dialogs.resume("nowhere")
        await wait_until(pilot, lambda: "does not exist any more" in told(app))


# Actions that another load overtakes


def held_back(prepare: Prepare, gate: threading.Event) -> Prepare:
    """A `Prepare` that waits until its gate opens."""

    def later(pair: str, base: str, guide: str) -> Prepared:
        assert gate.wait(20)
        return prepare(pair, base, guide)

    return later


async def test_a_message_sent_before_a_pair_is_prepared_is_answered_by_the_old_pair() -> None:
    gate, other = threading.Event(), FakeChat()
    prepare = held_back(pairs_of(new=FakeLoad(other)), gate)
    reply = FakeReply(steps_of("from the old"), hold_at=0)
    async with chatting(reply, *replies("again"), prepare=prepare) as (pilot, app, _):
        setup = app.session.dialogue.setup
        await say(pilot, app, "/pair new")
        await say(pilot, app, "Why?")
        gate.set()
        await wait_until(pilot, lambda: "being written" in told(app))
        assert (screen_of(app).replies.phase, screen_of(app).replies.coming) == (Phase.WRITING, None)
        reply.gate.set()
        await ready(pilot, app)
        assert texts(app) == ["Why?", "from the old"]
        await ask(pilot, app, "And?")
        assert texts(app)[2:] == ["And?", "again"]
        assert (app.session.dialogue.setup, other.requests) == (setup, [])


async def test_only_one_of_two_pairs_is_loaded() -> None:
    gate, loads = threading.Event(), [FakeLoad(FakeChat(), held=True) for _ in range(2)]
    prepare = held_back(pairs_of(a=loads[0], b=loads[1]), gate)
    async with chatting(prepare=prepare) as (pilot, app, _):
        await say(pilot, app, "/pair a")
        await say(pilot, app, "/pair b")
        gate.set()
        await wait_until(pilot, lambda: "being loaded" in told(app))
        for load in loads:
            load.finish.set()
        await ready(pilot, app)
        await pilot.pause()
        assert screen_of(app).replies.coming is None
        assert app.session.dialogue.setup.pair == screen_of(app).session.prepared.about.pair
        assert len(app.session.worker.events) == 0


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_conversation_is_not_opened_while_a_reply_is_written(
    store: Store, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(store.path)) as other:
        other.create("old", Setup(ABOUT.base, ABOUT.guide, ABOUT.pair))
        other.save_turn("old", Turn("user", "what was said", id="old"))
    gate, read, listening = threading.Event(), Store.open, unpolled(monkeypatch)

    def slowly(self: Store, id: str) -> object:
        assert gate.wait(300)
        return read(self, id)

    monkeypatch.setattr(Store, "open", slowly)
    script = (FakeReply(steps_of("one"), hold_at=0), FakeReply(steps_of("two")))
    async with chatting(*script, store=Store(store.path)) as (pilot, app, _):
        screen, id = screen_of(app), app.session.dialogue.id
        opening = asyncio.create_task(screen.dialogs.resume("old"))
        await say(pilot, app, "Why?")
        if stopped:
            await wait_until(pilot, lambda: screen.replies.live_metrics is not None)
            listening.clear()
            await pilot.press("escape")
            await wait_until(pilot, lambda: has_ended(app))
        gate.set()
        await opening
        assert ("being stopped" if stopped else "being written") in told(app)
        assert (app.session.dialogue.id, texts(app)[0]) == (id, "Why?")
        listening.append(True)
        script[0].gate.set()
        await ready(pilot, app)
        await ask(pilot, app, "And?")
        assert texts(app)[-2:] == ["And?", "two"]
    for listed in store.list():
        path = [turn.text for turn in store.open(listed.id).tree.path()]
        assert path in (["what was said"], ["Why?", "one", "And?", "two"], ["And?", "two"])


# Settings during a load


async def test_settings_are_not_changed_while_another_pair_loads() -> None:
    load = FakeLoad(FakeChat(*replies("one")), held=True)
    async with chatting(prepare=pairs_of(other=load)) as (pilot, app, _):
        await say(pilot, app, "/system Mine.")
        await say(pilot, app, "/pair other")
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.LOADING)
        before = app.session.dialogue.setup
        for command in ("/gamma 0.11", "/system Yours.", "/seed 3", "/reset", "/settings"):
            app.clear_notifications()
            await say(pilot, app, command)
            assert "being loaded" in told(app), command
            assert (app.session.dialogue.setup, app.session.dialogue.seed) == (before, None)
            screen_of(app).prompt.clear()
        app.clear_notifications()
        await pilot.press("f4")
        assert "being loaded" in told(app)
        assert len(app.screen_stack) == 1
        load.finish.set()
        await ready(pilot, app)
        setup = app.session.dialogue.setup
        assert (setup.base, setup.guide, setup.pair) == ("other-base", "other-guide", "other")
        assert (setup.system, setup.settings.blend.gamma) == ("Mine.", 0.4)


@pytest.mark.parametrize("loaded", [False, True])
async def test_a_settings_form_opened_before_a_load_does_not_change_the_new_pair(loaded: bool) -> None:
    gate, load = threading.Event(), FakeLoad(FakeChat(), held=True)
    async with chatting(prepare=held_back(pairs_of(other=load), gate)) as (pilot, app, _):
        screen = screen_of(app)
        await say(pilot, app, "/pair other")
        await pilot.press("f4")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert isinstance(app.screen, SettingsScreen)
        app.screen._row("gamma").text = "0.15"
        gate.set()
        await wait_until(pilot, lambda: screen.replies.coming)
        if loaded:
            load.finish.set()
            await ready(pilot, app)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: app.screen is screen)
        assert ("The next reply is asked" in told(app)) is loaded
        load.finish.set()
        await ready(pilot, app)
        setup = app.session.dialogue.setup
        assert (setup.base, setup.guide, setup.pair) == ("other-base", "other-guide", "other")
        assert setup.settings.blend.gamma == (0.15 if loaded else 0.4)


async def test_another_pair_continues_a_reply_as_a_sibling() -> None:
    chat = FakeChat(*replies(" three"))
    script = FakeReply(steps_of("one two"), ends="length")
    async with chatting(script, asked="Why?", prepare=pairs_of(other=FakeLoad(chat))) as (pilot, app, _):
        first = app.session.dialogue.last
        await say(pilot, app, "/pair other")
        await wait_until(pilot, lambda: app.session.dialogue.setup.pair == "other")
        await press(pilot, app, "tab", "c")
        assert texts(app) == ["Why?", "one two three"]
        assert [step.text for step in chat.requests[0].prefix] == ["one ", "two"]
        await pilot.press("left_square_bracket")
        assert texts(app) == ["Why?", "one two"]
        assert first is not None and first.setup is not None
        assert (first.finish_reason, first.setup.pair) == ("length", "demo")


# The first load


async def test_the_first_load_is_cancelled_and_another_pair_chosen() -> None:
    first, second = FakeLoad(FakeChat(), held=True), FakeLoad(FakeChat(*replies("here")))
    app = app_with(first, prepare=pairs_of(other=second))
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: "Esc cancels" in visible(app))
        await say(pilot, app, "Why?")
        await pilot.press("escape")
        assert screen_of(app).prompt.text == "Why?"
        assert not first.cancelled
        await pilot.press("escape")
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.FAILED)
        assert first.cancelled
        assert texts(app) == ["Loading was cancelled."]
        assert "F3 chooses others" in visible(app)
        await pilot.press("f3")
        await wait_until(pilot, lambda: isinstance(app.screen, PairsScreen))
        await pilot.press("escape")
        screen_of(app).prompt.clear()
        await say(pilot, app, "/pair other")
        await ready(pilot, app)
        await ask(pilot, app)
        assert texts(app)[-2:] == ["Why?", "here"]
