"""From a pair's files to what the app is made of: its `About`, and the function that loads it."""

from __future__ import annotations

from blendin_local.loading import PairFiles, load_pair, start_conversation
from blendin_local.prompts import choose_format
from blendin_local.settings import Formats, GenerationSettings, ModelOptions
from blendin_local.tui.about import About
from blendin_local.tui.chat import Load, PairChat, Progress


def about_pair(files: PairFiles, options: ModelOptions, settings: GenerationSettings) -> About:
    """What can be said of a pair before it is loaded."""
    return About(
        base=_name(files.entry.base, files.base.path.stem),
        guide=_name(files.entry.guide, files.guide.path.stem),
        pair=files.entry.name,
        blend=settings.blend,
        memory=files.memory_estimate(options),
        warning=files.memory_warning(options),
    )


def pair_loader(
    files: PairFiles,
    options: ModelOptions,
    settings: GenerationSettings,
    *,
    formats: Formats,
    system: str = "",
    seed_given: bool = False,
) -> Load:
    """The function that loads a pair and begins a conversation with it.

    Raises PromptError at once where a format does not fit a model.
    """
    choose_format(formats.base, files.base.chat_template)
    choose_format(formats.guide, files.guide.chat_template)

    def load(progress: Progress) -> PairChat:
        pair = load_pair(files, options, progress=progress)
        try:
            conversation = start_conversation(files, pair, settings, formats=formats, system=system)
        except BaseException:
            pair.close()
            raise
        return PairChat(conversation, seed_given=seed_given)

    return load


def _name(given: str, stem: str) -> str:
    """A catalogue's name as it is; of a path or a source, the file's name."""
    return stem if any(mark in given for mark in "/\\:") or given.endswith(".gguf") else given
