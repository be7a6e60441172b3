"""Who answers the rows of a job: the pair on this machine, many rows at once, or workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from blendin_local.batch.job import Answering
from blendin_local.batch.planning import (
    CANDIDATES,
    DEFAULT_PARALLEL,
    fastest,
    fitting,
    options_for,
    try_parallel,
)
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.scheduler import Scheduler, request_of
from blendin_local.cli.generate_job import Job
from blendin_local.cli.generate_options import AUTO, LOCAL_RAY
from blendin_local.cli.loaded import loaded
from blendin_local.engine.interrupt import interrupting
from blendin_local.errors import PromptError

__all__ = ["here", "most_at_once", "on_ray"]

_TRIAL_CONTEXT = 1024
"""Tokens: room for beginnings is enough to try, and leaves more for trying many rows at once."""


@contextmanager
def here(job: Job, first: Sequence[Row | BadRow]) -> Iterator[Answering]:
    """The pair loaded on this machine."""
    plan = job.plan
    job.parallel = _parallel(job, first)
    options, formats = options_for(plan.options, job.parallel), job.prompt_formats

    with loaded(plan.files, options, quiet=plan.values["quiet"]) as pair:
        scheduler: Scheduler = Scheduler(
            pair,
            formats,
            job.run,
            job.parallel,
            job.cancellation,
            on_round=lambda: _tell(job, scheduler),
        )
        yield scheduler


def _tell(job: Job, answering: Answering) -> None:
    """Show how far rows under way are."""
    job.tally.writing(answering.unfinished_tokens)
    job.progress.update(job.tally, answering.active)


def _parallel(job: Job, first: Sequence[Row | BadRow]) -> int:
    """How many rows to write at once."""
    plan, wanted = job.plan, job.plan.values["parallel"]
    # Of a pipe more may come.
    most = most_at_once(wanted) if job.total is None else len(first)
    fits = fitting(plan.options, most, plan.files)
    if wanted == AUTO:
        return _tried(job, first, fits)
    if fits == most:
        return most
    if wanted is None:
        at_once = "1 row is" if fits == 1 else f"{fits} rows are"
        job.progress.note(f"{at_once} written at once: memory has no room for more.")
        return fits
    job.progress.note(f"Memory may not suffice for {most} rows at once: try --parallel {fits}.")
    return most


def most_at_once(wanted: int | str | None) -> int:
    """The most rows at once that may come of an option."""
    if isinstance(wanted, int):
        return wanted
    return max(CANDIDATES) if wanted == AUTO else DEFAULT_PARALLEL


def _tried(job: Job, first: Sequence[Row | BadRow], most: int) -> int:
    """What a warm-up with the first rows finds fastest."""
    plan = job.plan
    n_ctx = min(plan.options.n_ctx or _TRIAL_CONTEXT, _TRIAL_CONTEXT)
    options = options_for(replace(plan.options, n_ctx=n_ctx), most)
    requests, formats = [], job.prompt_formats
    with loaded(plan.files, options, quiet=plan.values["quiet"]) as pair:
        for row in first[:most]:
            if isinstance(row, Row):
                with suppress(PromptError):
                    requests.append(request_of(pair, formats, row))
        with interrupting(job.cancellation.cancel):
            trials = try_parallel(
                pair,
                requests,
                most,
                cancellation=job.cancellation,
                progress=lambda trial: job.progress.note(
                    f"{trial.parallel} at once: {trial.tokens_per_second:.1f} tokens/s"
                ),
            )
    if job.cancellation.requested:
        raise KeyboardInterrupt
    chosen = fastest(trials) if trials else min(most, DEFAULT_PARALLEL)
    job.progress.note(f"{chosen} rows are written at once.")
    return chosen


@contextmanager
def on_ray(job: Job) -> Iterator[Answering]:
    """Workers of a Ray cluster."""
    from blendin_local.batch.ray_dispatcher import RayDispatcher, WorkerSetup

    plan, values = job.plan, job.plan.values
    job.parallel = values["parallel"] or DEFAULT_PARALLEL
    setup = WorkerSetup(
        entry=plan.files.entry,
        formats=job.prompt_formats,
        options=plan.options,
        run=job.run,
        parallel=job.parallel,
    )
    dispatcher = RayDispatcher(
        setup,
        address=None if values["ray"] == LOCAL_RAY else values["ray"],
        workers=values["workers"],
        cancellation=job.cancellation,
        note=job.progress.note,
        on_round=lambda: _tell(job, dispatcher),
    )
    with dispatcher:
        yield dispatcher
