"""Pairs of tiny models and rows for tests of offline generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from blendin_local.batch.planning import parallel_options
from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row, own_settings
from blendin_local.batch.run_manifest import RunManifest, describe_run
from blendin_local.batch.scheduler import Scheduler
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import Message, PromptFormat, choose_format
from blendin_local.formats import Formats
from blendin_local.llamacpp.header import read_header
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, load_pair
from blendin_local.settings import GenerationSettings, ModelOptions
from support.tiny_gguf import write_tiny

EXACT = ModelOptions(n_ctx=256, n_threads=1, kv_type="f32", flash_attention="off")
"""Weights and caches in float32: what differs between one row and many is far below any choice."""


def tiny_files(folder: Path, **changes: Any) -> PairFiles:
    """A pair with different vocabularies."""
    base = write_tiny(folder / "base.gguf", vocabulary="spm", seed=1, **changes)
    guide = write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2, **changes)
    entry = PairEntry(name="", base=str(base), guide=str(guide))
    return PairFiles(entry, read_header(base), read_header(guide))


def row_of(id: str, prompt: str, settings: GenerationSettings, index: int = 0, **own: Any) -> Row:
    """A row whose prompt may be "system | user"."""
    *system, user = prompt.split(" | ")
    messages = [*(Message("system", text) for text in system), Message("user", user)]
    return Row(id, index, f"line {index + 1}", tuple(messages), own_settings(settings, own, id), own)


def formats_of(files: PairFiles) -> dict[Role, PromptFormat]:
    return {
        "base": choose_format("auto", files.base.chat_template),
        "guide": choose_format("auto", files.guide.chat_template),
    }


def run_of(files: PairFiles, settings: GenerationSettings, **changes: Any) -> RunManifest:
    return describe_run(settings, files, Formats(), EXACT, **changes)


@contextmanager
def scheduler_of(
    files: PairFiles, run: RunManifest, parallel: int, options: ModelOptions = EXACT, **changes: Any
) -> Iterator[Scheduler]:
    pair = load_pair(files, parallel_options(options, parallel))
    try:
        yield Scheduler(pair, formats_of(files), run, parallel, **changes)
    finally:
        pair.close()


def answers(
    files: PairFiles,
    run: RunManifest,
    rows: Sequence[Row | BadRow],
    parallel: int,
    options: ModelOptions = EXACT,
) -> dict[str, Result]:
    """The results by id."""
    with scheduler_of(files, run, parallel, options) as scheduler:
        found = list(scheduler.answer(rows))
    assert len({result["id"] for result in found}) == len(found)
    return {result["id"]: result for result in found}


def moved(row: Row, index: int) -> Row:
    return replace(row, index=index, where=f"line {index + 1}")
