"""Tests of comparing the replies of several methods side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.chat_fakes import (
    FOOTER,
    FakeReply,
    SlowToStop,
    ask,
    chatting,
    press,
    ready,
    replies,
    rush,
    say,
    screen_of,
    steps_of,
    texts,
    told,
    visible,
    wait_until,
)
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from blendin_local.errors import ModelError, PromptError
from blendin_local.history.store import Store
from blendin_local.preferences.preferences import ChatPreferences, ComparePreferences, Preferences
from blendin_local.tui.app import ChatApp
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.compare import CompareScreen

METHODS = ("base", "guide", "nudge")


def preferring(view: str = "tokens") -> Preferences:
    return Preferences(ChatPreferences(view=view), compare=ComparePreferences(METHODS))  # type: ignore[arg-type]


async def compared(pilot: Pilot[None], app: ChatApp) -> CompareScreen:
    """Return the screen once all replies have ended."""
    await wait_until(pilot, lambda: isinstance(app.screen, CompareScreen))
    await pilot.pause()
    await ready(pilot, app)
    assert isinstance(app.screen, CompareScreen)
    return app.screen


async def test_a_message_is_answered_by_every_method_and_one_reply_is_picked() -> None:
    script = [FakeReply(steps_of(f"**says** {text}")) for text in ("base", "guide", "nudge", "on")]
    async with chatting(*script, preferences=preferring("markdown"), calibrated=True) as (pilot, app, chat):
        await pilot.press("f5")
        assert "Write a message first" in told(app)
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        await compared(pilot, app)
        shown = visible(app)
        places = [shown.index(f"{place} {name}") for place, name in enumerate(METHODS, 1)]
        assert places == sorted(places)
        assert [shown.count(f"says** {name}") for name in METHODS] == [1, 1, 1]
        assert "reliability" in shown
        assert "❯ Why?" in shown
        assert [request.settings.blend.method for request in chat.requests] == list(METHODS)
        assert len({request.settings.seed for request in chat.requests}) == 1
        assert chat.asked == ["Why?"] * 3
        await pilot.press("right", "left", "2")
        # The reply is in the conversation, in both views, and the method is set for the next one.
        await wait_until(pilot, lambda: texts(app) == ["Why?", "**says** guide"])
        assert "  says guide" in visible(app)
        await press(pilot, app, "f6")
        assert "**says** guide" in visible(app)
        assert screen_of(app).transcript.entries[1].foot.text.startswith("2/3 · 2 tokens · ")
        assert screen_of(app).prompt.text == ""
        await ask(pilot, app, "And?")
        assert chat.requests[3].settings.blend.method == "guide"
        assert texts(app)[-1] == "**says** on"


async def test_leaving_keeps_the_replies_as_siblings_and_changes_nothing_else() -> None:
    script = [FakeReply(steps_of(text)) for text in ("first", "a", "b", "c", "after")]
    async with chatting(*script, asked="Why?", preferences=preferring()) as (pilot, app, chat):
        before = app.session.dialogue.setup
        await say(pilot, app, "/compare")
        await compared(pilot, app)
        assert len(chat.requests) == 4
        await pilot.press("escape")
        await wait_until(pilot, lambda: texts(app) == ["Why?", "first"])
        assert app.session.dialogue.setup == before
        assert screen_of(app).transcript.entries[1].foot.text.startswith("1/4 · ")
        await pilot.press("tab", "right_square_bracket", "right_square_bracket", "right_square_bracket")
        assert texts(app) == ["Why?", "c"]
        await ask(pilot, app, "And?")
        assert chat.requests[4].settings.blend == before.settings.blend


async def test_a_method_that_fails_says_why_and_the_others_answer() -> None:
    broken = FakeReply(steps_of("half"), error=ModelError("It [b]broke[/b] \x1b[31m."))
    script = (PromptError("Too long."), broken, FakeReply(steps_of("fine")))
    async with chatting(*script, preferences=preferring()) as (pilot, app, chat):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        screen = await compared(pilot, app)
        assert len(chat.requests) == 3
        for part in ("Too long.", "half", "It [b]broke[/b] ␛[31m.", "fine"):
            assert part in visible(app), part
        await pilot.press("1")
        assert app.screen is screen
        assert "not there yet" in told(app)
        await pilot.press("3")
        await wait_until(pilot, lambda: texts(app) == ["Why?", "fine"])
        await ready(pilot, app)


async def test_leaving_stops_the_current_reply_and_the_following_ones() -> None:
    script = (FakeReply(steps_of("one two")), FakeReply(steps_of("three four"), hold_at=1))
    async with chatting(*script, preferences=preferring()) as (pilot, app, chat):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        await wait_until(pilot, lambda: "three" in visible(app))
        await press(pilot, app, "escape")
        # The question was new, so the path contains its last answer.
        await wait_until(pilot, lambda: texts(app) == ["Why?", "three "])
        assert len(chat.requests) == 2
        await pilot.press("tab", "left_square_bracket")
        assert texts(app) == ["Why?", "one two"]


@pytest.mark.parametrize("key", ["ctrl+o", "ctrl+r", "f3", "f5", "/again"])
async def test_keys_wait_until_the_current_reply_has_stopped(store: Store, key: str) -> None:
    """They used to be refused, although no reply was shown as being written."""
    slow, script = SlowToStop(steps_of("three four"), hold_at=1), replies("one", "two", "four", "five", "six")
    script.insert(2, slow)
    async with chatting(*script, preferences=preferring(), store=Store(store.path)) as (pilot, app, chat):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        await wait_until(pilot, lambda: "three" in visible(app))
        await pilot.press("2")
        await wait_until(pilot, lambda: texts(app) == ["Why?", "two"])
        if key.startswith("/"):
            await say(pilot, app, key)
        else:
            await pilot.press(key)
        await pilot.pause()
        assert (screen_of(app).replies.phase, app.screen, len(chat.requests)) == (
            Phase.STOPPING,
            screen_of(app),
            3,
        )
        assert told(app) == ""
        slow.gate.set()
        if key in ("ctrl+o", "f3", "f5"):
            await wait_until(pilot, lambda: app.screen is not screen_of(app))
        else:
            await wait_until(pilot, lambda: len(chat.requests) == 4)
        await ready(pilot, app)
        assert "three " in [turn.text for turn in app.session.dialogue.tree.turns.values()]


async def test_no_note_is_shown_for_an_empty_reply_that_was_not_picked() -> None:
    slow = SlowToStop(steps_of("three"), hold_at=0)
    async with chatting(*replies("one", "two"), slow, preferences=preferring()) as (pilot, app, chat):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        await wait_until(pilot, lambda: len(chat.requests) == 3)
        await pilot.press("1")
        slow.gate.set()
        await ready(pilot, app)
        assert texts(app) == ["Why?", "one"]
        assert screen_of(app).transcript.entries[1].foot.text.startswith("1/2 · ")


async def test_keys_typed_right_after_picking_go_to_the_input() -> None:
    for key in ("2", "enter", "escape"):
        async with chatting(*replies("one", "two", "three"), preferences=preferring()) as (pilot, app, _):
            screen_of(app).prompt.insert("Why?")
            await pilot.press("f5")
            await compared(pilot, app)
            rush(app, key, *"And")
            await wait_until(pilot, lambda app=app: screen_of(app).prompt.text == "And")


async def test_a_finished_reply_shows_the_key_that_picks_it() -> None:
    held = FakeReply(steps_of("two more"), hold_at=1)
    prefs = replace(preferring(), keys={"compare.pick_1": "ctrl+y"})
    async with chatting(*replies("one"), held, *replies("three"), preferences=prefs) as (pilot, app, _):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        await wait_until(pilot, lambda: "two" in visible(app))
        assert "Ctrl+Y goes on with it" in visible(app)
        assert "2 goes on with it" not in visible(app)
        held.gate.set()
        await wait_until(pilot, lambda: "3 goes on with it" in visible(app))
        assert "2 goes on with it" in visible(app)


async def test_keys_of_a_transcript_have_no_effect_in_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Footer, "compose", FOOTER)
    async with chatting(*replies("one", "two", "three"), preferences=preferring()) as (pilot, app, chat):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        screen = await compared(pilot, app)
        await wait_until(pilot, lambda: screen.query(FooterKey))
        keys = [(key.key_display, key.description) for key in screen.query(FooterKey)]
        assert keys == [("esc", "Back"), ("⏎", "Go on with it")]
        count = len(app.session.dialogue.tree.turns)
        await pilot.press("d", "e", "r", "c", "u", "i", "right_square_bracket", "m")
        assert (app.screen, screen.focused, len(chat.requests)) == (screen, screen._columns[0].words, 3)
        assert (len(app.session.dialogue.tree.turns), screen_of(app).messages.editing) == (count, None)
        for key, place in (("right", 1), ("l", 2), ("right", 0), ("left", 2), ("h", 1)):
            await pilot.press(key)
            assert screen.focused is screen._columns[place].words, key
        await pilot.press("enter")
        await wait_until(pilot, lambda: texts(app) == ["Why?", "two"])


async def test_the_footer_shows_six_keys_and_those_of_the_focused_widget_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Footer, "compose", FOOTER)

    def keys() -> list[str]:
        return [key.description for key in screen_of(app).query(FooterKey)]

    async with chatting(*replies("one"), asked="Why?") as (pilot, app, _):
        await wait_until(pilot, lambda: keys() == ["Stop", "Help", "View", "Open", "Settings", "Quit"])
        await pilot.press("tab")
        await wait_until(pilot, lambda: keys() == ["Inspect", "Edit", "Stop", "Help", "View", "Quit"])
        await pilot.press("i")
        await wait_until(pilot, lambda: keys() == ["Branch", "Stop", "Help", "View", "Open", "Quit"])


async def test_a_long_reply_is_scrolled_with_keys() -> None:
    long = FakeReply(steps_of("line\n" * 60))
    async with chatting(long, *replies("two", "three"), preferences=preferring()) as (pilot, app, _):
        screen_of(app).prompt.insert("Why?")
        await pilot.press("f5")
        words = (await compared(pilot, app))._columns[0].words
        end = words.scroll_offset.y
        for key, y in (("up", end - 1), ("k", end - 2), ("down", end - 1), ("j", end)):
            await pilot.press(key)
            assert words.scroll_offset.y == y, key


async def test_commands_and_edited_messages_are_not_compared() -> None:
    script = replies("first", "a", "b", "c", "after")
    async with chatting(*script, asked="Why?", preferences=preferring()) as (pilot, app, chat):
        prompt, turns = screen_of(app).prompt, len(app.session.dialogue.tree.turns)
        for keys, typed in ((("tab", "up", "e"), "Why?"), (("escape", *"/gamma"), "/gamma")):
            app.clear_notifications()
            await pilot.press(*keys)
            prompt.suggestions.offer([])
            assert prompt.text == typed
            await pilot.press("f5")
            assert "Send what is in the input" in told(app)
            assert (prompt.text, len(chat.requests), len(app.session.dialogue.tree.turns)) == (
                typed,
                1,
                turns,
            )
        prompt.clear()
        prompt.insert("//path")
        await pilot.press("f5")
        await compared(pilot, app)
        assert chat.asked[1:] == ["/path"] * 3
        await pilot.press("1")
        await wait_until(pilot, lambda: texts(app)[2:] == ["/path", "a"])
