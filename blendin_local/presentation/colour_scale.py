"""The colour modes of a reply's text: each maps a quantity of a step to one of four bands."""

from __future__ import annotations

from typing import Literal

from blendin_local.engine.steps import WEAK_BELOW, Step

Mode = Literal["source", "alpha", "confidence", "divergence"]

MODES: tuple[Mode, ...] = ("source", "alpha", "confidence", "divergence")

LIMITS: dict[Mode, tuple[float, float, float]] = {
    "alpha": (0.0, 0.5, 0.7),
    "confidence": (0.7, WEAK_BELOW, 0.2),
    "divergence": (0.1, 0.3, 0.5),
}
"""Boundaries between the bands, from inconspicuous to conspicuous; the mode `source` has none."""

MEANINGS: dict[Mode, tuple[str, str, str, str]] = {
    "alpha": ("the base alone", "more base than guide", "more guide than base", "nearly the guide alone"),
    "confidence": ("sure", "fairly sure", "weak", "very weak"),
    "divergence": ("alike, or not measured", "near", "apart", "far apart"),
}

BAND_COLOURS = {
    # For dark and light themes; contrast of at least 4.5 : 1 against every background of Textual's themes.
    "band-1": ("#ffe08a", "#5f5200"),
    "band-2": ("#ffb86b", "#7d3200"),
    "band-3": ("#ff9e9e", "#960018"),
}
"""Colours by theme variable. Band 0 has the colour of plain text."""


def band(mode: Mode, step: Step) -> int:
    """Return the band of a step, 0 (inconspicuous, or not measured) to 3; 0 in the mode `source`."""
    match mode:
        case "alpha":
            value: float | None = step.alpha if step.intervened else 0.0
        case "confidence":
            # The method `guide` has no confidence of the base.
            value = step.c_g if step.c_b is None else step.c_b
        case "divergence":
            value = step.divergence
        case _:
            return 0
    if value is None:
        return 0
    if mode == "confidence":
        return sum(value < limit for limit in LIMITS[mode])
    return sum(value > limit for limit in LIMITS[mode])


def ranges(mode: Mode) -> tuple[str, str, str, str]:
    """Return the value ranges of the bands of a mode, in the order of `band`."""
    first, second, third = (f"{limit:g}" for limit in LIMITS[mode])
    if mode == "confidence":
        return f"≥ {first}", f"{second}–{first}", f"{third}–{second}", f"< {third}"
    lowest = first if LIMITS[mode][0] == 0 else f"≤ {first}"
    return lowest, f"{first}–{second}", f"{second}–{third}", f"> {third}"


def quantity(mode: Mode) -> str:
    """Return the display name of the quantity that the colours of a mode show."""
    return {"alpha": "α", "confidence": "base confidence"}.get(mode, mode)
