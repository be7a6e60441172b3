"""Tests of actions on messages and tokens, with scripted replies and a database."""

from __future__ import annotations

import pytest
from support.chat_fakes import (
    FakeReply,
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
    with_choices,
)

from blendin_local.engine.steps import Source
from blendin_local.errors import ModelError, PromptError
from blendin_local.history.store import Store
from blendin_local.preferences.preferences import ChatPreferences, Preferences
from blendin_local.tui.chat import reply_controller
from blendin_local.tui.entry import Kind
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.widgets.panel import Panel


def kept(store: Store) -> list[str]:
    """Return the path of the only saved conversation."""
    (listed,) = store.list()
    return [turn.text for turn in store.open(listed.id).tree.path()]


# Again


async def test_again_writes_a_sibling_of_any_reply() -> None:
    script = [FakeReply(steps_of(text)) for text in ("first", "later", "second", "third")]
    async with chatting(*script, asked="Why?") as (pilot, app, chat):
        await ask(pilot, app, "And?")
        await press(pilot, app, "tab", "k", "k", "r")
        assert [message.content for message in chat.requests[2].messages] == ["Why?"]
        assert texts(app) == ["Why?", "second"]
        assert feet(app)[1].startswith("2/2 · ")
        await press(pilot, app, "ctrl+r")
        assert texts(app) == ["Why?", "third"]
        assert len({request.settings.seed for request in chat.requests}) == 4
        # Each version has its own continuation.
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert texts(app) == ["Why?", "first", "And?", "later"]
        assert feet(app)[1].startswith("1/3 · ")
        await pilot.press("left_square_bracket")
        assert told(app) == "That was the last version."
        await pilot.press("right_square_bracket")
        assert texts(app) == ["Why?", "second"]


async def test_a_reply_stays_if_its_sibling_stays_empty(store: Store) -> None:
    script = (
        FakeReply(steps_of("first")), FakeReply(steps_of("x"), hold_at=0), PromptError("It is too long."),
    )  # fmt: skip
    async with chatting(*script, temperature=0, store=Store(store.path)) as (pilot, app, chat):
        await pilot.press("ctrl+r")
        assert told(app) == "There is no message to reply to yet."
        await ask(pilot, app)
        for _ in range(2):
            await press(pilot, app, "ctrl+r", "escape")
            assert "temperature is 0" in told(app)
            assert texts(app, Kind.REPLY) == ["first"]
            assert screen_of(app).prompt.text == ""
            app.session.journal.flush()
            assert kept(store) == ["Why?", "first"]
        assert len(chat.requests) == 3


# Continuing


async def test_a_reply_that_was_cut_off_is_continued_in_place(store: Store) -> None:
    script = (
        FakeReply(steps_of("one two"), ends="length"), PromptError("No room."), FakeReply(steps_of(" three")),
    )  # fmt: skip
    async with chatting(*script, asked="Why?", store=Store(store.path)) as (pilot, app, chat):
        turn = app.session.dialogue.last
        assert turn is not None
        assert "cut off at the token limit" in feet(app)[1]
        await press(pilot, app, "tab", "c")
        assert texts(app) == ["Why?", "one two", "No room."]
        # Continuing was refused, and the reply is unchanged.
        assert feet(app)[1].startswith("cut off at the token limit · 2 tokens")
        app.session.journal.flush()
        before = store.open(app.session.dialogue.id).tree.turns[turn.id]
        assert (before.finish_reason, before.error) == ("length", "")
        await press(pilot, app, "c")
        assert [each.text for each in chat.requests[2].prefix] == ["one ", "two"]
        assert texts(app) == ["Why?", "one two three"]
        assert app.session.dialogue.last is turn
        assert [each.index for each in turn.steps] == [0, 1, 2, 3]
        assert feet(app)[1].startswith("4 tokens")
        app.session.journal.flush()
        assert kept(store) == ["Why?", "one two three"]
        assert store.load_steps(turn.id) == turn.steps
        await press(pilot, app, "c")
        assert "The model ended this reply" in told(app)
        assert len(chat.requests) == 3


async def test_a_reply_that_is_stopped_can_be_continued() -> None:
    script = (FakeReply(steps_of("one two three"), hold_at=2), FakeReply(steps_of("four")))
    async with chatting(*script) as (pilot, app, _):
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "two" in texts(app)[-1])
        await press(pilot, app, "escape")
        assert texts(app)[-1] == "one two "
        assert "stopped" in feet(app)[-1]
        await say(pilot, app, "/continue")
        await ready(pilot, app)
        assert texts(app) == ["Why?", "one two four"]


async def test_a_reply_within_a_conversation_is_continued_in_view() -> None:
    script = (
        FakeReply(steps_of("one two"), ends="length"), FakeReply(steps_of("line\n" * 60)),
        FakeReply(steps_of(" three four"), hold_at=2),
    )  # fmt: skip
    async with chatting(*script, asked="a") as (pilot, app, _):
        await ask(pilot, app, "b")
        await pilot.press("tab", "up", "up", "c")
        await wait_until(pilot, lambda: texts(app)[1] == "one two three ")
        assert "one two three" in visible(app)
        await press(pilot, app, "escape")
        assert "one two three" in visible(app)
        assert len(texts(app)) == 4


# Editing


async def test_an_edited_question_is_a_sibling_of_the_old_one(store: Store) -> None:
    script = (FakeReply(steps_of("first")), FakeReply(steps_of("second")), PromptError("Too long."))
    async with chatting(*script, asked="//Why?", store=Store(store.path)) as (pilot, app, chat):
        prompt = screen_of(app).prompt
        prompt.insert("a draft")
        await pilot.press("tab", "up", "e")
        assert (prompt.text, prompt.has_focus, screen_of(app).messages.editing is not None) == (
            "//Why?",
            True,
            True,
        )
        await pilot.press("!", "escape")
        assert (prompt.text, screen_of(app).messages.editing) == ("a draft", None)
        assert texts(app) == ["/Why?", "first"]
        await pilot.press("tab", "up", "e", "!")
        await press(pilot, app, "enter")
        assert prompt.text == "a draft"
        assert [message.content for message in chat.requests[1].messages] == ["/Why?!"]
        assert texts(app) == ["/Why?!", "second"]
        assert feet(app)[0] == "2/2"
        await pilot.press("tab", "up", "left_square_bracket")
        assert texts(app) == ["/Why?", "first"]
        app.session.journal.flush()
        assert kept(store) == ["/Why?", "first"]
        # A refused message returns to the input.
        prompt.clear()
        await pilot.press("e", "!")
        await press(pilot, app, "enter")
        assert texts(app, Kind.ERROR) == ["Too long."]
        assert prompt.text == "//Why?!"


async def test_an_edited_reply_needs_no_models_and_can_be_continued() -> None:
    script = (FakeReply(steps_of("first \x1b[31m")), PromptError("Too long."), FakeReply(steps_of(" more")))
    async with chatting(*script, asked="Why?") as (pilot, app, chat):
        prompt = screen_of(app).prompt
        await pilot.press("tab", "e")
        assert prompt.text == "first ␛[31m"
        prompt.text = "mine"
        await press(pilot, app, "enter")
        assert (len(chat.requests), texts(app)) == (1, ["Why?", "mine"])
        assert feet(app)[1].startswith("2/2")
        # The text typed for this message does not return with another refused one.
        await press(pilot, app, "ctrl+r")
        assert (texts(app)[1:], prompt.text) == (["mine", "Too long."], "")
        await press(pilot, app, "tab", "c")
        assert [(each.text, each.source) for each in chat.requests[2].prefix] == [("mine", Source.USER)]
        assert texts(app) == ["Why?", "mine more"]


# Deleting


async def test_deleted_messages_are_restored(store: Store) -> None:
    async with chatting(*replies("one", "two"), asked="a", store=Store(store.path)) as (pilot, app, _):
        await ask(pilot, app, "b")
        await pilot.press("tab", "u")
        assert told(app) == "Nothing was deleted here."
        for keys, left, selected in (
            (("d",), ["a", "one", "b"], "b"),
            (("up", "up", "delete"), ["b"], "b"),
            (("u",), ["a", "one", "b"], "b"),
            (("u",), ["a", "one", "b", "two"], "b"),
            (("up", "up", "d"), ["b", "two"], "b"),
            (("u",), ["a", "one", "b", "two"], "b"),
        ):
            await pilot.press(*keys)
            assert texts(app) == left
            entry = screen_of(app).transcript.selected
            assert entry is not None and entry.text == selected
            app.session.journal.flush()
            assert kept(store) == left
        await say(pilot, app, "/delete")
        assert texts(app) == ["a", "one", "b"]
        await say(pilot, app, "/undo")
        assert texts(app) == ["a", "one", "b", "two"]


async def test_only_messages_are_deleted() -> None:
    async with chatting(*replies("one"), ModelError("No."), asked="a") as (pilot, app, _):
        await ask(pilot, app, "b")
        transcript = screen_of(app).transcript
        await pilot.press("tab")
        for entry in (None, transcript.entries[-1]):
            transcript.select(entry)
            app.clear_notifications()
            await pilot.press("d")
            assert "Choose a message" in told(app)
        assert texts(app) == ["a", "one", "No."]


async def test_typed_commands_act_on_the_last_message() -> None:
    script = [FakeReply(steps_of(text), ends="length") for text in ("one", "two", " more")]
    async with chatting(*script, asked="a") as (pilot, app, _):
        await ask(pilot, app, "b")
        prompt = screen_of(app).prompt
        for command, after in (
            ("/copy", ["a", "one", "b", "two"]),
            ("/edit", ["a", "one", "b", "two"]),
            ("/continue", ["a", "one", "b", "two more"]),
            ("/delete", ["a", "one", "b"]),
        ):
            screen_of(app).transcript.select(screen_of(app).transcript.entries[1])
            await say(pilot, app, command)
            await ready(pilot, app)
            assert texts(app) == after, command
            if command == "/edit":
                assert prompt.text == "b"
                await pilot.press("escape")
        assert app.clipboard == "two"
        # The command palette restores the focus.
        screen = screen_of(app)
        screen.transcript.focus()
        screen.transcript.select(screen.transcript.entries[0])
        await pilot.pause()
        acts = {command.title: command.callback for command in app.get_system_commands(screen)}
        acts["Delete"]()
        assert texts(app) == ["a", "one"]


# Branching


async def test_a_reply_branches_at_a_token() -> None:
    first = [with_choices(each, "zwei", "deux") for each in steps_of("one two three")]
    script = [FakeReply(steps_of(text)) for text in ("zwei drei", "deux", "deux")]
    async with chatting(FakeReply(first), *script, asked="Why?") as (pilot, app, chat):
        screen = screen_of(app)
        await pilot.press("tab", "right", "right", "enter")
        assert screen.inspector.has_focus
        assert "2 of 3" in visible(app)
        await press(pilot, app, "2")
        branch = chat.requests[1]
        assert ([each.text for each in branch.prefix], branch.forced_outcome) == (["one "], 100)
        assert [message.content for message in branch.messages] == ["Why?"]
        assert texts(app) == ["Why?", "one zwei drei"]
        assert feet(app)[1].startswith("2/2 · ")
        reply = app.session.dialogue.last
        assert reply is not None and reply.fork == 1
        # The inspector shows the branch, whose token has no other candidates.
        assert screen.inspector.has_focus
        assert (screen.transcript.selected, screen.transcript.pointer) == (
            screen.conversation.entry_of(reply),
            1,
        )
        assert "2 of 3" in visible(app)
        await pilot.press("enter")
        assert len(chat.requests) == 2

        # On the old reply, a number opens the inspector first; the cursor then chooses the last candidate.
        await pilot.press("escape", "left_square_bracket")
        assert texts(app) == ["Why?", "one two three"]
        await pilot.press("right", "2")
        assert (screen.tokens.inspecting, len(chat.requests)) == (True, 2)
        await pilot.press("l", "down")
        await press(pilot, app, "enter")
        assert ([each.text for each in chat.requests[2].prefix], chat.requests[2].forced_outcome) == (
            ["one "],
            101,
        )
        assert feet(app)[1].startswith("3/3 · ")
        # With the inspector open, numbers also work in the transcript.
        screen.transcript.focus()
        await pilot.press("left_square_bracket", "left_square_bracket", "right")
        await press(pilot, app, "3")
        assert (len(chat.requests[3].prefix), chat.requests[3].forced_outcome) == (0, 101)


async def test_the_inspector_offers_nothing_of_another_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply_controller, "_METRICS_INTERVAL_S", 1e9)
    first = [with_choices(each, "zwei", "deux") for each in steps_of("one two three")]
    script = (FakeReply(steps_of("zwei"), hold_at=0), FakeReply(steps_of("deux")))
    async with chatting(FakeReply(first), *script, asked="Why?") as (pilot, app, chat):
        await pilot.press("tab", "right", "right", "enter", "2")
        await press(pilot, app, "escape")
        # The branch is shorter than the index of the selected token.
        assert texts(app)[-1] == "one "
        assert "Choose a token" in visible(app)
        screen_of(app).inspector.focus()
        await pilot.press("enter")
        assert len(chat.requests) == 2
        await pilot.press("escape", "left_square_bracket", "right", "right", "enter")
        await press(pilot, app, "3")
        assert texts(app)[-1] == "one deux"
        assert "2 of 2" in visible(app)


async def test_actions_are_refused_while_a_reply_is_written() -> None:
    steps = [with_choices(each, "x") for each in steps_of("one two")]
    async with chatting(FakeReply(steps, hold_at=1)) as (pilot, app, chat):
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one" in texts(app)[-1])
        before = texts(app)
        await pilot.press("tab", "right", "enter")
        for key in ("2", "ctrl+r", "ctrl+n", "f5", "f3", "ctrl+o"):
            app.clear_notifications()
            await pilot.press(key)
            if key != "ctrl+o":
                assert "Escape" in told(app), key
        screen_of(app).transcript.focus()
        for key in ("r", "c", "e", "d", "u", "left_square_bracket"):
            app.clear_notifications()
            await pilot.press(key)
            assert "Escape" in told(app), key
        assert (texts(app), len(chat.requests), screen_of(app).messages.editing) == (before, 1, None)
        await press(pilot, app, "escape")


# Keys


async def test_keys_follow_the_user_s_keymap() -> None:
    keys = {"chat.help": "ctrl+g,?", "transcript.edit": "w", "chat.panel": "ctrl+b"}
    preferences = Preferences(ChatPreferences(view="tokens"), keys=keys)
    async with chatting(FakeReply(steps_of("x")), asked="Why?", preferences=preferences) as (pilot, app, _):
        screen = screen_of(app)
        await pilot.press("?", "f1", "tab", "f1")
        assert (screen.prompt.text, app.screen) == ("?", screen)
        await pilot.press("?")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape", "e")
        assert screen.messages.editing is None
        await pilot.press("w")
        assert screen.messages.editing is not None
        shown = app.screen.query_one(Panel).display
        await pilot.press("f2")
        assert app.screen.query_one(Panel).display is shown
        await pilot.press("ctrl+b")
        assert app.screen.query_one(Panel).display is not shown
