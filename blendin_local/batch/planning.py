"""How many rows are written at once: what memory allows, and what is fastest on this machine.

All sequences of a model share one KV cache that has room for a full context of each, so that beginnings can
be copied and no row can be cut short by another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from blendin_local.engine import Decoder, Request, respond
from blendin_local.loading import PairFiles
from blendin_local.model import Cancellation
from blendin_local.pair import Pair
from blendin_local.settings import ModelOptions

__all__ = ["CANDIDATES", "DEFAULT_PARALLEL", "Trial", "fastest", "fitting", "options_for", "try_parallel"]

DEFAULT_PARALLEL = 8
"""On a laptop's processor more at once is hardly faster, and the last digits of fewer rows stay alike."""

CANDIDATES = (1, 2, 4, 8, 16, 32)
"""Numbers of rows at once that a warm-up tries."""

_TRIAL_ROUNDS = 12
_UNCOUNTED_ROUNDS = 2
_WORTH_MORE = 1.05
"""A larger number of rows at once must be so much faster: it takes memory, and each row takes longer."""


def options_for(options: ModelOptions, parallel: int, files: PairFiles) -> ModelOptions:
    """How both models are opened to write so many rows at once."""
    if parallel == 1:
        return replace(options, n_seq=1)
    longest = options.n_ctx or max(files.base.n_ctx_train, files.guide.n_ctx_train)
    return replace(
        options,
        n_seq=parallel,
        n_batch=max(options.n_batch, parallel),
        shared_cache=True,
        n_cells=parallel * longest,
    )


def fitting(options: ModelOptions, wanted: int, files: PairFiles) -> int:
    """The most rows at once, at most `wanted` and at least one, that the free memory has room for."""
    return next(
        (n for n in range(wanted, 1, -1) if not files.memory_warning(options_for(options, n, files))), 1
    )


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
    """Write the beginnings of replies, more and more at once until that is no faster; nothing is kept.

    pair: opened for `most` rows. Reading the prompts is not counted. Raises ModelError.
    """
    trials: list[Trial] = []
    with pair.watched(cancellation):
        for parallel in CANDIDATES:
            if parallel > min(most, len(requests)) or (cancellation and cancellation.requested):
                break
            decoder = Decoder(pair, cancellation)
            decoder.join(*(respond(pair, requests[seq], seq) for seq in range(parallel)))
            seconds, steps = 0.0, 0
            for number in range(_TRIAL_ROUNDS):
                began = perf_counter()
                made = sum(1 for _ in decoder.round())
                if number >= _UNCOUNTED_ROUNDS and made == parallel:
                    seconds += perf_counter() - began
                    steps += made
            if not steps:
                break
            trials.append(Trial(parallel, steps / seconds))
            if progress:
                progress(trials[-1])
            if len(trials) > 1 and trials[-1].tokens_per_second < trials[-2].tokens_per_second * _WORTH_MORE:
                break
    return trials


def fastest(trials: Sequence[Trial]) -> int:
    """The number to use: the smallest that is within a twentieth of the best; 1 without trials."""
    best = max((trial.tokens_per_second for trial in trials), default=0.0)
    return next((t.parallel for t in trials if t.tokens_per_second * _WORTH_MORE >= best), 1)
