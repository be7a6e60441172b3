"""Tests of choosing another pair by keyboard."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support import tiny_gguf
from support.chat_fakes import wait_until
from support.fake_server import FakeServer, ServedFile, serving
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

import blendin_local.tui
from blendin_local.errors import PromptError
from blendin_local.files import models_dir
from blendin_local.history.tree import Setup
from blendin_local.models import download as sources
from blendin_local.models import memory_estimate
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.download import transfer
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.settings import ModelOptions
from blendin_local.tui.screens import pairs as module
from blendin_local.tui.screens.pairs import PairChoice, PairsScreen
from blendin_local.tui.widgets.pick_list import PickList

FOLDER = Path(blendin_local.tui.__file__).parent
GB = 10**9


class Host(App[None]):
    CSS_PATH = [FOLDER / "app.tcss", FOLDER / "css/pairs.tcss"]  # noqa: RUF012

    def get_theme_variable_defaults(self) -> dict[str, str]:
        # Variables that the chat's app defines.
        return dict.fromkeys(re.findall(r"\$(source-\w+)", (FOLDER / "app.tcss").read_text()), "#ffffff")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(module, "_REST_S", 0)
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 8 * GB)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(transfer, "_RETRY_DELAY_S", 0.0)
    with serving() as server:
        yield server


def tiny(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return tiny_gguf.write_tiny(path, **options)  # type: ignore[arg-type]


class Opened:
    """The screen in a host app, the calls of `prepare`, and the result of the screen."""

    def __init__(self, pilot: Pilot[None], screen: PairsScreen, left: list[Any], asked: list[Any]) -> None:
        self.pilot, self.screen, self.left, self.asked = pilot, screen, left, asked

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        field = self.screen.focused
        assert field is not None
        field.value = text  # type: ignore[attr-defined]
        await self.pilot.pause()

    async def until(self, true: Callable[[], object]) -> None:
        await wait_until(self.pilot, true)

    @property
    def says(self) -> str:
        return self.text("#pairs-says")

    @property
    def about(self) -> str:
        return f"{self.text('#pairs-files')}\n{self.text('#pairs-about')}"

    def text(self, selector: str) -> str:
        return str(self.screen.query_one(selector, Static).render())

    def rows(self, pick_list: PickList[Any] | None = None) -> list[str]:
        options = (pick_list or self.screen.by_pair).options.options
        return [str(option.prompt) for option in options]


@asynccontextmanager
async def opened(
    catalogue: Catalogue,
    current: Setup | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    refuse: str = "",
) -> AsyncIterator[Opened]:
    app, left, asked = Host(), list[Any](), list[Any]()

    def prepare(*names: str, options: ModelOptions | None = None) -> Any:
        asked.append((*names, options) if options else names)
        if refuse:
            raise PromptError(refuse)

    async with app.run_test(size=size) as pilot:
        screen = PairsScreen(current, prepare, ModelOptions(n_ctx=512), lambda: catalogue)
        app.push_screen(screen, left.append)
        await wait_until(pilot, lambda: screen._stock.whole)
        yield Opened(pilot, screen, left, asked)
        screen._search.thread.join()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    base = tiny(tmp_path / "f" / "base.gguf", n_layer=4)
    guide = tiny(tmp_path / "f" / "guide.gguf", vocabulary="bpe", chat_template="{{ x }}")
    return str(base), str(guide)


@pytest.fixture
def catalogue(files: tuple[str, str]) -> Catalogue:
    base, guide = files
    far = ModelEntry("far", ("https://example.invalid/far.gguf",), size=5 * GB, licence="Some licence")
    pairs = [
        PairEntry("mine", base, guide, "the loaded one"),
        PairEntry("same", base, base),
        PairEntry("far", base, "far"),
        PairEntry("gone", base, "/gone/x.gguf"),
        PairEntry("twin", base, guide, "the same two, with other settings"),
    ]
    return Catalogue({"far": far}, {pair.name: pair for pair in pairs})


def setup(catalogue: Catalogue) -> Setup:
    pair = catalogue.pairs["mine"]
    return Setup(pair.base, pair.guide, "mine")


async def test_pairs_of_the_catalogue_are_described(catalogue: Catalogue) -> None:
    async with opened(catalogue, setup(catalogue)) as it:
        heading, mine, same, far, gone, twin, *_ = it.rows()
        assert "catalogue" in heading
        assert mine.startswith("● mine  loaded now")
        assert "the loaded one" in mine
        assert "on disk, takes" in same
        assert far.startswith("↓ far  not on this machine")
        assert gone.startswith("✗ gone  cannot be used")
        assert twin.startswith("  twin")
        # The cursor is on the loaded pair, which Enter does not load again.
        assert it.says == "● Loaded now."
        await it.press("enter")
        assert it.left == []
        await it.press("down")
        assert "same vocabulary" in it.about
        assert "fits beside the loaded pair" in it.about
        await it.press("down")
        assert "5.00 GB · Some licence" in it.about
        assert "`blendin models pull far`" in it.says
        await it.press("down")
        assert it.says == "✗ The model file /gone/x.gguf does not exist."
        await it.press("enter")
        assert it.left == []


async def test_enter_chooses_a_pair_that_can_be_loaded(catalogue: Catalogue) -> None:
    async with opened(catalogue, setup(catalogue)) as it:
        await it.press("down", "enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("same")]
        assert it.asked == [("same", "", "")]


async def test_each_model_has_a_field_for_its_options(catalogue: Catalogue) -> None:
    async with opened(catalogue, setup(catalogue)) as it:
        fields = it.screen.query_one("#pairs-options")
        assert not fields.display
        await it.press("f4")
        assert fields.display
        await it.type("n_ctx=64 n_gpu_layers=1")
        assert "base   n_ctx=64 n_gpu_layers=1" in it.about
        # With other options, Enter loads the loaded pair again.
        assert it.says == "Enter loads it."
        await it.press("tab")
        await it.type("n_ctx=many")
        assert it.says == "✗ guide: n_ctx must be a whole number, not 'many'."
        await it.press("enter")
        assert it.asked == []
        await it.type("foo=1")
        assert it.says.startswith("✗ guide: there is no option 'foo': there are n_ctx,")
        await it.type("kv_type=f32")
        await it.press("enter")
        await it.until(lambda: it.left)
        options = ModelOptions(
            n_ctx=512, base_options={"n_ctx": 64, "n_gpu_layers": 1}, guide_options={"kv_type": "f32"}
        )
        assert it.left == [PairChoice("mine", options=options)]
        assert it.asked == [("mine", "", "", options)]


async def test_options_change_the_memory_estimate_and_can_be_reset(catalogue: Catalogue) -> None:
    async with opened(catalogue, setup(catalogue)) as it:
        await it.press("down", "f4")
        before = it.about
        await it.type("kv_type=f32")
        assert "kv_type=f32" in it.about
        await it.type("")
        assert it.about == before
        await it.press("f4", "enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("same")]


async def test_options_of_the_catalogue_are_shown(files: tuple[str, str]) -> None:
    pair = PairEntry("mine", *files, guide_options={"n_ctx": 32})
    async with opened(Catalogue({}, {"mine": pair})) as it:
        assert "guide  n_ctx=32" in it.about


async def test_an_error_of_prepare_is_shown_and_the_list_stays(catalogue: Catalogue) -> None:
    async with opened(catalogue, refuse="This model has no chat template.") as it:
        await it.press("enter")
        await it.until(lambda: it.asked)
        await it.until(lambda: it.says == "✗ This model has no chat template.")
        assert it.left == []
        await it.press("down", "up")
        assert it.says == "Enter loads it."


async def test_typing_searches(catalogue: Catalogue) -> None:
    async with opened(catalogue) as it:
        await it.press(*"GON")
        assert [row.splitlines()[0] for row in it.rows()] == ["In the catalogue", "✗ gone  cannot be used"]
        await it.type("loaded one")
        assert "mine" in it.rows()[1]
        await it.type("[bold]zzz")
        assert it.rows() == ["Nothing here is called “[bold]zzz”."]
        assert it.says == ""
        await it.press("enter", "down")
        assert it.left == []


async def test_pairs_found_on_the_machine_are_chosen_by_their_files(catalogue: Catalogue) -> None:
    base = tiny(models_dir() / "[red]big\x1b.gguf", n_layer=5)
    guide = tiny(models_dir() / "small-instruct.gguf", n_layer=1, chat_template="{{ x }}")
    async with opened(catalogue) as it:
        row = next(row for row in it.rows() if "small-instruct" in row)
        assert "[red]big␛ + small-instruct" in row
        await it.type("small")
        await it.press("enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("", str(base), str(guide))]


async def test_empty_lists_say_so(tmp_path: Path) -> None:
    async with opened(Catalogue({}, {})) as it:
        assert any("No more" in row for row in it.rows())
        assert it.says == ""
        await it.press("f3")
        assert all("None on this machine yet" in row for row in it.rows(it.screen.bases))
        await it.press("enter", "enter", "down")
        assert it.left == []


async def test_any_two_models_are_chosen_by_keyboard(catalogue: Catalogue) -> None:
    for name in ("a", "b"):
        tiny(models_dir() / f"{name}.gguf", n_layer=1 if name == "a" else 3, vocabulary="bpe")
    embedder = tiny(models_dir() / "embedder.gguf", arch="bert")
    async with opened(catalogue, setup(catalogue)) as it:
        await it.press("f3", "down")
        assert it.screen.bases.row and it.screen.bases.row.value.name == "b"
        await it.press("enter")
        assert it.screen.guides.field.has_focus
        assert "no chat template" in it.about
        await it.press("tab", "tab", "e", "m")
        # Each list has its own search.
        assert it.says == f"✗ {embedder} cannot write text: it is an embedding model."
        assert "✗" in it.rows(it.screen.guides)[0]
        await it.press("enter")
        assert it.left == []
        await it.type("a")
        await it.press("enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("", str(models_dir() / "b.gguf"), str(models_dir() / "a.gguf"))]


async def test_a_path_may_be_typed(
    catalogue: Catalogue, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files[0]).parent)
    async with opened(catalogue) as it:
        await it.press("f3")
        await it.type("/gone/y.gguf")
        await it.press("enter")
        await it.type("guide.gguf")
        await it.until(lambda: it.says == "✗ The model file /gone/y.gguf does not exist.")
        await it.press("enter", "tab")
        assert it.left == []
        await it.type("base.gguf")
        await it.until(lambda: "of the guide's tokens are the base's too" in it.about)
        assert it.says == "Enter loads it."
        await it.press("enter", "enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("", *files)]


async def test_a_pair_that_exceeds_the_memory_needs_a_second_enter(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 1)
    async with opened(catalogue, setup(catalogue)) as it:
        await it.press("down")
        assert "Not enough memory" in it.about
        await it.press("enter")
        assert it.says == "Press Enter again to load it anyway."
        # Moving to another row cancels the confirmation.
        await it.press("up", "down", "enter")
        assert it.left == []
        await it.press("enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("same")]


def remote(server: FakeServer, files: tuple[str, str], **served: Any) -> Catalogue:
    """A pair whose guide must be pulled from a server."""
    server.files["/guide.gguf"] = ServedFile(Path(files[1]).read_bytes(), **served)
    model = ModelEntry("guide", (f"{server.url}/guide.gguf",))
    return Catalogue({"guide": model}, {"far": PairEntry("far", files[0], "guide")})


async def test_a_pair_is_pulled_at_the_second_enter(server: FakeServer, files: tuple[str, str]) -> None:
    async with opened(remote(server, files)) as it:
        await it.press("enter")
        assert "Enter once more downloads it" in it.says
        assert not server.requests
        await it.press("enter")
        await it.until(lambda: it.says == "Enter loads it.")
        assert it.screen.by_pair.row and it.screen.by_pair.row.value.name == "far"
        await it.press("enter")
        await it.until(lambda: it.left)
        assert it.left == [PairChoice("far")]


async def test_a_failed_pull_shows_its_error(server: FakeServer, files: tuple[str, str]) -> None:
    async with opened(remote(server, files)) as it:
        server.files.clear()
        await it.press("enter", "enter")
        await it.until(lambda: "has no such file (404)" in it.says)
        assert it.says.startswith("✗ ")
        await it.press("enter")
        assert it.left == []


async def test_escape_stops_a_pull_and_then_closes(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, never = [], threading.Event()

    def pull(entry: ModelEntry, *, progress: sources.Progress) -> None:
        try:
            while not never.wait(0.005):
                progress(10_000_000, 20_000_000, "downloading [x].gguf")
        except BaseException:
            stopped.append(entry.name)
            raise

    monkeypatch.setattr("blendin_local.tui.pulling.pull", pull)
    model = ModelEntry("guide", ("https://example.invalid/x.gguf",))
    catalogue = Catalogue({"guide": model}, {"far": PairEntry("far", files[0], "guide")})
    async with opened(catalogue) as it:
        await it.press("enter", "enter")
        await it.until(lambda: "10 of 20 MB  downloading [x].gguf" in it.says)
        await it.press("enter", "escape")
        await it.until(lambda: "Not on this machine" in it.says)
        assert stopped == ["guide"]
        assert it.left == []
        await it.press("enter", "enter")
        await it.until(lambda: "downloading" in it.says)
        await it.press("escape", "escape")
        assert it.left == [None]
        await it.until(lambda: len(stopped) == 2)


@pytest.mark.parametrize("size", [(80, 24), (40, 15)])
async def test_everything_is_on_the_screen(catalogue: Catalogue, size: tuple[int, int]) -> None:
    async with opened(catalogue, setup(catalogue), size=size) as it:
        await it.press("pagedown", "up", "up")
        for selector in ("#pairs-list OptionList", "#pairs-says", "#pairs-list Input"):
            region = it.screen.query_one(selector).region
            assert region.area and it.screen.region.contains_region(region), selector
        await it.press("f3")
        for pick_list in (it.screen.bases, it.screen.guides):
            assert pick_list.options.region.height > 0
