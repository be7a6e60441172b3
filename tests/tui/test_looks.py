"""Tests of views, colours, weak passages and copying."""

from __future__ import annotations

from dataclasses import replace

from support.chat_fakes import (
    FakeReply,
    ask,
    chatting,
    say,
    screen_of,
    step,
    steps_of,
    told,
    visible,
)

from blendin_local.tui.entry import View

# Views and colours


async def test_the_view_changes_for_one_reply_or_all() -> None:
    script = (FakeReply(steps_of("**one** two")), FakeReply(steps_of("**three** four")))
    async with chatting(*script, asked="a", view="markdown") as (pilot, app, _):
        await ask(pilot, app, "b")

        def views() -> list[bool]:
            shown = visible(app)
            return ["**one**" in shown, "**three**" in shown]

        assert views() == [False, False]
        for keys, tokens in (
            (("tab", "m"), [False, True]),
            (("k", "k", "m"), [True, True]),
            (("f6",), [True, True]),
            (("f6",), [False, False]),
        ):
            await pilot.press(*keys)
            await pilot.pause()
            assert views() == tokens, keys
        await say(pilot, app, "/view tokens")
        await pilot.pause()
        assert views() == [True, True]
        # Also while the input has the focus.
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
        looks = [[transcript._piece_style(entry, index) for index in range(3)]]
        for mode in ("alpha", "confidence", "divergence", "source"):
            await pilot.press("v" if mode != "confidence" else "f7")
            assert transcript.colours == mode
            looks.append([transcript._piece_style(entry, index) for index in range(3)])
            await pilot.pause()
            assert ("guide" if mode == "source" else mode.replace("alpha", "α")) in visible(app)
        assert looks[0] == looks[4] != looks[1]
        await say(pilot, app, "/colours confidence")
        assert transcript.colours == "confidence"


async def test_weak_passages_are_found_in_all_replies() -> None:
    """The first reply has one weak passage, the second one two that are far apart."""

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
        await pilot.press("tab", "k", "Y")
        assert told(app) == "There is no code block in this message."
        await pilot.press("y")
        assert app.clipboard == "And?"
