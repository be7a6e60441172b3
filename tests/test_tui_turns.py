"""What keys do to messages and tokens, on scripted chats: nothing is overwritten, all of it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from chat_fakes import (
    FakeReply,
    ask,
    chatting,
    feet,
    press,
    prompt_pilot,  # noqa: F401
    ready,
    say,
    screen_of,
    step,
    steps_of,
    texts,
    told,
    visible,
    with_choices,
)

from blendin_local.errors import PromptError
from blendin_local.history.store import Store
from blendin_local.preferences import ChatPreferences, Preferences
from blendin_local.steps import Source
from blendin_local.tui.entry import Kind, View
from blendin_local.tui.screens.help import HelpScreen
from blendin_local.tui.widgets.panel import Panel


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What is on the disk, seen by another program."""
    with closing(Store(tmp_path / "chats.db")) as store:
        yield store


def kept(store: Store) -> list[str]:
    """The path of the only conversation that is kept."""
    (listed,) = store.list()
    return [turn.text for turn in store.open(listed.id).tree.path()]


# Again


async def test_again_writes_a_sibling_also_of_an_earlier_reply() -> None:
    script = [FakeReply(steps_of(text)) for text in ("first", "later", "second", "third")]
    async with chatting(*script, asked="Why?") as (pilot, app, chat):
        await ask(pilot, app, "And?")
        await press(pilot, app, "tab", "k", "k", "k", "r")
        assert [message.content for message in chat.asks[2].messages] == ["Why?"]
        assert texts(app) == ["Why?", "second"]
        assert feet(app)[1].startswith("2/2 · ")
        await press(pilot, app, "ctrl+r")
        assert texts(app) == ["Why?", "third"]
        assert len({ask.settings.seed for ask in chat.asks}) == 4
        # Each leads on to what followed it.
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert texts(app) == ["Why?", "first", "And?", "later"]
        assert feet(app)[1].startswith("1/3 · ")
        await pilot.press("left_square_bracket")
        assert told(app) == "That was the last version."
        await pilot.press("right_square_bracket")
        assert texts(app) == ["Why?", "second"]


async def test_a_reply_stays_where_another_one_comes_to_nothing(store: Store) -> None:
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
            app.journal.flush()
            assert kept(store) == ["Why?", "first"]
        assert len(chat.asks) == 3


# Continuing


async def test_a_reply_that_was_cut_off_is_continued_in_place(store: Store) -> None:
    script = (
        FakeReply(steps_of("one two"), ends="length"), PromptError("No room."), FakeReply(steps_of(" three")),
    )  # fmt: skip
    async with chatting(*script, asked="Why?", store=Store(store.path)) as (pilot, app, chat):
        turn = app.dialogue.last
        assert turn is not None
        assert "cut off at the token limit" in feet(app)[1]
        await press(pilot, app, "tab", "c")
        assert texts(app) == ["Why?", "one two", "No room."]
        assert "failed" in feet(app)[1]
        await press(pilot, app, "c")
        assert [each.text for each in chat.asks[2].prefix] == ["one ", "two"]
        assert texts(app) == ["Why?", "one two three"]
        assert app.dialogue.last is turn
        assert [each.index for each in turn.steps] == [0, 1, 2, 3]
        assert "failed" not in feet(app)[1]
        app.journal.flush()
        assert kept(store) == ["Why?", "one two three"]
        assert store.load_steps(turn.id) == turn.steps
        await press(pilot, app, "c")
        assert "came to its own end" in told(app)
        assert len(chat.asks) == 3


async def test_a_reply_that_is_stopped_can_be_continued() -> None:
    script = (FakeReply(steps_of("one two three"), hold_at=2), FakeReply(steps_of("four")))
    async with chatting(*script) as (pilot, app, _):
        await say(pilot, app, "Why?")
        while "two" not in texts(app)[-1]:
            await pilot.pause(0.01)
        await press(pilot, app, "escape")
        assert texts(app)[-1] == "one two "
        assert "stopped" in feet(app)[-1]
        await say(pilot, app, "/continue")
        await ready(pilot, app)
        assert texts(app) == ["Why?", "one two four"]


# Editing


async def test_a_question_is_asked_differently_beside_the_old_one(store: Store) -> None:
    script = (FakeReply(steps_of("first")), FakeReply(steps_of("second")), PromptError("Too long."))
    async with chatting(*script, asked="//Why?", store=Store(store.path)) as (pilot, app, chat):
        prompt = screen_of(app).prompt
        prompt.insert("a draft")
        await pilot.press("tab", "e")
        assert (prompt.text, prompt.has_focus, screen_of(app).editing is not None) == ("//Why?", True, True)
        await pilot.press("!", "escape")
        assert (prompt.text, screen_of(app).editing) == ("a draft", None)
        assert texts(app) == ["/Why?", "first"]
        await pilot.press("tab", "e", "!")
        await press(pilot, app, "enter")
        assert prompt.text == "a draft"
        assert [message.content for message in chat.asks[1].messages] == ["/Why?!"]
        assert texts(app) == ["/Why?!", "second"]
        assert feet(app)[0] == "2/2"
        await pilot.press("tab", "up", "up", "left_square_bracket")
        assert texts(app) == ["/Why?", "first"]
        app.journal.flush()
        assert kept(store) == ["/Why?", "first"]
        # One that is refused comes back into the input.
        prompt.clear()
        await pilot.press("e", "!")
        await press(pilot, app, "enter")
        assert texts(app, Kind.ERROR) == ["Too long."]
        assert prompt.text == "//Why?!"


async def test_a_reply_is_changed_without_asking_and_can_be_continued() -> None:
    script = (FakeReply(steps_of("first \x1b[31m")), PromptError("Too long."), FakeReply(steps_of(" more")))
    async with chatting(*script, asked="Why?") as (pilot, app, chat):
        prompt = screen_of(app).prompt
        await pilot.press("tab", "up", "e")
        assert prompt.text == "first ␛[31m"
        prompt.text = "mine"
        await press(pilot, app, "enter")
        assert (len(chat.asks), texts(app)) == (1, ["Why?", "mine"])
        assert feet(app)[1].startswith("2/2")
        # What was typed for this one does not come back with another that is refused.
        await press(pilot, app, "ctrl+r")
        assert (texts(app)[1:], prompt.text) == (["mine", "Too long."], "")
        await press(pilot, app, "tab", "c")
        assert [(each.text, each.source) for each in chat.asks[2].prefix] == [("mine", Source.USER)]
        assert texts(app) == ["Why?", "mine more"]


# Deleting


async def test_messages_are_deleted_and_brought_back(store: Store) -> None:
    script = [FakeReply(steps_of(text)) for text in ("one", "two")]
    async with chatting(*script, asked="a", store=Store(store.path)) as (pilot, app, _):
        await ask(pilot, app, "b")
        await pilot.press("tab", "u")
        assert told(app) == "Nothing was deleted here."
        for keys, left in (
            (("d",), ["a", "one", "b"]),
            (("up", "up", "up", "delete"), ["b"]),
            (("u",), ["a", "one", "b"]),
            (("u",), ["a", "one", "b", "two"]),
        ):
            await pilot.press(*keys)
            assert texts(app) == left
            app.journal.flush()
            assert kept(store) == left
        await say(pilot, app, "/delete")
        assert texts(app) == ["a", "one", "b"]
        await say(pilot, app, "/undo")
        assert texts(app) == ["a", "one", "b", "two"]


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
        branch = chat.asks[1]
        assert ([each.text for each in branch.prefix], branch.forced) == (["one "], 100)
        assert [message.content for message in branch.messages] == ["Why?"]
        assert texts(app) == ["Why?", "one zwei drei"]
        assert feet(app)[1].startswith("2/2 · ")
        reply = app.dialogue.last
        assert reply is not None and reply.fork == 1
        # The inspector no longer offers what is not on the screen.
        assert screen.inspector.has_focus
        assert "Choose a token" in visible(app)
        await pilot.press("enter")
        assert len(chat.asks) == 2

        # Back on the old reply: a number opens the inspector first. By the cursor: the last candidate.
        await pilot.press("escape", "left_square_bracket")
        assert texts(app) == ["Why?", "one two three"]
        await pilot.press("right", "2")
        assert (screen.inspecting, len(chat.asks)) == (True, 2)
        await pilot.press("l", "down")
        await press(pilot, app, "enter")
        assert ([each.text for each in chat.asks[2].prefix], chat.asks[2].forced) == (["one "], 101)
        assert feet(app)[1].startswith("3/3 · ")
        # With the inspector open, numbers work in the conversation too.
        screen.transcript.focus()
        await pilot.press("left_square_bracket", "left_square_bracket", "right")
        await press(pilot, app, "3")
        assert (len(chat.asks[3].prefix), chat.asks[3].forced) == (0, 101)


async def test_what_needs_the_reply_to_be_over_is_refused() -> None:
    steps = [with_choices(each, "x") for each in steps_of("one two")]
    async with chatting(FakeReply(steps, hold_at=1)) as (pilot, app, chat):
        await say(pilot, app, "Why?")
        while "one" not in texts(app)[-1]:
            await pilot.pause(0.01)
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
        assert (texts(app), len(chat.asks), screen_of(app).editing) == (before, 1, None)
        await press(pilot, app, "escape")


# Looks


async def test_views_are_changed_for_one_reply_and_for_all() -> None:
    script = (FakeReply(steps_of("**one** two")), FakeReply(steps_of("**three** four")))
    async with chatting(*script, asked="a", view="markdown") as (pilot, app, _):
        await ask(pilot, app, "b")

        def views() -> list[bool]:
            shown = visible(app)
            return ["**one**" in shown, "**three**" in shown]

        assert views() == [False, False]
        for keys, tokens in (
            (("tab", "m"), [False, True]),
            (("k", "k", "k", "m"), [True, True]),
            (("f6",), [True, True]),
            (("f6",), [False, False]),
        ):
            await pilot.press(*keys)
            await pilot.pause()
            assert views() == tokens, keys
        await say(pilot, app, "/view tokens")
        await pilot.pause()
        assert views() == [True, True]
        # Also while one writes.
        await pilot.press("a", "f6", "f7")
        await pilot.pause()
        assert views() == [False, False]
        assert screen_of(app).transcript.colours == "alpha"
        assert screen_of(app).prompt.selected_text == ""


async def test_colours_are_chosen_by_key_and_command() -> None:
    async with chatting(FakeReply(steps_of("one two three")), asked="a") as (pilot, app, _):
        transcript = screen_of(app).transcript
        entry = transcript.last_reply
        assert entry is not None
        await pilot.press("tab")
        looks = [[transcript._look(entry, index) for index in range(3)]]
        for mode in ("alpha", "confidence", "divergence", "source"):
            await pilot.press("v" if mode != "confidence" else "f7")
            assert transcript.colours == mode
            looks.append([transcript._look(entry, index) for index in range(3)])
            await pilot.pause()
            assert ("guide" if mode == "source" else mode.replace("alpha", "α")) in visible(app)
        assert looks[0] == looks[4] != looks[1]
        await say(pilot, app, "/colours confidence")
        assert transcript.colours == "confidence"


async def test_weak_passages_are_found_wherever_they_are() -> None:
    """Two in the second reply, far apart, and one in the first."""

    def lines(*weak: int) -> list[object]:
        return [replace(step(i, f"line{i}\n\n"), r_b=0.1 if i in weak else 0.9, c_b=0.5) for i in range(100)]

    script = (FakeReply(lines(50)), FakeReply(lines(10, 80)))  # type: ignore[arg-type]
    async with chatting(*script, asked="a", view="markdown") as (pilot, app, _):
        await ask(pilot, app, "b")
        screen = screen_of(app)
        await pilot.press("f8")
        assert screen.transcript.has_focus
        assert "line10 " in visible(app)
        for key, pointer, entry in (("n", 80, 3), ("N", 10, 3), ("N", 50, 1), ("f8", 10, 3)):
            await pilot.press(key)
            await pilot.pause()
            transcript = screen.transcript
            assert (transcript.pointer, transcript.selected) == (pointer, transcript.entries[entry])
            assert f"line{pointer} " in visible(app)
        assert transcript.selected is not None
        assert transcript.selected.view is View.TOKENS
        await say(pilot, app, "/weak")
        assert screen.transcript.pointer == 80
        await pilot.press("n")
        assert told(app) == "There is no further weak passage."


# Copying


async def test_messages_and_code_are_copied() -> None:
    text = "one\n```py\nx = 1\n```\n\n```\ny \ud800\n```"
    script = (FakeReply(steps_of(text)), FakeReply(steps_of("```\nz\n```")))
    async with chatting(*script, asked="Why?") as (pilot, app, _):
        await pilot.press("tab", "y")
        assert app.clipboard == text.replace("\ud800", "?")
        for code in ("x = 1\n", "y ?\n", "x = 1\n"):
            await pilot.press("Y")
            assert app.clipboard == code
        await ask(pilot, app, "And?")
        await say(pilot, app, "/copy code")
        assert app.clipboard == "z\n"
        await say(pilot, app, "/copy")
        assert app.clipboard == "```\nz\n```"
        await pilot.press("tab", "k", "k", "Y")
        assert told(app) == "There is no code block in this message."
        await pilot.press("y")
        assert app.clipboard == "And?"


# Keys


async def test_keys_are_as_the_user_prefers() -> None:
    keys = {"chat.help": "ctrl+g,?", "transcript.edit": "w", "chat.panel": "ctrl+b"}
    preferences = Preferences(ChatPreferences(view="tokens"), keys=keys)
    async with chatting(FakeReply(steps_of("x")), asked="Why?", preferences=preferences) as (pilot, app, _):
        screen = screen_of(app)
        await pilot.press("?", "f1", "tab", "f1")
        assert (screen.prompt.text, app.screen) == ("?", screen)
        await pilot.press("?")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape", "e")
        assert screen.editing is None
        await pilot.press("w")
        assert screen.editing is not None
        shown = app.screen.query_one(Panel).display
        await pilot.press("f2")
        assert app.screen.query_one(Panel).display is shown
        await pilot.press("ctrl+b")
        assert app.screen.query_one(Panel).display is not shown
