"""Tests of the chat screen with keys and scripted replies: sending, stopping, loading, hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chat_fakes import (
    NARROW,
    WIDE,
    FakeChat,
    FakeLoad,
    FakeReply,
    app_with,
    ask,
    assert_inert,
    chatting,
    feet,
    press,
    ready,
    say,
    screen_of,
    step,
    steps_of,
    texts,
    told,
    visible,
    wait_until,
)
from support.contrast import assert_readable

from blendin_local.engine.steps import Source
from blendin_local.errors import ModelError, PromptError
from blendin_local.history.store import Store
from blendin_local.tui.about import About
from blendin_local.tui.app import _SOURCE_COLOURS
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.conversations import ConversationsScreen
from blendin_local.tui.widgets.transcript import Transcript

# Sending


async def test_a_message_is_sent_and_the_reply_is_coloured_by_source() -> None:
    reply = FakeReply(steps_of("one two three four five six seven"))
    async with chatting(reply, size=WIDE) as (pilot, app, chat):
        await pilot.press("space", "enter")
        assert chat.requests == []
        screen_of(app).prompt.clear()
        await press(pilot, app, *"Why?", "enter")
        assert chat.asked == ["Why?"]
        assert texts(app) == ["Why?", "one two three four five six seven"]
        assert feet(app)[1] == (
            "7 tokens · 40/s · intervened 43% · changed 14% · guide words 29% · "
            "blendin γ 0.40 · temperature 0.8"
        )
        assert screen_of(app).prompt.text == ""
        assert screen_of(app).prompt.has_focus
        transcript = screen_of(app).transcript
        entry = transcript.last_reply
        assert entry is not None
        looks = [transcript._piece_style(entry, index) for index in range(7)]
        sources = ["base", "base", "guide", "base", "both", "base", "blend"]
        assert looks == [transcript._style_of(source) for source in sources]
        # The panel shows its metrics.
        figures = "Confidence|not calibrated|0.30|0.46|0.50|0.55|43%|14%|29%|context 93%"
        for figure in figures.split("|"):
            assert figure in visible(app), figure


# While a reply is written


async def test_the_input_works_while_a_reply_is_written_and_sending_is_refused() -> None:
    reply = FakeReply(steps_of("one two three four"), hold_at=2)
    async with chatting(reply) as (pilot, app, chat):
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await pilot.press(*"Next", "enter", "enter")
        await pilot.pause()
        assert chat.asked == ["Why?"]
        assert screen_of(app).prompt.text == "Next"
        assert len(app._notifications) == 1
        reply.gate.set()
        await ready(pilot, app)
        assert texts(app)[-1] == "one two three four"
        assert screen_of(app).prompt.text == "Next"


async def test_escape_stops_the_reply_and_never_quits() -> None:
    script = (FakeReply(steps_of("one two three four"), hold_at=2), FakeReply(steps_of("never"), hold_at=0))
    async with chatting(*script, FakeReply(steps_of("at last"))) as (pilot, app, _):
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await press(pilot, app, "tab", "escape")
        assert texts(app)[-1] == "one two "
        assert feet(app)[-1].startswith("stopped · 2 tokens · ")
        # Further presses close the inspector, then focus the input.
        screen = screen_of(app)
        await pilot.press("left", "i")
        assert screen.tokens.inspecting
        for _ in range(3):
            await pilot.press("escape")
        assert not screen.tokens.inspecting
        assert screen.prompt.has_focus
        assert app.is_running
        # A reply that is stopped before its first token can be requested again.
        await say(pilot, app, "And?")
        await press(pilot, app, "escape")
        assert texts(app)[2:] == ["And?", "(stopped before the first token; Ctrl+R asks again)"]
        await press(pilot, app, "ctrl+r")
        assert texts(app)[2:] == ["And?", "at last"]


async def test_no_token_is_lost_when_thousands_arrive_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of steps between two polls, a character in two tokens, and text that no step released."""
    words = [f"w{i} " for i in range(5000)]
    steps = [step(i, word, list(Source)[i % 4]) for i, word in enumerate(words)]
    bat = "\N{BAT}".encode()
    steps += [step(5000, "", Source.GUIDE, data=bat[:2]), step(5001, "\N{BAT}", Source.BASE, data=bat[2:])]
    writes = 0
    write = Transcript.write

    def counted(*args: object) -> None:
        nonlocal writes
        writes += 1
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Transcript, "write", counted)
    async with chatting(FakeReply(steps, tail=" held back\nQuest"), asked="Why?") as (_, app, _):
        said = "".join(words) + "\N{BAT} held back\nQuest"
        assert texts(app)[-1] == said
        assert app.session.dialogue.last is not None
        assert app.session.dialogue.last.text == said
        entry = screen_of(app).transcript.last_reply
        assert entry is not None
        wrapped = " ".join(entry.body.text[start:end].strip() for start, end in entry.body.lines)
        assert wrapped.split() == said.split()
        # The transcript is updated once per poll.
        assert writes < 100


async def test_the_view_follows_the_reply_only_near_its_end() -> None:
    reply = FakeReply(steps_of(" ".join(["line\n"] * 400)), hold_at=200)
    async with chatting(reply, size=NARROW) as (pilot, app, _):
        await say(pilot, app, "Why?")
        transcript = screen_of(app).transcript
        await wait_until(pilot, lambda: transcript.virtual_size.height > 200)
        assert transcript.following
        await pilot.press("pageup")
        await pilot.pause()
        place = transcript.scroll_offset.y
        assert not transcript.following
        reply.gate.set()
        await ready(pilot, app)
        assert transcript.scroll_offset.y == place
        await pilot.press(*["pagedown"] * 20)
        await pilot.pause()
        assert transcript.following


# Loading and errors


async def test_the_load_is_shown_and_a_message_waits_for_it() -> None:
    chat = FakeChat(FakeReply(steps_of("here I am")))
    load = FakeLoad(chat, held=True)
    app = app_with(load, about=About("a", "b", memory="Needs 1 GB.", warning="Not enough memory."))
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: "50%" in visible(app))
        for part in ("Loading the base", "Needs 1 GB.", "Not enough memory."):
            assert part in visible(app)
        await say(pilot, app, "Taken back")
        assert texts(app) == ["Taken back", ""]
        assert "waits for the models" in visible(app)
        await pilot.press(*"Well", "escape")
        assert texts(app) == []
        assert screen_of(app).prompt.text == "Taken back\nWell"
        screen_of(app).prompt.clear()
        await say(pilot, app, "Anybody?")
        await say(pilot, app, "Hello?")
        assert screen_of(app).prompt.text == "Hello?"
        load.finish.set()
        await ready(pilot, app)
        await wait_until(pilot, lambda: texts(app) == ["Anybody?", "here I am"])
        await ready(pilot, app)
        assert chat.asked == ["Anybody?"]
        assert not screen_of(app).loading_bar.display


async def test_a_failed_load_shows_the_error_and_the_chat_stays_usable() -> None:
    reason = "llama.cpp cannot load /models/[red]x.gguf: tensor data is not within the file bounds."
    load = FakeLoad(FakeChat(), held=True, error=ModelError(reason))
    app = app_with(load)
    async with app.run_test(size=(120, 40)) as pilot:
        await say(pilot, app, "Anybody?")
        load.finish.set()
        await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.FAILED)
        assert texts(app) == [reason]
        assert screen_of(app).prompt.text == "Anybody?"
        await pilot.press("enter", "escape", "ctrl+r", "ctrl+n", "f2", "f5", "f6", "f8", "f1", "escape")
        assert screen_of(app).prompt.text == "Anybody?"
        await pilot.press("ctrl+q")
    assert app.return_code == 0


async def test_a_failed_reply_keeps_its_text_and_the_input_stays_usable() -> None:
    script = (
        PromptError("The prompt is too long: 9000 tokens."),
        FakeReply(steps_of("one two"), error=ModelError("llama.cpp failed to decode: [b]no[/b].")),
        FakeReply(steps_of("three"), error=ZeroDivisionError("division by zero")),
        FakeReply(steps_of("better"), dropped=4),
    )
    async with chatting(*script) as (pilot, app, _):
        await ask(pilot, app, "a very long message")
        assert texts(app) == ["The prompt is too long: 9000 tokens."]
        assert screen_of(app).prompt.text == "a very long message"
        await press(pilot, app, "enter")
        assert texts(app) == ["a very long message", "one two", "llama.cpp failed to decode: [b]no[/b]."]
        assert feet(app)[1].startswith("failed · ")
        await ask(pilot, app, "And?")
        assert texts(app)[-1] == "Something went wrong inside blendin (ZeroDivisionError: division by zero)."
        await ask(pilot, app, "And now?")
        assert texts(app)[1::2] == ["one two", "three", "better"]
        assert " · 4 old messages left out · " in feet(app)[-1]


# Hostile text

HOSTILE = (
    "\x1b]0;t\x07\x1b[2J\x1b[31m[bold]x[/bold][link=file:///]y[/] \u202eevil\u2066 \x9b1m\x00\x08\r\t\ud800."
)


async def test_hostile_text_is_shown_without_effect(tmp_path: Path) -> None:
    about = About(base=HOSTILE, guide=HOSTILE, pair=HOSTILE, memory=f"[red]memory[/red] {HOSTILE}")
    steps = [step(0, HOSTILE), step(1, HOSTILE, Source.GUIDE), step(2, "x" * 20_000)]
    script = (FakeReply(steps), ModelError(HOSTILE), FakeReply([step(0, HOSTILE)]))
    store = Store(tmp_path / "chats.db")
    async with chatting(*script, about=about, store=store) as (pilot, app, chat):
        assert_inert(visible(app))
        await ask(pilot, app, HOSTILE)
        # The models get the message unchanged.
        assert chat.asked[0] == HOSTILE.replace("\r", "\n")
        assert_inert(visible(app))
        await pilot.press("tab", "up", "home")
        await pilot.pause()
        assert "␛[31m[bold]x[/bold][link=file:///]y[/] �evil� �1m␀␈" in visible(app)
        for keys in ("i", "l", "f6", "escape e", "escape", "f4", "escape"):
            await pilot.press(*keys.split())
            await pilot.pause()
            assert_inert(visible(app))
        await ask(pilot, app, "again")
        assert_inert(visible(app) + told(app))
        screen_of(app).prompt.clear()
        for command in (f"/rename {HOSTILE}", f"/{HOSTILE}", f"/export {HOSTILE}.md", f"/system {HOSTILE}"):
            await say(pilot, app, command.replace("\n", " "))
            # Typed and pasted text is sanitized already.
            screen_of(app).prompt.clear()
            await pilot.pause()
            assert_inert(visible(app) + told(app))
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: isinstance(app.screen, ConversationsScreen) and app.screen._listed)
        assert_inert(visible(app))


# Themes


def test_source_colours_have_contrast_in_every_theme() -> None:
    assert_readable(_SOURCE_COLOURS)
