"""Fit calibration curves: the accuracy of a model's top token at each confidence.

A curve is fitted on some positions and evaluated on others. It is saved in a catalogue and read by
`blendin_local.engine.steps.Calibration`, so it has few points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from blendin_local.tune.result import CalibrationCurve, CalibrationFit, ReliabilityBin

__all__ = [
    "DIAGRAM_BINS",
    "Curve",
    "calibrate",
    "expected_error",
    "fit_curve",
    "reliability",
    "reliability_bins",
]

Floats = npt.NDArray[np.float64]
Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""Strictly increasing confidences, and a non-decreasing reliability at each; all in [0, 1]."""

DIAGRAM_BINS = 15
"""Equal-width bins of a reliability diagram and of the expected calibration error (Guo et al., 2017)."""

MOST_POINTS = 20
LEAST_POSITIONS = 25
"""Limits of a curve: the number of its points, and of positions per point."""

PRIOR_POSITIONS = 5.0
"""Pseudo-counts that shrink each point towards the uncalibrated confidence.

Uncalibrated confidence is nearly right already, and a bin of 25 positions without a hit does not prove a
reliability of zero.
"""

_DIGITS = 4


def fit_curve(confidences: npt.ArrayLike, right: npt.ArrayLike) -> Curve:
    """Fit a curve by isotonic regression over bins of equal count.

    confidences: float[n] in [0, 1]. right: bool[n], whether each top token was right. A single bin (too few
    positions, or one distinct confidence) does not determine a slope: the curve then also passes through
    (0, 0) and (1, 1). For n = 0 it is the identity. Raises ValueError if the lengths differ.
    """
    claimed, hits = _check_pairs(confidences, right)
    if len(claimed) == 0:
        return (0.0, 1.0), (0.0, 1.0)

    # 1. Bins of about equal count; equal confidences share one.
    wanted = int(np.clip(len(claimed) // LEAST_POSITIONS, 1, MOST_POINTS))
    edges = np.unique(np.quantile(claimed, np.linspace(0, 1, wanted + 1)[1:-1]))
    which = np.searchsorted(edges, claimed, side="right")
    _, which = np.unique(np.round(_means(which, claimed), _DIGITS)[which], return_inverse=True)
    counts = np.bincount(which).astype(np.float64)
    means = _means(which, claimed)

    # 2. The share of hits in each, made non-decreasing.
    weights = counts + PRIOR_POSITIONS
    shares = (np.bincount(which, hits) + PRIOR_POSITIONS * means) / weights
    fitted = isotonic_regression(shares, weights=weights).x

    # 3. Short numbers for the catalogue. Rounding keeps both orders.
    x, y = np.round(means, _DIGITS), np.round(np.clip(fitted, 0, 1), _DIGITS)
    if len(x) == 1:
        middle = [(float(x[0]), float(y[0]))] if 0 < x[0] < 1 else []
        points = [(0.0, 0.0), *middle, (1.0, 1.0)]
        return tuple(point[0] for point in points), tuple(point[1] for point in points)
    return tuple(x.tolist()), tuple(y.tolist())


def _means(which: npt.NDArray[np.intp], values: Floats) -> Floats:
    """Mean of the values in each bin; 0 in an empty bin."""
    means = np.bincount(which, values) / np.maximum(np.bincount(which), 1)
    return np.asarray(np.clip(means, 0, 1))


def reliability(curve: Curve, confidences: npt.ArrayLike) -> Floats:
    """Apply a curve to confidences, float[n], as `steps.Calibration` does to one; returns float64[n]."""
    return np.asarray(np.interp(np.asarray(confidences, np.float64), *curve))


def reliability_bins(
    confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = DIAGRAM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort positions into equal-width bins (low, high] of confidence; the first includes 0."""
    claimed, hits = _check_pairs(confidences, right)
    which = np.clip(np.ceil(claimed * bins).astype(np.intp) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = np.bincount(which, claimed, minlength=bins), np.bincount(which, hits, minlength=bins)
    return tuple(
        ReliabilityBin(
            index / bins,
            (index + 1) / bins,
            int(count),
            float(sums[0][index] / count) if count else None,
            float(sums[1][index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_error(
    confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = DIAGRAM_BINS
) -> float | None:
    """Compute the expected calibration error (Guo et al., 2017); None without positions.

    It is |accuracy - mean confidence| of each bin, weighted by the bin's count.
    """
    found = reliability_bins(confidences, right, bins)
    total = sum(each.count for each in found)
    if not total:
        return None
    gaps = (each.count * abs((each.accuracy or 0.0) - (each.confidence or 0.0)) for each in found)
    return float(sum(gaps) / total)


def calibrate(
    fitting: tuple[npt.ArrayLike, npt.ArrayLike], held_out: tuple[npt.ArrayLike, npt.ArrayLike]
) -> CalibrationFit:
    """Fit a curve on `fitting` and evaluate it on `held_out`; both are (confidences, right)."""
    curve = fit_curve(*fitting)
    claimed, hits = _check_pairs(*held_out)
    return CalibrationFit(
        CalibrationCurve(*curve),
        ece_raw=expected_error(claimed, hits),
        ece_fitted=expected_error(reliability(curve, claimed), hits),
        bins=reliability_bins(claimed, hits),
        fitted_on=len(np.asarray(fitting[0])),
        measured_on=len(claimed),
    )


def _check_pairs(confidences: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, Floats]:
    # A float32 softmax may exceed 1 by rounding.
    claimed = np.clip(np.asarray(confidences, np.float64), 0, 1)
    hits = np.asarray(right, np.float64)
    if claimed.shape != hits.shape:
        raise ValueError(
            f"confidences and hits must have equal lengths, not {claimed.shape} and {hits.shape}"
        )
    return claimed, hits
