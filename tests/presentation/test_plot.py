"""Colours of plots."""

from __future__ import annotations

import pytest

from blendin_local.methods import METHODS
from blendin_local.presentation.plot import colour_of


@pytest.mark.parametrize("paper", ["#ffffff", "#16181b"])
def test_lines_and_points_can_be_seen_on_both_papers(paper: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for method in METHODS:
        bright, dark = sorted((luminance(colour_of(method)), luminance(paper)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, method
    assert len({colour_of(method) for method in METHODS}) == len(METHODS)
