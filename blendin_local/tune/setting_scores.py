"""Score every method and threshold from the record of one pass, without a model.

A response is scored as if it were written one base token at a time: a record holds neither the unit "word"
nor the stop. Each weighting rule is computed once for all thresholds: the guide is consulted at every
threshold above the base's confidence, so sums over positions, grouped by the lowest such threshold and
cumulated, are the sums at all thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from blendin_local.engine.trigger import is_capped, threshold
from blendin_local.methods import METHODS, Evidence
from blendin_local.settings import BlendSettings
from blendin_local.tune.costs import Costs
from blendin_local.tune.record import Record
from blendin_local.tune.result import Setting

__all__ = [
    "FIXED_ALPHAS",
    "GAMMAS",
    "LEAST_PROBABILITY",
    "SettingScores",
    "bits_by_example",
    "consultation_mask",
    "fit_priors",
    "halves",
    "log2_probabilities",
    "score_settings",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]

GAMMAS = tuple(k / 10 for k in range(11))
FIXED_ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)

LEAST_PROBABILITY = 2.0**-40
"""Floor of scored probabilities: 40 bits for an outcome that a method makes impossible.

A guide of weight 1 without a token for the reference makes it impossible, and one such position would make
every figure of the method infinite. `SettingScores.floored` is the share of these positions; if it is large,
the method is worse than its bits.
"""

_FLOOR_BITS = -math.log2(LEAST_PROBABILITY)

PRIOR_LIMIT = 8.0
"""Bound of the fitted prior: it multiplies or divides the odds of the guide's weight by up to 3 000."""

PRIOR_WORTH = 1e-4
"""A prior that saves a smaller share of the bits is set to exactly 0."""


# One setting


def consultation_mask(record: Record, settings: BlendSettings) -> Truths:
    """Return bool[n]: the positions at which the guide is consulted. A rate cap restarts in each example."""
    trigger = METHODS[settings.method].trigger
    if trigger == "never":
        return np.zeros(len(record), np.bool_)
    asked = np.array(record.consultable, np.bool_)
    if trigger == "uncertain":
        asked &= record.c_b.astype(np.float64) < threshold(settings)
    return asked if settings.max_intervention_rate >= 1 else _apply_cap(record.example, asked, settings)


def _apply_cap(example: npt.NDArray[np.int32], asked: Truths, settings: BlendSettings) -> Truths:
    kept = asked.copy()
    steps = interventions = 0
    current = -1
    for index, each in enumerate(example.tolist()):
        if each != current:
            steps, interventions, current = 0, 0, each
        kept[index] = asked[index] and not is_capped(settings, steps, interventions)
        steps += 1
        interventions += int(kept[index])
    return kept


def log2_probabilities(record: Record, settings: BlendSettings) -> Floats:
    """Return float64[n]: log2 of the probability of each reference token under these settings.

    Raises ValueError for the method `guide`, which writes its own tokens: see `bits_by_example`.
    """
    if METHODS[settings.method].writer == "guide":
        raise ValueError("the guide alone has no probabilities at the base's tokens")
    bits = _base_bits(record)
    positions = np.flatnonzero(consultation_mask(record, settings))
    bits[positions] = _Evidence.of(record, positions).bits(settings)
    return -bits


def bits_by_example(record: Record, settings: BlendSettings) -> Floats:
    """Return float64[e]: -log2 of the probability of each response."""
    if METHODS[settings.method].writer == "guide":
        return np.array(record.guide_bits, np.float64)
    return _by_example(record, -log2_probabilities(record, settings))


def _by_example(record: Record, values: Floats) -> Floats:
    return np.asarray(np.bincount(record.example, values, minlength=record.examples), np.float64)


def _bits(probabilities: npt.ArrayLike) -> Floats:
    return np.asarray(-np.log2(np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, 1.0)))


def _base_bits(record: Record) -> Floats:
    return _bits(record.p_base)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Inputs of weighting rules and blends, float64[m], at m positions that consult the guide."""

    rule: Evidence
    p_outcome: Floats
    p_guide: Floats
    guide_mass: Floats

    @classmethod
    def of(cls, record: Record, positions: Integers) -> _Evidence:
        def column(name: str) -> Floats:
            return np.asarray(getattr(record, name)[positions], np.float64)

        rule = Evidence(column("c_b"), column("c_g"), column("agreement"), column("guide_rank"))
        return cls(rule, column("p_outcome"), column("p_guide"), column("guide_mass"))

    def upto(self, m: int) -> _Evidence:
        """Return the first m positions."""
        e = self.rule
        rule = Evidence(*(np.asarray(each)[:m] for each in (e.c_b, e.c_g, e.agreement, e.guide_rank)))
        return _Evidence(rule, self.p_outcome[:m], self.p_guide[:m], self.guide_mass[:m])

    def bits(self, settings: BlendSettings) -> Floats:
        """Return float64[m]: -log2 of the blend's probability of the reference (docs/method.md).

        The blend is normalized by its total mass; a guide without mass on any outcome has weight 0.
        """
        alpha = np.asarray(METHODS[settings.method].weigh(self.rule, settings), np.float64)
        alpha = np.where(self.guide_mass > 0, alpha, 0.0)
        mixed = (1 - alpha) * self.p_outcome + alpha * self.p_guide
        return _bits(mixed / ((1 - alpha) + alpha * np.where(self.guide_mass > 0, self.guide_mass, 1.0)))


# The grid


@dataclass(frozen=True, slots=True)
class SettingScores:
    """Scores of s settings on e examples: bits, consultations, tokens written and seconds, float64[s, e].

    floored: float64[s], share of positions scored at `LEAST_PROBABILITY`; NaN for the guide alone, which is
    not scored by position. priors: the fitted pair prior at each of `GAMMAS`. The first two
    settings are base and guide.
    """

    settings: tuple[Setting, ...]
    bits: Floats
    consultations: Floats
    tokens: Floats
    seconds: Floats
    floored: Floats
    priors: tuple[float, ...]


def halves(examples: int, seed: int) -> tuple[Integers, Integers]:
    """Split example indices at random into the fitting and the held-out half, each in increasing order.

    Of an odd number, the fitting half gets one more.
    """
    order = np.random.default_rng(seed).permutation(examples)
    middle = (examples + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def score_settings(record: Record, costs: Costs, fitting: Integers) -> SettingScores:
    """Score every method at each of `GAMMAS`; the prior of `tuned` is fitted on the `fitting` examples."""
    first = _first_gamma(record)
    table = _Table(record, first)
    priors = fit_priors(record, fitting)
    base_bits = _base_bits(record)
    scored: list[_Score] = [
        (Setting("base"), _by_example(record, base_bits), _floored_share(base_bits)),
        (Setting("guide"), np.array(record.guide_bits, np.float64), math.nan),
    ]
    for name, method in METHODS.items():
        if method.trigger == "uncertain":
            scored += _score_rule(name, table, priors)
        elif method.trigger == "always":
            bits = -log2_probabilities(record, BlendSettings(method=name))
            scored.append((Setting(name), _by_example(record, bits), _floored_share(bits)))
    settings, bits_of, floored = zip(*scored, strict=True)
    work = _work(record, costs, settings, first)
    return SettingScores(settings, np.array(bits_of), *work, np.array(floored, np.float64), priors)


_Score = tuple[Setting, Floats, float]
"""A setting, its bits float64[e], and the share of its positions at the floor."""


def _floored_share(bits: Floats) -> float:
    return float((bits >= _FLOOR_BITS).mean()) if len(bits) else 0.0


def _work(
    record: Record, costs: Costs, settings: tuple[Setting, ...], first: Integers
) -> tuple[Floats, Floats, Floats]:
    """Consultations, tokens written and seconds, float64[s, e]; all three depend only on the trigger."""
    n, nothing = _count_by_example(record, record.example), np.zeros(record.examples)
    guide_tokens = record.guide_tokens.astype(np.float64)
    step_s = n * (costs.base_s + costs.base_only_s)
    guide_s = guide_tokens * (float(costs.guide_seconds(1)) + costs.guide_only_s)

    def blended(positions: Integers) -> tuple[Floats, Floats, Floats]:
        asked = _count_by_example(record, record.example[positions])
        return asked, n, step_s + _consultation_seconds(record, costs, positions)

    by_trigger: dict[tuple[str, float | None], tuple[Floats, Floats, Floats]] = {
        ("base", None): (nothing, n, step_s),
        ("guide", None): (nothing, guide_tokens, guide_s),
        ("", None): blended(np.flatnonzero(record.consultable)),
    }
    for k, gamma in enumerate(GAMMAS):
        by_trigger["", gamma] = blended(np.flatnonzero(first <= k))
    work = np.array(
        [by_trigger[s.method if s.method in ("base", "guide") else "", s.gamma] for s in settings], np.float64
    )
    return work[:, 0], work[:, 1], work[:, 2]


def _count_by_example(record: Record, examples: npt.NDArray[np.int32]) -> Floats:
    """Return float64[e]: how often each example occurs among these."""
    return np.bincount(examples, minlength=record.examples).astype(np.float64)


def _first_gamma(record: Record) -> Integers:
    """Return int[n]: index in GAMMAS of the lowest threshold that consults the guide, else their number."""
    first = np.searchsorted(GAMMAS, record.c_b.astype(np.float64), side="right")
    return np.where(record.consultable, first, len(GAMMAS))


class _Table:
    """Scores a weighting rule at every threshold at once."""

    def __init__(self, record: Record, first: Integers) -> None:
        positions = np.flatnonzero(first < len(GAMMAS))
        self._evidence = _Evidence.of(record, positions)
        self._cell = record.example[positions] * len(GAMMAS) + first[positions]
        self._shape = (record.examples, len(GAMMAS))
        self._first = first[positions]
        bits = _base_bits(record)
        self._without = bits[positions]
        self._base = _by_example(record, bits)
        self._positions = max(1, len(bits))
        self._base_floored = float((bits >= _FLOOR_BITS).sum())

    def score(self, settings: BlendSettings) -> tuple[Floats, Floats]:
        """Return bits float64[gammas, e] and floored shares float64[gammas]; ignores `settings.gamma`."""
        bits = self._evidence.bits(settings)
        cells = np.bincount(self._cell, bits - self._without, minlength=self._shape[0] * self._shape[1])
        more = (bits >= _FLOOR_BITS).astype(np.float64) - (self._without >= _FLOOR_BITS)
        floored = self._base_floored + np.bincount(self._first, more, minlength=len(GAMMAS)).cumsum()
        by_gamma = np.asarray(self._base + cells.reshape(self._shape).cumsum(axis=1).T)
        return by_gamma, floored / self._positions


def _score_rule(name: str, table: _Table, priors: tuple[float, ...]) -> list[_Score]:
    """Score one rule with each of its parameters at every threshold."""
    if name == "tuned":
        tables = {b: table.score(BlendSettings(method=name, prior=b)) for b in set(priors)}
        return [
            (Setting(name, gamma, prior=b), tables[b][0][k], float(tables[b][1][k]))
            for k, (gamma, b) in enumerate(zip(GAMMAS, priors, strict=True))
        ]
    found = []
    for alpha in FIXED_ALPHAS if name == "fixed" else (None,):
        bits, floored = table.score(Setting(name, alpha=alpha).blend_settings())
        found += [(Setting(name, gamma, alpha), bits[k], float(floored[k])) for k, gamma in enumerate(GAMMAS)]
    return found


def _consultation_seconds(record: Record, costs: Costs, positions: Integers) -> Floats:
    """Return float64[e]: seconds of consulting the guide at these positions, in increasing order.

    Each consultation decodes the guide's tokens since the previous one in that response, at least one.
    """
    if not len(positions):
        return np.zeros(record.examples)
    examples, lengths = record.example[positions], record.guide_length[positions].astype(np.float64)
    new = np.diff(lengths, prepend=0.0)
    new[1:] = np.where(examples[1:] == examples[:-1], new[1:], lengths[1:])
    seconds = costs.guide_seconds(np.maximum(new, 1.0)) + costs.blend_s
    return np.asarray(np.bincount(examples, seconds, minlength=record.examples))


# The pair prior


def fit_priors(record: Record, fitting: Integers) -> tuple[float, ...]:
    """Fit the pair prior b of `tuned` at each of `GAMMAS`, to the fewest bits over the `fitting` examples.

    Bits are not convex in b, so the best of a coarse grid is refined between its neighbours. The prior is
    exactly 0 where that is hardly worse, and where the guide is never consulted.
    """
    first = _first_gamma(record)
    positions = np.flatnonzero(np.isin(record.example, fitting) & (first < len(GAMMAS)))
    # By threshold: positions that consult the guide at any of them come first.
    positions = positions[np.argsort(first[positions], kind="stable")]
    evidence = _Evidence.of(record, positions)
    ends = np.searchsorted(first[positions], np.arange(len(GAMMAS)), side="right")
    base = _base_bits(record)
    total = float(base[np.isin(record.example, fitting)].sum())
    # Bits at the positions that do not consult the guide.
    rest = total - np.concatenate([[0.0], base[positions].cumsum()])[ends]

    grid = np.arange(-PRIOR_LIMIT, PRIOR_LIMIT + 1)
    spent = np.zeros((len(grid), len(GAMMAS)))
    for k, b in enumerate(grid):
        bits = evidence.bits(BlendSettings(method="tuned", prior=float(b)))
        spent[k] = np.concatenate([[0.0], bits.cumsum()])[ends] + rest
    return tuple(
        _refine_prior(evidence.upto(int(end)), grid, spent[:, k], float(rest[k])) if end else 0.0
        for k, end in enumerate(ends)
    )


def _refine_prior(evidence: _Evidence, grid: Floats, spent: Floats, rest: float) -> float:
    def bits(b: float) -> float:
        return float(evidence.bits(BlendSettings(method="tuned", prior=float(b))).sum()) + rest

    best = int(spent.argmin())
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(bits, bounds=(low, high), method="bounded", options={"xatol": 5e-3})
    b = round(float(found.x if found.fun < spent[best] else grid[best]), 2)
    unshifted = float(spent[np.flatnonzero(grid == 0)[0]])
    return 0.0 if unshifted <= bits(b) * (1 + PRIOR_WORTH) else b
