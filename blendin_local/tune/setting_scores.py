"""What every method and threshold is worth, from the record of one pass and without a model.

A response is priced as if it were written one base token at a time: `unit` "word" and the stop are not part
of a record. For the whole grid each weighting rule is computed once: a position is consulted at every
threshold above the base's confidence there, so sums over positions, counted by the first such threshold and
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
    "consulted",
    "fit_priors",
    "halves",
    "log2_probabilities",
    "price",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]

GAMMAS = tuple(k / 10 for k in range(11))
FIXED_ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)

LEAST_PROBABILITY = 2.0**-40
"""No probability is priced below this: 40 bits for what a method holds impossible.

A guide that weighs 1 and has no token for the reference makes it impossible. One such position in a
thousand would make every figure of the method infinite, and all such methods alike. `SettingScores.floored`
says how often that was so: a method that is there often is worse than its bits.
"""

_FLOOR_BITS = -math.log2(LEAST_PROBABILITY)

PRIOR_LIMIT = 8.0
"""The pair prior is sought within this of 0: the odds of the guide's weight times 3 000, or by it."""

PRIOR_WORTH = 1e-4
"""A prior that saves a smaller share of the bits than this is none: it stays exactly 0."""


# One setting


def consulted(record: Record, settings: BlendSettings) -> Truths:
    """bool[n]: where the guide is asked. A cap on the rate counts anew in every example."""
    trigger = METHODS[settings.method].trigger
    if trigger == "never":
        return np.zeros(len(record), np.bool_)
    asked = np.array(record.consultable, np.bool_)
    if trigger == "uncertain":
        asked &= record.c_b.astype(np.float64) < threshold(settings)
    return asked if settings.max_intervention_rate >= 1 else _capped(record.example, asked, settings)


def _capped(example: npt.NDArray[np.int32], asked: Truths, settings: BlendSettings) -> Truths:
    kept = asked.copy()
    steps = interventions = 0
    current = -1
    for place, each in enumerate(example.tolist()):
        if each != current:
            steps, interventions, current = 0, 0, each
        kept[place] = asked[place] and not is_capped(settings, steps, interventions)
        steps += 1
        interventions += int(kept[place])
    return kept


def log2_probabilities(record: Record, settings: BlendSettings) -> Floats:
    """float64[n]: log2 of the probability of each reference token under these settings.

    Raises ValueError for the method `guide`, which writes in tokens of its own: see `bits_by_example`.
    """
    if METHODS[settings.method].writer == "guide":
        raise ValueError("the guide alone has no probabilities at the base's tokens")
    bits = _base_bits(record)
    places = np.flatnonzero(consulted(record, settings))
    bits[places] = _Evidence.of(record, places).bits(settings)
    return -bits


def bits_by_example(record: Record, settings: BlendSettings) -> Floats:
    """float64[e]: -log2 of the probability of each response."""
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
    """What rules and blends look at, float64[m], at m positions where the guide is asked."""

    rule: Evidence
    p_outcome: Floats
    p_guide: Floats
    guide_mass: Floats

    @classmethod
    def of(cls, record: Record, places: Integers) -> _Evidence:
        def taken(name: str) -> Floats:
            return np.asarray(getattr(record, name)[places], np.float64)

        rule = Evidence(taken("c_b"), taken("c_g"), taken("agreement"), taken("guide_rank"))
        return cls(rule, taken("p_outcome"), taken("p_guide"), taken("guide_mass"))

    def upto(self, m: int) -> _Evidence:
        """The first m positions."""
        e = self.rule
        rule = Evidence(*(np.asarray(each)[:m] for each in (e.c_b, e.c_g, e.agreement, e.guide_rank)))
        return _Evidence(rule, self.p_outcome[:m], self.p_guide[:m], self.guide_mass[:m])

    def bits(self, settings: BlendSettings) -> Floats:
        """float64[m]: -log2 of the blend's probability of the reference (docs/method.md).

        The blend's total is what the guide can say of it; a guide that can say nothing here weighs nothing.
        """
        alpha = np.asarray(METHODS[settings.method].weigh(self.rule, settings), np.float64)
        alpha = np.where(self.guide_mass > 0, alpha, 0.0)
        mixed = (1 - alpha) * self.p_outcome + alpha * self.p_guide
        return _bits(mixed / ((1 - alpha) + alpha * np.where(self.guide_mass > 0, self.guide_mass, 1.0)))


# The grid


@dataclass(frozen=True, slots=True)
class SettingScores:
    """s settings over e examples: bits, consultations, tokens written and seconds, float64[s, e].

    floored: float64[s], the share of positions that are priced at `LEAST_PROBABILITY`; NaN for the guide
    alone, which has no such positions. priors: the fitted pair prior at each of `GAMMAS`. The first two
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
    """Places of the examples to fit on and of those to judge by, each rising; the odd one is for fitting."""
    order = np.random.default_rng(seed).permutation(examples)
    middle = (examples + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def price(record: Record, costs: Costs, fitting: Integers) -> SettingScores:
    """Every method at every one of `GAMMAS`, the pair prior of `tuned` fitted on the `fitting` examples."""
    first = _first_gamma(record)
    table = _Table(record, first)
    priors = fit_priors(record, fitting)
    base_bits = _base_bits(record)
    priced: list[_Priced] = [
        (Setting("base"), _by_example(record, base_bits), _floored(base_bits)),
        (Setting("guide"), np.array(record.guide_bits, np.float64), math.nan),
    ]
    for name, method in METHODS.items():
        if method.trigger == "uncertain":
            priced += _priced_rule(name, table, priors)
        elif method.trigger == "always":
            bits = -log2_probabilities(record, BlendSettings(method=name))
            priced.append((Setting(name), _by_example(record, bits), _floored(bits)))
    settings, bits_of, floored = zip(*priced, strict=True)
    work = _work(record, costs, settings, first)
    return SettingScores(settings, np.array(bits_of), *work, np.array(floored, np.float64), priors)


_Priced = tuple[Setting, Floats, float]
"""A setting, its bits, float64[e], and the share of its positions at the floor."""


def _floored(bits: Floats) -> float:
    return float((bits >= _FLOOR_BITS).mean()) if len(bits) else 0.0


def _work(
    record: Record, costs: Costs, settings: tuple[Setting, ...], first: Integers
) -> tuple[Floats, Floats, Floats]:
    """Consultations, tokens written and seconds, float64[s, e]. All three depend on the trigger alone."""
    n, nothing = _counted(record, record.example), np.zeros(record.examples)
    guide_tokens = record.guide_tokens.astype(np.float64)
    step_s = n * (costs.base_s + costs.base_only_s)
    guide_s = guide_tokens * (float(costs.guide_seconds(1)) + costs.guide_only_s)

    def blended(places: Integers) -> tuple[Floats, Floats, Floats]:
        asked = _counted(record, record.example[places])
        return asked, n, step_s + _consultation_seconds(record, costs, places)

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


def _counted(record: Record, examples: npt.NDArray[np.int32]) -> Floats:
    """float64[e]: how often each example is among these."""
    return np.bincount(examples, minlength=record.examples).astype(np.float64)


def _first_gamma(record: Record) -> Integers:
    """int[n]: place in GAMMAS of the lowest threshold that consults here; their number if none does."""
    first = np.searchsorted(GAMMAS, record.c_b.astype(np.float64), side="right")
    return np.where(record.consultable, first, len(GAMMAS))


class _Table:
    """Bits per example and floored positions at every threshold, for any rule."""

    def __init__(self, record: Record, first: Integers) -> None:
        places = np.flatnonzero(first < len(GAMMAS))
        self._evidence = _Evidence.of(record, places)
        self._cell = record.example[places] * len(GAMMAS) + first[places]
        self._shape = (record.examples, len(GAMMAS))
        self._first = first[places]
        bits = _base_bits(record)
        self._without = bits[places]
        self._base = _by_example(record, bits)
        self._positions = max(1, len(bits))
        self._base_floored = float((bits >= _FLOOR_BITS).sum())

    def priced(self, settings: BlendSettings) -> tuple[Floats, Floats]:
        """Bits float64[gammas, e] and floored shares float64[gammas], whatever `settings.gamma` says."""
        bits = self._evidence.bits(settings)
        cells = np.bincount(self._cell, bits - self._without, minlength=self._shape[0] * self._shape[1])
        more = (bits >= _FLOOR_BITS).astype(np.float64) - (self._without >= _FLOOR_BITS)
        floored = self._base_floored + np.bincount(self._first, more, minlength=len(GAMMAS)).cumsum()
        by_gamma = np.asarray(self._base + cells.reshape(self._shape).cumsum(axis=1).T)
        return by_gamma, floored / self._positions


def _priced_rule(name: str, table: _Table, priors: tuple[float, ...]) -> list[_Priced]:
    """The settings of one rule, each with its figures."""
    if name == "tuned":
        tables = {b: table.priced(BlendSettings(method=name, prior=b)) for b in set(priors)}
        return [
            (Setting(name, gamma, prior=b), tables[b][0][k], float(tables[b][1][k]))
            for k, (gamma, b) in enumerate(zip(GAMMAS, priors, strict=True))
        ]
    found = []
    for alpha in FIXED_ALPHAS if name == "fixed" else (None,):
        bits, floored = table.priced(Setting(name, alpha=alpha).blend_settings())
        found += [(Setting(name, gamma, alpha), bits[k], float(floored[k])) for k, gamma in enumerate(GAMMAS)]
    return found


def _consultation_seconds(record: Record, costs: Costs, places: Integers) -> Floats:
    """float64[e]: seconds of consulting the guide at these positions, in rising order.

    Each time it catches up on its tokens since the last time in that response, and decodes at least one.
    """
    if not len(places):
        return np.zeros(record.examples)
    examples, lengths = record.example[places], record.guide_length[places].astype(np.float64)
    new = np.diff(lengths, prepend=0.0)
    new[1:] = np.where(examples[1:] == examples[:-1], new[1:], lengths[1:])
    seconds = costs.guide_seconds(np.maximum(new, 1.0)) + costs.blend_s
    return np.asarray(np.bincount(examples, seconds, minlength=record.examples))


# The pair prior


def fit_priors(record: Record, fitting: Integers) -> tuple[float, ...]:
    """The pair prior b of `tuned` at each of `GAMMAS`: fewest bits over the `fitting` examples.

    Bits are no convex function of b, so the best of a coarse grid is refined between its neighbours.
    Exactly 0 where that is hardly worse, and where the guide is never asked.
    """
    first = _first_gamma(record)
    places = np.flatnonzero(np.isin(record.example, fitting) & (first < len(GAMMAS)))
    # By threshold: the positions consulted at any of them come first.
    places = places[np.argsort(first[places], kind="stable")]
    evidence = _Evidence.of(record, places)
    ends = np.searchsorted(first[places], np.arange(len(GAMMAS)), side="right")
    base = _base_bits(record)
    total = float(base[np.isin(record.example, fitting)].sum())
    # What is spent where the guide is not asked.
    rest = total - np.concatenate([[0.0], base[places].cumsum()])[ends]

    grid = np.arange(-PRIOR_LIMIT, PRIOR_LIMIT + 1)
    spent = np.zeros((len(grid), len(GAMMAS)))
    for k, b in enumerate(grid):
        bits = evidence.bits(BlendSettings(method="tuned", prior=float(b)))
        spent[k] = np.concatenate([[0.0], bits.cumsum()])[ends] + rest
    return tuple(
        _refined(evidence.upto(int(end)), grid, spent[:, k], float(rest[k])) if end else 0.0
        for k, end in enumerate(ends)
    )


def _refined(evidence: _Evidence, grid: Floats, spent: Floats, rest: float) -> float:
    def bits(b: float) -> float:
        return float(evidence.bits(BlendSettings(method="tuned", prior=float(b))).sum()) + rest

    best = int(spent.argmin())
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(bits, bounds=(low, high), method="bounded", options={"xatol": 5e-3})
    b = round(float(found.x if found.fun < spent[best] else grid[best]), 2)
    unshifted = float(spent[np.flatnonzero(grid == 0)[0]])
    return 0.0 if unshifted <= bits(b) * (1 + PRIOR_WORTH) else b
