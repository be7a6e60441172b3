"""Tests of replies with thinking: folded above the answer, shown by a key, not sent again."""

from __future__ import annotations

from dataclasses import replace

from support.chat_fakes import (
    FakeReply,
    app_of,
    ask,
    chatting,
    press,
    screen_of,
    steps_of,
    texts,
    thinking_steps,
    told,
    visible,
    wait_until,
)

from blendin_local.history.store import Store
from blendin_local.tui.entry import Kind

STEPS = thinking_steps("Hm, it may be so.", "Yes, it is.")


async def test_thinking_is_folded_until_a_key_shows_it() -> None:
    async with chatting(FakeReply(STEPS), asked="Is it?") as (pilot, app, _):
        (folded,) = texts(app, Kind.THINKING)
        assert folded.startswith("thinking · 7 tokens · confidence 0.") and folded.endswith("t shows it")
        assert texts(app, Kind.REPLY) == ["Yes, it is."]
        assert "Hm," not in visible(app)
        await press(pilot, app, "tab", "t")
        (shown,) = texts(app, Kind.THINKING)
        assert "Hm, it may be so." in shown and "think>" not in shown
        assert "Hm, it may be so." in visible(app)
        await press(pilot, app, "t")
        assert "Hm," not in visible(app)


async def test_the_length_of_the_thinking_grows_while_it_is_written() -> None:
    held = FakeReply(STEPS, hold_at=4)
    async with chatting(held) as (pilot, app, _):
        await pilot.press(*"Why?", "enter")
        await wait_until(pilot, lambda: any("4 tokens" in text for text in texts(app, Kind.THINKING)))
        held.gate.set()
        await wait_until(pilot, lambda: texts(app, Kind.REPLY) == ["Yes, it is."])
        assert "7 tokens" in texts(app, Kind.THINKING)[0]


async def test_thinking_is_saved_and_not_sent_again(store: Store) -> None:
    script = [FakeReply(STEPS), FakeReply(steps_of("Fine."))]
    async with chatting(*script, asked="Is it?", store=store) as (pilot, app, chat):
        await ask(pilot, app, "And now?")
        sent = [message.content for message in chat.requests[1].messages]
        assert sent == ["Is it?", "Yes, it is.", "And now?"]
        app.session.journal.flush()
        (listed,) = store.list()
        reply = store.open(listed.id).tree.path()[1]
        steps = store.load_steps(reply.id)
    assert reply.text == "Yes, it is."
    assert [step.thinking for step in steps] == [step.thinking for step in STEPS]
    assert reply.summary.thinking is not None and reply.summary.thinking.steps == 7


async def test_tokens_are_walked_through_in_each_part() -> None:
    async with chatting(FakeReply(STEPS), asked="Is it?") as (pilot, app, _):
        transcript = screen_of(app).transcript
        await press(pilot, app, "tab", "right")
        assert transcript.pointer == 7
        await press(pilot, app, "left", "left")
        assert transcript.pointer == 7
        await press(pilot, app, "t", "up", "right", "right")
        assert transcript.selected is not None and transcript.selected.kind is Kind.THINKING
        assert transcript.pointer == 1
        await press(pilot, app, *["right"] * 9)
        assert transcript.pointer == 6


async def test_a_reply_stopped_inside_its_thinking_is_kept(store: Store) -> None:
    held = FakeReply(STEPS, hold_at=4)
    async with chatting(held, store=store) as (pilot, app, _):
        await pilot.press(*"Why?", "enter")
        await wait_until(pilot, lambda: any("4 tokens" in text for text in texts(app, Kind.THINKING)))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "stopped" in visible(app))
        app.session.journal.flush()
        (listed,) = store.list()
        assert [turn.text for turn in store.open(listed.id).tree.path()] == ["Why?", ""]


async def test_the_chat_says_that_one_model_does_not_think() -> None:
    app, _ = app_of(FakeReply(STEPS))
    note = "Thinking is off, because only the guide can think; --thinking on lets it."
    prepared = app.session.prepared
    app.session.prepared = replace(prepared, about=replace(prepared.about, note=note))
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: told(app) == note)
