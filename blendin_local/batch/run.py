"""Run a job of offline generation: read rows, answer those without a result, write each result at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice

from blendin_local.batch.answering import (
    AnswerSetup,
    answer_here,
    answer_on_ray,
    choose_parallel,
    max_parallel,
)
from blendin_local.batch.job import Answering, Pending, UntilDamaged, check_unchanged, peek, write_answers
from blendin_local.batch.job_report import JobReport
from blendin_local.batch.job_stats import JobStats
from blendin_local.batch.memory_rows import count_source, open_source
from blendin_local.batch.output import Output, first_result, open_output
from blendin_local.batch.read_ahead import read_ahead
from blendin_local.batch.reading import InputOptions, RowSource
from blendin_local.batch.request import AUTO, BatchRequest
from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.run_manifest import RunManifest, describe_run
from blendin_local.engine.interrupt import Interruptible, uninterrupted
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat
from blendin_local.errors import BlendinError
from blendin_local.presentation.progress_display import hash_progress
from blendin_local.progress import Progress, Watcher

__all__ = ["Batch", "ShowStats", "open_batch"]

ShowStats = Callable[[JobStats, int], None]
"""Called at every step with the current figures and the number of rows in progress."""


@contextmanager
def open_batch(request: BatchRequest, watcher: Watcher) -> Iterator[Batch]:
    """Open the input and the output of a job and count the rows; loads no model.

    Hashes model files whose checksums are not cached and reads an existing output, with progress to the
    watcher. Raises BatchError if a file cannot be opened or has other content; ModelError; PromptError.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(request.source))
        run = _describe(request, source, watcher)
        stats = JobStats()
        output = stack.enter_context(
            open_output(
                request.output,
                run,
                overwrite=request.overwrite,
                retry_failed=request.retry_failed,
                on_kept=lambda result: stats.add(result, kept=True),
                progress=lambda kept: watcher.progress(Progress(f"reading {request.output}", kept)),
            )
        )
        yield Batch(request, source, run, output, stats)


def _describe(request: BatchRequest, source: RowSource, watcher: Watcher) -> RunManifest:
    told = "openai" if source.format == "openai" else "jsonl"
    return describe_run(
        request.settings,
        request.files,
        request.formats,
        request.options,
        system=request.system,
        with_steps=request.with_steps,
        candidates=request.candidates,
        output_format=told if request.output_format == AUTO else request.output_format,
        earlier=None if request.overwrite else first_result(request.output),
        progress=hash_progress(watcher),
    )


class Batch:
    """An open job; see `open_batch`.

    total: number of results in the complete output, None for a pipe. parallel: number of parallel rows, None
    before the first. fault: the error that ended `run`. stopped: whether KeyboardInterrupt ended it, by
    Ctrl-C before the first row or pressed twice; a single Ctrl-C requests `cancellation`.
    """

    def __init__(
        self, request: BatchRequest, source: RowSource, run: RunManifest, output: Output, stats: JobStats
    ) -> None:
        """Count the rows. Raises BatchError for a row whose request differs from the one that the output
        answers.
        """
        self.request = request
        self.manifest = run
        self.output = output
        self.stats = stats
        self.cancellation = Cancellation()
        self.parallel: int | None = None
        self.fault: BlendinError | None = None
        self.stopped = False
        self._source = source
        self.total = self._count()

    def run(self, watcher: Watcher, show: ShowStats, interruptible: Interruptible) -> None:
        """Answer all rows; sets `fault` or `stopped` if that ends early."""
        try:
            for _ in self.results(watcher, show, interruptible):
                pass
        except BlendinError as error:
            self.fault = error
        except KeyboardInterrupt:
            self.stopped = True
        self.stats.stop()

    def results(
        self,
        watcher: Watcher,
        show: ShowStats | None = None,
        interruptible: Interruptible = uninterrupted,
    ) -> Generator[Result]:
        """Answer all rows; yield each result once it is in the output, not in the order of the rows.

        Loads the models only if a row has no result. show: None reports finished rows to the watcher.
        interruptible: handles Ctrl-C while rows are answered. Raises BatchError, ModelError,
        KeyboardInterrupt.
        """
        request, output = self.request, self.output
        show = show or self._report_to(watcher)
        if output.mended:
            watcher.note("The last run left half a line at the end of the output: its row is asked again.")
        if output.retried:
            watcher.note(f"{output.retried} failed rows are asked again.")
        self.stats.start()
        rows = self._rows(self._source)
        reads_ahead = self.total is None and isinstance(request.source, InputOptions)
        pending = UntilDamaged(
            Pending(read_ahead(rows) if reads_ahead else rows, output.answered_ids, request.output)
        )
        first, waiting = peek(pending, max_parallel(request.parallel))
        if first:
            setup = self._setup(watcher, show)
            self.parallel = choose_parallel(setup, first, self.total)
            answer = answer_here if request.ray is None else answer_on_ray
            with answer(setup, self.parallel) as answering, interruptible(self.cancellation.cancel):
                self.stats.start()
                show(self.stats, answering.active)
                for result in write_answers(waiting, answering, output):
                    self._count_result(result, answering, watcher, show)
                    yield result
                # Excludes the time of ending workers.
                self.stats.stop()
        if pending.damage and not self.cancellation.requested:
            raise pending.damage

    def report(self) -> JobReport:
        """Build the report of the job (docs/batch.md)."""
        left = None if self.total is None else max(0, self.total - self.stats.rows)
        interrupted = self.cancellation.requested
        return self.stats.report(
            left=left if interrupted or self.fault else 0,
            interrupted=interrupted,
            input=self.request.source.path,
            output=self.request.output,
            parallel=self.parallel,
            settings=self.manifest.settings,
            models=self.manifest.models,
        )

    def _setup(self, watcher: Watcher, show: ShowStats) -> AnswerSetup:
        def on_round(answering: Answering) -> None:
            self.stats.count_unfinished(answering.unfinished_tokens)
            show(self.stats, answering.active)

        if note := self.request.files.thinking_note(self.request.formats):
            watcher.note(note)
        # All prompts show the date of the manifest, also after a resume on another day.
        formats: dict[Role, PromptFormat] = {
            role: replace(form, now=self.manifest.date)
            for role, form in self.request.files.prompt_formats(self.request.formats).items()
        }
        return AnswerSetup(self.request, self.manifest, formats, self.cancellation, watcher, on_round)

    def _count(self) -> int | None:
        """Count the results of the complete output, including those of rows that are not in this input."""
        request, output = self.request, self.output
        total = count_source(request.source, request.limit)
        if total is None or not output.kept:
            return total
        with open_source(request.source) as source:
            return (
                total + output.kept - check_unchanged(self._rows(source), output.answered_ids, request.output)
            )

    def _rows(self, source: RowSource) -> Iterator[Row | BadRow]:
        return islice(source.rows(self.request.settings, self.request.system), self.request.limit)

    def _count_result(self, result: Result, answering: Answering, watcher: Watcher, show: ShowStats) -> None:
        self.stats.add(result)
        show(self.stats, answering.active)
        if error := result["error"]:
            watcher.note(f"{result['id']} ({error['where']}): {error['message']}", error["kind"])

    def _report_to(self, watcher: Watcher) -> ShowStats:
        def tell(stats: JobStats, active: int) -> None:
            left_s = stats.eta_s(self.total)
            watcher.progress(Progress("answering rows", stats.rows, self.total, "rows", left_s))

        return tell
