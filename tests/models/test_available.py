"""What can be chosen on this machine, and how two models fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_gguf
from support.fakes import shared_tokens

from blendin_local.engine.vocabulary import TokenKind, map_vocabularies
from blendin_local.errors import CatalogueError
from blendin_local.files import models_dir
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.llamacpp.tokenizer import open_tokenizer
from blendin_local.models.available import Inventory, Search, available_model
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.compatibility import Overlap, cautions, check_memory, find_overlap, same_vocabulary
from blendin_local.models.download import pull
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.models.memory_estimate import estimate
from blendin_local.settings import ModelOptions

OPTIONS = ModelOptions(n_ctx=512)


@pytest.fixture(autouse=True)
def no_cache_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def tiny(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return tiny_gguf.write_tiny(path, **options)  # type: ignore[arg-type]


def whole(search: Search) -> Inventory:
    search.thread.join()
    assert search.inventory.whole
    assert not search.reading
    return search.inventory


def catalogue_of(tmp_path: Path) -> Catalogue:
    """A pair of files, one of a pulled model and a file, one that must be pulled, and a broken one."""
    base = tiny(tmp_path / "b" / "base.gguf", n_layer=4)
    guide = tiny(tmp_path / "g" / "guide.gguf", vocabulary="bpe", chat_template="{{ x }}")
    names = {"pulled": str(guide), "far": "https://example.invalid/far.gguf"}
    models = {name: ModelEntry(name, (source,)) for name, source in names.items()}
    pull(models["pulled"])
    pairs = [
        PairEntry("files", str(base), str(guide), "two files"),
        PairEntry("mixed", "pulled", str(base)),
        PairEntry("far", "far", "far"),
        PairEntry("half", "pulled", "far"),
        PairEntry("gone", str(tmp_path / "gone.gguf"), "pulled"),
        PairEntry("unknown", "pulled", "nobody"),
        PairEntry("long", "pulled", f"/{'a' * 300}.gguf"),
    ]
    return Catalogue(models, {pair.name: pair for pair in pairs})


def test_pairs_of_the_catalogue_are_here_or_to_be_pulled_or_cannot_be_used(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    stock = whole(Search(lambda: catalogue, (str(tmp_path / "b" / "base.gguf"), "pulled")))
    pairs = {pair.name: pair for pair in stock.pairs}
    assert list(pairs) == list(catalogue.pairs)
    assert [name for name, pair in pairs.items() if pair.headers] == ["files", "mixed"]
    assert pairs["files"].note == "two files"
    assert stock.loaded is not None
    assert stock.loaded.paths == pairs["files"].paths
    assert pairs["far"].missing == (catalogue.models["far"],)
    assert pairs["half"].missing == (catalogue.models["far"],)
    assert "gone.gguf does not exist" in pairs["gone"].problem
    assert "no model called nobody" in pairs["unknown"].problem
    assert "cannot be read: File name too long." in pairs["long"].problem


def test_models_are_named_by_the_catalogue_and_the_unusable_come_last(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    found = tiny(models_dir() / "found.gguf")
    embedder = tiny(models_dir() / "a-embedder.gguf", arch="bert")
    broken = models_dir() / "broken.gguf"
    broken.write_bytes(b"GGUF")
    models = whole(Search(lambda: catalogue)).models
    assert [(model.name, model.given) for model in models[:2]] == [
        ("found", str(found)),
        ("pulled", "pulled"),
    ]
    problems = {model.name: model.problem for model in models[2:]}
    assert set(problems) == {"a-embedder", "broken"}
    assert problems["a-embedder"] == f"{embedder} cannot write text: it is an embedding model."
    assert problems["broken"].startswith(str(broken))
    assert problems["broken"].endswith(".")


def test_suggestions_are_what_the_catalogue_does_not_have(tmp_path: Path) -> None:
    base = tiny(models_dir() / "base.gguf", n_layer=4)
    guide = tiny(models_dir() / "one-instruct.gguf", chat_template="{{ x }}", n_layer=1)
    nothing = Catalogue({}, {})
    [pair] = whole(Search(lambda: nothing)).suggestions
    assert (pair.name, pair.base, pair.guide, pair.title) == (
        "",
        str(base),
        str(guide),
        "base + one-instruct",
    )
    assert "same vocabulary" in pair.note
    known = Catalogue({}, {"known": PairEntry("known", str(base), str(guide))})
    assert whole(Search(lambda: known)).suggestions == ()


def test_a_search_that_is_stopped_ends_at_the_next_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        tiny(models_dir() / f"{i}.gguf")
    search: list[Search] = []

    def catalogue() -> Catalogue:
        while not search:
            pass
        search[0].stop()
        return Catalogue({}, {})

    search.append(Search(catalogue))
    assert whole(search[0]).models == ()


def test_a_catalogue_that_cannot_be_read_is_told() -> None:
    def catalogue() -> Catalogue:
        raise CatalogueError("The catalogue cannot be read.")

    search = Search(catalogue)
    whole(search)
    assert search.error == "The catalogue cannot be read."


def test_a_model_that_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = catalogue_of(tmp_path)
    path = tiny(tmp_path / "own.gguf")
    monkeypatch.chdir(tmp_path)
    model = available_model(catalogue, "own.gguf")
    assert (model.given, model.name, model.problem) == (str(path), "own", "")
    assert available_model(catalogue, "pulled").given == "pulled"
    assert "`blendin models pull far`" in available_model(catalogue, "far").problem
    assert "hf:me/x" in available_model(catalogue, "hf:me/x").problem
    for text in ("", "~nobody/x.gguf", "\0.gguf", "a" * 5000, str(tmp_path)):
        assert available_model(catalogue, text).problem.endswith("."), text


# How two models fit together


@pytest.fixture
def headers(tmp_path: Path) -> tuple[GgufHeader, GgufHeader]:
    base = tiny(tmp_path / "base.gguf")
    guide = tiny(tmp_path / "guide.gguf", vocabulary="bpe", chat_template="{{ x }}")
    return read_header(base), read_header(guide)


def test_vocabularies_are_the_same_or_share_tokens(headers: tuple[GgufHeader, GgufHeader]) -> None:
    base, guide = headers
    assert same_vocabulary(base, base)
    assert not same_vocabulary(base, guide)
    unknown = replace(base, fingerprint="")
    assert not same_vocabulary(unknown, unknown)
    overlap = find_overlap(base, guide)
    with open_tokenizer(base) as ours, open_tokenizer(guide) as theirs:
        mapping = map_vocabularies(ours.vocabulary, theirs.vocabulary, ours.tokenize)
        guide_kinds = theirs.vocabulary.kinds
    assert overlap == Overlap(int((guide_kinds < TokenKind.CONTROL).sum()), shared_tokens(mapping))
    assert 0.3 < overlap.share < 1
    assert Overlap(0, 0).share == 0


def test_cautions(headers: tuple[GgufHeader, GgufHeader]) -> None:
    base, guide = headers
    assert not [*cautions(base, replace(guide, n_params=1))]
    assert [
        word
        for word, text in zip(
            ("no chat template", "larger"), cautions(replace(guide, n_params=1), base), strict=True
        )
        if word in text
    ] == ["no chat template", "larger"]


def test_room_beside_the_loaded_pair_in_its_place_or_nowhere(headers: tuple[GgufHeader, GgufHeader]) -> None:
    estimates = [estimate(header, OPTIONS) for header in headers]
    needed = sum(each.total for each in estimates)
    freed = sum(each.kv_cache + each.buffers for each in estimates)

    def verdict(free: int, *, loaded: bool = True) -> tuple[str, bool]:
        there = check_memory(headers, OPTIONS, headers if loaded else (), free)
        assert there.needs.startswith("Needs about")
        return there.verdict, there.fits

    assert verdict(needed) == ("It fits beside the loaded pair.", True)
    assert verdict(needed, loaded=False) == ("It fits.", True)
    assert verdict(needed - 1) == ("It does not fit beside the loaded pair, which is unloaded first.", True)
    assert verdict(needed - freed)[1]
    assert verdict(needed - freed - 1)[0].startswith("Not enough memory")
    assert not verdict(needed - freed - 1)[1]
    assert not verdict(needed - 1, loaded=False)[1]
