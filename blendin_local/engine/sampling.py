"""Sample one outcome from a distribution, with NumPy only.

A distribution is `p`, float32[n]: non-negative masses over n outcomes, normalised or not. The best outcome
has the largest mass, and among equals the lowest index. Filters keep the shape and set dropped masses to
zero, so that they compose; `Sampler` applies them to the few outcomes that can survive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blendin_local.settings import SamplingSettings

Masses = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TINY = float(np.finfo(np.float32).tiny)

MAX_DRY_EXPONENT = 64
"""Cap of a run's length beyond the allowed one: a loss of 10 ** 64 nats is as good as infinite."""

# Of 262 144 masses, 4096 maxima cost a tenth of a full partition; top-k outcomes rarely share a group.
_GROUPS = 4096
_MARGIN = 1 - 1e-6


class Sampler:
    """Samples the outcomes of one response, reproducibly for a seed.

    With a temperature, each call draws exactly one random number, so the k-th choice depends only on the
    seed, k, the k-th distribution and the history. Greedy choices draw none.
    """

    def __init__(self, settings: SamplingSettings, seed: int) -> None:
        self.settings = settings
        self._random = np.random.default_rng(seed)
        self._buffer: Masses = np.empty(0, np.float32)

    def choose(self, p: Masses, history: Sequence[int], best: int | None = None) -> int:
        """Index of the chosen outcome. p is not modified.

        p: float32[n], non-negative masses. history: outcomes of the response so far, indices into p. best:
        the best outcome, if known. Raises ValueError if p is empty, all zero, or holds an infinity or a NaN.
        """
        s = self.settings
        best = best_outcome(p) if best is None else best
        if len(history) and penalises(s):
            if self._buffer.shape != p.shape:
                self._buffer = np.empty_like(p)
            p = penalised(p, history, s, out=self._buffer)
            best = int(p.argmax())
        if s.temperature == 0:
            return best
        u = self._random.random()
        outcomes = shortlist(p, s)
        mass = tempered(p[outcomes], s.temperature)
        mass = keep_top_p(keep_top_k(keep_min_p(mass, s.min_p), s.top_k), s.top_p)
        return int(outcomes[drawn(mass, u)])


def best_outcome(p: Masses) -> int:
    """Index of the largest mass of p, float32[n].

    Raises ValueError if p is empty, all zero, or holds an infinity or a NaN.
    """
    if not p.size:
        raise ValueError("There is nothing to choose from: the distribution has no outcomes.")
    best = int(p.argmax())
    # argmax returns a NaN or an infinity if there is one, so this checks every mass.
    if not 0 < p[best] < np.inf:
        raise ValueError(
            f"There is nothing to choose from: the largest mass of the distribution is {p[best]}."
        )
    return best


def penalises(s: SamplingSettings) -> bool:
    """Return whether the settings enable any penalty."""
    strength = s.repetition_penalty - 1 + s.presence_penalty + s.frequency_penalty + s.dry_multiplier
    return strength > 0 and s.penalty_window > 0


def penalised(p: Masses, history: Sequence[int], s: SamplingSettings, out: Masses | None = None) -> Masses:
    """p, float32[n], with reduced masses of outcomes among the last `penalty_window` of `history`.

    In nats, with l the log of the outcome's share of all mass and m how often the window holds it:
        l * repetition_penalty - presence_penalty - frequency_penalty * m - DRY loss
    (repetition: Keskar et al., arXiv 1909.05858, on log-probabilities rather than logits; presence and
    frequency as in OpenAI's API; DRY: text-generation-webui pull request 5677, see `repeated_runs`).
    No mass grows, and the result is not normalised. Masses are clipped at float32's smallest normal number,
    so that possible outcomes stay possible. Writes to `out` if given, which must not be p.
    """
    window = np.asarray(history[-s.penalty_window :] if s.penalty_window else (), dtype=np.int64)
    seen, place, count = np.unique(window, return_inverse=True, return_counts=True)
    loss = s.presence_penalty + s.frequency_penalty * count
    if s.dry_multiplier > 0:
        run = np.zeros_like(seen)
        np.maximum.at(run, place, repeated_runs(window, s.dry_allowed_length + MAX_DRY_EXPONENT))
        beyond = run - s.dry_allowed_length
        loss += np.where(beyond >= 0, s.dry_multiplier * s.dry_base ** np.maximum(beyond, 0.0), 0.0)
    # The window may hold outcomes outside this distribution, which count only for runs.
    known = seen < p.size
    seen, loss = seen[known], loss[known]
    mass = p[seen].astype(np.float64)
    total = p.sum(dtype=np.float64)
    with np.errstate(divide="ignore"):
        kept = total * np.exp(np.log(mass / total) * s.repetition_penalty - loss)
    out = np.empty_like(p) if out is None else out
    np.copyto(out, p)
    # clip applies the upper bound last, so a mass that was below TINY does not grow.
    out[seen] = np.clip(kept, TINY, mass)
    return out


def repeated_runs(window: Ints, longest: int) -> Ints:
    """Length of the repeated run that each outcome of the window would extend if chosen next.

    window: int64[m]. Element i of the int64[m] result is the largest n <= longest such that the n outcomes
    before place i are, one by one, the last n of the window. Runs may overlap.
    """
    runs = np.zeros(window.size, np.int64)
    places = np.arange(1, window.size)
    n = 0
    while places.size and n < longest:
        places = places[places > n]
        places = places[window[places - 1 - n] == window[-1 - n]]
        n += 1
        runs[places] = n
    return runs


def shortlist(p: Masses, s: SamplingSettings) -> Ints:
    """Ascending indices of all outcomes that pass min_p and top_k, and of few others.

    min_p after the temperature, (p / best) ** (1 / T) >= min_p, is p >= best * min_p ** T before it.
    """
    floor = float(p.max()) * s.min_p**s.temperature
    if s.top_k:
        floor = max(floor, top_k_floor(p, s.top_k))
    # The margin covers float32 rounding; the filters are exact.
    floor = np.float32(floor * _MARGIN)
    return np.flatnonzero(p >= floor if floor > 0 else p > 0)


def top_k_floor(p: Masses, k: int) -> float:
    """Return a mass that at least k outcomes of p, float32[n], reach; 0 if k is too large for this to pay.

    It is the k-th largest maximum of disjoint groups: one pass over p instead of a partition.
    """
    groups = max(_GROUPS, 4 * k)
    rows = p.size // groups
    if rows < 2:
        return 0.0
    maxima = p[: rows * groups].reshape(rows, groups).max(axis=0)
    return float(np.partition(maxima, -k)[-k])


def top_outcomes(p: Masses, k: int) -> Ints:
    """Indices of the k largest positive masses of p, float32[n], best first."""
    outcomes = np.flatnonzero((p >= top_k_floor(p, k)) & (p > 0))
    return outcomes[np.argsort(-p[outcomes], kind="stable")[:k]]


def tempered(p: Masses, temperature: float) -> Floats:
    """(p / max p) ** (1 / temperature), float32[m] to float64[m]; the best outcome has mass 1."""
    mass = p.astype(np.float64)
    mass /= mass.max()
    return mass if temperature == 1 else mass ** (1 / temperature)


def keep_min_p(mass: Floats, min_p: float) -> Floats:
    """Keep masses, float64[m], of at least `min_p` times the largest; 0 keeps all."""
    return np.where(mass >= min_p * mass.max(), mass, 0) if min_p > 0 else mass


def keep_top_k(mass: Floats, k: int) -> Floats:
    """Keep the k largest masses, float64[m], the first among equals; 0 keeps all."""
    if not 0 < k < mass.size:
        return mass
    smallest = np.partition(mass, -k)[-k]
    kept = mass > smallest
    kept[np.flatnonzero(mass == smallest)[: k - np.count_nonzero(kept)]] = True
    return np.where(kept, mass, 0)


def keep_top_p(mass: Floats, top_p: float) -> Floats:
    """Keep the smallest set of largest masses, float64[m], that holds `top_p` of the sum; 1 keeps all.

    At least the largest is kept, and among equals the first.
    """
    if top_p >= 1:
        return mass
    target = top_p * mass.sum()
    # Sort only the head: masses above a cut, which is lowered until they suffice.
    cut = mass.max()
    head = np.flatnonzero(mass >= cut)
    while mass[head].sum() < target:
        cut /= 16
        head = np.flatnonzero(mass >= cut)
    order = head[np.argsort(-mass[head], kind="stable")]
    kept = order[: np.searchsorted(mass[order].cumsum(), target) + 1]
    nucleus = np.zeros_like(mass)
    nucleus[kept] = mass[kept]
    return nucleus


def drawn(mass: Floats, u: float) -> int:
    """Index drawn in proportion to mass, float64[m], by inverting the running sum at u in [0, 1)."""
    below = mass.cumsum()
    return int(np.searchsorted(below, u * below[-1], side="right"))
