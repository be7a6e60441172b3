"""What can be chosen on this machine: the catalogue's pairs, pairs that suggest themselves, all models.

Every model's header is read for it (about 40 ms each), so a `Search` does that in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from blendin_local.errors import BlendinError, CatalogueError, ModelError
from blendin_local.files import local_path
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.discovery import Found, scan, suggest_pairs
from blendin_local.models.download.store import find_pulled
from blendin_local.models.entries import ModelEntry, PairEntry

__all__ = ["Inventory", "ModelOnHand", "PairOnHand", "Search", "look_at", "pair_of"]

_SUGGESTIONS = 5
_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class ModelOnHand:
    """A model that can be chosen. given: what names it to `name_pair`. problem: why not, one sentence."""

    given: str
    name: str
    place: str = ""
    header: GgufHeader | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PairOnHand:
    """A pair that can be chosen, named by its name in the catalogue or else by its two models.

    headers: of base and guide; None unless both files are here and can be used. missing: models that must
    be pulled first. problem: one sentence where the pair cannot be used at all.
    """

    base: str
    guide: str
    name: str = ""
    title: str = ""
    note: str = ""
    headers: tuple[GgufHeader, GgufHeader] | None = None
    missing: tuple[ModelEntry, ...] = ()
    problem: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Both files, with all links resolved; empty unless both are here."""
        return tuple(header.path.resolve() for header in self.headers or ())


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is known so far. loaded: the pair that is loaded, if any. whole: nothing more will come."""

    loaded: PairOnHand | None = None
    pairs: tuple[PairOnHand, ...] = ()
    suggestions: tuple[PairOnHand, ...] = ()
    models: tuple[ModelOnHand, ...] = ()
    whole: bool = False


class Search:
    """Looks for pairs and models in a thread; `stock`, `reading` and `error` may be read at any time.

    loaded: the names of the loaded base and guide, if any.
    reading: the file being read, "" for none. error: one sentence if the search broke off.
    """

    def __init__(self, catalogue: Callable[[], Catalogue], loaded: Sequence[str] = ()) -> None:
        self.stock = Inventory()
        self.reading = ""
        self.error = ""
        self._catalogue = catalogue
        self._loaded = loaded
        self._stopped = threading.Event()
        # A daemon: walking through a folder on a slow disk must not keep the process alive.
        self.thread = threading.Thread(target=self._run, name="search", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Give up; nobody wants the rest."""
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
            self.stock = replace(self.stock, whole=True)

    def _search(self) -> None:
        catalogue = self._catalogue()
        loaded = pair_of(*(look_at(catalogue, name) for name in self._loaded)) if self._loaded else None
        pairs = tuple(_catalogue_pairs(catalogue))
        self.stock = Inventory(loaded, pairs)
        found, told = list[Found](), time.monotonic()
        for each in scan(progress=self._report):
            found.append(each)
            if time.monotonic() - told > _TELL_EVERY_S:
                self.stock = _stock(catalogue, loaded, pairs, found)
                told = time.monotonic()
        self.stock = _stock(catalogue, loaded, pairs, found)

    def _report(self, path: Path) -> None:
        self.reading = path.name
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Nobody wants to know any more."""


def _stock(
    catalogue: Catalogue, loaded: PairOnHand | None, pairs: tuple[PairOnHand, ...], found: Sequence[Found]
) -> Inventory:
    models = [(_model(each, name), each) for each, name in _named(catalogue, found)]
    usable = {each.path: (model, each) for model, each in models if not model.problem}
    order = sorted((model for model, _ in models), key=lambda each: (each.problem, each.name.casefold()))
    return Inventory(loaded, pairs, tuple(_suggestions(pairs, usable)), tuple(order))


def look_at(catalogue: Catalogue, given: str) -> ModelOnHand:
    """A model by its name, its path or its source. One that cannot be used has a problem."""
    try:
        known = _look(catalogue, given)
    except BlendinError as error:
        return ModelOnHand(given, given, problem=str(error))
    if isinstance(known, ModelEntry):
        reason = f"{given} is not on this machine yet: run `blendin models pull {given}`."
        return ModelOnHand(given, given, problem=reason)
    path = local_path(given)
    # A path is kept whole: what is chosen now may be opened from another folder.
    name, given = (path.stem, str(path.absolute())) if path.is_file() else (given, given)
    return ModelOnHand(given, name, str(known.path.parent), known)


def pair_of(base: ModelOnHand, guide: ModelOnHand) -> PairOnHand:
    """Two models of free choice as a pair."""
    both = (base.header, guide.header) if base.header and guide.header else None
    title = f"{base.name} + {guide.name}"
    problem = base.problem or guide.problem
    return PairOnHand(
        base.given, guide.given, title=title, headers=None if problem else both, problem=problem
    )


def _look(catalogue: Catalogue, given: str) -> GgufHeader | ModelEntry:
    """What a model's file says, or, if it must be pulled first, its entry.

    Raises BlendinError where it is neither here nor known, or cannot be used.
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


def _catalogue_pairs(catalogue: Catalogue) -> Iterable[PairOnHand]:
    look = cache(lambda given: _look(catalogue, given))
    for entry in catalogue.pairs.values():
        pair = PairOnHand(entry.base, entry.guide, entry.name, entry.name, entry.description)
        yield _completed(pair, entry, look)


def _completed(
    pair: PairOnHand, entry: PairEntry, look: Callable[[str], GgufHeader | ModelEntry]
) -> PairOnHand:
    try:
        base, guide = look(entry.base), look(entry.guide)
    except BlendinError as error:
        return replace(pair, problem=str(error))
    if isinstance(base, GgufHeader) and isinstance(guide, GgufHeader):
        return replace(pair, headers=(base, guide))
    # One model in both roles is pulled once.
    missing = {each.name: each for each in (base, guide) if isinstance(each, ModelEntry)}
    return replace(pair, missing=tuple(missing.values()))


def _named(catalogue: Catalogue, found: Iterable[Found]) -> Iterable[tuple[Found, str]]:
    """What was found, each with its name in the catalogue or ""; and pulled files that lie elsewhere."""
    pulled = {
        path.resolve(): name for name, entry in catalogue.models.items() if (path := find_pulled(entry))
    }
    for each in found:
        yield each, pulled.pop(each.path.resolve(), "")
    for path, name in pulled.items():
        try:
            header = read_header(path)
        except ModelError as error:
            yield Found(name, path, "catalogue", 0, problem=str(error)), name
        else:
            yield Found(name, path, "catalogue", header.size_bytes, header, header.unusable), name


def _model(found: Found, catalogue_name: str) -> ModelOnHand:
    given = catalogue_name or str(found.path)
    return ModelOnHand(given, catalogue_name or found.name, found.place, found.header, _problem(found))


def _problem(found: Found) -> str:
    """Why a file cannot be used, in one sentence, or ""."""
    try:
        (found.header or read_header(found.path)).check_usable()
    except ModelError as error:
        return str(error)
    return f"{found.path} cannot write text: it is {found.problem}." if found.problem else ""


def _suggestions(
    pairs: Iterable[PairOnHand], usable: dict[Path, tuple[ModelOnHand, Found]]
) -> list[PairOnHand]:
    """Pairs that the catalogue does not have already."""
    known = {pair.paths for pair in pairs if pair.headers}
    suggestions = []
    for each in suggest_pairs((found for _, found in usable.values()), _SUGGESTIONS + len(known)):
        (base, _), (guide, _) = usable[each.base.path], usable[each.guide.path]
        pair = replace(pair_of(base, guide), note="; ".join(each.reasons))
        if pair.paths not in known:
            suggestions.append(pair)
    return suggestions[:_SUGGESTIONS]
