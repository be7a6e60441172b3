"""Choose the number of parallel rows by available memory and by measured speed.

All sequences of a model share one KV cache with room for a full context each, so that prefixes can be copied
and no row can be cut short by another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from time import perf_counter

from blendin_local.engine.decoder import Decoder, Request, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair
from blendin_local.models import memory_estimate
from blendin_local.models.loading import PairFiles
from blendin_local.settings import ModelOptions

__all__ = [
    "CANDIDATES",
    "DEFAULT_PARALLEL",
    "Trial",
    "choose_fastest",
    "fit_parallel",
    "parallel_options",
    "try_parallel",
]

DEFAULT_PARALLEL = 8
"""More rows are hardly faster on a laptop's CPU, and change the last digits of logits more."""

CANDIDATES = (1, 2, 4, 8, 16, 32)
"""Numbers of parallel rows that a warm-up tries."""

_TRIAL_S = 1.5
_LEAST_ROUNDS = 8
_MIN_SPEEDUP = 1.05
"""Minimum speed-up of a larger number of rows, which takes more memory and delays each row."""


def parallel_options(options: ModelOptions, parallel: int) -> ModelOptions:
    """Return the options that open both models for this number of parallel rows."""
    if parallel == 1:
        return replace(options, n_seq=1)
    return replace(
        options,
        n_seq=parallel,
        n_batch=max(options.n_batch, parallel),
        shared_cache=True,
        n_contexts=parallel,
    )


def fit_parallel(options: ModelOptions, wanted: int, files: PairFiles, pairs: int = 1) -> int:
    """Return the largest number of parallel rows, from 1 to `wanted`, that fits into free memory.

    pairs: number of pairs that share the memory, each for that number of rows.
    """
    free = memory_estimate.free_memory() // pairs
    devices = [replace(each, free=each.free // pairs) for each in memory_estimate.offload_devices()]
    fit = (
        n
        for n in range(wanted, 1, -1)
        if not files.memory_warning(parallel_options(options, n), free, devices)
    )
    return next(fit, 1)


@dataclass(frozen=True, slots=True)
class Trial:
    """Speed of a warm-up with a number of parallel rows."""

    parallel: int
    tokens_per_second: float


def try_parallel(
    pair: Pair,
    requests: Sequence[Request],
    most: int,
    *,
    cancellation: Cancellation | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Measure the speed with increasing numbers of parallel rows until it no longer increases.

    pair: opened for `most` rows. requests: at least one; they are repeated as needed. Raises ModelError.
    """
    trials: list[Trial] = []
    with pair.watched(cancellation):
        for parallel in CANDIDATES:
            if parallel > min(most, len(requests)):
                break
            trials.append(_measure_trial(pair, requests, parallel, cancellation))
            if cancellation and cancellation.requested:
                return []
            if progress:
                progress(trials[-1])
            if len(trials) > 1 and trials[-1].tokens_per_second < trials[-2].tokens_per_second * _MIN_SPEEDUP:
                break
    return trials


def _measure_trial(
    pair: Pair, requests: Sequence[Request], parallel: int, cancellation: Cancellation | None
) -> Trial:
    """Measure one number of rows. As in a job, new requests replace finished ones, and their prompts
    count.
    """
    decoder = Decoder(pair, cancellation)
    following = cycle(requests)
    decoder.join(*(respond(pair, next(following), seq) for seq in range(parallel)))
    # The first round is not timed: in a job, prompts do not all start at once.
    for _ in decoder.round():
        pass
    began, steps, rounds = perf_counter(), 0, 0
    while decoder.active or decoder.over:
        for response in decoder.over:
            decoder.join(respond(pair, next(following), response.seq))
        steps += sum(1 for _ in decoder.round())
        rounds += 1
        seconds = perf_counter() - began
        if (seconds >= _TRIAL_S and rounds >= _LEAST_ROUNDS) or (cancellation and cancellation.requested):
            break
    return Trial(parallel, steps / seconds)


def choose_fastest(trials: Sequence[Trial]) -> int:
    """Return the smallest number of rows whose speed is within 5 % of the best; 1 without trials."""
    best = max((trial.tokens_per_second for trial in trials), default=0.0)
    return next((t.parallel for t in trials if t.tokens_per_second * _MIN_SPEEDUP >= best), 1)
