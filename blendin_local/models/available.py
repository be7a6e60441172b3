"""List the pairs and models to choose from: those of the catalogue, suggested pairs, and local files.

Reading the header of a model takes about 40 ms, so `Search` runs in its own thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from blendin_local.errors import BlendinError, CatalogueError, ModelError
from blendin_local.files import local_path, real_path
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.discovery import LocalModel, scan, suggest_pairs
from blendin_local.models.download.store import find_pulled
from blendin_local.models.entries import ModelEntry, PairEntry

__all__ = ["AvailableModel", "AvailablePair", "Inventory", "Search", "available_model", "available_pair"]

_MAX_SUGGESTIONS = 5
_UPDATE_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """A model to choose. given: name, path or source for `name_pair`. problem: why it is unusable, or ""."""

    given: str
    name: str
    place: str = ""
    header: GgufHeader | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AvailablePair:
    """A pair to choose, by its name in the catalogue or by its two models.

    headers: of base and guide; None unless both files are present and usable. missing: models to be pulled
    first. problem: one sentence on why the pair is unusable, or "". base_options, guide_options: how the
    catalogue recommends to load each model.
    """

    base: str
    guide: str
    name: str = ""
    title: str = ""
    note: str = ""
    headers: tuple[GgufHeader, GgufHeader] | None = None
    missing: tuple[ModelEntry, ...] = ()
    problem: str = ""
    base_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    guide_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Both files, with all links resolved; empty unless both are here."""
        return tuple(real_path(header.path) for header in self.headers or ())


@dataclass(frozen=True, slots=True)
class Inventory:
    """Pairs and models found so far. loaded: the loaded pair, if any. whole: whether the search has ended."""

    loaded: AvailablePair | None = None
    pairs: tuple[AvailablePair, ...] = ()
    suggestions: tuple[AvailablePair, ...] = ()
    models: tuple[AvailableModel, ...] = ()
    whole: bool = False


class Search:
    """Searches for pairs and models in a thread; `inventory`, `reading` and `error` can be read at any time.

    loaded: names of the loaded base and guide, if any. reading: the file being read, or "". error: one
    sentence if the search failed, else "".
    """

    def __init__(self, catalogue: Callable[[], Catalogue], loaded: Sequence[str] = ()) -> None:
        self.inventory = Inventory()
        self.reading = ""
        self.error = ""
        self._catalogue = catalogue
        self._loaded = loaded
        self._stopped = threading.Event()
        # A daemon, so that a search on a slow disk does not keep the process alive.
        self.thread = threading.Thread(target=self._run, name="search", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the search at the next file."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            self._search()
        except _Stopped:
            pass
        except (BlendinError, OSError) as error:
            self.error = str(error)
        finally:
            self.reading = ""
            self.inventory = replace(self.inventory, whole=True)

    def _search(self) -> None:
        catalogue = self._catalogue()
        loaded = (
            available_pair(*(available_model(catalogue, name) for name in self._loaded))
            if self._loaded
            else None
        )
        pairs = tuple(_catalogue_pairs(catalogue))
        self.inventory = Inventory(loaded, pairs)
        found, updated = list[LocalModel](), time.monotonic()
        for each in scan(progress=self._report):
            found.append(each)
            if time.monotonic() - updated > _UPDATE_INTERVAL_S:
                self.inventory = _inventory(catalogue, loaded, pairs, found)
                updated = time.monotonic()
        self.inventory = _inventory(catalogue, loaded, pairs, found)

    def _report(self, path: Path) -> None:
        self.reading = path.name
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """The search was stopped."""


def _inventory(
    catalogue: Catalogue,
    loaded: AvailablePair | None,
    pairs: tuple[AvailablePair, ...],
    found: Sequence[LocalModel],
) -> Inventory:
    models = [(_model(each, name), each) for each, name in _name_models(catalogue, found)]
    usable = {each.path: (model, each) for model, each in models if not model.problem}
    order = sorted((model for model, _ in models), key=lambda each: (each.problem, each.name.casefold()))
    return Inventory(loaded, pairs, tuple(_suggestions(pairs, usable)), tuple(order))


def available_model(catalogue: Catalogue, given: str) -> AvailableModel:
    """Return a model by name, path or source; `problem` is set if it cannot be used."""
    try:
        known = _find_header(catalogue, given)
    except BlendinError as error:
        return AvailableModel(given, given, problem=str(error))
    if isinstance(known, ModelEntry):
        reason = f"{given} is not on this machine yet: run `blendin models pull {given}`."
        return AvailableModel(given, given, problem=reason)
    path = local_path(given)
    # Absolute, because the choice may be opened from another working directory.
    name, given = (path.stem, str(path.absolute())) if path.is_file() else (given, given)
    return AvailableModel(given, name, str(known.path.parent), known)


def available_pair(base: AvailableModel, guide: AvailableModel) -> AvailablePair:
    """Return a pair of any two models."""
    both = (base.header, guide.header) if base.header and guide.header else None
    title = f"{base.name} + {guide.name}"
    problem = base.problem or guide.problem
    return AvailablePair(
        base.given, guide.given, title=title, headers=None if problem else both, problem=problem
    )


def _find_header(catalogue: Catalogue, given: str) -> GgufHeader | ModelEntry:
    """Return the header of a model's file, or its catalogue entry if it must be pulled first.

    Raises BlendinError for a model that is unknown or unusable.
    """
    try:
        path = catalogue.resolve_model(given)
    except CatalogueError as error:
        try:
            return catalogue.model(given)
        except CatalogueError:
            raise error from None
    header = read_header(path)
    header.check_usable()
    return header


def _catalogue_pairs(catalogue: Catalogue) -> Iterable[AvailablePair]:
    look = cache(lambda given: _find_header(catalogue, given))
    for entry in catalogue.pairs.values():
        pair = AvailablePair(
            entry.base,
            entry.guide,
            entry.name,
            entry.name,
            entry.description,
            base_options=entry.base_options,
            guide_options=entry.guide_options,
        )
        yield _complete_pair(pair, entry, look)


def _complete_pair(
    pair: AvailablePair, entry: PairEntry, look: Callable[[str], GgufHeader | ModelEntry]
) -> AvailablePair:
    try:
        base, guide = look(entry.base), look(entry.guide)
    except BlendinError as error:
        return replace(pair, problem=str(error))
    if isinstance(base, GgufHeader) and isinstance(guide, GgufHeader):
        return replace(pair, headers=(base, guide))
    # By name, because one model in both roles is pulled once.
    missing = {each.name: each for each in (base, guide) if isinstance(each, ModelEntry)}
    return replace(pair, missing=tuple(missing.values()))


def _name_models(catalogue: Catalogue, found: Iterable[LocalModel]) -> Iterable[tuple[LocalModel, str]]:
    """Found files with their catalogue names or "", then pulled files outside the searched folders."""
    pulled = {
        real_path(path): name for name, entry in catalogue.models.items() if (path := find_pulled(entry))
    }
    for each in found:
        yield each, pulled.pop(real_path(each.path), "")
    for path, name in pulled.items():
        try:
            header = read_header(path)
        except ModelError as error:
            yield LocalModel(name, path, "catalogue", 0, problem=str(error)), name
        else:
            yield LocalModel(name, path, "catalogue", header.size_bytes, header, header.unusable), name


def _model(found: LocalModel, catalogue_name: str) -> AvailableModel:
    given = catalogue_name or str(found.path)
    return AvailableModel(given, catalogue_name or found.name, found.place, found.header, _problem(found))


def _problem(found: LocalModel) -> str:
    """One sentence on why a file cannot be used, or ""."""
    try:
        (found.header or read_header(found.path)).check_usable()
    except ModelError as error:
        return str(error)
    return f"{found.path} cannot write text: it is {found.problem}." if found.problem else ""


def _suggestions(
    pairs: Iterable[AvailablePair], usable: dict[Path, tuple[AvailableModel, LocalModel]]
) -> list[AvailablePair]:
    """Suggested pairs that are not in the catalogue."""
    known = {pair.paths for pair in pairs if pair.headers}
    suggestions = []
    for each in suggest_pairs((found for _, found in usable.values()), _MAX_SUGGESTIONS + len(known)):
        (base, _), (guide, _) = usable[each.base.path], usable[each.guide.path]
        pair = replace(available_pair(base, guide), note="; ".join(each.reasons))
        if pair.paths not in known:
            suggestions.append(pair)
    return suggestions[:_MAX_SUGGESTIONS]
