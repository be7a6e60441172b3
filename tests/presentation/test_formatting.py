"""Numbers, names and settings in words."""

from __future__ import annotations

import pytest
from support.result_documents import (
    Document,
    tune_document,
)

from blendin_local.presentation.formatting import (
    gained,
    interval,
    percent,
    setting_flags,
    setting_name,
    shortened,
)


def test_names_and_flags_of_settings() -> None:
    fixed = {"method": "fixed", "gamma": 0.4, "alpha": 0.3, "prior": None}
    assert (setting_name(fixed), setting_flags(fixed)) == (
        "fixed α 0.30, γ 0.40",
        "--method fixed --gamma 0.4 --alpha 0.3",
    )
    assert setting_name({"method": "base", "gamma": None}) == "base"
    assert setting_flags({"method": "$(rm -rf)", "gamma": None}) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "17.5% fewer bits per byte than the base alone on held-out examples; of the gain, the 95% "
             "interval is 14.8% to 20.1%."),
        ({"gain": -0.01, "interval": None},
         "1.0% more bits per byte than the base alone on held-out examples."),
        ({"setting": {"method": "base"}}, "The base alone is recommended: no blend gains clearly over it."),
        ({"gain": None},
         "What it gains over the base alone could not be measured: no examples were held out."),
    ],
)  # fmt: skip
def test_what_the_recommended_setting_gains(change: Document, said: str) -> None:
    assert gained(tune_document()["recommendation"] | change) == said


def test_numbers() -> None:
    assert (percent(None), percent(-0.0123), percent(0.5, 0)) == ("–", "−1.2%", "50%")
    assert (interval(None), interval([None, 1.0]), interval([0.5, 0.25], 2)) == ("–", "–", "0.50 to 0.25")
    assert shortened("SmolLM2-135M-Instruct Q4_1", 12) == "SmolLM… Q4_1"
    assert (shortened("two\nlines", 20), shortened("abc", 1)) == ("two lines", "…")
