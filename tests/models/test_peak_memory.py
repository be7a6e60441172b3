"""Peak memory: only what can be told from what was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from blendin_local.models import peak_memory as peak
from blendin_local.models.peak_memory import PeakMemory


def marks(monkeypatch: pytest.MonkeyPatch, *values: int | None, resets: bool) -> None:
    following = iter(values)
    monkeypatch.setattr(peak, "high_water_mark", lambda: next(following))
    monkeypatch.setattr(peak, "_reset_mark", lambda: resets)


def test_a_mark_that_begins_anew_is_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, 500, resets=True)
    assert PeakMemory().read() == 500


def test_a_mark_that_only_rises_tells_only_a_new_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, 800, 800, 900, resets=False)
    measured = PeakMemory()
    assert measured.read() is None
    assert measured.read() == 900


def test_no_mark_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, None, resets=True)
    assert PeakMemory().read() is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can begin a mark anew")
def test_memory_that_was_given_back_does_not_count() -> None:
    measured = PeakMemory()
    before = measured.read()
    taken = bytearray(256 << 20)
    during = measured.read()
    del taken
    measured.reset()
    after = measured.read()
    assert before and during and after
    assert during - before > 200 << 20 and during - after > 200 << 20
