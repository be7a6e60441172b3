"""Tests of bars and sparklines."""

from __future__ import annotations

from blendin_local.tui.bars import bar, sparkline


def test_bars_and_sparklines_are_exact() -> None:
    assert bar(0, 4) == ("", "────")
    assert bar(0.001, 4) == ("╸", "───")
    assert bar(0.5, 4) == ("━━", "──")
    assert bar(1.7, 4) == ("━━━━", "")
    assert sparkline([0, 0.5, None, 1, -1, 2]) == "▁▅ █▁█"
