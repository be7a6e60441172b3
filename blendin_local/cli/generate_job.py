"""A job of `blendin generate --input`, as the command line has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blendin_local.batch.job_stats import JobStats
from blendin_local.batch.output import Output
from blendin_local.batch.reading import InputOptions
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.cli.batch_progress import BatchProgress
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat, choose_format, template_file
from blendin_local.errors import BlendinError
from blendin_local.models.checksums import model_files
from blendin_local.models.loading import PairFiles
from blendin_local.settings import Formats, GenerationSettings, ModelOptions

__all__ = ["Job", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job is to do: all that is known before anything is loaded."""

    values: Mapping[str, Any]
    source: InputOptions
    files: PairFiles
    options: ModelOptions
    settings: GenerationSettings
    formats: Formats

    @property
    def reads(self) -> list[Path]:
        """Files that it reads beside its input."""
        models = [*model_files(self.files.base.path), *model_files(self.files.guide.path)]
        templates = map(template_file, (self.formats.base, self.formats.guide))
        return models + [path for path in templates if path]


@dataclass(slots=True)
class Job:
    """A job under way.

    total: results that the output holds at its end, None for a pipe. parallel: rows at once, None before
    any. fault: what ended it early. stopped: at once, by a second Ctrl-C or one before the first row.
    """

    plan: Plan
    run: RunManifest
    total: int | None
    output: Output
    tally: JobStats
    progress: BatchProgress
    cancellation: Cancellation
    parallel: int | None = None
    fault: BlendinError | None = None
    stopped: bool = False

    @property
    def prompt_formats(self) -> dict[Role, PromptFormat]:
        """Those of all its prompts, which show the date of its run whenever they are made."""
        formats, files, now = self.plan.formats, self.plan.files, self.run.date
        return {
            "base": replace(choose_format(formats.base, files.base.chat_template), now=now),
            "guide": replace(choose_format(formats.guide, files.guide.chat_template), now=now),
        }
