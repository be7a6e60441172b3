"""Weights by hand, then laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference

from blendin_local.methods import METHODS, Evidence
from blendin_local.settings import BlendSettings

FULL = 262_144
UNCERTAIN = ("nudge", "blendin", "tuned", "fixed", "compete", "moderate", "doubt", "tiered")

shares = st.floats(0, 1)
confidences = st.floats(1 / FULL, 1)
blend_settings = st.builds(
    BlendSettings,
    alpha=shares,
    prior=st.floats(-50, 50),
    compete_k=st.integers(1, 8),
    tau=shares,
)


def alpha(
    method: str, c_b: float, c_g: float, agreement: float = 0.0, rank: int = 0, **options: Any
) -> float:
    settings = BlendSettings(method=method, **options)
    return float(METHODS[method].weigh(Evidence(c_b, c_g, agreement, rank), settings))


def test_the_table_of_methods_is_kept() -> None:
    assert {name: method.trigger for name, method in METHODS.items()} == {
        "base": "never",
        # The guide writes alone: nobody is asked whether to consult it.
        "guide": "never",
        **dict.fromkeys(UNCERTAIN, "uncertain"),
        "ensemble": "always",
    }
    assert [name for name, method in METHODS.items() if method.writer == "guide"] == ["guide"]


@pytest.mark.parametrize("c_b", [0.0, 0.1, 0.399])
@pytest.mark.parametrize(("method", "expected"), [("base", 0), ("guide", 1), ("nudge", 1), ("ensemble", 0.5)])
def test_constant_weights(method: str, c_b: float, expected: float) -> None:
    assert alpha(method, c_b, 0.7, 0.2, 3) == expected


def test_blendin() -> None:
    # Both examples of EVALUATION.md section 3: .9 / 1.29, and .3 / .69 + .1 * .1.
    assert round(alpha("blendin", 0.39, 0.9), 2) == 0.70
    assert round(alpha("blendin", 0.39, 0.3, 0.1), 3) == 0.445
    # .3 / .6 + .1 * .2
    assert alpha("blendin", 0.3, 0.3, 0.2) == pytest.approx(0.52)
    # .99 / 1 + .1 * .5 = 1.04, clipped.
    assert alpha("blendin", 0.01, 0.99, 0.5) == 1
    # Nobody knows anything: no weight, and no division by zero.
    assert alpha("blendin", 0.0, 0.0) == 0


def test_tuned() -> None:
    # logit(.3 / .4 = .75) = ln 3; a prior of -ln 3 brings it to 0, of ln 3 to ln 9.
    assert alpha("tuned", 0.1, 0.3, prior=-math.log(3)) == pytest.approx(0.5)
    assert alpha("tuned", 0.1, 0.3, prior=math.log(3)) == pytest.approx(0.9)
    # logit(.9 / 1.29) = ln(.9 / .39) = .8362; -1.75 leaves -.9138.
    assert alpha("tuned", 0.39, 0.9, prior=-1.75) == pytest.approx(0.28623, abs=1e-4)
    # Whole weights cannot be shifted.
    assert alpha("tuned", 0.01, 0.99, 0.5, prior=-50) == 1
    assert alpha("tuned", 0.3, 0.0, prior=50) == 0


@given(shares, shares, shares)
def test_without_a_prior_tuned_is_blendin(c_b: float, c_g: float, agreement: float) -> None:
    assert alpha("tuned", c_b, c_g, agreement) == alpha("blendin", c_b, c_g, agreement)


def test_fixed() -> None:
    assert alpha("fixed", 0.1, 0.9, alpha=0.3) == pytest.approx(0.3)
    assert alpha("fixed", 0.1, 0.9, alpha=0.0) == 0
    assert alpha("fixed", 0.1, 0.9, alpha=1.0) == 1


def test_compete() -> None:
    # Four outcomes of the base stand before it: it is the fifth of its top five.
    assert alpha("compete", 0.3, 0.31, 0.05, 4) == 1
    assert alpha("compete", 0.3, 0.31, 0.05, 5) == 0
    assert alpha("compete", 0.3, 0.31, 0.05, 5, compete_k=6) == 1
    # The guide must be surer, not as sure.
    assert alpha("compete", 0.3, 0.3, 0.05, 0) == 0
    assert alpha("compete", 0.3, 0.31, 0.3, 0, compete_k=1) == 1


def test_moderate() -> None:
    # .1 + .7 * .8 * .5 * 1.1
    assert alpha("moderate", 0.2, 0.5, 0.1) == pytest.approx(0.408)
    # .1 + .7 * .95 * .98 * 1.9 = 1.338
    assert alpha("moderate", 0.05, 0.98, 0.9) == pytest.approx(0.9)
    assert alpha("moderate", 0.3, 0.0) == pytest.approx(0.1)


def test_doubt() -> None:
    # .8 * .5 * 1.1
    assert alpha("doubt", 0.2, 0.5, 0.1) == pytest.approx(0.44)
    # .95 * .98 * 1.9 = 1.769
    assert alpha("doubt", 0.05, 0.98, 0.9) == 1
    assert alpha("doubt", 1.0, 1.0, 1.0) == 0


@pytest.mark.parametrize(
    ("c_b", "tau", "expected"),
    # Each limit belongs to the weight below it.
    [(0.299, 0.3, 0.7), (0.3, 0.3, 0.5), (0.499, 0.3, 0.5), (0.5, 0.3, 0.3), (0.9, 0.3, 0.3)],
)
def test_tiered(c_b: float, tau: float, expected: float) -> None:
    assert alpha("tiered", c_b, 0.9, tau=tau) == expected


@given(confidences, confidences, shares, st.integers(0, 8), blend_settings)
def test_weights_equal_the_second_implementation(
    c_b: float, c_g: float, agreement: float, rank: int, settings: BlendSettings
) -> None:
    for name, method in METHODS.items():
        rules = reference.Rules(name, alpha=settings.alpha, prior=settings.prior, tau=settings.tau)
        expected = reference.weight(rules, c_b, c_g, agreement, rank < settings.compete_k)
        found = float(method.weigh(Evidence(c_b, c_g, agreement, rank), settings))
        assert found == pytest.approx(expected, abs=1e-9), name
        assert 0 <= found <= 1


@given(st.lists(st.tuples(shares, shares, shares, st.integers(0, 8)), min_size=1, max_size=8), blend_settings)
def test_rules_on_arrays_equal_rules_on_numbers(
    rows: list[tuple[float, float, float, int]], settings: BlendSettings
) -> None:
    """Tuning prices thousands of recorded steps with one call of the rule that the engine calls per step."""
    columns = Evidence(*(np.array(column) for column in zip(*rows, strict=True)))
    for name, method in METHODS.items():
        found = np.asarray(method.weigh(columns, settings))
        assert found.shape == (len(rows),), name
        assert found.tolist() == [float(method.weigh(Evidence(*row), settings)) for row in rows], name
