"""When the guide is consulted: thresholds and the cap."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from blendin_local.engine.trigger import is_uncertain, threshold
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings

UNCERTAIN = tuple(name for name, method in METHODS.items() if method.trigger == "uncertain")


@pytest.mark.parametrize(
    ("gamma", "gap", "expected"),
    [
        (0.4, 0.0, 0.4),
        # .4 * 1.1, .4 * 1.5 and its limit, .4 * .75
        (0.4, 0.2, 0.44),
        (0.4, 1.0, 0.6),
        (0.5, 1.0, 0.6),
        (0.4, -0.5, 0.3),
        # The limit belongs to the adjustment: without one, any threshold stands.
        (0.9, 0.0, 0.9),
        (0.9, 0.1, 0.6),
        (0.0, 1.0, 0.0),
    ],
)
def test_threshold(gamma: float, gap: float, expected: float) -> None:
    assert threshold(BlendSettings(gamma=gamma, capability_gap=gap)) == pytest.approx(expected)


def test_uncertain_is_strictly_below_the_threshold() -> None:
    settings = BlendSettings(gamma=0.4)
    assert is_uncertain(settings, math.nextafter(0.4, 0), 0, 0)
    assert not is_uncertain(settings, 0.4, 0, 0)
    assert not is_uncertain(BlendSettings(gamma=0), 0.0, 0, 0)
    assert is_uncertain(BlendSettings(gamma=1), 0.999, 0, 0)
    assert is_uncertain(BlendSettings(gamma=0.4, capability_gap=0.2), 0.43, 0, 0)
    assert not is_uncertain(BlendSettings(gamma=0.4, capability_gap=0.2), 0.45, 0, 0)


def test_triggers_never_and_always() -> None:
    for name in ("base", "guide"):
        assert not is_uncertain(BlendSettings(method=name, gamma=1), 0.0, 0, 0)
        assert not BlendSettings(method=name, gamma=1).may_consult
    assert is_uncertain(BlendSettings(method="ensemble", gamma=0), 1.0, 0, 0)
    assert BlendSettings(method="ensemble", gamma=0).may_consult
    for name in UNCERTAIN:
        assert BlendSettings(method=name, gamma=0.01).may_consult
        assert not BlendSettings(method=name, gamma=0).may_consult


@pytest.mark.parametrize(
    ("cap", "steps", "interventions", "expected"),
    [
        # It does not count before more than 20 tokens are out.
        (0.1, 20, 20, True),
        (0.1, 21, 21, False),
        (0.0, 20, 0, True),
        (0.0, 21, 0, False),
        # At the cap is too many, one below is not.
        (0.15, 40, 6, False),
        (0.15, 40, 5, True),
        (1.0, 40, 40, True),
    ],
)
def test_cap(cap: float, steps: int, interventions: int, expected: bool) -> None:
    for method in ("blendin", "ensemble"):
        settings = BlendSettings(method=method, max_intervention_rate=cap)
        assert is_uncertain(settings, 0.1, steps, interventions) is expected


@given(st.integers(21, 400), st.integers(0, 400))
@example(100, 7)
def test_at_the_cap_is_too_many_whatever_the_rounding(steps: int, interventions: int) -> None:
    """.07 * 100 is 7.000000000000001: compared by multiplying, 7 of 100 were below a cap of .07."""
    assume(interventions < steps)
    settings = BlendSettings(max_intervention_rate=interventions / steps)
    assert not is_uncertain(settings, 0.1, steps, interventions)
