"""Answer the rows of a job with a scheduler on this machine or with workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from blendin_local.batch.job import Answering
from blendin_local.batch.planning import (
    CANDIDATES,
    DEFAULT_PARALLEL,
    choose_fastest,
    fit_parallel,
    parallel_options,
    try_parallel,
)
from blendin_local.batch.request import AUTO, LOCAL_RAY, BatchRequest, Parallel
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.run_manifest import RunManifest
from blendin_local.batch.scheduler import Scheduler, request_of
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat
from blendin_local.errors import PromptError
from blendin_local.models.loading import open_pair
from blendin_local.progress import Watcher

__all__ = ["AnswerSetup", "answer_here", "answer_on_ray", "choose_parallel", "max_parallel"]

_TRIAL_CONTEXT = 1024
"""Context size of a warm-up in tokens: a small one leaves memory for more parallel rows."""


@dataclass(frozen=True, slots=True)
class AnswerSetup:
    """Parameters of answering the rows of a job. on_round: called after each step of all active rows."""

    request: BatchRequest
    run: RunManifest
    formats: Mapping[Role, PromptFormat]
    cancellation: Cancellation
    watcher: Watcher
    on_round: Callable[[Answering], None]


@contextmanager
def answer_here(setup: AnswerSetup, parallel: int) -> Iterator[Answering]:
    """Load the pair on this machine; yield a scheduler that answers with it."""
    options = parallel_options(setup.request.options, parallel)
    with closing(open_pair(setup.request.files, options, setup.watcher)) as pair:
        scheduler: Scheduler = Scheduler(
            pair,
            setup.formats,
            setup.run,
            parallel,
            setup.cancellation,
            on_round=lambda: setup.on_round(scheduler),
        )
        yield scheduler


@contextmanager
def answer_on_ray(setup: AnswerSetup, parallel: int) -> Iterator[Answering]:
    """Start workers on a Ray cluster; yield a dispatcher that answers with them."""
    from blendin_local.batch.ray_dispatcher import RayDispatcher, WorkerSetup

    request = setup.request
    worker = WorkerSetup(
        entry=request.files.entry,
        formats=dict(setup.formats),
        options=request.files.options(request.options),
        run=setup.run,
        parallel=parallel,
    )
    dispatcher = RayDispatcher(
        worker,
        address=None if request.ray == LOCAL_RAY else request.ray,
        workers=request.workers,
        cancellation=setup.cancellation,
        note=setup.watcher.note,
        on_round=lambda: setup.on_round(dispatcher),
    )
    with dispatcher:
        yield dispatcher


def max_parallel(wanted: Parallel) -> int:
    """Return the largest number of parallel rows that `choose_parallel` can return for an option."""
    if isinstance(wanted, int):
        return wanted
    return max(CANDIDATES) if wanted == AUTO else DEFAULT_PARALLEL


def choose_parallel(setup: AnswerSetup, first: Sequence[Row | BadRow], total: int | None) -> int:
    """Choose the number of rows decoded in parallel, on this machine or by each worker of a cluster.

    first: the first rows. total: number of rows of the input, None if unknown. Raises ModelError, or
    KeyboardInterrupt if the user stops the warm-up.
    """
    request, wanted = setup.request, setup.request.parallel
    if request.ray is not None:
        return wanted if isinstance(wanted, int) else DEFAULT_PARALLEL
    most = max_parallel(wanted) if total is None else len(first)
    fits = fit_parallel(request.options, most, request.files)
    if wanted == AUTO:
        return _measure_fastest(setup, first, fits)
    if fits == most:
        return most
    if wanted is None:
        at_once = "1 row is" if fits == 1 else f"{fits} rows are"
        setup.watcher.note(f"{at_once} written at once: memory has no room for more.")
        return fits
    setup.watcher.note(f"Memory may not suffice for {most} rows at once: try --parallel {fits}.")
    return most


def _measure_fastest(setup: AnswerSetup, first: Sequence[Row | BadRow], most: int) -> int:
    """Measure with the first rows which number of parallel rows is fastest."""
    request, watcher = setup.request, setup.watcher
    n_ctx = min(request.options.n_ctx or _TRIAL_CONTEXT, _TRIAL_CONTEXT)
    options = parallel_options(request.files.options(request.options).pinned(n_ctx=n_ctx), most)
    requests = []
    with closing(open_pair(request.files, options, watcher)) as pair:
        for row in first[:most]:
            if isinstance(row, Row):
                with suppress(PromptError):
                    requests.append(request_of(pair, setup.formats, row))
        with interrupting(setup.cancellation.cancel):
            trials = try_parallel(
                pair,
                requests,
                most,
                cancellation=setup.cancellation,
                progress=lambda trial: watcher.note(
                    f"{trial.parallel} at once: {trial.tokens_per_second:.1f} tokens/s"
                ),
            )
    if setup.cancellation.requested:
        raise KeyboardInterrupt
    chosen = choose_fastest(trials) if trials else min(most, DEFAULT_PARALLEL)
    watcher.note(f"{chosen} rows are written at once.")
    return chosen
