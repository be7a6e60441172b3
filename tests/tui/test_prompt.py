"""Tests of the prompt: suggestions, history, pastes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chat_fakes import assert_inert, chatting, press, replies, screen_of, wait_until
from textual._xterm_parser import XTermParser
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input, Static

from blendin_local.history.store import Store
from blendin_local.tui.app import ChatApp
from blendin_local.tui.commands import Names
from blendin_local.tui.prompt_history import MOST, PromptHistory
from blendin_local.tui.widgets.prompt import Prompt


class Host(App[None]):
    CSS_PATH: ClassVar = ChatApp.CSS_PATH

    def __init__(self, names: Names, past: PromptHistory | None) -> None:
        super().__init__()
        self._names, self._past = names, past
        self.entered: list[tuple[str, str]] = []

    get_theme_variable_defaults = ChatApp.get_theme_variable_defaults

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("conversation\n" * 15)
            yield Input(id="other")
            yield Prompt(id="prompt", names=self._names, history=self._past)

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        self.entered.append(("sent", message.text))
        message.prompt.clear()

    def on_prompt_commanded(self, message: Prompt.Commanded) -> None:
        self.entered.append(("command", message.text))
        message.prompt.clear()


@asynccontextmanager
async def opened(
    names: Names | None = None, past: PromptHistory | None = None
) -> AsyncIterator[tuple[Pilot[None], Host, Prompt]]:
    app = Host(names or Names(), past)
    async with app.run_test(size=(80, 24)) as pilot:
        prompt = app.query_one(Prompt)
        prompt.focus()
        await pilot.pause()
        yield pilot, app, prompt


def shown(prompt: Prompt) -> list[str]:
    """Return the rows of the list as drawn, without trailing spaces."""
    return (
        [line.rstrip() for line in prompt.suggestions.render().plain.split("\n")] if is_open(prompt) else []
    )


def is_open(prompt: Prompt) -> bool:
    return prompt.suggestions.display


# Suggestions


async def test_typing_a_slash_lists_commands_above_the_prompt() -> None:
    async with opened() as (pilot, _, prompt):
        before = prompt.region
        await pilot.press("/")
        assert len(shown(prompt)) == 8
        assert shown(prompt)[0].startswith("› /method NAME") and "blended" in shown(prompt)[0]
        assert prompt.suggestions.border_subtitle == "1 of 30"
        assert prompt.region == before
        assert prompt.suggestions.region.bottom == before.y
        await pilot.press("e", "x")
        assert [row.split()[:2] for row in shown(prompt)] == [["›", "/export"]]
        await pilot.press("backspace", "backspace", "backspace")
        assert not is_open(prompt)


async def test_the_arrows_choose_and_the_list_scrolls() -> None:
    async with opened() as (pilot, _, prompt):
        await pilot.press("/", "down", "down")
        assert [row[0] for row in shown(prompt)] == [" ", " ", "›", " ", " ", " ", " ", " "]
        await pilot.press("up", "up", "up")
        assert shown(prompt)[-1].startswith("› /quit") and prompt.text == "/"
        await pilot.press("down")
        assert shown(prompt)[0].startswith("› /method")


@pytest.mark.parametrize("key", ["tab", "enter"])
async def test_tab_and_enter_accept_and_enter_sends_what_is_complete(key: str) -> None:
    async with opened() as (pilot, app, prompt):
        await pilot.press(*"/met", key)
        assert prompt.text == "/method "
        assert "› base" in shown(prompt)[0]
        await pilot.press("down", key)
        assert (prompt.text, is_open(prompt)) == ("/method guide", False)
        assert app.entered == []
        await pilot.press("enter")
        assert app.entered == [("command", "/method guide")]
        assert prompt.text == ""


async def test_keys_typed_ahead_of_the_screen_still_complete() -> None:
    async with opened() as (_, __, prompt):
        prompt.insert("/met")
        prompt.action_accept()
        assert prompt.text == "/method "


async def test_tab_leaves_the_prompt_without_suggestions() -> None:
    async with opened() as (pilot, _, prompt):
        await pilot.press("a", "tab")
        assert not prompt.has_focus and prompt.text == "a"


async def test_escape_closes_the_list_before_anything_else() -> None:
    async with opened() as (pilot, app, prompt):
        stopped: list[str] = []
        app.bind("escape", "stop")
        app.action_stop = lambda: stopped.append("stop")  # type: ignore[attr-defined]
        await pilot.press("/", "escape")
        assert not is_open(prompt) and not stopped
        await pilot.press("escape")
        assert stopped == ["stop"]
        await pilot.press("q")
        assert is_open(prompt)


async def test_a_row_is_taken_by_a_click() -> None:
    async with opened() as (pilot, _, prompt):
        await pilot.press(*"/set")
        await pilot.click(prompt.suggestions, offset=(6, 2))
        assert prompt.text == "/settings" and prompt.has_focus


async def test_a_mention_is_completed_within_a_message(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "notes.bad\x1b[31m").touch()
    async with opened(Names(folder=tmp_path)) as (pilot, app, prompt):
        prompt.insert("First\nsee  now")
        prompt.move_cursor((1, 4))
        await pilot.press(*"@no")
        assert shown(prompt) == ["› @notes.txt"]
        await pilot.press("tab")
        assert prompt.text == "First\nsee @notes.txt now"
        await pilot.press("enter")
        assert app.entered == [("sent", "First\nsee @notes.txt now")]


@pytest.mark.parametrize("text", ["look @", "by @na", "/system\nas @na"])
async def test_enter_sends_a_message_that_ends_with_the_start_of_a_file_name(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "names.txt").touch()
    async with opened(Names(folder=tmp_path)) as (pilot, app, prompt):
        prompt.insert(text)
        await pilot.pause()
        assert shown(prompt)[-1][2:] == "@names.txt"
        await pilot.press("enter")
        assert [entered for _, entered in app.entered] == [text]


async def test_nothing_is_offered_inside_a_word() -> None:
    async with opened() as (pilot, _, prompt):
        prompt.insert("/sethod")
        prompt.move_cursor((0, 3))
        await pilot.pause()
        assert not is_open(prompt)


async def test_descriptions_are_sanitized() -> None:
    async with opened(Names(pairs={"evil": "[red]x\x1b[31m\ny[/]"})) as (pilot, _, prompt):
        await pilot.press(*"/pair ")
        assert shown(prompt) == ["› evil  [red]x␛[31m y[/]"]


async def test_two_slashes_escape_one() -> None:
    async with opened() as (pilot, app, prompt):
        await pilot.press(*"//etc", "enter")
        assert app.entered == [("sent", "/etc")]
        prompt.restore("/etc")
        await pilot.pause()
        assert (prompt.text, is_open(prompt)) == ("//etc", False)


# History


async def test_up_and_down_move_through_the_history() -> None:
    async with opened() as (pilot, _, prompt):
        for line in ("one", "/help", "three\nlines"):
            prompt.insert(line)
            await pilot.press("enter")
        await pilot.press(*"dra", "up")
        assert prompt.text == "three\nlines"
        await pilot.press("up")
        assert (prompt.text, is_open(prompt)) == ("/help", False)
        await pilot.press("up", "up")
        assert prompt.text == "one"
        await pilot.press("down", "down")
        assert prompt.text == "three\nlines"
        await pilot.press("down")
        assert prompt.text == "dra"
        await pilot.press("f")
        assert prompt.text == "draf"


async def test_up_moves_the_cursor_before_it_recalls_a_message() -> None:
    async with opened(past=PromptHistory()) as (pilot, _, prompt):
        prompt.past.add("old")
        prompt.insert("a" * 100)
        await pilot.press("up")
        assert prompt.text == "a" * 100 and prompt.cursor_location[0] == 0
        await pilot.press("up")
        assert prompt.text == "old"
        await pilot.press("down")
        assert prompt.text == "a" * 100


def test_sent_messages_are_found_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "data" / "history.jsonl"
    first = PromptHistory(path)
    for text in ("one", "two\nlines \u2028 \x1b", "two\nlines \u2028 \x1b", "x" * 100_000):
        first.add(text)
    again = PromptHistory(path)
    assert [again.earlier("d"), again.earlier("two\nlines \u2028 \x1b"), again.earlier("one")] == [
        "two\nlines \u2028 \x1b",
        "one",
        None,
    ]
    assert path.stat().st_mode & 0o077 == 0
    assert first.earlier("") == "x" * 100_000


def test_damaged_lines_of_the_history_file_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'"one"\n' + b"[" * 99_999 + b'\n{\n\xff\n3\n"two"\n')
    assert entries(PromptHistory(path)) == ["one", "two"]


def test_concurrent_chats_share_the_history_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    one, other = PromptHistory(path), PromptHistory(path)
    for i in range(20):
        one.add(f"one\n{i}")
        other.add(f"other\n{i}")
    assert entries(PromptHistory(path)) == [f"{who}\n{i}" for i in range(20) for who in ("one", "other")]


def entries(history: PromptHistory) -> list[str]:
    found: list[str] = []
    while (text := history.earlier(found[0] if found else "")) is not None:
        found.insert(0, text)
    return found


def test_the_history_file_stays_short_and_an_incomplete_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(f'"{i}"\n' for i in range(2 * MOST + 5)) + '"torn', "utf-8")
    assert entries(PromptHistory(path)) == [str(i) for i in range(MOST + 5, 2 * MOST + 5)]
    assert len(path.read_text("utf-8").splitlines()) == MOST
    path.write_bytes(b'{}\n\xff\n"good"\nnull\n"torn')
    PromptHistory(path).add("next")
    assert entries(PromptHistory(path)) == ["good", "next"]


def test_a_history_file_that_cannot_be_used_is_ignored(tmp_path: Path) -> None:
    history = PromptHistory(tmp_path)
    history.add("text")
    assert history.earlier("") == "text"


def test_an_edited_message_becomes_the_draft() -> None:
    history = PromptHistory()
    history.add("one")
    history.add("two")
    assert history.earlier("draft") == "two"
    assert history.earlier("two, changed") == "one"
    assert [history.later("one"), history.later("two")] == ["two", "two, changed"]
    assert history.later("two, changed") is None


# Pastes


@pytest.mark.parametrize(
    "text", ["some words on a line\n" * 9_600, "word " * 40_000], ids=["lines", "one line"]
)
async def test_a_paste_of_200_kilobytes_is_sent_whole(text: str) -> None:
    async with opened() as (pilot, app, prompt):
        app.post_message(Paste(text))
        await wait_until(pilot, lambda: prompt.text)
        await pilot.press("x", "enter")
        assert app.entered == [("sent", (text + "x").strip("\n"))]


async def pasted(text: str) -> str:
    """Paste a text into the chat's input and return what it holds then."""
    async with chatting() as (pilot, app, _):
        app.post_message(Paste(text))
        prompt = screen_of(app).prompt
        await wait_until(pilot, lambda: prompt.text)
        rows = [prompt.render_line(y).text for y in range(prompt.size.height)]
        assert_inert("\n".join(rows))
        return prompt.text


async def test_a_paste_with_escape_characters_keeps_its_order() -> None:
    assert await pasted("a\x1b[31mb\x1b[0mc\r\nd\re\n\x1b\x1b]0;f\x07g") == ("a␛[31mb␛[0mc\nd\ne\n␛␛]0;f␇g")


async def test_a_paste_keeps_tabs_and_the_marks_of_every_script() -> None:
    text = "all:\n\tmake\tit  \n\nשלום\u200f! \u061ca\u200eb\u200b\u2060 \U0001f469\u200d\U0001f4bb a\u200cb"
    async with chatting(*replies("Yes.")) as (pilot, app, chat):
        app.post_message(Paste(text))
        await wait_until(pilot, lambda: screen_of(app).prompt.text)
        await press(pilot, app, "enter")
        assert chat.asked == [text]


async def test_control_characters_of_a_paste_become_visible() -> None:
    assert await pasted("\t\x1b[31m\x07\x9b\u202egnp\u2066.\xad") == "\t␛[31m␇\ufffd\ufffdgnp\ufffd."


async def test_control_characters_of_the_clipboard_become_visible() -> None:
    async with chatting() as (pilot, app, _):
        app.copy_to_clipboard("a\x1b[31m\r\nb")
        await pilot.press("ctrl+v")
        assert screen_of(app).prompt.text == "a␛[31m\nb"


@pytest.mark.parametrize(("keys", "field"), [(("ctrl+o",), "#conversations-search"), (("f4", "down"), Input)])
async def test_a_paste_into_a_dialog_has_no_control_characters(
    keys: tuple[str, ...], field: Any, tmp_path: Path
) -> None:
    with closing(Store(tmp_path / "chats.db")) as store:
        async with chatting(store=store) as (pilot, app, _):
            await pilot.press(*keys)
            await wait_until(pilot, lambda: isinstance(app.focused, Input))
            app.focused.clear()
            app.post_message(Paste("a\x1b[31m\x9bb"))
            await wait_until(pilot, lambda: app.focused.value == "a␛[31m\ufffdb")


# Escape sequences of the terminal

START, END = "\x1b[200~", "\x1b[201~"


def parsed(*chunks: str) -> list[str]:
    """Return the texts of pastes and the names of keys in chunks of terminal input."""
    parser = XTermParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [event.text if isinstance(event, Paste) else event.key for event in events]


@given(
    text=st.lists(st.sampled_from(["a", "é", "\x1b", "\x1b[31m", "\r", "[201~", "\x1b[A", START, "\x1b[20"])),
    cuts=st.lists(st.integers(0, 60)),
)
def test_a_bracketed_paste_is_one_text_however_its_input_is_cut(text: list[str], cuts: list[int]) -> None:
    pasted = "".join(text).replace(END, "")
    data = f"x{START}{pasted}{END}y\x1b[A{START}z{END}\r"
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]
    assert parsed(*chunks) == ["x", pasted.replace("\x1b", "␛"), "y", "up", "z", "enter"]


def test_alt_enter_is_a_new_line_without_a_keyboard_protocol() -> None:
    assert parsed("\x1b\r") == ["ctrl+j"]
