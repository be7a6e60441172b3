"""Every test runs with its own configuration, cache and home; only `real` tests see the user's models."""

from __future__ import annotations

import gc
import os

# Threads of llama.cpp that wait for each other busily take the processor from the tests beside them. It is
# read when the library is loaded, also in the programs that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.examples import register_profiles
from support.html_pages import STAND_IN

from blendin_local.engine.pair import Pair
from blendin_local.files import cache_dir
from blendin_local.history.store import Store
from blendin_local.llamacpp.trial import TRUST_VARIABLE
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.download import pull
from blendin_local.models.loading import PairFiles, load_pair, locate_pair, name_pair
from blendin_local.settings import ModelOptions

register_profiles()

_REAL_CACHE = cache_dir()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the nightly tests unless `-m` names them."""
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the names of cases: those of 65 MB were sent from process to process."""
    return ascii(val[:40]) if isinstance(val, str | bytes) and len(val) > 40 else None


def pytest_collection_finish() -> None:
    """What was imported stays: to look through it for garbage again and again takes a quarter of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("BLENDIN_", "HF_", "OLLAMA_", "LLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    # Each test has a cache of its own, and would try every model anew.
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    monkeypatch.setenv("BLENDIN_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("BLENDIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("BLENDIN_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which it runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What is on the disk, seen by another program."""
    with closing(Store(tmp_path / "chats.db")) as store:
        yield store


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of reports hold a line in place of Plotly's 5 MB."""
    monkeypatch.setattr("blendin_local.presentation.html_page.plotly_script", lambda: STAND_IN)


@pytest.fixture(scope="session")
def demo_files() -> PairFiles:
    """The demo pair in the user's own cache, pulled into it where it is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLENDIN_CACHE_DIR", str(_REAL_CACHE))
        catalogue = load_catalogue()
        entry = name_pair(catalogue, "demo")
        for name in (entry.base, entry.guide):
            pull(catalogue.model(name))
        return locate_pair(catalogue, entry)


@pytest.fixture(scope="session")
def demo(demo_files: PairFiles) -> Iterator[Pair]:
    """The demo pair, loaded once. Whoever uses it rewinds what it needs rewound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLENDIN_CACHE_DIR", str(_REAL_CACHE))
        pair = load_pair(demo_files, ModelOptions(n_ctx=2048, n_outputs=64, n_threads=1))
    yield pair
    pair.close()
