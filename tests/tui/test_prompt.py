"""The input: completion, what was sent before, long pastes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from support.chat_fakes import wait_until
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input, Static

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
    """The rows of the list as they are drawn, without the space at their ends."""
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


async def test_tab_leaves_the_prompt_where_nothing_is_offered() -> None:
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


async def test_a_mention_is_completed_in_the_midst_of_a_message(tmp_path: Path) -> None:
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
async def test_enter_sends_a_message_that_ends_like_a_file(tmp_path: Path, text: str) -> None:
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


async def test_descriptions_cannot_draw_on_the_screen() -> None:
    async with opened(Names(pairs={"evil": "[red]x\x1b[31m\ny[/]"})) as (pilot, _, prompt):
        await pilot.press(*"/pair ")
        assert shown(prompt) == ["› evil  [red]x␛[31m y[/]"]


async def test_two_slashes_send_one_and_come_back_as_two() -> None:
    async with opened() as (pilot, app, prompt):
        await pilot.press(*"//etc", "enter")
        assert app.entered == [("sent", "/etc")]
        prompt.restore("/etc")
        await pilot.pause()
        assert (prompt.text, is_open(prompt)) == ("//etc", False)


# What was sent before


async def test_up_and_down_walk_through_what_was_sent() -> None:
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


async def test_up_moves_the_cursor_first_where_there_are_lines_above() -> None:
    async with opened(past=PromptHistory()) as (pilot, _, prompt):
        prompt.past.add("old")
        prompt.insert("a" * 100)
        await pilot.press("up")
        assert prompt.text == "a" * 100 and prompt.cursor_location[0] == 0
        await pilot.press("up")
        assert prompt.text == "old"
        await pilot.press("down")
        assert prompt.text == "a" * 100


def test_what_was_sent_is_found_again(tmp_path: Path) -> None:
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


def test_several_programs_share_the_file(tmp_path: Path) -> None:
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


def test_the_file_stays_short_and_a_torn_one_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(f'"{i}"\n' for i in range(2 * MOST + 5)) + '"torn', "utf-8")
    assert entries(PromptHistory(path)) == [str(i) for i in range(MOST + 5, 2 * MOST + 5)]
    assert len(path.read_text("utf-8").splitlines()) == MOST
    path.write_bytes(b'{}\n\xff\n"good"\nnull\n"torn')
    PromptHistory(path).add("next")
    assert entries(PromptHistory(path)) == ["good", "next"]


def test_a_file_that_cannot_be_used_costs_the_memory_only(tmp_path: Path) -> None:
    history = PromptHistory(tmp_path)
    history.add("text")
    assert history.earlier("") == "text"


def test_a_message_that_was_changed_is_the_new_draft() -> None:
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
async def test_a_paste_of_200_kilobytes_is_whole_and_can_be_edited(text: str) -> None:
    async with opened() as (pilot, app, prompt):
        prompt.post_message(Paste(text))
        await wait_until(pilot, lambda: prompt.text)
        await pilot.press("x", "enter")
        assert app.entered == [("sent", (text + "x").strip("\n"))]


async def test_the_clipboard_is_pasted_as_it_is_seen() -> None:
    async with opened() as (pilot, app, prompt):
        app._clipboard = "a\x1b[31m\r\nb"
        await pilot.press("ctrl+v")
        assert prompt.text == "a␛[31m\nb"


async def test_a_paste_keeps_tabs_and_what_is_written_in_any_script() -> None:
    text = "all:\n\tmake\tit  \n\nשלום\u200f! \u061ca\u200eb\u200b\u2060 \U0001f469\u200d\U0001f4bb a\u200cb"
    async with opened() as (pilot, app, prompt):
        prompt.post_message(Paste(text))
        await wait_until(pilot, lambda: prompt.text)
        await pilot.press("enter")
        assert app.entered == [("sent", text)]


async def test_what_a_terminal_would_act_on_does_not_reach_the_screen_from_a_paste() -> None:
    async with opened() as (pilot, _, prompt):
        prompt.post_message(Paste("\t\x1b[31m\x07\x9b\u202egnp\u2066.\xad"))
        await wait_until(pilot, lambda: prompt.text)
        assert prompt.text == "\t␛[31m␇\ufffd\ufffdgnp\ufffd."
        assert "\t" not in "".join(prompt.render_line(y).text for y in range(prompt.size.height))
