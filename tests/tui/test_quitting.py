"""Tests of quitting: replies and loads end, and the conversation is saved."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.chat_fakes import (
    ABOUT,
    FakeChat,
    FakeLoad,
    FakeReply,
    app_with,
    chatting,
    has_ended,
    replies,
    say,
    steps_of,
    texts,
    unpolled,
    wait_until,
)

from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn


async def test_quitting_while_a_reply_is_written_stops_it_and_frees_the_models() -> None:
    async with chatting(FakeReply(steps_of("one two three"), hold_at=2)) as (pilot, app, chat):
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await pilot.press("f1", "ctrl+q")
    assert chat.closed.is_set()
    assert app.session.worker.join(0)
    assert app.return_code == 0


async def test_quitting_while_the_models_load_stops_the_load() -> None:
    load = FakeLoad(FakeChat(), held=True)
    app = app_with(load)
    async with app.run_test() as pilot:
        await say(pilot, app, "Waits")
        await pilot.press("ctrl+q")
    assert load.cancelled
    assert app.session.worker.join(0)
    assert app.return_code == 0


async def test_steps_that_were_not_polled_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listening, reply = unpolled(monkeypatch), FakeReply(steps_of("one two three four"), hold_at=2, tail="!")
    with closing(Store(tmp_path / "chats.db")) as seen:
        async with chatting(reply, store=Store(seen.path)) as (pilot, app, _):
            await say(pilot, app, "Why?")
            await wait_until(pilot, lambda: "one two" in texts(app)[-1])
            listening.clear()
            reply.gate.set()
            await wait_until(pilot, lambda: has_ended(app))
            assert texts(app)[-1] == "one two "
            await pilot.press("ctrl+q")
        turn = last_of(seen, app.session.dialogue.id)
        assert (turn.text, turn.finish_reason) == ("one two three four!", "stop")
        assert [step.text for step in seen.load_steps(turn.id)] == ["one ", "two ", "three ", "four"]


async def test_a_reply_that_was_never_polled_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, script = (
        unpolled(monkeypatch),
        (FakeReply(steps_of("one two"), ends="length"), *replies(" three")),
    )
    with closing(Store(tmp_path / "chats.db")) as seen:
        async with chatting(*script, asked="Why?", store=Store(seen.path)) as (pilot, app, _):
            await pilot.press("tab")
            listening.clear()
            await pilot.press("c")
            await wait_until(pilot, lambda: has_ended(app))
            await pilot.press("ctrl+q")
        turn = last_of(seen, app.session.dialogue.id)
        assert (turn.text, turn.finish_reason) == ("one two three", "stop")
        assert [step.text for step in seen.load_steps(turn.id)] == ["one ", "two", " ", "three"]
        assert turn.summary.steps == 4


async def test_options_of_a_resumed_conversation_are_saved_with_it(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "chats.db")) as seen:
        seen.create("old", Setup(ABOUT.base, ABOUT.guide, ABOUT.pair, system="Kept."))
        seen.save_turn("old", Turn("user", "what was said", id="old"))
        kept = seen.open("old")
        typed = replace(kept, setup=replace(kept.setup, system="Typed."))
        async with chatting(store=Store(seen.path), resume=typed) as (pilot, _, _):
            await pilot.press("ctrl+q")
        assert seen.open("old").setup.system == "Typed."


def last_of(store: Store, id: str) -> Turn:
    return store.open(id).tree.path()[-1]
