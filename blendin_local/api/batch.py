"""Iterate over the results of a batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from blendin_local.api.progress import ShowProgress, open_watcher
from blendin_local.api.reply import LoadedModels
from blendin_local.batch.job_report import JobReport
from blendin_local.batch.request import BatchRequest
from blendin_local.batch.results import RowResult
from blendin_local.batch.resuming import EarlierLines
from blendin_local.batch.run import Batch, open_batch
from blendin_local.engine.interrupt import interrupting

__all__ = ["BatchResults"]


class BatchResults:
    """The results of a batch; iterate over them once.

    Ctrl-C raises KeyboardInterrupt and leaves the pair usable.
    """

    def __init__(self, models: LoadedModels, request: BatchRequest, progress: ShowProgress) -> None:
        self._models = models
        self._request = request
        self._progress = progress
        self._batch: Batch | None = None
        self._iterator = self._results()

    def __iter__(self) -> Iterator[RowResult]:
        return self._iterator

    def close(self) -> None:
        """Stop and drop unfinished rows; a later run with the same output resumes."""
        self._iterator.close()

    @property
    def report(self) -> JobReport | None:
        """The report of the rows so far; None before the first result."""
        return self._batch.report() if self._batch else None

    def _results(self) -> Generator[RowResult]:
        request = self._request
        self._models.check_open()
        with open_watcher(self._progress) as watcher, open_batch(request, watcher) as batch:
            self._batch = batch
            if batch.output.kept:
                yield from (RowResult(result) for _, result in EarlierLines(request.output, request.output))
            stopped = False
            with closing(batch.results(watcher)) as results:
                while True:
                    with interrupting(batch.cancellation.cancel) as pressed:
                        result = next(results, None)
                    stopped = stopped or pressed.is_set()
                    if result is None:
                        break
                    yield RowResult(result)
            batch.stats.stop()
        if stopped:
            raise KeyboardInterrupt
