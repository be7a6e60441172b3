"""Tests of commands and of the screens that open from the chat: conversations, settings, exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.chat_fakes import (
    NARROW,
    FakeReply,
    app_of,
    ask,
    chatting,
    feet,
    press,
    ready,
    replies,
    say,
    screen_of,
    steps_of,
    texts,
    told,
    visible,
    wait_until,
)
from textual.pilot import Pilot

from blendin_local.history.store import Store
from blendin_local.settings import GenerationSettings
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat import reply_controller
from blendin_local.tui.screens.conversations import ConversationsScreen
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.screens.pairs import PairsScreen
from blendin_local.tui.screens.settings import SettingsScreen
from blendin_local.tui.widgets.panel import Panel


async def opened(pilot: Pilot[None], app: ChatApp, *keys: str) -> ConversationsScreen:
    """Return the list of conversations once it is open."""
    await pilot.press(*keys)
    await wait_until(pilot, lambda: isinstance(app.screen, ConversationsScreen) and app.screen._listed)
    assert isinstance(app.screen, ConversationsScreen)
    return app.screen


# Commands


async def test_commands_change_the_setup_of_the_next_reply(store: Store) -> None:
    async with chatting(*replies("one", "two"), asked="Why?", store=Store(store.path)) as (pilot, app, chat):
        for command in ("/gamma 0.25", "/method nudge", "/system Be brief.", "/seed 7", "/set top-k 3"):
            await say(pilot, app, command)
            assert screen_of(app).prompt.text == ""
        assert texts(app) == ["Why?", "one"]
        assert "nudge γ 0.25" in visible(app)
        await press(pilot, app, "ctrl+r")
        asked = chat.requests[1]
        assert [message.content for message in asked.messages] == ["Be brief.", "Why?"]
        settings = asked.settings
        assert (settings.blend.gamma, settings.blend.method, settings.sampling.top_k) == (0.25, "nudge", 3)
        assert settings.seed == 7
        assert feet(app)[1].endswith(" · nudge γ 0.25 · temperature 0.8 · system prompt")
        app.session.journal.flush()
        assert store.open(app.session.dialogue.id).setup == app.session.dialogue.setup
        app.session.journal.problem = "The disk is full \x1b."
        await wait_until(pilot, lambda: told(app) == "The disk is full ␛.")
        await say(pilot, app, "/reset")
        assert app.session.dialogue.setup.settings == GenerationSettings(
            sampling=settings.sampling.__class__(temperature=0.8)
        )
        assert app.session.dialogue.setup.system == "Be brief."
        for wrong in ("/gama 0.3", "/gamma 2", "/view sideways"):
            await say(pilot, app, wrong)
            assert wrong.split()[0][:4] in told(app) or "gamma" in told(app)
            assert screen_of(app).prompt.text == wrong
            screen_of(app).prompt.clear()
        assert len(chat.requests) == 2
        await say(pilot, app, "/quit")
        await wait_until(pilot, lambda: not app.is_running)


async def test_files_are_mentioned_and_conversations_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("the notes\n")
    Path("no text.bin").write_bytes(b"\xff\xfe\0")
    async with chatting(*replies("one", "two", "three")) as (pilot, app, chat):
        await ask(pilot, app, "Look at @notes.txt please")
        assert "the notes" in chat.asked[0]
        assert chat.asked[0].endswith("Look at notes.txt please")
        await ask(pilot, app, "and @nowhere.txt")
        assert chat.asked[1] == "and @nowhere.txt"
        assert "no file called nowhere.txt" in told(app)
        await ask(pilot, app, 'and @"no text.bin"')
        assert "no text.bin is not" in told(app)
        assert (len(chat.requests), screen_of(app).prompt.text) == (2, 'and @"no text.bin"')
        screen_of(app).prompt.clear()

        await say(pilot, app, "/rename All about notes")
        for name in ("chat.md", "chat.json", "chat.html"):
            await say(pilot, app, f"/export {name}")
            await wait_until(pilot, lambda: told(app) == f"Written to {name}.")  # noqa: B023
            assert "All about notes" in Path(name).read_text()
        document = json.loads(Path("chat.json").read_text())
        assert "one" in json.dumps(document)
        for wrong in ("chat.pdf", "chat.md", "nowhere/chat.md", "~nobody-of-this-name/chat.md"):
            app.clear_notifications()
            await say(pilot, app, f"/export {wrong}")
            await wait_until(pilot, lambda: told(app) and "Written" not in told(app))

        # The folder may disappear.
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        await ask(pilot, app, "Look at @notes.txt")
        assert chat.asked[2] == "Look at @notes.txt"


# Panel, help, settings


async def test_screens_open_by_key_and_escape_closes_them(store: Store) -> None:
    async with chatting(size=NARROW, store=Store(store.path)) as (pilot, app, _):
        panel = app.screen.query_one(Panel)
        assert not panel.display
        await pilot.press("f2")
        assert panel.display
        await say(pilot, app, "/panel")
        assert not panel.display
        doors = {"f1": HelpScreen, "f3": PairsScreen, "f4": SettingsScreen, "ctrl+o": ConversationsScreen}
        for key, screen in doors.items():
            await pilot.press(key)
            await wait_until(pilot, lambda: isinstance(app.screen, screen))  # noqa: B023
            await pilot.press("escape")
            await wait_until(pilot, lambda: app.screen is screen_of(app))
        assert screen_of(app).prompt.has_focus
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Theme", "Quit", "Again", "New", "Panel", "Help", "Compare", "Open"} <= titles


async def test_settings_are_applied_to_the_next_reply(store: Store) -> None:
    async with chatting(*replies("one", "two"), asked="Why?", store=Store(store.path)) as (pilot, app, chat):
        await pilot.press("f4")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert isinstance(app.screen, SettingsScreen)
        app.screen._row("gamma").text = "0.15"
        app.screen._row("method").text = "doubt"
        app.screen._row("seed").text = "41"
        await pilot.press("ctrl+s")
        await press(pilot, app, "ctrl+r")
        settings = chat.requests[1].settings
        assert (settings.blend.gamma, settings.blend.method, settings.seed) == (0.15, "doubt", 41)
        assert feet(app)[1].endswith(" · doubt γ 0.15 · temperature 0.8")


async def test_the_seed_keeps_counting_when_other_settings_change() -> None:
    script = replies("one", "two", "three", "four")
    async with chatting(*script, asked="a", seed=5) as (pilot, app, chat):
        await ask(pilot, app, "b")
        for seed, following in (("", 7), ("40", 40)):
            await pilot.press("f4")
            await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
            assert isinstance(app.screen, SettingsScreen)
            app.screen._row("gamma").text = "0.2"
            if seed:
                app.screen._row("seed").text = seed
            await pilot.press("ctrl+s")
            await wait_until(pilot, lambda: app.screen is screen_of(app))
            await ask(pilot, app, "c")
            assert chat.requests[-1].settings.seed == following
        assert [asked.settings.seed for asked in chat.requests] == [5, 6, 7, 40]


# Conversations


async def test_a_new_conversation_needs_two_presses_if_nothing_is_saved() -> None:
    async with chatting(*replies("one"), asked="Why?") as (pilot, app, _):
        await pilot.press("ctrl+n")
        assert len(texts(app)) == 2
        screen_of(app).prompt.insert("a draft")
        await pilot.press("ctrl+n")
        assert texts(app) == []
        assert screen_of(app).welcome.display
        assert screen_of(app).prompt.text == "a draft"
        await pilot.press("ctrl+o")
        assert "not kept" in told(app)


async def test_reopened_conversations_are_complete(store: Store) -> None:
    script = replies("one", "two", "three", "other", "four")
    async with chatting(*script, asked="First?", store=Store(store.path)) as (pilot, app, chat):
        await press(pilot, app, "ctrl+r")
        await ask(pilot, app, "And?")
        await say(pilot, app, "/gamma 0.11")
        await say(pilot, app, "/rename The [b]first[/b] \x1b[31m one")
        await pilot.press("tab", "up", "up", "left_square_bracket")
        was = [turn.id for turn in app.session.dialogue.tree.turns.values()]
        first, path = app.session.dialogue.id, texts(app)
        assert path == ["First?", "one"]
        await pilot.press("ctrl+n")
        assert texts(app) == []
        assert app.session.dialogue.id != first
        await ask(pilot, app, "Other?")

        screen = await opened(pilot, app, "ctrl+o")
        await pilot.press("down")
        assert "The [b]first[/b] ␛[31m one" in visible(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is not screen and texts(app) == path)
        assert app.session.dialogue.id == first
        assert [turn.id for turn in app.session.dialogue.tree.turns.values()] == was
        assert app.session.dialogue.setup.settings.blend.gamma == 0.11
        assert feet(app)[1].startswith("1/2 · 1 token · ")
        await pilot.press("tab", "right_square_bracket")
        assert texts(app) == ["First?", "two", "And?", "three"]
        # The steps are loaded: a token can be inspected.
        await pilot.press("right", "i")
        assert "1 of 1" in visible(app)
        await press(pilot, app, "escape")
        await ask(pilot, app, "Go on")
        assert [message.content for message in chat.requests[4].messages] == [
            "First?",
            "two",
            "And?",
            "three",
            "Go on",
        ]
        assert chat.requests[4].settings.blend.gamma == 0.11
        # Deleting the open conversation begins a new one.
        await opened(pilot, app, "ctrl+o")
        await pilot.press("ctrl+d", "escape")
        await wait_until(pilot, lambda: texts(app) == [])
        assert [listed.title for listed in store.list()] == ["Other?"]


async def test_the_chat_resumes_a_saved_conversation(store: Store) -> None:
    async with chatting(*replies("one"), asked="Why?", store=Store(store.path)) as (_, app, _):
        id = app.session.dialogue.id
    async with chatting(*replies("two"), store=Store(store.path), resume=store.open(id)) as (pilot, app, _):
        assert texts(app) == ["Why?", "one"]
        assert "one" in visible(app)
        await ask(pilot, app, "And?")
    assert [turn.text for turn in store.open(id).tree.path()] == ["Why?", "one", "And?", "two"]


async def test_a_reply_is_saved_while_it_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = FakeReply(steps_of("one two three four"), hold_at=2)
    async with chatting(reply, store=Store(store.path)) as (pilot, app, _):

        def kept() -> list[str]:
            app.session.journal.flush()
            return [turn.text for turn in store.open(app.session.dialogue.id).tree.path()]

        monkeypatch.setattr(reply_controller, "_CHECKPOINT_INTERVAL_S", 1e9)
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: texts(app)[-1:] == ["one two "])
        screen_of(app).replies.poll()
        assert kept() == ["Why?", ""]
        monkeypatch.setattr(reply_controller, "_CHECKPOINT_INTERVAL_S", 0.0)
        screen_of(app).replies.poll()
        assert kept() == ["Why?", "one two "]
        assert store.open(app.session.dialogue.id).tree.path()[1].finish_reason == "cancelled"
        # Quitting during a reply saves it as well.
        await pilot.press("ctrl+q")
    assert [turn.text for turn in store.open(app.session.dialogue.id).tree.path()] == ["Why?", "one two "]


async def test_two_chats_share_one_database(store: Store) -> None:
    one, _ = app_of(*replies("one", "two"), store=Store(store.path))
    async with one.run_test() as first:
        await ready(first, one)
        await ask(first, one, "Mine?")
        other, _ = app_of(*replies("three"), store=Store(store.path))
        async with other.run_test() as second:
            await ready(second, other)
            await ask(second, other, "Yours?")
            other.session.journal.flush()
            assert {listed.title for listed in other.session.store.list()} == {"Mine?", "Yours?"}  # type: ignore[union-attr]
        await ask(first, one, "Mine again?")
    assert sorted(listed.messages for listed in store.list()) == [2, 4]
