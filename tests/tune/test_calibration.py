"""Calibration: curves that the catalogue takes, errors by hand, and what little or odd data gives."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.engine.steps import Calibration
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.catalogue_writer import save_pair
from blendin_local.models.entries import PairEntry
from blendin_local.tune.calibration import (
    LEAST_POSITIONS,
    MOST_POINTS,
    Curve,
    calibrate,
    expected_error,
    fit_curve,
    reliability,
    reliability_bins,
)
from blendin_local.tune.result import ReliabilityBin

Hits = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
few_confidences = st.sampled_from((0.0, 0.25, 0.5, 1.0, 1.0000001)) | st.floats(0, 1, width=32)


def overconfident(n: int, seed: int = 0) -> Hits:
    """A model that is right at the square of the confidence that it claims."""
    random = np.random.default_rng(seed)
    claimed = random.uniform(0.05, 1, n)
    return claimed, random.uniform(size=n) < claimed**2


def is_wellformed(curve: Curve) -> bool:
    x, y = curve
    rising = all(a < b for a, b in pairwise(x))
    return rising and list(y) == sorted(y) and len(x) == len(y) > 0 and all(0 <= each <= 1 for each in x + y)


# The curve


def test_a_curve_by_hand() -> None:
    # Two bins of 25: hits 5 and 20, each with 5 positions of its own confidence: (5 + 1) / 30, (20 + 4) / 30.
    claimed = [0.2] * 25 + [0.8] * 25
    right = [True] * 5 + [False] * 20 + [True] * 20 + [False] * 5
    assert fit_curve(claimed, right) == ((0.2, 0.8), (0.2, 0.8))
    # With hits 15 and 10 the shares would fall, 16/30 and 14/30: both get their mean.
    right = [True] * 15 + [False] * 10 + [True] * 10 + [False] * 15
    assert fit_curve(claimed, right) == ((0.2, 0.8), (0.5, 0.5))


def test_the_curve_finds_what_is_there() -> None:
    curve = fit_curve(*overconfident(20_000))
    assert len(curve[0]) == MOST_POINTS
    at = np.linspace(0.1, 0.95, 50)
    assert reliability(curve, at) == pytest.approx(at**2, abs=0.04)


def test_few_points_stand_for_many_positions() -> None:
    assert len(fit_curve(*overconfident(LEAST_POSITIONS * 4 + 3))[0]) == 4
    assert len(fit_curve(*overconfident(100_000))[0]) <= MOST_POINTS


def test_nothing_to_fit_leaves_the_plain_confidence() -> None:
    assert fit_curve([], []) == ((0.0, 1.0), (0.0, 1.0))


def test_one_bin_says_nothing_of_the_slope() -> None:
    # 6 hits of 10, and 5 positions at .5: 8.5 / 15.
    assert fit_curve([0.5] * 10, [True] * 6 + [False] * 4) == ((0.0, 0.5, 1.0), (0.0, 0.5667, 1.0))
    # However many: all the same confidence is one bin.
    x, y = fit_curve([0.3] * 1000, [False] * 1000)
    assert x == (0.0, 0.3, 1.0)
    assert y == (0.0, pytest.approx(0.0015, abs=1e-4), 1.0)
    for ends in (0.0, 1.0):
        assert fit_curve([ends] * 30, [True] * 30) == ((0.0, 1.0), (0.0, 1.0))


def test_many_equal_confidences_share_one_point() -> None:
    """A sure model claims 1.0 nearly everywhere: most quantiles fall on the same value."""
    claimed = np.concatenate([np.full(900, 1.0), np.linspace(0.1, 0.9, 100)])
    right = np.concatenate([np.full(900, True), np.arange(100) % 2 == 0])
    curve = fit_curve(claimed, right)
    assert is_wellformed(curve)
    assert curve[0][-1] == 1.0
    assert curve[1][-1] > 0.99
    assert reliability(curve, 0.5) == pytest.approx(0.5, abs=0.1)


@given(st.lists(st.tuples(few_confidences, st.booleans()), max_size=400))
def test_every_curve_is_wellformed(rows: list[tuple[float, bool]]) -> None:
    curve = fit_curve([row[0] for row in rows], [row[1] for row in rows])
    assert is_wellformed(curve)
    assert len(curve[0]) <= max(MOST_POINTS, 3)
    at = [0.0, 0.123, 0.5, 1.0]
    assert reliability(curve, at).tolist() == [Calibration(*curve)(each) for each in at]


def test_the_catalogue_takes_the_curve(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    curves = {"base": fit_curve(*overconfident(3000)), "guide": fit_curve([], [])}
    save_pair(PairEntry("tuned", "a.gguf", "b.gguf", calibration=curves), file)
    assert load_catalogue(file).pair("tuned").calibration == curves


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError):
        fit_curve([0.5], [])
    with pytest.raises(ValueError):
        reliability_bins([0.5], [True, False])


# Errors


def test_expected_error_by_hand() -> None:
    # Bin (.4, .5] holds .45 twice, half right: off by .05. Bin (.9, 1] holds one of 1.0, wrong: off by 1.
    assert expected_error([0.45, 0.45, 1.0], [True, False, False], 10) == pytest.approx((2 * 0.05 + 1) / 3)
    assert expected_error([], []) is None
    assert expected_error([0.5] * 4, [True, False] * 2) == pytest.approx(0)


def test_bins_by_hand() -> None:
    bins = reliability_bins([0.0, 0.2, 0.5, 0.51, 1.0], [0, 1, 1, 0, 1], 2)
    assert [each.count for each in bins] == [3, 2]
    assert bins[0] == ReliabilityBin(0.0, 0.5, 3, pytest.approx(0.7 / 3), 2 / 3)
    assert bins[1].confidence == pytest.approx(0.755)
    assert bins[1].accuracy == 0.5
    empty = reliability_bins([], [])
    assert len(empty) == 15
    assert all(each.count == 0 and each.confidence is each.accuracy is None for each in empty)


@given(st.lists(st.tuples(few_confidences, st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_bins_hold_every_position_once(rows: list[tuple[float, bool]], bins: int) -> None:
    claimed, right = zip(*rows, strict=True)
    found = reliability_bins(claimed, right, bins)
    assert sum(each.count for each in found) == len(rows)
    for each in found:
        if each.count:
            assert each.low - 1e-9 <= each.confidence <= each.high + 1e-9
    error = expected_error(claimed, right, bins)
    assert error is not None and 0 <= error <= 1


def test_calibration_mends_what_it_has_not_seen() -> None:
    found = calibrate(overconfident(2000, 1), overconfident(3000, 2))
    assert (found.fitted_on, found.measured_on) == (2000, 3000)
    # E[c - c^2] over (.05, 1) is .175.
    assert found.ece_raw == pytest.approx(0.175, abs=0.02)
    assert found.ece_fitted < 0.04
    assert sum(each.count for each in found.bins) == 3000
    assert len(found.curve.confidences) == len(found.curve.reliabilities) == 20


def test_calibration_with_nothing_held_out() -> None:
    found = calibrate(overconfident(50), ([], []))
    assert found.ece_raw is None
    assert found.ece_fitted is None
    assert found.measured_on == 0
