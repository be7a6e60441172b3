"""Tests of the transcript: wrapping on demand, scrolling, selection and copying."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

import pytest
from support.chat_fakes import assert_inert, prompt_pilot, step, steps_of, wait_until  # noqa: F401
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from blendin_local.engine.steps import Source
from blendin_local.history.tree import Turn
from blendin_local.tui.app import _COLOURS, ChatApp
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.reply_text import Piece, pieces_of
from blendin_local.tui.tagged_text import TaggedText
from blendin_local.tui.widgets.transcript import Transcript

PARAGRAPHS = "\n\n".join(f"paragraph {i} " + "word " * 30 for i in range(12))


class Host(App[None]):
    CSS_PATH = ChatApp.CSS_PATH
    CSS = "Transcript { display: block; padding: 0; }"

    def __init__(self) -> None:
        super().__init__()
        self.pointed: list[tuple[Entry | None, int | None]] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {name: colours[0] for name, colours in _COLOURS.items()}

    def compose(self) -> ComposeResult:
        yield Transcript(lambda turn: pieces_of(turn, turn.steps))

    def on_transcript_pointed(self, message: Transcript.Pointed) -> None:
        self.pointed.append((message.entry, message.index))

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    @property
    def rows(self) -> list[str]:
        """Return the lines in view."""
        rows = self.screen._compositor.render_strips(self.size)
        return ["".join(segment.text for segment in row).rstrip(" ▁▂▃▄▅▆▇█") for row in rows]


@asynccontextmanager
async def transcript_of(
    *entries: Entry, size: tuple[int, int] = (60, 20)
) -> AsyncIterator[tuple[Pilot[None], Host]]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        app.transcript.show(entries)
        app.transcript.focus()
        await pilot.pause()
        yield pilot, app


def reply(text: str, view: View = View.TOKENS) -> Entry:
    turn = Turn("assistant", text, steps=steps_of(text))
    return Entry(Kind.REPLY, turn, view)


def question(text: str) -> Entry:
    entry = Entry(Kind.USER, Turn("user", text))
    entry.append([(text, "user")])
    return entry


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Entry]]:
    """Return the entries that were wrapped, in order."""
    seen: list[Entry] = []
    prepare = Entry.prepare

    def counted(self: Entry, *args: object) -> None:
        seen.append(self)
        prepare(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Entry, "prepare", counted)
    yield seen


def long_conversation() -> list[Entry]:
    return [
        entry
        for i in range(250)
        for entry in (question(f"question {i}"), reply(f"# reply {i}\n\n{PARAGRAPHS}", View.MARKDOWN))
    ]


# Long conversations


async def test_500_messages_open_without_wrapping_them(prepared: list[Entry]) -> None:
    async with transcript_of(*long_conversation()) as (pilot, app):
        transcript = app.transcript
        assert 0 < len(prepared) < 8
        assert "word word" in app.rows[-4]
        assert transcript.following

        # Scroll up by messages: entries in view are wrapped, and visible text stays in place.
        for _ in range(6):
            seen = app.rows
            at = transcript.scroll_offset.y
            transcript.scroll_to(y=at - 5)
            await pilot.pause()
            assert app.rows[5:] == seen[:-5]
        assert len(prepared) < 12

        await pilot.press("home")
        await pilot.pause()
        assert app.rows[:3] == ["❯ question 0", "", "  reply 0"]
        await pilot.press("pagedown", "pagedown", "end")
        await pilot.pause()
        assert transcript.following
        assert "word word" in app.rows[-4]
        assert len(prepared) < 20


async def test_a_step_takes_the_same_time_in_a_long_conversation(
    monkeypatch: pytest.MonkeyPatch, prepared: list[Entry]
) -> None:
    wrapped = 0

    def counted(text: str, start: int, width: int) -> list[tuple[int, int]]:
        nonlocal wrapped
        wrapped += len(text) - start
        return wrap(text, start, width)

    async with transcript_of(*long_conversation()) as (pilot, app):
        live = app.transcript.add(Entry(Kind.REPLY, Turn("assistant")))
        live.begin_again()
        app.transcript.changed(live)
        for i in range(3000):
            app.transcript.write(live, [(f"word{i} ", i)])
        from blendin_local.tui import tagged_text

        wrap = tagged_text.wrap
        monkeypatch.setattr(tagged_text, "wrap", counted)
        prepared.clear()
        moved: list[int] = []
        move = app.transcript._move
        monkeypatch.setattr(app.transcript, "_move", lambda first: moved.append(first) or move(first))
        for i in range(100):
            app.transcript.write(live, [(f"more{i} ", 3000 + i)])
        assert wrapped < 100 * 60
        assert prepared == []
        assert set(moved) == {len(app.transcript.entries)}
        await pilot.pause()
        assert "more99" in "\n".join(app.rows)


# Scroll position


async def test_the_scroll_position_is_kept_when_view_width_or_entries_change() -> None:
    # Markdown joins these lines to one paragraph.
    lines = "\n".join(f"line {i}" for i in range(60))
    entries = [entry for i in range(6) for entry in (question(f"q{i}"), reply(lines))]
    async with transcript_of(*entries) as (pilot, app):
        transcript = app.transcript
        transcript.scroll_to(y=transcript._tops[5] + 28)
        await pilot.pause()

        def at_top() -> int:
            return transcript._in_view()[0]

        assert (at_top(), transcript.following, app.rows[0]) == (5, False, "  line 28")
        for view in (View.MARKDOWN, View.TOKENS):
            for entry in entries:
                entry.view = view
            transcript.show(entries, keep=True)
            await pilot.pause()
            assert (at_top(), transcript.following) == (5, False)
            # The same share of the entry is above the view, rounded to lines.
            assert int(next(filter(str.isdigit, app.rows[0].split()))) in range(20, 40)
        await pilot.resize_terminal(40, 15)
        await pilot.pause()
        assert (at_top(), transcript.following) == (5, False)
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        # Removing a message above keeps the visible text in place.
        seen = app.rows
        transcript.show(entries[1:], keep=True)
        await pilot.pause()
        assert (at_top(), app.rows) == (4, seen)


async def test_a_resize_keeps_the_end_in_view() -> None:
    async with transcript_of(question("q"), reply(PARAGRAPHS + " THE-END")) as (pilot, app):
        for size in ((30, 10), (100, 30), (60, 7)):
            await pilot.resize_terminal(*size)
            await wait_until(pilot, lambda: "THE-END" in "\n".join(app.rows))
            assert app.transcript.following


async def test_focus_and_themes_keep_the_position_and_colours_follow_the_theme() -> None:
    entries = [question("q"), reply(f"# title\n\n{PARAGRAPHS}", View.MARKDOWN), reply(PARAGRAPHS)]
    async with transcript_of(*entries) as (pilot, app):
        transcript = app.transcript
        transcript.scroll_to(y=20)
        await pilot.pause()
        seen = app.rows
        app.set_focus(None)
        await pilot.pause()
        assert app.rows == seen
        transcript.scroll_home()
        await pilot.pause()
        dark = entries[1].segments(0)[0].style
        app.theme = "textual-light"
        await pilot.pause()
        light = entries[1].segments(0)[0].style
        assert dark and light and dark.color != light.color
        assert light.color == transcript.get_component_rich_style("transcript--heading").color
        assert transcript._style_of("user") == transcript.get_component_rich_style("transcript--user")


async def test_a_reply_becomes_markdown_at_its_end_in_the_same_place() -> None:
    entry = reply("")
    async with transcript_of(question("q")) as (pilot, app):
        live = app.transcript.add(entry)
        live.begin_again()
        app.transcript.changed(live)
        app.transcript.write(live, [("**bold** ", 0), ("words", 1)])
        await pilot.pause()
        assert app.rows[2] == "  **bold** words"
        assert entry.turn is not None
        entry.turn.text, entry.turn.steps = "**bold** words", steps_of("**bold** words")
        entry.finish(View.MARKDOWN)
        app.transcript.changed(entry)
        await pilot.pause()
        assert app.rows[2] == "  bold words"
        # Selecting a token switches to the view of tokens.
        app.transcript.select(entry, 1)
        await pilot.pause()
        assert app.rows[2].endswith("**bold** words")


# Selection


async def test_a_click_on_a_token_selects_it_without_scrolling() -> None:
    wide = reply("東京 は 日本")
    tall = reply(PARAGRAPHS)
    async with transcript_of(wide, tall, size=(60, 12)) as (pilot, app):
        await pilot.press("home")
        await pilot.pause()
        transcript = app.transcript
        # Two cells of margin; 東京 and its space take five cells, は and its space three.
        for x, step_index in ((2, 0), (6, 0), (7, 1), (10, 2), (13, 2), (14, None), (0, 0)):
            await pilot.click(transcript, offset=(x, 0))
            await pilot.pause()
            assert app.pointed[-1] == (wide, step_index), x
        at = transcript.scroll_offset.y
        await pilot.click(transcript, offset=(12, 8))
        await pilot.pause()
        assert app.pointed[-1][0] is tall
        assert transcript.scroll_offset.y == at


async def test_keys_select_messages_and_tokens() -> None:
    first, second = reply("one two three"), reply("four five")
    async with transcript_of(question("q"), first, second) as (pilot, app):
        transcript = app.transcript
        walk: list[tuple[str, tuple[Entry | None, int | None]]] = [
            ("up", (second, None)), ("k", (first, None)), ("right", (first, 0)), ("l", (first, 1)),
            ("right", (first, 2)), ("right", (first, 2)), ("left", (first, 1)), ("h", (first, 0)),
            ("h", (first, 0)), ("j", (second, None)), ("left", (second, 1)), ("down", (second, 1)),
        ]  # fmt: skip
        for key, point in walk:
            await pilot.press(key)
            assert (transcript.selected, transcript.pointer) == point, key
        await pilot.pause()
        assert app.pointed[-1] == (second, 1)
        # A removed entry is no longer selected.
        transcript.show([first])
        await pilot.pause()
        assert (transcript.selected, app.pointed[-1]) == (None, (None, None))


async def test_tokens_differ_without_colour() -> None:
    async with transcript_of(question("q")) as (_, app):
        tags = ("base", "guide", "both", "blend", "chosen")
        looks = [app.transcript._style_of(tag) for tag in tags]
        assert len({(look.bold, look.underline, look.italic) for look in looks}) == len(tags)


# Copying


async def test_copying_all_includes_entries_that_were_never_in_view(prepared: list[Entry]) -> None:
    replies = (reply(PARAGRAPHS), reply(PARAGRAPHS, View.MARKDOWN), reply(PARAGRAPHS))
    entries = [question("first"), replies[0], question("q"), *replies[1:]]
    async with transcript_of(*entries) as (pilot, app):
        assert entries[1] not in prepared
        app.transcript.text_select_all()
        await pilot.pause()
        copied = app.screen.get_selected_text()
        assert copied is not None
        # Without the line breaks of wrapping.
        assert copied.strip() == "\n\n".join(
            ["first", PARAGRAPHS.strip(), "q", PARAGRAPHS.strip(), PARAGRAPHS.strip()]
        )


async def test_the_mouse_selects_words_of_wide_characters() -> None:
    async with transcript_of(question("q"), reply("word " * 40), reply("東京 は 日本")) as (pilot, app):
        transcript = app.transcript

        async def drag(start: tuple[int, int], end: tuple[int, int]) -> str | None:
            await pilot.mouse_down(transcript, offset=start)
            await pilot.hover(transcript, offset=end)
            await pilot.mouse_up(transcript, offset=end)
            await pilot.pause()
            return app.screen.get_selected_text()

        assert await drag((2, 2), (10, 2)) == "word word"
        across = await drag((2, 2), (5, 3))
        assert across is not None
        assert "\n" not in across and across.endswith(" word")
        row = app.rows.index("  東京 は 日本")
        assert await drag((7, row), (13, row)) == "は 日本"


# Hostile text

HOSTILE = [
    "\x1b]0;t\x07\x1b[2J\x1b[31m[b]x[/b] \u202eevil\u2066 \x9b1m\x00\x08\r\t.",
    "x" * 20_000,
    "\u200b\u200c\u200d" * 500,
    "half \ud800 \udfff",
    "e\u0301" * 3000,
    "東" * 3000,
    "> " * 400 + "x",
    "\n" * 300 + "[" * 1000,
    "",
    "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}" * 50,
]


async def test_hostile_text_stays_within_its_lines() -> None:
    entries = [each for text in HOSTILE for each in (reply(text), reply(text, View.MARKDOWN))]
    for entry in entries:
        entry.set_foot(HOSTILE[0])
    async with transcript_of(*entries, size=(50, 12)) as (pilot, app):
        transcript = app.transcript
        for entry in entries:
            transcript.select(entry)
            transcript.select(entry, 0)
            await pilot.pause()
            said = app.rows
            assert_inert("\n".join(said))
            assert len(said) == 12


# Parts


def test_an_unwrapped_text_has_an_estimated_height() -> None:
    entry = reply(PARAGRAPHS)
    entry.resize(60)
    assert not entry.prepared
    estimate = entry.height
    entry.prepare(60, fill, lambda text, width: [])
    assert abs(entry.height - estimate) <= 3
    # An entry that must be rendered again keeps its height until then.
    entry.view = View.MARKDOWN
    entry.prepare(60, fill, lambda text, width: [[]] * 123)
    entry.restyle()
    assert (entry.prepared, entry.height) == (False, 124)


def fill(turn: Turn) -> Iterable[Piece]:
    return pieces_of(turn, turn.steps)


def test_a_reply_without_steps_is_shown() -> None:
    assert pieces_of(Turn("assistant", " kept\x1b "), []) == [("kept␛", "base")]
    stop = step(0, "", Source.STOP, data=b"")
    assert pieces_of(Turn("assistant", "tail", steps=[stop]), [stop]) == [("tail", 0)]
    assert TaggedText().text == ""
