"""Ranges of settings, and what is said of a value outside."""

from __future__ import annotations

import math

import pytest

from blendin_local.errors import SettingError
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelOptions(n_ctx=16777217), "n_ctx must be between 0 and 16777216, not 16777217."),
        (lambda: GenerationSettings(seed=-1), "seed must be between 0 and 9223372036854775807, not -1."),
        (lambda: BlendSettings(gamma=1.0000001), "gamma must be between 0 and 1, not 1.0000001."),
        (lambda: BlendSettings(gamma=math.nan), "gamma must be between 0 and 1, not nan."),
        (lambda: SamplingSettings(temperature=math.inf), "temperature must be between 0 and 100, not inf."),
        (lambda: BlendSettings(unit="line"), "unit must be one of token, word, not 'line'."),
        (
            lambda: GenerationSettings(stop=("a", "")),
            "stop must be a list of texts that are not empty, such as [\"End\", \"\\n\"], not ['a', ''].",
        ),
        (lambda: BlendSettings(gamma="0.4"), "gamma must be a number, not '0.4'."),
        (lambda: GenerationSettings(max_tokens=True), "max_tokens must be a whole number, not True."),
        (
            lambda: ModelOptions(n_ctx=10**5000),
            "n_ctx must be between 0 and 16777216, not a number far beyond.",
        ),
    ],
)
def test_messages_are_exact(make: object, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message
