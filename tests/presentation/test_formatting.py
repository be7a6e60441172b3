"""Numbers and names in words."""

from __future__ import annotations

from blendin_local.presentation.formatting import (
    interval,
    percent,
    shorten,
)


def test_numbers() -> None:
    assert (percent(None), percent(-0.0123), percent(0.5, 0)) == ("–", "−1.2%", "50%")
    assert (interval(None), interval([None, 1.0]), interval([0.5, 0.25], 2)) == ("–", "–", "0.50 to 0.25")
    assert shorten("SmolLM2-135M-Instruct Q4_1", 12) == "SmolLM… Q4_1"
    assert (shorten("two\nlines", 20), shorten("abc", 1)) == ("two lines", "…")
