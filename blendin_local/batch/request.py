"""Define the request for a job of offline generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from blendin_local.batch.memory_rows import MemoryRows
from blendin_local.batch.output import check_apart, check_output
from blendin_local.batch.reading import InputOptions
from blendin_local.engine.prompts import template_file
from blendin_local.formats import Formats
from blendin_local.models.checksums import model_files
from blendin_local.models.loading import PairFiles
from blendin_local.settings import GenerationSettings, ModelOptions

__all__ = ["AUTO", "LOCAL_RAY", "BatchRequest", "Parallel"]

AUTO = "auto"
LOCAL_RAY = "local"

Parallel = int | str | None
"""Number of parallel rows; `AUTO`: the fastest of a warm-up; None: 8, or fewer if memory is short."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """All parameters of a job, complete before a model is loaded.

    output: a file, or "-" for standard output. system: the system prompt of rows without one. limit: maximum
    number of rows read. ray: the address of a Ray cluster, `LOCAL_RAY` to start one, None for no Ray.
    """

    source: InputOptions | MemoryRows
    output: str
    files: PairFiles
    settings: GenerationSettings
    options: ModelOptions = field(default_factory=ModelOptions)
    formats: Formats = field(default_factory=Formats)
    system: str = ""
    with_steps: bool = False
    candidates: int = 0
    output_format: Literal["auto", "jsonl", "openai"] = "auto"
    limit: int | None = None
    parallel: Parallel = None
    retry_failed: bool = False
    overwrite: bool = False
    ray: str | None = None
    workers: int | None = None

    @property
    def reads(self) -> list[Path]:
        """Files other than the input that the job reads."""
        models = [*model_files(self.files.base.path), *model_files(self.files.guide.path)]
        templates = map(template_file, (self.formats.base, self.formats.guide))
        return models + [path for path in templates if path]

    def check_output(self) -> None:
        """Raise BatchError if the output cannot be written, or is a file that the job reads."""
        if isinstance(self.source, InputOptions):
            check_apart(self.source.path, self.output, self.reads)
        check_output(self.output, overwrite=self.overwrite)
