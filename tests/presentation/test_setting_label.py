"""Settings in a few words."""

from __future__ import annotations

from blendin_local.presentation.setting_label import setting_label
from blendin_local.settings import BlendSettings


def test_a_label_names_the_parameters_that_the_method_uses() -> None:
    labels = {
        "fixed": "fixed α 0.25, γ 0.50",
        "tuned": "tuned b −1.75, γ 0.50",
        "compete": "compete k 5, γ 0.50",
        "nudge": "nudge γ 0.50",
        "guide": "guide",
        "ensemble": "ensemble",
    }
    for method, label in labels.items():
        assert setting_label(BlendSettings(method=method, gamma=0.5, alpha=0.25, prior=-1.75)) == label


def test_a_label_tells_the_threshold_in_force() -> None:
    assert setting_label(BlendSettings(gamma=0.4, capability_gap=0.5)) == "blendin γ 0.50"


def test_a_compact_label_is_a_name() -> None:
    fixed = BlendSettings(method="fixed", gamma=0.4, alpha=0.3)
    assert setting_label(fixed, compact=True) == "fixed α=0.3 γ=0.4"
