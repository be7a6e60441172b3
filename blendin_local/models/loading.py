"""Find the files of a named pair, and load them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from blendin_local.engine.conversation import Conversation
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.pair import LoadProgress, Pair, Role, pair_models
from blendin_local.engine.prompts import PromptFormat
from blendin_local.engine.steps import Calibration
from blendin_local.engine.thinking import choose_formats, silenced_model
from blendin_local.files import cache_dir
from blendin_local.formats import AUTO_FORMATS, Formats
from blendin_local.llamacpp.devices import Device
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.llamacpp.library import LoadCancelled
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.models import memory_estimate
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.entries import Curve, PairEntry
from blendin_local.models.memory_estimate import MemoryEstimate
from blendin_local.progress import Progress, Watcher
from blendin_local.settings import DEFAULT_PAIR, GenerationSettings, ModelOptions
from blendin_local.templates.process import start_renderer


@dataclass(frozen=True, slots=True)
class PairFiles:
    """A pair whose two files are on this machine; nothing is loaded yet."""

    entry: PairEntry
    base: GgufHeader
    guide: GgufHeader

    def memory_estimate(self, options: ModelOptions) -> str:
        """Return a sentence on the memory that the pair needs and that is free."""
        return memory_estimate.describe(*self.estimates(options))

    def memory_warning(
        self, options: ModelOptions, free: int | None = None, devices: Sequence[Device] | None = None
    ) -> str:
        """Return a warning if the pair does not fit into free memory, else "".

        free: bytes of RAM; devices: those to offload to. Both are measured if None.
        """
        return memory_estimate.warning(*self.estimates(options, devices), free=free, devices=devices)

    def prompt_formats(self, formats: Formats) -> dict[Role, PromptFormat]:
        """Return the prompt format of each model. Raises PromptError for one that does not fit a model."""
        return choose_formats(self._recommended(formats), self._templates)

    def thinking_note(self, formats: Formats) -> str:
        """Return a sentence if a model does not think because the other one cannot, else ""."""
        role = silenced_model(self._recommended(formats), self._templates)
        return f"Thinking is off, because only the {role} can think; --thinking on lets it." if role else ""

    def _recommended(self, formats: Formats) -> Formats:
        return formats.recommended(self.entry.base_variables, self.entry.guide_variables)

    @property
    def _templates(self) -> dict[Role, str | None]:
        return {"base": self.base.chat_template, "guide": self.guide.chat_template}

    def options(self, options: ModelOptions) -> ModelOptions:
        """Add the options that the catalogue recommends for each model, where the user gave none."""
        return options.recommended(self.entry.base_options, self.entry.guide_options)

    def estimates(
        self, options: ModelOptions, devices: Sequence[Device] | None = None
    ) -> list[MemoryEstimate]:
        """Return the memory that each model needs."""
        options = self.options(options)
        return [
            memory_estimate.estimate(self.base, options.of("base"), devices),
            memory_estimate.estimate(self.guide, options.of("guide"), devices),
        ]


def name_pair(
    catalogue: Catalogue, pair: str | None = None, base: str | None = None, guide: str | None = None
) -> PairEntry:
    """Return the entry of a pair given by name, by two models, or by a name with one model replaced.

    Two models that form a pair of the catalogue get its settings. Raises CatalogueError for an unknown
    name.
    """
    if base and guide and not pair:
        known = (entry for entry in catalogue.pairs.values() if (entry.base, entry.guide) == (base, guide))
        return next(known, PairEntry(name="", base=base, guide=guide))
    entry = catalogue.pair(pair or DEFAULT_PAIR)
    if not base and not guide:
        return entry
    # The settings and calibration were measured on the original pair; how to load a model is its own.
    return PairEntry(
        name="",
        base=base or entry.base,
        guide=guide or entry.guide,
        base_options={} if base else entry.base_options,
        guide_options={} if guide else entry.guide_options,
    )


def locate_pair(catalogue: Catalogue, entry: PairEntry) -> PairFiles:
    """Find and check both files. Raises CatalogueError or ModelError if one is missing or unusable."""
    paths: list[Path] = [catalogue.resolve_model(entry.base), catalogue.resolve_model(entry.guide)]
    base, guide = map(read_header, paths)
    base.check_usable()
    guide.check_usable()
    return PairFiles(entry, base, guide)


def load_pair(files: PairFiles, options: ModelOptions, *, progress: LoadProgress | None = None) -> Pair:
    """Load both models, each with its own options, and map their vocabularies.

    Raises ModelError with llama.cpp's reason, or `LoadCancelled` if `progress` returned False; nothing
    stays loaded then.
    """
    options = files.options(options)

    def load(header: GgufHeader, role: Role) -> GgufModel:
        return open_model(
            header.path, options.of(role), progress=progress and (lambda share: progress(role, share))
        )

    start_renderer()  # it is there by the time of the first prompt
    base = load(files.base, "base")
    try:
        guide = load(files.guide, "guide")
        try:
            curves = files.entry.calibration or {}
            return pair_models(
                base,
                guide,
                base_calibration=_calibration(curves.get("base")),
                guide_calibration=_calibration(curves.get("guide")),
                cache=cache_dir() / "vocabulary-maps",
            )
        except BaseException:
            guide.close()
            raise
    except BaseException:
        base.close()
        raise


class _Closable(Protocol):
    def close(self) -> None: ...


Loaded = TypeVar("Loaded", bound=_Closable)


def open_pair(files: PairFiles, options: ModelOptions, watcher: Watcher) -> Pair:
    """Load a pair, reporting progress and memory to the watcher.

    Raises ModelError, or KeyboardInterrupt at Ctrl-C; nothing stays loaded then.
    """
    if warning := files.memory_warning(options):
        watcher.warn(warning)
    else:
        watcher.hint(files.memory_estimate(options))
    names = {"base": files.base.path.name, "guide": files.guide.path.name}
    return interruptible_load(
        lambda progress: load_pair(files, options, progress=progress),
        lambda role, share: watcher.progress(
            Progress(f"loading {role}: {names[role]}", round(100 * share), 100, "%")
        ),
    )


def interruptible_load(
    load: Callable[[LoadProgress], Loaded], progress: Callable[[str, float], None] = lambda role, share: None
) -> Loaded:
    """Call `load` so that Ctrl-C stops it and raises KeyboardInterrupt.

    An exception cannot pass through llama.cpp's progress callback. Ctrl-C and exceptions of `progress`
    therefore stop the load first and are raised afterwards; nothing stays loaded then.
    """
    stopped = threading.Event()
    raised: list[BaseException] = []

    def report(role: str, share: float) -> bool:
        try:
            progress(role, share)
        except BaseException as error:
            raised.append(error)
            stopped.set()
        return not stopped.is_set()

    found = None
    with interrupting(stopped.set), suppress(LoadCancelled):
        found = load(report)
    if found is not None and not stopped.is_set():
        return found
    if found is not None:
        found.close()
    raise raised[0] if raised else KeyboardInterrupt


def _calibration(curve: Curve | None) -> Calibration | None:
    return Calibration(*curve) if curve else None


def start_conversation(
    files: PairFiles,
    pair: Pair,
    settings: GenerationSettings | None = None,
    *,
    formats: Formats = AUTO_FORMATS,
    system: str = "",
    candidates: int = 0,
) -> Conversation:
    """Begin a conversation with a loaded pair. Raises PromptError for a format that does not fit a model.

    settings: by default the catalogue's recommendation for the pair.
    """
    recommended = GenerationSettings(blend=files.entry.blend, sampling=files.entry.sampling)
    conversation = Conversation(
        pair,
        files.prompt_formats(formats),
        settings or recommended,
        candidates=candidates,
    )
    conversation.set_system(system)
    return conversation
