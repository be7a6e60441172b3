"""Tests of the panel, the status line, the legend and the title bar."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.chat_fakes import wait_until
from support.panel_fakes import metrics_of
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Input, Static

import blendin_local.tui
from blendin_local.engine.chat_backend import ContextUse
from blendin_local.presentation.colour_scale import BAND_COLOURS, MODES, Mode, ranges
from blendin_local.presentation.explanation import FIGURE_HELP, describe_reply
from blendin_local.settings import BlendSettings
from blendin_local.tui.about import About
from blendin_local.tui.metrics import PanelMetrics, Totals
from blendin_local.tui.phase import Phase
from blendin_local.tui.rows import PanelLayout
from blendin_local.tui.widgets.legend import Legend
from blendin_local.tui.widgets.metric_section import MetricSection, explained
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.status_line import StatusLine
from blendin_local.tui.widgets.title_bar import TitleBar

ABOUT = About("base-model", "guide-model", "demo")
WIDE, HUGE, SMALL = (120, 40), (200, 60), (80, 24)
_STYLES = Path(blendin_local.tui.__file__).parent
_SOURCES = ("base", "guide", "both", "blend")
_COLOURS = {f"source-{source}": ("#fff", "#000") for source in _SOURCES} | BAND_COLOURS


def shown(n: int = 16, **changes: Any) -> PanelMetrics:
    reply = metrics_of(n)
    full = PanelMetrics(
        ABOUT,
        reply=reply,
        totals=Totals.of([reply.summary, *[metrics_of(2).summary] * 4]),
        context_use={"base": ContextUse(412, 4096), "guide": ContextUse(3800, 4096)},
        memory=913_000_000,
        weak_passages=3,
        weak_at=1,
    )
    return replace(full, **changes)


class Host(App[None]):
    CSS_PATH: ClassVar = [_STYLES / "app.tcss", _STYLES / "css" / "panel.tcss"]
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (100, "-wide"), (160, "-very-wide")]

    def __init__(self, about: About = ABOUT) -> None:
        super().__init__()
        self.about = about

    def get_theme_variable_defaults(self) -> dict[str, str]:
        dark = self.current_theme.dark
        return {name: pair[0 if dark else 1] for name, pair in _COLOURS.items()}

    def compose(self) -> ComposeResult:
        yield TitleBar(self.about)
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield Input()
                yield StatusLine()
            yield Panel(self.about, id="panel")

    @property
    def panel(self) -> Panel:
        return self.query_one(Panel)

    @property
    def status(self) -> StatusLine:
        return self.query_one(StatusLine)

    @property
    def seen(self) -> str:
        """Return the text of the screen."""
        rows = self.screen._compositor.render_strips(self.size)
        return "\n".join("".join(segment.text for segment in row) for row in rows)


@asynccontextmanager
async def running(size: tuple[int, int] = WIDE, about: About = ABOUT) -> Any:
    app = Host(about)
    async with app.run_test(size=size) as pilot:
        app.screen.add_class("-panel-shown")
        await pilot.pause()
        yield app, pilot


async def drawn(pilot: Pilot[None], metrics: PanelMetrics) -> str:
    app = pilot.app
    assert isinstance(app, Host)
    app.panel.show(metrics)
    await pilot.pause()
    return app.seen


# The panel


async def test_a_wide_screen_shows_the_most_important_metrics() -> None:
    async with running() as (_, pilot):
        seen = await drawn(pilot, shown())
    for line in (
        "demo          blendin  γ 0.40",
        "guide  guide-model",
        "Confidence            now  mean",
        "the pair is not calibrated",
        r"base        ━+╸?─*  0\.90  0\.6[78]",
        r"guide       ━+╸?─*  0\.35  0\.35",
        r"who spoke mean 0\.66  lowest 0\.35",
        r"weak steps 38%    passage 2/3",
        r"intervened  .{8}  38%!  25%!",
        r"changed     .{8}  12%   8% ",
        r"guide words .{8}  25%!  17% ",
        r"Who spoke +▚ you +12%",
        r"█ base +50% +▓ guide +12%",
        r"▒ both +12% +░ blend +12%",
        r"α           ━+╸?─*  0\.62  0\.62",
        r"agreement   ━+╸?─*  0\.25  0\.25",
        r"divergence  ━+╸?─*  0\.38  0\.38",
    ):
        assert re.search(line.replace("  ", " +"), seen), line
    words = describe_reply(shown().reply.summary, "blendin", 0.2, False)
    panel = "\n".join(line[-34:] for line in seen.splitlines())
    assert words in " ".join(panel.split())


async def test_a_huge_screen_shows_all_sections() -> None:
    async with running(HUGE) as (app, pilot):
        seen = await drawn(pilot, shown(calibrated=True))
        assert app.panel.outer_size.width == 44
    texts = "Reliability|calibrated for this pair|tokens/s|40.0|0.42 s|16, in the chat 24|412/4096|guide !"
    for text in f"{texts}|3800/4096|0.91 GB|the base's own choice|you chose or wrote it".split("|"):
        assert text in seen


async def test_new_metrics_repaint_only_changed_lines() -> None:
    async with running() as (app, pilot):
        await drawn(pilot, shown())
        regions = {each: each.region for each in app.query("*")}
        layouts, painted = 0, set[str]()
        lay_out = app.screen._refresh_layout

        def counted(*args: Any, **options: Any) -> None:
            nonlocal layouts
            layouts += 1
            lay_out(*args, **options)

        app.screen._refresh_layout = counted
        for section in app.query(MetricSection):
            section.refresh = partial(lambda name, *regions: painted.add(name), type(section).__name__)
        await drawn(pilot, shown())
        assert painted == set()
        await drawn(pilot, shown(memory=1_000_000_000))
        assert painted == {"ContextSection"}
        for n in (3, 2000):
            await drawn(pilot, shown(n, calibrated=True, weak_passages=0, weak_at=None))
        assert len(painted) > 4
        assert layouts == 0
        assert {each: each.region for each in app.query("*")} == regions


@pytest.mark.parametrize("width", [32, 33, 40])
def test_no_row_is_wider_than_the_panel(width: int) -> None:
    about = About("b" * 90, "木" * 90, "p" * 90, blend=BlendSettings(method="fixed"))
    metrics = shown(4000, about=about, weak_passages=120, weak_at=99, calibrated=True)
    metrics.reply.summary.timings.total_s = 4000.4
    context_use = {"base": ContextUse(32768, 32768), "guide": ContextUse(131071, 131072)}
    for case in (
        metrics,
        replace(metrics, context_use=context_use),
        PanelMetrics(about),
        replace(metrics, weak_at=None),
    ):
        panel = Panel(about)
        for section in panel._sections:
            for row in section.rows(case, PanelLayout(width)):
                assert [str(line) for line in row.lines if line.cell_length > width] == []


async def test_the_cursor_explains_every_metric() -> None:
    async with running(SMALL) as (app, pilot):
        await drawn(pilot, shown())
        words = app.panel.query_one("#words", Static)
        unexplained = str(words.content)
        app.panel.focus()
        await pilot.pause()
        assert app.panel.metric == "confidence"
        seen = []
        for _ in app.panel._stops:
            assert str(words.content) == f"{app.panel.metric}: {FIGURE_HELP[app.panel.metric]}"
            section, place = app.panel._stops[app.panel._cursor]
            row = section.region_of(place).translate(section.region.offset)
            assert app.panel.query_one("#metrics").region.contains_region(row)
            seen.append(app.panel.metric)
            await pilot.press("down")
        assert {*seen, "reliability"} == set(FIGURE_HELP)
        await pilot.press("home", "up")
        assert app.panel.metric == "confidence"
        app.query_one(Input).focus()
        await pilot.pause()
        assert str(words.content) == unexplained
        sections = app.query(MetricSection)
        assert "reverse" not in str([line.spans for section in sections for line in section._lines])


@pytest.mark.parametrize("size", [SMALL, HUGE])
async def test_every_help_line_fits(size: tuple[int, int]) -> None:
    async with running(size) as (app, _):
        words = app.panel.query_one("#words", Static)
        for metric in FIGURE_HELP:
            lines = Content(str(explained(metric))).wrap(words.size.width)
            assert len(lines) <= words.size.height, metric


async def test_the_mouse_explains_and_chooses() -> None:
    async with running() as (app, pilot):
        await drawn(pilot, shown())
        section = app.query("RatesSection").first(MetricSection)
        await pilot.hover(section, offset=(3, 2))
        assert str(section.tooltip) == str(explained("changed-token rate"))
        await pilot.hover(app.query("PairSection").first(), offset=(3, 0))
        assert app.query("PairSection").first().tooltip is None
        await pilot.click(section, offset=(3, 3))
        assert app.panel.has_focus
        assert app.panel.metric == "guide-word rate"


@pytest.mark.parametrize(
    ("method", "hint_rate", "marked"),
    [("blendin", 0.2, True), ("blendin", 0.5, False), ("ensemble", 0.2, False)],
)
async def test_rates_over_the_hint_level_are_marked(method: str, hint_rate: float, marked: bool) -> None:
    about = replace(ABOUT, blend=BlendSettings(method=method))
    async with running(HUGE) as (app, pilot):
        metrics = shown(about=about, hint_rate=hint_rate)
        seen = await drawn(pilot, metrics)
        assert ("38%!" in seen) is marked
        assert ("╂" in seen) is (method == "blendin")
        assert method in seen.splitlines()[1]
        app.status.show(Phase.READY)
        app.status.show_progress(metrics)
        await pilot.pause()
        assert ("intervened 38%!" in said(app)) is marked


async def test_model_names_are_sanitized() -> None:
    name = "x\x1b[31m[bold]\ny\u202e"
    async with running(HUGE, About(name, name, name)) as (_, pilot):
        seen = await drawn(pilot, shown(about=About(name, name, name)))
    assert seen.count("x␛[31m[bold] y�") >= 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", seen)


# The status line and the legend


def said(app: Host) -> str:
    return str(app.status.state.content)


async def test_the_status_line_shows_the_phase() -> None:
    async with running(HUGE) as (app, _):
        app.status.show(Phase.READY)
        assert said(app) == "● Ready"
        app.status.show_progress(shown(calibrated=True), (2, 3))
        figures = (
            "16 tokens · 40/s · intervened 38%! · reliability 0.66 · lowest 0.35! · context 93%! · branch 2/3"
        )
        assert said(app) == f"● Ready · {figures}"
        app.status.show(Phase.WRITING)
        assert said(app) == "● Reading the conversation …"
        context_use = {"base": ContextUse(100, 1000)}
        app.status.show_progress(shown(1, context_use=context_use))
        assert (
            said(app) == "● Writing · 1 token · intervened 0% · confidence 0.90 · lowest 0.90 · context 10%"
        )
        app.status.show(Phase.STOPPING)
        assert said(app).startswith("● Stopping … · 1 token")
        app.status.show_progress(PanelMetrics(ABOUT))
        assert said(app) == "● Stopping …"


async def test_the_status_line_drops_parts_that_do_not_fit() -> None:
    async with running(SMALL) as (app, pilot):
        app.status.show(Phase.WRITING)
        app.status.show_progress(shown(), (2, 3))
        assert said(app) == "● Writing · context 93%!"
        await pilot.resize_terminal(110, 30)
        everything = "● Writing · 16 tokens · 40/s · confidence 0.66 · context 93%!"
        await wait_until(pilot, lambda: said(app) == everything)


@pytest.mark.parametrize("mode", MODES)
async def test_the_legend_of_every_colour_mode(mode: Mode) -> None:
    names = ["base", "guide", "both", "blend", "you"] if mode == "source" else [*ranges(mode)]
    async with running(HUGE) as (app, pilot):
        app.status.show_colours(mode)
        app.panel.show_colours(mode)
        await pilot.pause()
        bottom = app.seen.splitlines()[4]
        assert all(name in bottom for name in names)
        one, explained_one = app.query(Legend)
        assert one.region.right == app.status.content_region.right
        assert explained_one.size.height == 5
        looks = {
            (style.bold, style.italic, style.underline)
            for sample, _ in explained_one._samples()
            for _, _, style in sample.spans
        }
        assert len(looks) == len(names)
        app.status.show_colours(None)
        await pilot.resize_terminal(*SMALL)
        await pilot.pause()
        assert "Markdown" in app.seen


async def test_the_title_names_another_pair() -> None:
    async with running() as (app, pilot):
        assert "demo  base-model + guide-model" in app.seen
        app.query_one(TitleBar).show(About("b", "g", blend=BlendSettings(method="nudge", gamma=0.3)))
        await pilot.pause()
        assert re.search(r"blendin  b \+ g .* nudge γ 0.30 $", app.seen.splitlines()[0])
