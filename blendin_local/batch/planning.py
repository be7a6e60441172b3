"""How many rows are written at once: what memory allows, and what is fastest on this machine.

All sequences of a model share one KV cache that has room for a full context of each, so that beginnings can
be copied and no row can be cut short by another.
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

__all__ = ["CANDIDATES", "DEFAULT_PARALLEL", "Trial", "fastest", "fitting", "options_for", "try_parallel"]

DEFAULT_PARALLEL = 8
"""On a laptop's processor more at once is hardly faster, and the last digits of fewer rows stay alike."""

CANDIDATES = (1, 2, 4, 8, 16, 32)
"""Numbers of rows at once that a warm-up tries."""

_TRIAL_S = 1.5
_LEAST_ROUNDS = 8
_WORTH_MORE = 1.05
"""A larger number of rows at once must be so much faster: it takes memory, and each row takes longer."""


def options_for(options: ModelOptions, parallel: int) -> ModelOptions:
    """How both models are opened to write so many rows at once."""
    if parallel == 1:
        return replace(options, n_seq=1)
    return replace(
        options,
        n_seq=parallel,
        n_batch=max(options.n_batch, parallel),
        shared_cache=True,
        n_contexts=parallel,
    )


def fitting(options: ModelOptions, wanted: int, files: PairFiles, pairs: int = 1) -> int:
    """The most rows at once, at most `wanted` and at least one, that the free memory has room for.

    pairs: how many are about to be loaded, each for so many rows; this is one of them.
    """
    free = memory_estimate.free_memory() // pairs
    fit = (n for n in range(wanted, 1, -1) if not files.memory_warning(options_for(options, n), free))
    return next(fit, 1)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a warm-up measured with so many rows at once."""

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
    """Write replies, more and more at once until that is no faster; nothing is kept.

    pair: opened for `most` rows. requests: at least one; each is answered again where they do not suffice.
    Raises ModelError.
    """
    trials: list[Trial] = []
    with pair.watched(cancellation):
        for parallel in CANDIDATES:
            if parallel > min(most, len(requests)):
                break
            trials.append(_tried(pair, requests, parallel, cancellation))
            if cancellation and cancellation.requested:
                return []
            if progress:
                progress(trials[-1])
            if len(trials) > 1 and trials[-1].tokens_per_second < trials[-2].tokens_per_second * _WORTH_MORE:
                break
    return trials


def _tried(
    pair: Pair, requests: Sequence[Request], parallel: int, cancellation: Cancellation | None
) -> Trial:
    """As in a job, replies that are over make room for others, and their prompts take time."""
    decoder = Decoder(pair, cancellation)
    following = cycle(requests)
    decoder.join(*(respond(pair, next(following), seq) for seq in range(parallel)))
    # The first prompts, all at once, are not what a job is like.
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


def fastest(trials: Sequence[Trial]) -> int:
    """The number to use: the smallest that is within a twentieth of the best; 1 without trials."""
    best = max((trial.tokens_per_second for trial in trials), default=0.0)
    return next((t.parallel for t in trials if t.tokens_per_second * _WORTH_MORE >= best), 1)
