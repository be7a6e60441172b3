"""When the guide is consulted: the confidence threshold and the cap on the intervention rate."""

from __future__ import annotations

from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings

CAP_AFTER_STEPS = 20
"""The cap on the intervention rate applies after this many steps (as in the authors' code)."""

GAP_THRESHOLD_LIMIT = 0.6
"""Highest threshold that the capability-gap adjustment may reach (as in the authors' code)."""


def threshold(settings: BlendSettings) -> float:
    """Return gamma, or with a capability gap min(gamma (1 + gap / 2), 0.6)."""
    if settings.capability_gap == 0:
        return settings.gamma
    return min(settings.gamma * (1 + settings.capability_gap / 2), GAP_THRESHOLD_LIMIT)


def is_capped(settings: BlendSettings, steps: int, interventions: int) -> bool:
    """Return whether the cap on the intervention rate forbids consulting the guide after `steps` steps."""
    cap = settings.max_intervention_rate
    return cap < 1 and steps > CAP_AFTER_STEPS and interventions / steps >= cap


def is_uncertain(settings: BlendSettings, c_b: float, steps: int, interventions: int) -> bool:
    """Return whether the next step consults the guide, after `steps` steps with `interventions` of them.

    c_b: the base's confidence at the step.
    """
    trigger = METHODS[settings.method].trigger
    if trigger == "never" or (trigger == "uncertain" and not c_b < threshold(settings)):
        return False
    return not is_capped(settings, steps, interventions)
