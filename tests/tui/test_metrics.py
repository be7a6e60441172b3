"""Tests of the panel's metrics and of the bands of the colour modes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contrast import assert_readable
from support.panel_fakes import metrics_of, step

from blendin_local.engine.steps import Source, Summary
from blendin_local.presentation.colour_scale import BAND_COLOURS, LIMITS, MODES, Mode, band, ranges
from blendin_local.tui.bars import stack
from blendin_local.tui.metrics import COLUMNS, MetricSeries, Totals

# Metrics


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=900), st.integers(1, 60))
def test_a_series_covers_the_whole_reply(values: list[float | None], width: int) -> None:
    series = MetricSeries()
    for value in values:
        series.add(value)
    measured = [value for value in values if value is not None]
    assert series.count == len(measured)
    assert series.last == (measured[-1] if measured else None)
    columns = series.columns(width)
    assert len(columns) == min(width, len(columns))
    assert [value is None for value in columns] == [True] * len(columns) or measured
    if measured:
        assert series.mean == pytest.approx(sum(measured) / len(measured))
        assert min(measured) - 1e-9 <= min(v for v in columns if v is not None)
        assert max(v for v in columns if v is not None) <= max(measured) + 1e-9


def test_a_long_series_is_merged_to_few_columns_in_order() -> None:
    series = MetricSeries()
    for i in range(100_000):
        series.add(None if i < 25_000 else i / 100_000)
    assert len(series._columns) <= COLUMNS
    columns = series.columns(32)
    assert columns[:8] == [None] * 8
    assert [value for value in columns[8:] if value is not None] == pytest.approx(
        [(i + 0.5) / 32 for i in range(8, 32)], abs=0.02
    )


def test_totals_weigh_replies_by_their_steps_and_words() -> None:
    short, long = metrics_of(8).summary, Summary()
    for i in range(24):
        long.add(step(i))
    totals = Totals.of([short, long])
    assert (totals.steps, totals.words, totals.tokens) == (32, 32, 32)
    assert totals.intervention_rate == 3 / 32
    assert totals.changed_rate == 1 / 32
    assert totals.guide_word_rate == 2 / 32
    assert totals.sources[Source.BASE] == 28
    assert Totals().intervention_rate is Totals().changed_rate is Totals().guide_word_rate is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(5, 60))
def test_every_count_gets_a_cell_of_a_stacked_bar(counts: list[int], width: int) -> None:
    cells = stack(counts, width)
    assert sum(cells) == (width if any(counts) else 0)
    assert [bool(n) for n in cells] == [bool(count) for count in counts]


# Bands


@pytest.mark.parametrize(
    ("mode", "values", "bands"),
    [
        ("confidence", (1.0, 0.7, 0.69, 0.4, 0.39, 0.2, 0.19, 0.0), [0, 0, 1, 1, 2, 2, 3, 3]),
        ("alpha", (0.0, 0.01, 0.5, 0.51, 0.7, 0.71, 1.0), [0, 1, 1, 2, 2, 3, 3]),
        ("divergence", (0.0, 0.1, 0.11, 0.3, 0.31, 0.5, 0.51), [0, 0, 1, 1, 2, 2, 3]),
        ("source", (0.0, 1.0), [0, 0]),
    ],
)
def test_bands_of_steps(mode: Mode, values: tuple[float, ...], bands: list[int]) -> None:
    name = {"confidence": "c_b", "source": "alpha"}.get(mode, mode)
    assert [band(mode, replace(step(0, Source.GUIDE), **{name: value})) for value in values] == bands


def test_unmeasured_steps_are_in_the_best_band_and_weak_ones_in_the_worst() -> None:
    assert {band(mode, step(0, Source.USER)) for mode in MODES} == {0}
    assert band("alpha", replace(step(0), alpha=0.9)) == 0
    for value in (0.1, 0.39, 0.41, 0.9):
        each = replace(step(0), c_b=value, r_b=value)
        assert each.weak == (band("confidence", each) >= 2)


def test_bands_are_named_by_their_limits() -> None:
    assert ranges("confidence") == ("≥ 0.7", "0.4–0.7", "0.2–0.4", "< 0.2")
    assert ranges("alpha") == ("0", "0–0.5", "0.5–0.7", "> 0.7")
    assert ranges("divergence")[0] == f"≤ {LIMITS['divergence'][0]}"


def test_band_colours_have_contrast_in_every_theme() -> None:
    assert_readable(BAND_COLOURS)
