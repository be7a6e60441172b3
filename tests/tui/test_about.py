"""Tests of the one-line descriptions of methods."""

from __future__ import annotations

import pytest

from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings
from blendin_local.tui.about import About


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_described(method: str) -> None:
    about = About("b", "g", blend=BlendSettings(method=method))
    assert about.method.startswith(method)
    assert all(about.roles)
    uses_gamma = METHODS[method].trigger == "uncertain"
    assert ("γ 0.40" in about.method) == uses_gamma
