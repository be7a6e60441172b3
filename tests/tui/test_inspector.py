"""Tests of the inspector: token text, columns of candidates, branching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.awkward import AWKWARD
from textual.app import App, ComposeResult

import blendin_local.tui
from blendin_local.engine.steps import Candidate, Candidates, Source, Step
from blendin_local.safe_text import sanitize
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.tui.rows import fit
from blendin_local.tui.token_text import SILENT, spoken, visible
from blendin_local.tui.widgets.candidates_table import CandidatesTable, columns_of, is_choice
from blendin_local.tui.widgets.inspector import Inspector

STYLES = Path(blendin_local.tui.__file__).parent / "css" / "inspector.tcss"
COLOURS = {f"source-{name}": "#f2f2f2" for name in ("base", "guide", "both", "blend")}


def of(*candidates: tuple[bytes, float, int]) -> tuple[Candidate, ...]:
    return tuple(Candidate(*candidate) for candidate in candidates)


BASE = of((b" the", 0.27, 1), (b" Paris", 0.12, 2), (b"", 0.04, 6), (b"\xe2\x80", 0.03, 7))
GUIDE = of((b"Paris", 0.4, 2), (b"<|im_start|>", 0.2, -1), (b" a", 0.1, 9))
BLEND = of((b" Paris", 0.3, 2), (b" the", 0.23, 1), (b"\n", 0.05, 5))
STEP = Step(
    index=11,
    data=b" Paris",
    text=" Paris",
    source=Source.GUIDE,
    outcome=2,
    c_b=0.27,
    c_g=0.4,
    r_b=0.31,
    r_g=0.52,
    agreement=0.12,
    alpha=0.609,
    consulted=True,
    intervened=True,
    changed=True,
    probability=0.3,
    stop_mass=0.01,
    guide_rank=1,
    base_entropy=4.12,
    guide_entropy=2.71,
    divergence=0.35,
    candidates=Candidates(BASE, GUIDE, BLEND),
)
ALONE = replace(
    STEP,
    source=Source.BASE,
    outcome=1,
    c_b=0.93,
    c_g=None,
    consulted=False,
    intervened=False,
    candidates=Candidates(BASE, (), BASE),
)


class Host(App[None]):
    CSS_PATH = STYLES

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Inspector.Branch | Inspector.Move] = []

    def compose(self) -> ComposeResult:
        yield Inspector()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return COLOURS

    def on_inspector_branch(self, event: Inspector.Branch) -> None:
        self.heard.append(event)

    def on_inspector_move(self, event: Inspector.Move) -> None:
        self.heard.append(event)

    @property
    def inspector(self) -> Inspector:
        return self.query_one(Inspector)

    @property
    def branched(self) -> list[int]:
        return [event.candidate.outcome for event in self.heard if isinstance(event, Inspector.Branch)]

    def shown(self) -> list[str]:
        """The lines of the screen."""
        strips = self.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]


async def show(
    pilot: Any, step: Step | None, *, calibrated: bool = True, settings: GenerationSettings | None = None
) -> str:
    pilot.app.inspector.show(step, settings or GenerationSettings(), calibrated, (11, 340))
    pilot.app.inspector.focus()
    await pilot.pause()
    await pilot.pause()
    return "\n".join(pilot.app.shown())


# Token text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "(stop)"),
        (b" Paris", "·Paris"),
        (b"a\n\tb\r", "a⏎⇥b␍"),
        (b"\xe2\x80", "<E2><80>"),
        (b"a\xff", "a<FF>"),
        ("東京".encode(), "東京"),
        (b"\x1b[31m", "␛[31m"),
        ("\u202eabc".encode(), "<U+202E>abc"),
        ("\u200b".encode(), "<U+200B>"),
        ("\u2764\ufe0f".encode(), "\u2764<U+FE0F>"),
        ("\u00a0\u3000".encode(), "<U+00A0><U+3000>"),
        ("\u0301".encode(), "◌\u0301"),
        ("e\u0301".encode(), "e\u0301"),
        (b"[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_every_byte_of_a_token_is_visible(data: bytes, text: str) -> None:
    assert visible(data) == text


def test_a_token_without_text_is_not_shown_as_the_stop() -> None:
    assert spoken(replace(STEP, data=b"")) == SILENT
    assert spoken(replace(STEP, data=b"", source=Source.STOP)) == "(stop)"


@given(st.one_of(st.binary(max_size=40), st.text().map(str.encode), st.sampled_from(AWKWARD).map(str.encode)))
@example(b"x" * 100_000)
def test_token_text_is_one_sanitized_line_of_the_right_width(data: bytes) -> None:
    text = visible(data)
    assert text and sanitize(text) == text and "\n" not in text
    assert cell_len(text) > 0 and len(text) <= 10_000
    for width in (0, 1, 5, 30):
        assert cell_len(fit(text, width)) == width


# Columns


def test_the_choice_is_found_by_outcome_and_added_if_it_is_not_listed() -> None:
    assert [column.name for column in columns_of(STEP)] == ["base", "guide", "blend"]
    assert [len(column.candidates) for column in columns_of(STEP)] == [4, 3, 3]
    blend = columns_of(replace(STEP, outcome=77, data=b" Berlin", probability=0.01))[2]
    assert blend.candidates[3] == Candidate(b" Berlin", 0.01, 77)
    assert blend.rest == pytest.approx(1 - 0.3 - 0.23 - 0.05 - 0.01)
    # Neither forced text nor a candidate that the base cannot express has an outcome.
    unknown = columns_of(replace(STEP, outcome=-1))
    assert [len(column.candidates) for column in unknown] == [4, 3, 3]
    assert not is_choice(GUIDE[1], replace(STEP, outcome=-1))


def test_a_writer_without_intervention_has_one_column() -> None:
    assert [column.name for column in columns_of(ALONE)] == ["base"]
    assert [column.name for column in columns_of(replace(ALONE, candidates=None))] == []


def test_a_stop_of_the_guide_is_marked_in_its_column() -> None:
    stopped = replace(
        ALONE,
        source=Source.STOP,
        data=b"",
        outcome=99,
        consulted=True,
        stop_mass=0.9,
        probability=0.9,
        candidates=Candidates(of((b" the", 0.9, 1)), of((b".", 0.1, 3)), ()),
    )
    base, guide = columns_of(stopped)
    assert len(base.candidates) == 1
    assert guide.candidates[1] == Candidate(b"", 0.9, 99)


# Showing


@pytest.mark.parametrize("width", [38, 120])
async def test_a_step_is_shown_with_source_metrics_and_candidates(width: int) -> None:
    async with Host().run_test(size=(width, 40)) as pilot:
        sampled = GenerationSettings(sampling=SamplingSettings(temperature=0.7))
        text = await show(pilot, STEP, settings=sampled)
        for part in (
            "12 of 340  ·Paris",
            "the guide's choice",
            "probability 0.30, temperature 0.7",
            "c_b 0.27 < γ 0.40",
            "= 0.61",
            "<E2",
            "(st",
            "✓·Par",
        ):
            assert part in text
        squeezed = " ".join(text.split())
        for part in ("confidence 0.27 0.40", "reliability 0.31 0.52", "entropy, bits 4.12 2.71"):
            assert part in squeezed
        for part in ("agreement 0.12", "divergence 0.35", "guide rank 2"):
            assert part in squeezed
        assert text.count("✓") == 3


async def test_reliability_is_not_shown_without_calibration() -> None:
    async with Host().run_test(size=(38, 40)) as pilot:
        text = " ".join((await show(pilot, STEP, calibrated=False)).split())
        assert "reliability not calibrated" in text and "0.31" not in text


async def test_the_formula_follows_the_settings_of_the_reply() -> None:
    async with Host().run_test(size=(120, 40)) as pilot:
        settings = GenerationSettings(blend=BlendSettings(method="doubt"))
        assert "(1 − 0.27)·0.40·(1 + 0.12)" in await show(
            pilot, replace(STEP, alpha=0.327), settings=settings
        )


async def test_the_inspector_without_a_step_explains_itself() -> None:
    async with Host().run_test(size=(38, 20)) as pilot:
        assert "Choose a token" in await show(pilot, None)
        assert "were not kept" in " ".join((await show(pilot, replace(STEP, candidates=None))).split())
        written = replace(ALONE, source=Source.USER, c_b=None, candidates=None, data=b"mine", outcome=-1)
        text = await show(pilot, written)
        assert "you wrote this; no model was asked" in text and "confidence" not in text
        await pilot.press("enter", "1", "up", "right")
        assert "Choose a token" in await show(pilot, None)
        assert not pilot.app.branched  # type: ignore[attr-defined]


HOSTILE = (
    b"\x1b[2J\x1b[31mred",
    b"[bold red]x[/]",
    "\u202eabc\u202c".encode(),
    b"\xe2\x80",
    "東京は日本の首都です。".encode(),
    "\U0001f469\u200d\U0001f4bb\U0001f1eb\U0001f1f7\U0001f3fb".encode(),
    "\u0301\u0301e".encode(),
    b"w" * 5000,
)


@pytest.mark.parametrize(("width", "no_colour"), [(38, True), (120, False)])
async def test_hostile_tokens_stay_in_their_columns(
    width: int, no_colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    listed = tuple(Candidate(data, 0.1, place) for place, data in enumerate(HOSTILE))
    # The columns are aligned if the numbers are.
    plain = tuple(replace(candidate, data=b"x") for candidate in listed)
    host = Host()
    async with host.run_test(size=(width, 60)) as pilot:
        for data in HOSTILE:
            step = replace(STEP, data=data, outcome=5, candidates=Candidates(listed, listed, listed))
            text = await show(pilot, step)
            assert all(cell_len(line) == width for line in host.shown())
            assert not set(text) & set("\x1b\u202e\u202c\u200d")
        table = host.query_one(CandidatesTable)
        hostile_lines = table.render().plain.split("\n")
        table.show(replace(step, candidates=Candidates(plain, plain, plain)))
        plain_lines = table.render().plain.split("\n")
        for hostile, simple in zip(hostile_lines[1:-2], plain_lines[1:-2], strict=True):
            assert ends_of_numbers(hostile) == ends_of_numbers(simple)
            assert cell_len(hostile) <= table.content_size.width


def ends_of_numbers(line: str) -> list[int]:
    """The cells at which the probabilities end."""
    return [cell_len(line[: place + 2]) for place in range(len(line)) if line[place : place + 2] == ".1"]


async def test_the_cursor_is_visible_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    host = Host()
    async with host.run_test(size=(38, 40)) as pilot:
        await show(pilot, STEP)

        def reversed_cells() -> list[str]:
            strips = host.screen._compositor.render_strips()
            return [each.text for strip in strips for each in strip if each.style and each.style.reverse]

        assert any("·the" in text for text in reversed_cells())
        host.screen.set_focus(None)
        await pilot.pause()
        assert not reversed_cells()


# Branching


KEYS: tuple[tuple[list[str], list[int]], ...] = (
    # The column of the mixture is highlighted; its first candidate was chosen.
    (["enter"], [1]),
    (["3"], [5]),
    (["down", "down", "down", "enter"], [5]),
    (["1"], []),
    (["up", "up", "up", "enter"], []),
    (["9"], []),
    # The base cannot express the guide's second candidate.
    (["left", "2"], []),
    (["left", "enter"], [9]),
    (["left", "left", "1"], [1]),
    (["left", "left", "left", "3"], [6]),
    (["left", "right", "right", "3"], [5]),
)


async def test_keys_choose_a_candidate() -> None:
    host = Host()
    async with host.run_test(size=(120, 40)) as pilot:
        for keys, branched in KEYS:
            host.query_one(CandidatesTable).move_column(2)
            await show(pilot, replace(STEP))
            await pilot.press(*keys)
            assert host.branched == branched, keys
            host.heard.clear()


async def test_a_step_of_the_base_alone_can_branch() -> None:
    host = Host()
    async with host.run_test(size=(38, 40)) as pilot:
        await show(pilot, ALONE)
        await pilot.press("1", "2")
        await pilot.pause()
        assert host.branched == [2]


async def test_a_candidate_that_is_not_offered_says_why() -> None:
    async with Host().run_test(size=(120, 40)) as pilot:
        assert "Enter: branch to ·the" in await show(pilot, STEP)
        await pilot.press("1")
        assert "·Paris is what was chosen" in await show(pilot, STEP)
        await pilot.press("left", "2")
        text = await show(pilot, STEP)
        assert "<|im_start|> cannot be chosen here" in text


async def test_a_click_chooses_a_candidate() -> None:
    host = Host()
    async with host.run_test(size=(120, 40)) as pilot:
        await show(pilot, STEP)
        lines = host.query_one(CandidatesTable).render().plain.split("\n")
        places = {name: lines[0].index(name) for name in ("base", "guide", "blend")}
        for name, row in (("guide", 3), ("base", 4), ("blend", 1), ("guide", 2), ("base", 6)):
            await pilot.click(CandidatesTable, offset=(places[name], row))
        assert host.branched == [9, 7]
        await pilot.click(CandidatesTable, offset=(places["blend"], 0))
        await pilot.press("3")
        assert host.branched == [9, 7, 5]


async def test_moving_to_another_token_keeps_the_column() -> None:
    host = Host()
    async with host.run_test(size=(120, 40)) as pilot:
        await show(pilot, STEP)
        await pilot.press("left", "h", "comma", "l", "full_stop")
        deltas = [event.delta for event in host.heard if isinstance(event, Inspector.Move)]
        assert deltas == [-1, -1, 1, 1]
        await show(pilot, ALONE)
        await show(pilot, replace(STEP))
        await pilot.press("3")
        assert host.branched == [9]


async def test_the_cursor_is_scrolled_into_view() -> None:
    host = Host()
    async with host.run_test(size=(38, 10)) as pilot:
        await show(pilot, STEP)
        assert "✓" not in "\n".join(host.shown())
        await pilot.press("up")
        await pilot.pause()
        assert "✓·Par" in "\n".join(host.shown())


def test_every_binding_can_be_rebound() -> None:
    bindings = Inspector.BINDINGS
    assert all(binding.id.startswith("inspector.") for binding in bindings)  # type: ignore[union-attr]
    assert len({binding.id for binding in bindings}) == len(bindings)  # type: ignore[union-attr]
