"""How many rows at once: what memory allows, and what a warm-up finds fastest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batch_files import EXACT, formats_of, row_of, tiny_files

from blendin_local.batch import planning
from blendin_local.batch.planning import (
    CANDIDATES,
    Trial,
    choose_fastest,
    fit_parallel,
    parallel_options,
    try_parallel,
)
from blendin_local.engine.conversation import make_request
from blendin_local.engine.language_model import Cancellation
from blendin_local.models import memory_estimate
from blendin_local.models.loading import PairFiles, load_pair
from blendin_local.settings import GenerationSettings, ModelOptions


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PairFiles:
    return tiny_files(tmp_path_factory.mktemp("pair"))


def test_every_row_has_room_for_a_whole_context(files: PairFiles) -> None:
    """Each fills its sequence to the end, all at the same time; copies of one would not count twice."""
    pair = load_pair(files, parallel_options(replace(EXACT, n_ctx=128), 3))
    try:
        for model in (pair.base, pair.guide):
            assert (model.n_ctx, model.n_seq) == (128, 3)
            status = model.advance({seq: [400 + seq] * 128 for seq in range(3)})
            assert status.value == "done"
    finally:
        pair.close()


def test_a_model_takes_no_more_than_it_was_trained_for(tmp_path: Path) -> None:
    """The context that is asked for is the longer model's; the other has its own."""
    files = tiny_files(tmp_path, n_ctx_train=512)
    options = parallel_options(replace(EXACT, n_ctx=0), 4)
    asked = parallel_options(replace(EXACT, n_ctx=4096), 4)
    for header in (files.base, files.guide):
        assert memory_estimate.estimate(header, options) == memory_estimate.estimate(header, asked)
        alone = memory_estimate.estimate(header, replace(EXACT, n_ctx=0))
        assert memory_estimate.estimate(header, options).kv_cache == 4 * alone.kv_cache
    pair = load_pair(files, asked)
    try:
        assert pair.base.n_ctx == pair.guide.n_ctx == 512
    finally:
        pair.close()


def test_one_row_needs_no_shared_cache() -> None:
    assert parallel_options(ModelOptions(), 1) == ModelOptions()
    assert parallel_options(ModelOptions(n_batch=16), 64).n_batch == 64


@pytest.mark.parametrize("room", [1, 2, 5, 8])
def test_as_many_rows_as_memory_has_room_for(
    files: PairFiles, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    def needs(rows: int) -> int:
        estimates = [
            memory_estimate.estimate(h, parallel_options(EXACT, rows)) for h in (files.base, files.guide)
        ]
        return sum(each.total for each in estimates)

    free = (needs(room) + needs(room + 1)) // 2
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: free)
    assert fit_parallel(EXACT, 8, files) == room
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 0)
    assert fit_parallel(EXACT, 8, files) == 1


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=6))
def test_the_smallest_number_that_is_about_as_fast_as_the_best(speeds: list[float]) -> None:
    trials = [Trial(parallel, speed) for parallel, speed in zip(CANDIDATES, speeds, strict=False)]
    chosen = next(trial for trial in trials if trial.parallel == choose_fastest(trials))
    assert chosen.tokens_per_second * 1.05 >= max(speeds)
    slower = [trial for trial in trials if trial.parallel < chosen.parallel]
    assert all(trial.tokens_per_second * 1.05 < max(speeds) for trial in slower)
    assert choose_fastest([]) == 1


@pytest.mark.parametrize("max_tokens", [1, 3, 60])
def test_a_warm_up_measures_more_and_more_rows(
    files: PairFiles, monkeypatch: pytest.MonkeyPatch, max_tokens: int
) -> None:
    """Also where an answer is over before anything could be measured: others take its place."""
    monkeypatch.setattr(planning, "_TRIAL_S", 0.02)
    settings = GenerationSettings(max_tokens=max_tokens)
    pair = load_pair(files, parallel_options(EXACT, 8))
    try:
        requests = [
            make_request(pair, formats_of(files), row_of(str(n), f"the {n}", settings).messages, settings)
            for n in range(6)
        ]
        told: list[Trial] = []
        trials = try_parallel(pair, requests, 8, progress=told.append)
        cancellation = Cancellation()
        cancellation.cancel()
        assert try_parallel(pair, requests, 8, cancellation=cancellation) == []
    finally:
        pair.close()
    assert trials == told
    assert [trial.parallel for trial in trials] == list(CANDIDATES[: len(trials)])
    assert 2 <= len(trials) <= 3 and all(trial.tokens_per_second > 0 for trial in trials)
    # It ends where more at once is no faster.
    gains = [b.tokens_per_second / a.tokens_per_second for a, b in pairwise(trials)]
    assert all(gain >= 1.05 for gain in gains[:-1])
