"""Fit calibration curves: how often a model's top token is right at each confidence.

A curve is fitted on some positions and measured on others. It is kept in a catalogue and read by
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
"""Strictly rising confidences, and the reliability at each, which never falls; all in [0, 1]."""

DIAGRAM_BINS = 15
"""Equal-width bins of a reliability diagram and of the expected calibration error (Guo et al., 2017)."""

MOST_POINTS = 20
LEAST_POSITIONS = 25
"""A curve has at most so many points, and each stands for at least so many positions."""

PRIOR_POSITIONS = 5.0
"""Each point is pulled towards the plain confidence as if so many positions had confirmed it.

Plain confidence is nearly right to begin with, and a bin of 25 that holds no hit does not prove a
reliability of zero.
"""

_DIGITS = 4


def fit_curve(confidences: npt.ArrayLike, right: npt.ArrayLike) -> Curve:
    """The curve of n positions: confidences float[n] in [0, 1]; bool[n], whether each top token was right.

    Isotonic regression over bins of equal count. With a single bin, from too few positions or from one
    confidence alone, nothing is known of the slope: the curve then goes through (0, 0) and (1, 1); without
    any position it is the plain confidence. Raises ValueError where the two are not equally many.
    """
    claimed, hits = _checked(confidences, right)
    if len(claimed) == 0:
        return (0.0, 1.0), (0.0, 1.0)

    # 1. Bins of about equal count; equal confidences share one.
    wanted = int(np.clip(len(claimed) // LEAST_POSITIONS, 1, MOST_POINTS))
    edges = np.unique(np.quantile(claimed, np.linspace(0, 1, wanted + 1)[1:-1]))
    which = np.searchsorted(edges, claimed, side="right")
    _, which = np.unique(np.round(_means(which, claimed), _DIGITS)[which], return_inverse=True)
    counts = np.bincount(which).astype(np.float64)
    means = _means(which, claimed)

    # 2. The share of hits in each, never falling.
    weights = counts + PRIOR_POSITIONS
    shares = (np.bincount(which, hits) + PRIOR_POSITIONS * means) / weights
    fitted = isotonic_regression(shares, weights=weights).x

    # 3. Numbers that a person may read in the catalogue. Rounding keeps both orders.
    x, y = np.round(means, _DIGITS), np.round(np.clip(fitted, 0, 1), _DIGITS)
    if len(x) == 1:
        middle = [(float(x[0]), float(y[0]))] if 0 < x[0] < 1 else []
        points = [(0.0, 0.0), *middle, (1.0, 1.0)]
        return tuple(point[0] for point in points), tuple(point[1] for point in points)
    return tuple(x.tolist()), tuple(y.tolist())


def _means(which: npt.NDArray[np.intp], values: Floats) -> Floats:
    """Mean of the values in each bin; 0 in a bin without any."""
    means = np.bincount(which, values) / np.maximum(np.bincount(which), 1)
    return np.asarray(np.clip(means, 0, 1))


def reliability(curve: Curve, confidences: npt.ArrayLike) -> Floats:
    """float64[n]: the confidences through the curve, as `steps.Calibration` takes one of them."""
    return np.asarray(np.interp(np.asarray(confidences, np.float64), *curve))


def reliability_bins(
    confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = DIAGRAM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Equal-width bins (low, high]; the first includes 0."""
    claimed, hits = _checked(confidences, right)
    which = np.clip(np.ceil(claimed * bins).astype(np.intp) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = np.bincount(which, claimed, minlength=bins), np.bincount(which, hits, minlength=bins)
    return tuple(
        ReliabilityBin(
            place / bins,
            (place + 1) / bins,
            int(count),
            float(sums[0][place] / count) if count else None,
            float(sums[1][place] / count) if count else None,
        )
        for place, count in enumerate(counts)
    )


def expected_error(
    confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = DIAGRAM_BINS
) -> float | None:
    """Expected calibration error: |accuracy - mean confidence| of each bin, weighted by its count.

    None without positions.
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
    """Fit a curve on the fitting positions and measure it on the others; both (confidences, right)."""
    curve = fit_curve(*fitting)
    claimed, hits = _checked(*held_out)
    return CalibrationFit(
        CalibrationCurve(*curve),
        ece_raw=expected_error(claimed, hits),
        ece_fitted=expected_error(reliability(curve, claimed), hits),
        bins=reliability_bins(claimed, hits),
        fitted_on=len(np.asarray(fitting[0])),
        measured_on=len(claimed),
    )


def _checked(confidences: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, Floats]:
    # float32 softmax may say 1.0000001.
    claimed = np.clip(np.asarray(confidences, np.float64), 0, 1)
    hits = np.asarray(right, np.float64)
    if claimed.shape != hits.shape:
        raise ValueError(f"confidences and hits must be equally many, not {claimed.shape} and {hits.shape}")
    return claimed, hits
