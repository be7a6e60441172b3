"""Load a pair, and generate with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from blendin_local.api.arguments import (
    Prompt,
    apply_changes,
    check_number,
    find_pair,
    messages_from,
    replace_options,
)
from blendin_local.api.batch import BatchResults
from blendin_local.api.progress import ShowProgress, open_watcher
from blendin_local.api.reply import Chat, LoadedModels, Reply
from blendin_local.batch.memory_rows import MemoryRows
from blendin_local.batch.reading import InputOptions
from blendin_local.batch.request import AUTO, BatchRequest, Parallel
from blendin_local.engine.conversation import begin_reply
from blendin_local.errors import BatchError
from blendin_local.formats import Formats
from blendin_local.inputs.messages import with_system
from blendin_local.models.loading import PairFiles, open_pair
from blendin_local.progress import Watcher
from blendin_local.settings import MOST_CANDIDATES, MOST_PARALLEL, GenerationSettings, ModelOptions

__all__ = ["LoadedPair", "load", "load_files"]


def load(
    pair: str | None = None,
    *,
    base: str | Path | None = None,
    guide: str | Path | None = None,
    base_format: str = "auto",
    guide_format: str = "auto",
    thinking: str = "auto",
    base_variables: Mapping[str, Any] | None = None,
    guide_variables: Mapping[str, Any] | None = None,
    progress: ShowProgress = None,
    base_options: Mapping[str, Any] | None = None,
    guide_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> LoadedPair:
    """Load a pair by its name in the catalogue, by default "demo", or by two models.

    base, guide: names, .gguf files or hf:OWNER/REPO:FILE. base_format, guide_format: auto, chat,
    question-answer, user-assistant, raw, or a Jinja file. options: fields of `ModelOptions`, such as n_ctx,
    for both models. base_options, guide_options: those of one model by name, such as {"n_gpu_layers": 20}.
    thinking: whether models think before they answer: "auto" (not where only one of the two can), "on" or
    "off". base_variables, guide_variables: what the chat templates see beside the messages.

    Raises CatalogueError for an unknown name, ModelError for a file that cannot be loaded, PromptError for a
    format that does not fit a model, SettingError, or KeyboardInterrupt at Ctrl-C; nothing stays loaded then.
    """
    own = {"base_options": base_options or {}, "guide_options": guide_options or {}}
    opened = replace_options(ModelOptions(), options | own)
    formats = Formats(base_format, guide_format, thinking, base_variables or {}, guide_variables or {})
    files = find_pair(pair, base, guide)
    with open_watcher(progress) as watcher:
        return load_files(files, opened, formats, watcher, progress)


def load_files(
    files: PairFiles,
    options: ModelOptions,
    formats: Formats,
    watcher: Watcher,
    progress: ShowProgress = False,
) -> LoadedPair:
    """Load a located pair, reporting to the watcher. progress: of its later work. Raises as `load` does."""
    files.prompt_formats(formats)
    if note := files.thinking_note(formats):
        watcher.note(note)
    return LoadedPair(LoadedModels(files, options, open_pair(files, options, watcher)), formats, progress)


class LoadedPair:
    """Two loaded models; a context manager that frees them. Use it from one thread at a time.

    settings: the pair's recommended settings. Keyword arguments of the methods override them by the field
    names of `BlendSettings`, `SamplingSettings` and `GenerationSettings`. As on the command line, `alpha`
    alone selects the method fixed, and temperature 0 means greedy decoding without penalties.
    """

    def __init__(self, models: LoadedModels, formats: Formats, progress: ShowProgress = False) -> None:
        self.models = models
        self.formats = formats
        entry = models.files.entry
        self.settings = GenerationSettings(blend=entry.blend, sampling=entry.sampling)
        self._progress = progress
        self._batch: BatchResults | None = None

    def __repr__(self) -> str:
        files = self.models.files
        state = " (closed)" if self.models.closed else ""
        return f"<LoadedPair {files.base.label} + {files.guide.label}{state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel unfinished replies and free both models. Safe to call twice."""
        self._end_batch()
        self.models.close()

    def _end_batch(self) -> None:
        if self._batch is not None:
            self._batch.close()

    def reply(
        self,
        prompt: Prompt,
        *,
        system: str = "",
        raw: bool = False,
        candidates: int = 0,
        settings: GenerationSettings | None = None,
        **changes: Any,
    ) -> Reply:
        """Begin a reply; iterating over it decodes its steps.

        raw: no prompt format, both models continue the text. candidates: number of top candidates that each
        step records. settings: used instead of the pair's. changes: single settings by name.

        Raises PromptError for messages that cannot be used or do not fit a context, SettingError for a
        setting that is unknown or outside its range.
        """
        check_number("candidates", candidates, 0, MOST_CANDIDATES)
        chosen = apply_changes(settings or self.settings, changes)
        if raw:
            chosen = replace(chosen, blend=replace(chosen.blend, guide_stop=False))
        formats = Formats("raw", "raw") if raw else self.formats
        messages = with_system(messages_from(prompt), system if system.strip() else "")
        prompt_formats = self.models.files.prompt_formats(formats)
        reply = begin_reply(self.models.pair, prompt_formats, messages, chosen, candidates=candidates)
        return Reply(self.models, reply, chosen)

    def chat(self, *, system: str = "", settings: GenerationSettings | None = None, **changes: Any) -> Chat:
        """Begin a conversation. settings, changes: as for `reply`, for all of its replies."""
        return Chat(self.reply, system, apply_changes(settings or self.settings, changes))

    def generate(
        self,
        rows: Iterable[str | dict[str, Any]] | Path,
        *,
        output: str | Path | None = None,
        parallel: Parallel = None,
        system: str = "",
        column: str | None = None,
        steps: bool = False,
        candidates: int = 0,
        limit: int | None = None,
        overwrite: bool = False,
        retry_failed: bool = False,
        progress: ShowProgress = None,
        settings: GenerationSettings | None = None,
        **changes: Any,
    ) -> BatchResults:
        """Answer many rows, several at once; iterate over the results in the order in which they finish.

        rows: texts, objects as in docs/batch.md, or the path of a file of them. output: a file for the
        results; those that it contains already are yielded first. parallel: number of rows decoded at once.
        The models are loaded a second time, with a context for each of these rows, until all rows are
        answered or the next call of `generate`. The other arguments are those of the command line.

        Raises BatchError if the input or the output cannot be used, SettingError, ModelError.
        """
        if isinstance(rows, str):
            raise BatchError("The rows are one text: give a list of texts, or a Path for a file of rows.")
        if not isinstance(rows, (Path, Iterable)):
            raise BatchError(f"The rows must be a list or a Path, not {type(rows).__name__}.")
        _check_batch_numbers(candidates, limit, parallel)
        self.models.check_open()
        request = BatchRequest(
            source=InputOptions(str(rows), column=column)
            if isinstance(rows, Path)
            else MemoryRows(rows, column),
            output=os.devnull if output is None else str(output),
            files=self.models.files,
            settings=apply_changes(settings or self.settings, changes),
            options=self.models.options,
            formats=self.formats,
            system=system,
            with_steps=steps,
            candidates=candidates,
            limit=limit,
            parallel=parallel,
            retry_failed=retry_failed,
            overwrite=overwrite,
        )
        self._end_batch()
        request.check_output()
        results = BatchResults(self.models, request, self._progress if progress is None else progress)
        self._batch = results
        return results


def _check_batch_numbers(candidates: int, limit: int | None, parallel: Parallel) -> None:
    check_number("candidates", candidates, 0, MOST_CANDIDATES)
    if limit is not None:
        check_number("limit", limit, 1)
    if parallel is not None and parallel != AUTO:
        check_number("parallel", parallel, 1, MOST_PARALLEL)
