"""Tests of the settings form by keyboard, on a small screen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Select

from blendin_local.settings import RECOMMENDED_SAMPLING, BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.tui.app import ChatApp
from blendin_local.tui.screens.settings import Chosen, SettingsScreen
from blendin_local.tui.setting_fields import FIELDS
from blendin_local.tui.widgets.setting_row import SettingRow

RECOMMENDED = GenerationSettings(BlendSettings(gamma=0.35), RECOMMENDED_SAMPLING, max_tokens=256)


class Host(App[None]):
    CSS_PATH: ClassVar = ChatApp.CSS_PATH
    get_theme_variable_defaults = ChatApp.get_theme_variable_defaults


@asynccontextmanager
async def opened(now: Chosen | None = None) -> AsyncIterator[tuple[Pilot[None], SettingsScreen, list[Any]]]:
    """The screen in a host app, and its result."""
    app, left = Host(), list[Any]()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = SettingsScreen(now or Chosen(RECOMMENDED), RECOMMENDED)
        app.push_screen(screen, left.append)
        await pilot.pause()
        yield pilot, screen, left


def row(screen: SettingsScreen, name: str) -> SettingRow:
    return screen.query_one(f"#setting-{name}", SettingRow)


def note(screen: SettingsScreen, name: str) -> str:
    return str(row(screen, name).query_one(".note").render())


def about(screen: SettingsScreen) -> str:
    return str(screen.about.render())


async def type_into(pilot: Pilot[None], screen: SettingsScreen, name: str, *text: str) -> None:
    row(screen, name).focus_control()
    row(screen, name).text = ""
    await pilot.pause()
    await pilot.press(*(key for each in text for key in ([each] if each == "enter" else each)))


async def test_untouched_settings_are_returned_unchanged() -> None:
    now = Chosen(
        GenerationSettings(
            BlendSettings(gamma=1 / 3), SamplingSettings(temperature=0.1), seed=5, stop=(" ", "\\n", "a\nb")
        ),
        "Be [brief].\n\nBe kind.",
        seed_random=False,
    )
    async with opened(now) as (pilot, _, left):
        await pilot.press("ctrl+s")
        assert left == [now]


HOSTILE = " a\tb\x1b[2J\u202e \r\n"


@pytest.mark.parametrize("touched", [False, True])
async def test_hostile_texts_are_shown_sanitized_and_stay_until_edited(touched: bool) -> None:
    now = Chosen(GenerationSettings(stop=("\x1b]0;x\x07",)), HOSTILE)
    async with opened(now) as (pilot, screen, left):
        screen.query_one("#setting-form").scroll_end(animate=False)
        await pilot.pause()
        drawn = "".join(
            part.text for row in ("stop", "system") for area in screen.query(f"#setting-{row} TextArea")
            for y in range(area.size.height) for part in area.render_line(y)
        )  # fmt: skip
        assert "␛]0;x␇" in drawn and "a" in drawn and "b␛[2J\ufffd" in drawn
        assert not set(drawn) & set("\x1b\x07\t\u202e")
        if touched:
            for name in ("stop", "system"):
                row(screen, name).focus_control()
                await pilot.press("ctrl+home", "x")
        await pilot.press("ctrl+s")
        (chosen,) = left
        assert (chosen.settings.stop, chosen.system) == (
            (("x␛]0;x␇",), "x a\tb␛[2J\ufffd") if touched else (now.settings.stop, HOSTILE)
        )


async def test_every_setting_can_be_reached_and_seen_by_keyboard() -> None:
    async with opened() as (pilot, screen, _):
        seen = []
        for _ in range(len(FIELDS) + 1):
            focused = screen.focused
            assert focused and screen.region.contains_region(focused.region)
            assert isinstance(focused.parent, SettingRow) and about(screen)
            seen.append(focused.parent.name)
            marked = [each.name for each in screen.query(".-focused")]
            assert marked == [focused.parent.name]
            screen.focus_next()
            await pilot.pause()
        assert seen == [*FIELDS, "system"]
        assert screen.query_one("#apply").has_focus


async def test_typed_values_are_applied_to_the_next_reply() -> None:
    async with opened() as (pilot, screen, left):
        await type_into(pilot, screen, "gamma", "0.2")
        row(screen, "seed").text = "7"
        await type_into(pilot, screen, "stop", "\\nQ:")
        await type_into(pilot, screen, "system", "Be", "enter", "x")
        await pilot.press("ctrl+s")
        (chosen,) = left
        assert chosen.settings.blend.gamma == 0.2
        assert chosen.settings.sampling == RECOMMENDED.sampling
        assert (chosen.settings.seed, chosen.seed_random, chosen.settings.stop) == (7, False, ("\nQ:",))
        assert chosen.system == "Be\nx"


async def test_a_method_is_chosen_from_a_list_and_dims_idle_settings() -> None:
    async with opened() as (pilot, screen, left):
        assert about(screen).endswith("blendin: the paper's weight where the base is unsure.")
        assert row(screen, "alpha").has_class("-idle") and note(screen, "alpha") == "only for fixed"
        await pilot.press("enter", "down", "down", "enter")
        await pilot.pause()
        assert row(screen, "method").text == "fixed"
        assert about(screen).endswith("fixed: a constant weight where the base is unsure.")
        assert not row(screen, "alpha").has_class("-idle")
        assert note(screen, "method") == "recommended: blendin"
        await pilot.press("down", "up", "enter", "escape")
        assert not left and not screen.query_one(Select).expanded
        await pilot.press("ctrl+s")
        assert left[0].settings.blend.method == "fixed"


async def test_a_wrong_value_is_explained_and_nothing_is_applied() -> None:
    async with opened() as (pilot, screen, left):
        await type_into(pilot, screen, "gamma", "2")
        assert about(screen).startswith("gamma must be between 0")
        assert note(screen, "gamma") == "✗ wrong"
        await type_into(pilot, screen, "top_k", "[x]")
        assert about(screen) == "top_k must be a whole number, not '[x]'."
        row(screen, "unit").focus_control()
        await pilot.press("ctrl+s")
        assert not left and row(screen, "gamma").has_focus_within
        await type_into(pilot, screen, "gamma", "0.35")
        assert note(screen, "gamma") == ""
        await type_into(pilot, screen, "top_k", "0")
        assert about(screen) == FIELDS["top_k"].help
        await pilot.press("ctrl+s")
        assert left[0].settings.sampling.top_k == 0


@pytest.mark.parametrize("key", ["ctrl+r", "button"])
async def test_a_key_sets_the_recommended_values(key: str) -> None:
    now = Chosen(GenerationSettings(BlendSettings(method="nudge"), seed=3, stop=("x",)), "S", False)
    async with opened(now) as (pilot, screen, left):
        assert note(screen, "gamma") == "recommended: 0.35"
        await (pilot.click("#recommend") if key == "button" else pilot.press(key))
        await pilot.pause()
        assert note(screen, "gamma") == "" and not left
        await pilot.press("ctrl+s")
        (chosen,) = left
        assert chosen.settings == GenerationSettings(
            RECOMMENDED.blend, RECOMMENDED.sampling, max_tokens=256, seed=3, stop=("x",)
        )
        assert (chosen.system, chosen.seed_random) == ("S", False)


async def test_escape_changes_nothing() -> None:
    async with opened() as (pilot, screen, left):
        await type_into(pilot, screen, "gamma", "0.2")
        await pilot.press("escape")
        assert left == [None]
