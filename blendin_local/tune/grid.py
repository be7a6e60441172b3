"""Summarize the score of every setting, with intervals over examples, and find the Pareto front."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from blendin_local.methods import METHODS
from blendin_local.statistics import expanded_intervals, resample_counts, resampled_ratios
from blendin_local.tune.record import Record
from blendin_local.tune.result import Bounds, ScoredSetting
from blendin_local.tune.setting_scores import SettingScores

__all__ = ["pareto_front", "summarize_settings"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]


def summarize_settings(
    scores: SettingScores, record: Record, fitting: Integers, held_out: Integers, *, seed: int
) -> tuple[ScoredSetting, ...]:
    """Summarize every setting of `scores`, in their order.

    fitting, held_out: indices of examples. The intervention rate of the guide alone is undefined. Intervals
    resample examples, so the interval of a speed leaves out the error of the measured decode times.
    """
    sizes = record.bytes.astype(np.float64)
    positions = np.bincount(record.example, minlength=record.examples).astype(np.float64)
    counts = resample_counts(record.examples, seed=seed)
    held_counts = resample_counts(len(held_out), seed=seed + 1)
    per_byte = _with_interval(scores.bits, sizes, counts)
    held = _with_interval(scores.bits[:, held_out], sizes[held_out], held_counts)
    rates = _with_interval(scores.consultations, positions, counts)
    speed = _with_interval(scores.tokens, scores.seconds, counts)
    bytes_s = _divide(np.full(len(scores.settings), sizes.sum()), scores.seconds.sum(axis=1))
    fitted = _divide(scores.bits[:, fitting].sum(axis=1), sizes[fitting].sum())
    asks = np.array([METHODS[each.method].writer != "guide" for each in scores.settings])
    rates = np.where(asks[:, None], rates, np.nan)
    front = pareto_front(per_byte[:, 0], bytes_s)
    return tuple(
        ScoredSetting(
            **each.as_dict(),
            bits_per_byte=_finite_or_none(per_byte[k, 0]),
            interval=_bounds(per_byte[k]),
            fitting_bits_per_byte=_finite_or_none(fitted[k]),
            held_out_bits_per_byte=_finite_or_none(held[k, 0]),
            held_out_interval=_bounds(held[k]),
            intervention_rate=_finite_or_none(rates[k, 0]),
            intervention_rate_interval=_bounds(rates[k]),
            tokens_per_second=_finite_or_none(speed[k, 0]),
            tokens_per_second_interval=_bounds(speed[k]),
            bytes_per_second=_finite_or_none(bytes_s[k]),
            floored=_finite_or_none(scores.floored[k]),
            pareto=bool(front[k]),
        )
        for k, each in enumerate(scores.settings)
    )


def _with_interval(above: Floats, below: Floats, counts: Floats) -> Floats:
    """Divide sum by sum, with the interval of the ratio clipped at 0; float64[s, 3], NaN where unknown.

    above: float64[s, e]. below: float64[e] or like above. counts: float64[r, e] of `resample_counts`.
    """
    found = _divide(above.sum(axis=-1), below.sum(axis=-1))
    # Settings with the same trigger have equal rows: each distinct row is resampled once.
    both = np.concatenate([above, np.broadcast_to(below, above.shape)], axis=1)
    _, first, back = np.unique(both, axis=0, return_index=True, return_inverse=True)
    below = below if below.ndim == 1 else below[first]
    low, high = expanded_intervals(
        found[first], resampled_ratios(above[first], below, counts), above.shape[1]
    )
    ends = np.stack([np.maximum(low, 0), high], axis=1)[back.ravel()]
    return np.concatenate([found[:, None], ends], axis=1)


def pareto_front(bits_per_byte: Floats, bytes_per_second: Floats) -> Truths:
    """Mark the settings that no other beats in both bits and speed; of equal ones the first, never NaN.

    Both are float64[s]; returns bool[s].
    """
    bits, speed = np.asarray(bits_per_byte, np.float64), np.asarray(bytes_per_second, np.float64)
    front = np.zeros(len(bits), np.bool_)
    known = np.flatnonzero(np.isfinite(bits) & np.isfinite(speed))
    order = known[np.lexsort((known, -speed[known], bits[known]))]
    fastest = np.maximum.accumulate(np.concatenate([[-math.inf], speed[order]]))
    front[order] = speed[order] > fastest[:-1]
    return front


def _divide(above: Floats, below: float | Floats) -> Floats:
    """Divide, with NaN where `below` is not positive."""
    return np.asarray(
        np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
    )


def _bounds(found: Floats) -> Bounds:
    return _finite_or_none(found[1]), _finite_or_none(found[2])


def _finite_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
