"""Tests of preparing and loading pairs, and of the loading bar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_gguf
from textual.app import App, ComposeResult

from blendin_local.engine.chat_backend import ReplyRequest
from blendin_local.engine.prompts import Message
from blendin_local.errors import CatalogueError, ModelError, PromptError
from blendin_local.formats import Formats
from blendin_local.history.tree import Setup
from blendin_local.llamacpp.header import read_header
from blendin_local.llamacpp.library import LoadCancelled
from blendin_local.llamacpp.model import GgufModel
from blendin_local.models import loading, memory_estimate
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings
from blendin_local.tui.about import About
from blendin_local.tui.loading import Preparer
from blendin_local.tui.widgets.loading_bar import LoadingBar

CHATML = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
BLEND = BlendSettings(gamma=0.37)


class Files:
    """Two tiny models, and a catalogue with them as the default pair."""

    def __init__(self, folder: Path) -> None:
        self.base = str(tiny_gguf.write_tiny(folder / "Tiny-Base.gguf"))
        self.guide = str(
            tiny_gguf.write_tiny(folder / "Tiny-Guide.gguf", vocabulary="bpe", chat_template=CHATML)
        )
        self.pairs = {
            "mine": PairEntry("mine", self.base, self.guide, blend=BLEND),
            "demo": PairEntry("demo", self.guide, self.base),
        }

    def catalogue(self) -> Catalogue:
        return Catalogue({}, self.pairs)

    def preparer(self, **options: object) -> Preparer:
        given = {"options": ModelOptions(n_ctx=256), "settings": recommended, "catalogue": self.catalogue}
        return Preparer(**(given | options))  # type: ignore[arg-type]


def recommended(entry: PairEntry) -> GenerationSettings:
    return GenerationSettings(entry.blend, replace(entry.sampling, temperature=0.0))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_pair_is_prepared_by_name(files: Files) -> None:
    formats = Formats(guide="chat")
    prepared = files.preparer(system="Be brief.", formats=formats)("mine")
    settings = recommended(files.pairs["mine"])
    assert prepared.setup == Setup(files.base, files.guide, "mine", "Be brief.", settings, formats)
    about = prepared.about
    assert (about.base, about.guide, about.pair, about.blend) == ("Tiny-Base", "Tiny-Guide", "mine", BLEND)
    assert about.memory.startswith("Needs about")
    assert (about.warning, prepared.fits) == ("", True)


def test_two_models_of_a_catalogue_pair_get_its_settings(files: Files) -> None:
    setup = files.preparer()(base=files.base, guide=files.guide).setup
    assert (setup.pair, setup.settings.blend) == ("mine", BLEND)


@pytest.mark.parametrize(
    ("named", "models"),
    [
        ({"pair": "mine", "base": "guide"}, ("guide", "guide")),
        ({"pair": "mine", "guide": "base"}, ("base", "base")),
        ({"base": "base"}, ("base", "base")),
        ({"guide": "guide"}, ("guide", "guide")),
    ],
)
def test_a_pair_with_one_model_replaced_is_another_pair(
    files: Files, named: dict[str, str], models: tuple[str, str]
) -> None:
    given = {key: name if key == "pair" else getattr(files, name) for key, name in named.items()}
    setup = files.preparer()(**given).setup
    assert (setup.base, setup.guide) == tuple(getattr(files, name) for name in models)
    assert (setup.pair, setup.settings.blend) == ("", BlendSettings())


def test_without_names_the_default_pair_is_prepared(files: Files) -> None:
    assert files.preparer()().setup.pair == "demo"


def test_the_settings_function_of_the_caller_is_used(files: Files) -> None:
    own = GenerationSettings(sampling=SamplingSettings(temperature=1.5))
    prepared = files.preparer(settings=lambda entry: own)("mine")
    assert prepared.setup.settings == own
    assert prepared.about.blend == own.blend


def test_the_catalogue_is_read_for_each_pair(files: Files) -> None:
    prepare = files.preparer()
    with pytest.raises(CatalogueError, match="no pair called later"):
        prepare("later")
    files.pairs["later"] = replace(files.pairs["mine"], name="later")
    assert prepare("later").setup.pair == "later"


def test_errors_are_raised_before_loading(files: Files, tmp_path: Path) -> None:
    prepare = files.preparer()
    with pytest.raises(CatalogueError, match="does not exist"):
        prepare(base=str(tmp_path / "gone.gguf"), guide=files.guide)
    with pytest.raises(CatalogueError, match="blendin models pull hf:me/x"):
        prepare(base=files.base, guide="hf:me/x")
    broken = tiny_gguf.truncated(Path(files.base), tmp_path / "cut.gguf", 1000)
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        prepare(base=files.base, guide=str(broken))
    # The base has no chat template.
    with pytest.raises(PromptError, match="no chat template"):
        files.preparer(formats=Formats(base="chat"))("mine")


def test_a_pair_that_exceeds_the_memory_has_a_warning(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 1)
    prepared = files.preparer()("mine")
    assert not prepared.fits
    assert prepared.about.warning.startswith("Not enough memory")


def test_a_prepared_pair_loads(files: Files) -> None:
    prepared = files.preparer(system="")("mine")
    heard: list[tuple[str, float]] = []

    def progress(role: str, share: float) -> bool:
        heard.append((role, share))
        return True

    chat = prepared.load(progress)
    try:
        assert chat.models == {
            "base": read_header(files.base).fingerprint,
            "guide": read_header(files.guide).fingerprint,
        }
        assert chat.context_use()["base"].size == 256
        assert dict.fromkeys(role for role, _ in heard) == {"base": None, "guide": None}
        reply = chat.write(ReplyRequest((Message("user", "hello"),), GenerationSettings(max_tokens=4)))
        assert len(list(reply)) > 0
    finally:
        chat.close()


def test_a_cancelled_load_ends(files: Files) -> None:
    with pytest.raises(LoadCancelled):
        files.preparer()("mine").load(lambda role, share: role != "guide")


def test_models_are_freed_if_loading_fails_at_the_end(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[GgufModel] = []
    close = GgufModel.close

    def fail(*_: object, **__: object) -> None:
        raise ModelError("The vocabularies cannot be mapped.")

    def counted(model: GgufModel) -> None:
        freed.append(model)
        close(model)

    monkeypatch.setattr(GgufModel, "close", counted)
    monkeypatch.setattr(loading, "pair_models", fail)
    with pytest.raises(ModelError, match="mapped"):
        files.preparer()("mine").load(lambda role, share: True)
    assert len(freed) == 2


# The loading bar


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield LoadingBar(About("old-base", "old-guide", memory="Needs little."))


async def test_the_loading_bar_shows_the_pair_and_how_to_cancel() -> None:
    async with Host().run_test() as pilot:
        bar = pilot.app.query_one(LoadingBar)
        bar.show("base", 0.5)
        assert "old-base" in str(bar.render())
        assert "Esc cancels" in str(bar.render())
        await pilot.pause()
        height = bar.size.height
        bar.about(About("new [b]base", "new-guide", memory="Needs much.", warning="Too much."))
        assert "Loading the models  Esc cancels" in str(bar.render())
        bar.show("base", 0.5)
        assert "50%  Esc cancels  new [b]base" in str(bar.render())
        await pilot.pause()
        assert "Too much." in str(bar.render())
        assert bar.size.height == height + 1
        bar.about(About("new-base", "new-guide"))
        assert str(bar.render()) == "Loading the models  Esc cancels"


def test_options_of_one_model_reach_the_model(files: Files) -> None:
    options = ModelOptions(n_ctx=256, n_threads=1, guide_options={"n_ctx": 64})
    chat = files.preparer()("mine", options=options).load(lambda role, share: True)
    try:
        pair = chat._pair  # type: ignore[attr-defined]
        assert (pair.base.n_ctx, pair.guide.n_ctx) == (256, 64)
    finally:
        chat.close()
