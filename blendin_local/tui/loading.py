"""Prepare pairs for loading: locate their files, estimate memory, choose settings and formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from blendin_local.engine.chat_backend import LoadBackend, PairBackend
from blendin_local.engine.pair import LoadProgress
from blendin_local.formats import Formats
from blendin_local.history.tree import Setup
from blendin_local.models.catalogue import Catalogue, load_catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, load_pair, locate_pair, name_pair
from blendin_local.settings import GenerationSettings, ModelOptions
from blendin_local.tui.about import About


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pair that can be loaded. fits: whether the free memory suffices while the current pair is loaded."""

    about: About
    setup: Setup
    load: LoadBackend
    fits: bool = True


Prepare = Callable[..., Prepared]
"""Prepares a pair by name, or two models: (pair, base, guide), "" for a name that is not given.

A keyword argument `options` replaces the model options of the chat's start. Raises BlendinError.
"""


@dataclass(frozen=True, slots=True)
class Preparer:
    """A `Prepare` with the user's model options.

    settings: returns the generation settings for an entry of the catalogue. catalogue: called for each pair,
    because other programs may add to the catalogue.
    """

    options: ModelOptions
    settings: Callable[[PairEntry], GenerationSettings]
    formats: Formats = field(default_factory=Formats)
    system: str = ""
    catalogue: Callable[[], Catalogue] = load_catalogue

    def __call__(
        self, pair: str = "", base: str = "", guide: str = "", *, options: ModelOptions | None = None
    ) -> Prepared:
        catalogue = self.catalogue()
        entry = name_pair(catalogue, pair or None, base or None, guide or None)
        files = locate_pair(catalogue, entry)
        setup = Setup(entry.base, entry.guide, entry.name, self.system, self.settings(entry), self.formats)
        options = options or self.options
        load = pair_loader(files, options, setup)
        about = about_pair(files, options, setup)
        return Prepared(about, setup, load, fits=not about.warning)


def about_pair(files: PairFiles, options: ModelOptions, setup: Setup) -> About:
    """Describe a pair before it is loaded."""
    return About(
        base=model_name(files.entry.base),
        guide=model_name(files.entry.guide),
        pair=files.entry.name,
        blend=setup.settings.blend,
        memory=files.memory_estimate(options),
        warning=files.memory_warning(options),
        note=files.thinking_note(setup.formats),
    )


def pair_loader(files: PairFiles, options: ModelOptions, setup: Setup) -> LoadBackend:
    """Return the function that loads a pair. Raises PromptError if a prompt format does not fit a model."""
    formats = files.prompt_formats(setup.formats)
    fingerprints = {"base": files.base.fingerprint, "guide": files.guide.fingerprint}

    def load(progress: LoadProgress) -> PairBackend:
        return PairBackend(load_pair(files, options, progress=progress), formats, fingerprints)

    return load


def model_name(given: str) -> str:
    """Return the file name of a path or source without `.gguf`; a catalogue name stays as it is."""
    return re.split(r"[/\\:]", given)[-1].removesuffix(".gguf") or given
