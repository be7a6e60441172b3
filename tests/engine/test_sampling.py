"""Choosing: hand-computed distributions of four outcomes, then laws over random ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.engine.sampling import (
    MAX_DRY_EXPONENT,
    Sampler,
    drawn,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalised,
    repeated_runs,
    shortlist,
    tempered,
    top_k_floor,
)
from blendin_local.settings import SamplingSettings

FULL = 262_144
SHARES = (0.4, 0.3, 0.2, 0.1)


def masses(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def softmax(n: int, seed: int, spread: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=spread, size=n)
    p = np.exp(logits - logits.max())
    return (p / p.sum()).astype(np.float32)


@st.composite
def distributions(draw: st.DrawFn) -> np.ndarray:
    """float32[1..12], normalised or not, some of it zero, ties included."""
    values = draw(
        st.lists(st.sampled_from((0, 0.01, 0.1, 0.25, 0.5, 1)) | st.floats(0, 1, width=32), max_size=11)
    )
    where = draw(st.integers(0, len(values)))
    return masses(*values[:where], draw(st.floats(0.125, 1, width=32)), *values[where:])


settings = st.builds(
    SamplingSettings,
    temperature=st.sampled_from((0.0, 0.25, 0.7, 1.0, 1.5)),
    min_p=st.sampled_from((0.0, 0.05, 0.5, 1.0)),
    top_k=st.integers(0, 13),
    top_p=st.sampled_from((0.0, 0.1, 0.5, 0.95, 1.0)),
    repetition_penalty=st.sampled_from((1.0, 1.1, 2.0)),
    presence_penalty=st.sampled_from((0.0, 0.5)),
    frequency_penalty=st.sampled_from((0.0, 0.5)),
    dry_multiplier=st.sampled_from((0.0, 0.8)),
    penalty_window=st.sampled_from((0, 3, 512)),
)
histories = st.lists(st.integers(0, 11), max_size=30)


# Penalties, one at a time.


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_repetition_raises_the_share_to_a_power(scale: float) -> None:
    # 2 * log 0.4 = log 0.16 and 2 * log 0.1 = log 0.01, whatever the masses sum to.
    p = penalised(masses(*SHARES) * np.float32(scale), [0, 3, 3], SamplingSettings(repetition_penalty=2.0))
    assert p == pytest.approx(scale * masses(0.16, 0.3, 0.2, 0.01), rel=1e-6)


def test_presence_counts_once() -> None:
    # Half of 0.4, half of 0.1, however often they occurred.
    p = penalised(masses(*SHARES), [0, 3, 3, 3], SamplingSettings(presence_penalty=math.log(2)))
    assert p == pytest.approx([0.2, 0.3, 0.2, 0.05], rel=1e-6)


def test_frequency_counts_every_time() -> None:
    # 0.4 / 2 once, 0.1 / 2 / 2 / 2 three times.
    p = penalised(masses(*SHARES), [0, 3, 3, 3], SamplingSettings(frequency_penalty=math.log(2)))
    assert p == pytest.approx([0.2, 0.3, 0.2, 0.0125], rel=1e-6)


def test_penalties_see_only_the_window() -> None:
    # Of 0, 1, 3, 3 the last two remain: 3, twice.
    s = SamplingSettings(frequency_penalty=math.log(2), penalty_window=2)
    assert penalised(masses(*SHARES), [0, 1, 3, 3], s) == pytest.approx([0.4, 0.3, 0.2, 0.025], rel=1e-6)
    off = SamplingSettings(frequency_penalty=1, penalty_window=0)
    assert penalised(masses(*SHARES), [0, 1], off) == pytest.approx(SHARES)


def test_penalties_move_the_greedy_choice() -> None:
    greedy = SamplingSettings(repetition_penalty=2.0)
    # 0.4 ** 2 = 0.16 < 0.3.
    assert Sampler(greedy, 0).choose(masses(*SHARES), [0]) == 1
    assert Sampler(greedy, 0).choose(masses(*SHARES), [3]) == 0


def test_penalties_never_leave_nothing() -> None:
    """exp(-1000) is zero even in float64: all that was possible would be gone."""
    s = SamplingSettings(frequency_penalty=100.0)
    for temperature in (0.0, 1.0):
        sampler = Sampler(SamplingSettings(temperature=temperature, frequency_penalty=100.0), 0)
        assert sampler.choose(masses(0, 1, 0, 0), [1] * 10) == 1
    assert 0 < penalised(masses(0, 1, 0, 0), [1] * 10, s)[1] < 1e-37


# DRY.


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ([], []),
        ([5], [0]),
        # The window ends in 1 2; the earlier 1 2 was followed by 3 (place 2).
        ([1, 2, 3, 1, 2], [0, 0, 2, 0, 0]),
        # ... 2 alone by 9, place 6.
        ([1, 2, 3, 0, 0, 2, 9, 1, 2], [0, 0, 2, 0, 0, 0, 1, 0, 0]),
        # Overlapping runs: before place 3 stand three 7s, and the window ends in three of its own.
        ([7, 7, 7, 7], [0, 1, 2, 3]),
        ([1, 2, 3, 4], [0, 0, 0, 0]),
    ],
)
def test_repeated_runs(window: list[int], expected: list[int]) -> None:
    assert repeated_runs(np.array(window, np.int64), 100).tolist() == expected


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 10))
def test_repeated_runs_equal_a_plain_count(window: list[int], longest: int) -> None:
    def run(place: int) -> int:
        n = 0
        while n < min(place, longest) and window[place - 1 - n] == window[-1 - n]:
            n += 1
        return n

    expected = [run(place) for place in range(len(window))]
    assert repeated_runs(np.array(window, np.int64), longest).tolist() == expected


def test_dry_takes_the_longest_run_of_each_outcome() -> None:
    # The history ends in 0 1 2. Earlier 0 1 2 -> 3, and 1 2 -> 3 as well as 1 2 -> 0; 2 -> 1 is too short.
    history = [0, 1, 2, 3, 1, 2, 3, 1, 2, 0, 2, 1, 0, 1, 2]
    s = SamplingSettings(dry_multiplier=0.5, dry_base=2.0, dry_allowed_length=2)
    # 3: n = 3, loses 0.5 * 2 ** 1 = 1 nat. 0: n = 2, loses 0.5 * 2 ** 0 = 0.5. 1: n = 1 < 2, nothing.
    expected = [0.4 * math.exp(-0.5), 0.3, 0.2, 0.1 * math.exp(-1)]
    assert penalised(masses(*SHARES), history, s) == pytest.approx(expected, rel=1e-6)


def test_dry_respects_the_allowed_length() -> None:
    history = [0, 1, 2, 0, 1]
    p = masses(*SHARES)
    at_length = SamplingSettings(dry_multiplier=1.0, dry_allowed_length=2)
    assert penalised(p, history, at_length)[2] == pytest.approx(0.2 * math.exp(-1), rel=1e-6)
    above = SamplingSettings(dry_multiplier=1.0, dry_allowed_length=3)
    assert penalised(p, history, above) == pytest.approx(p)


def test_dry_does_not_overflow() -> None:
    s = SamplingSettings(dry_multiplier=100, dry_base=10, penalty_window=5000)
    p = penalised(masses(*SHARES), [0] * 5000, s)
    assert np.isfinite(p).all() and p[0] < 1e-37
    assert p[1:] == pytest.approx(SHARES[1:])
    assert MAX_DRY_EXPONENT < 300, "100 * 10 ** 300 is still a float"


def longest_repeat(history: list[int]) -> int:
    """Length of the longest run of outcomes that occurs twice, overlaps included."""
    return max(int(repeated_runs(np.array(history[:end]), end).max()) for end in range(1, len(history) + 1))


@pytest.mark.parametrize(("temperature", "bound"), [(0.0, 5), (0.7, 8)])
def test_dry_breaks_a_loop(temperature: float, bound: int) -> None:
    """A model that cycles 0 1 2 with confidence .9: greedy decoding never leaves the cycle.

    Every other outcome has .1 / 7, log(.9 / (.1 / 7)) = 4.14 nats below. A run of n loses
    0.8 * 1.75 ** (n - 2): 2.45 at n = 4, 4.29 at n = 5. So no choice makes a run of 5 one longer.
    """

    def looping(history: Sequence[int]) -> np.ndarray:
        p = np.full(8, 0.1 / 7, np.float32)
        p[(history[-1] + 1) % 3] = 0.9
        return p

    def written(s: SamplingSettings) -> list[int]:
        sampler, history = Sampler(s, 1), [0]
        for _ in range(60):
            history.append(sampler.choose(looping(history), history))
        return history

    assert longest_repeat(written(SamplingSettings(temperature=temperature))) > 2 * bound
    assert longest_repeat(written(SamplingSettings(temperature=temperature, dry_multiplier=0.8))) <= bound


# Temperature and filters.


def test_temperature() -> None:
    # Halving the temperature squares the ratios to the best: 1, 9/16, 4/16, 1/16.
    assert tempered(masses(*SHARES), 0.5) == pytest.approx([1, 0.5625, 0.25, 0.0625], rel=1e-6)
    assert tempered(masses(*SHARES), 2.0) == pytest.approx([1, 0.8660254, 0.7071068, 0.5], rel=1e-6)
    assert tempered(masses(*SHARES), 1.0) == pytest.approx([1, 0.75, 0.5, 0.25], rel=1e-6)


def test_min_p() -> None:
    mass = np.array(SHARES)
    # 0.3 / 0.4 = 0.75 of the best stays, 0.2 / 0.4 = 0.5 does not.
    assert keep_min_p(mass, 0.7).tolist() == [0.4, 0.3, 0, 0]
    assert keep_min_p(mass, 1).tolist() == [0.4, 0, 0, 0]
    assert keep_min_p(mass, 0).tolist() == list(SHARES)
    assert keep_min_p(np.array([0.1, 0.4, 0.4, 0.1]), 1).tolist() == [0, 0.4, 0.4, 0]


def test_top_k() -> None:
    assert keep_top_k(np.array(SHARES), 2).tolist() == [0.4, 0.3, 0, 0]
    assert keep_top_k(np.array(SHARES), 0).tolist() == list(SHARES)
    assert keep_top_k(np.array(SHARES), 9).tolist() == list(SHARES)
    # Among equals the lowest index stays.
    assert keep_top_k(np.array([0.2, 0.3, 0.2, 0.2]), 3).tolist() == [0.2, 0.3, 0.2, 0]


def test_top_p() -> None:
    # Running sums 0.4, 0.7, 0.9, 1.0.
    assert keep_top_p(np.array(SHARES), 0.35).tolist() == [0.4, 0, 0, 0]
    assert keep_top_p(np.array(SHARES), 0.45).tolist() == [0.4, 0.3, 0, 0]
    assert keep_top_p(np.array(SHARES), 0.85).tolist() == [0.4, 0.3, 0.2, 0]
    assert keep_top_p(np.array(SHARES), 0.95).tolist() == list(SHARES)
    assert keep_top_p(np.array(SHARES), 1).tolist() == list(SHARES)
    assert keep_top_p(np.array([0.25] * 4), 0.3).tolist() == [0.25, 0.25, 0, 0]
    # It is a share of what the filters before it left: 0.4 / 0.7 = 0.57.
    assert keep_top_p(keep_top_k(np.array(SHARES), 2), 0.5).tolist() == [0.4, 0, 0, 0]


def test_filters_follow_the_temperature() -> None:
    # At T = 2 the masses are 1, .866, .707, .5, of which min_p 0.6 keeps three; of 1, .75, .5, .25, two.
    warm = Sampler(SamplingSettings(temperature=2.0, min_p=0.6), 0)
    assert {warm.choose(masses(*SHARES), []) for _ in range(100)} == {0, 1, 2}
    cold = Sampler(SamplingSettings(temperature=1.0, min_p=0.6), 0)
    assert {cold.choose(masses(*SHARES), []) for _ in range(100)} == {0, 1}


def test_filters_follow_each_other() -> None:
    # top_k 2 leaves .4 and .3, of which top_p .5 keeps one (.4 / .7 = .57); top_p .5 first would keep both.
    k_then_p = Sampler(SamplingSettings(temperature=1.0, top_k=2, top_p=0.5), 0)
    assert {k_then_p.choose(masses(*SHARES), []) for _ in range(100)} == {0}
    # min_p .7 leaves the same two; alone, top_p .8 would keep three.
    min_then_p = Sampler(SamplingSettings(temperature=1.0, min_p=0.7, top_p=0.8), 0)
    assert {min_then_p.choose(masses(*SHARES), []) for _ in range(100)} == {0, 1}


def test_draw_inverts_the_running_sum() -> None:
    mass = np.array([2.0, 0, 1, 1, 0])
    # Sums 2, 2, 3, 4, 4: 0 below one half, 2 below three quarters, 3 above.
    assert [drawn(mass, u) for u in (0, 0.49, 0.5, 0.74, 0.75, 1 - 2**-53)] == [0, 0, 2, 2, 3, 3]
    assert drawn(np.array([0.0, 1.0]), 0.0) == 1


def test_frequencies_follow_the_masses() -> None:
    sampler = Sampler(SamplingSettings(temperature=1), 7)
    counts = Counter(sampler.choose(masses(4, 3, 2, 1), []) for _ in range(20_000))
    # The standard deviation of a share is at most sqrt(.24 / 20000) = .0035; .02 is beyond five of them.
    assert [counts[i] / 20_000 for i in range(4)] == pytest.approx(SHARES, abs=0.02)


# Laws.


@given(distributions(), histories)
def test_a_vanishing_temperature_is_argmax(p: np.ndarray, history: list[int]) -> None:
    greedy = Sampler(SamplingSettings(), 0).choose(p, history)
    assert greedy == p.argmax()
    # Equal masses are drawn from by any temperature; top_k 1 keeps the lowest index of them.
    assert Sampler(SamplingSettings(temperature=1e-6, top_k=1), 0).choose(p, history) == greedy
    if np.count_nonzero(p > p.max() * np.float32(0.999)) == 1:
        assert Sampler(SamplingSettings(temperature=1e-6), 0).choose(p, history) == greedy


@given(distributions(), st.integers(0, 1000))
def test_a_tiny_top_p_keeps_one(p: np.ndarray, seed: int) -> None:
    assert Sampler(SamplingSettings(temperature=1, top_p=1e-9), seed).choose(p, []) == p.argmax()


@given(distributions(), settings)
def test_filters_are_never_empty_and_keep_the_best(p: np.ndarray, s: SamplingSettings) -> None:
    mass = tempered(p, s.temperature or 1.0)
    for kept in (
        keep_min_p(mass, s.min_p),
        keep_top_k(mass, s.top_k),
        keep_top_p(mass, s.top_p),
        keep_top_p(keep_top_k(keep_min_p(mass, s.min_p), s.top_k), s.top_p),
    ):
        assert kept[p.argmax()] == 1
        assert np.isin(kept[kept > 0], mass).all()


@given(distributions(), settings, histories)
def test_penalties_never_raise_a_mass_nor_erase_one(
    p: np.ndarray, s: SamplingSettings, history: list[int]
) -> None:
    history = [outcome % p.size for outcome in history]
    after = penalised(p, history, s)
    assert (after <= p).all()
    assert ((after > 0) == (p > 0)).all()
    unseen = np.setdiff1d(np.arange(p.size), history)
    assert (after[unseen] == p[unseen]).all()


@given(distributions(), settings, histories, st.integers(0, 2**63 - 1))
def test_choose_is_reproducible_and_leaves_p_alone(
    p: np.ndarray, s: SamplingSettings, history: list[int], seed: int
) -> None:
    history = [outcome % p.size for outcome in history]
    before, locked = p.copy(), p.copy()
    locked.flags.writeable = False
    first, second = Sampler(s, seed), Sampler(s, seed)
    choices = [first.choose(p, history) for _ in range(5)]
    assert choices == [second.choose(locked, history) for _ in range(5)]
    assert (p == before).all()
    assert all(p[choice] > 0 for choice in choices)


@given(st.lists(distributions(), min_size=1, max_size=5), settings)
def test_each_choice_draws_once_under_a_temperature(ps: list[np.ndarray], s: SamplingSettings) -> None:
    """A choice depends on how many came before it, not on what they saw; a greedy one draws nothing."""
    one, other = Sampler(s, 3), Sampler(s, 3)
    for p in ps:
        one.choose(p, [])
        other.choose(masses(1), [])
    probe = masses(*SHARES)
    assert one.choose(probe, []) == other.choose(probe, [])
    draws = len(ps) + 1 if s.temperature else 0
    assert one._random.random() == np.random.default_rng(3).random(draws + 1)[-1]


# The fast path.


def plain_choice(p: np.ndarray, s: SamplingSettings, history: Sequence[int], u: float) -> int:
    """What the settings document, one sorted full-vocabulary pass after another, in float64."""
    log_p = np.log(p.astype(np.float64) / p.sum(dtype=np.float64))
    window = list(history)[-s.penalty_window :]
    for outcome, m in Counter(window).items():
        log_p[outcome] *= s.repetition_penalty
        log_p[outcome] -= s.presence_penalty + s.frequency_penalty * m
    run: dict[int, int] = {}
    for place in range(1, len(window)):
        n = 0
        while n < place and window[place - 1 - n] == window[-1 - n]:
            n += 1
        run[window[place]] = max(n, run.get(window[place], 0))
    for outcome, n in run.items():
        if n >= s.dry_allowed_length:
            log_p[outcome] -= s.dry_multiplier * s.dry_base ** (n - s.dry_allowed_length)
    if s.temperature == 0:
        return int(log_p.argmax())
    mass = np.exp((log_p - log_p.max()) / s.temperature)
    mass[mass < s.min_p] = 0
    order = np.argsort(-mass, kind="stable")
    if s.top_k:
        mass[order[s.top_k :]] = 0
    if s.top_p < 1:
        sums = mass[order].cumsum()
        mass[order[1:][sums[:-1] >= s.top_p * sums[-1]]] = 0
    sums = mass.cumsum()
    return int(np.searchsorted(sums, u * sums[-1], side="right"))


@pytest.mark.parametrize("spread", [0.5, 2.0, 4.0])
@pytest.mark.parametrize(
    "s",
    [
        SamplingSettings(),
        SamplingSettings(repetition_penalty=1.3, dry_multiplier=0.8),
        SamplingSettings(temperature=0.8, min_p=0.05, top_k=40, top_p=0.95),
        SamplingSettings(
            temperature=0.8, min_p=0.05, top_k=40, top_p=0.95, repetition_penalty=1.1, dry_multiplier=0.8
        ),
        SamplingSettings(temperature=1.3, top_k=40),
        SamplingSettings(temperature=1, top_k=20_000, presence_penalty=0.5, frequency_penalty=0.1),
        SamplingSettings(temperature=1, top_k=200_000),
        SamplingSettings(temperature=0.6, min_p=0.01),
        SamplingSettings(temperature=3, min_p=0.2),
        SamplingSettings(temperature=1, top_p=0.9),
        SamplingSettings(temperature=1),
        SamplingSettings(temperature=0.5),
    ],
    ids=repr,
)
def test_full_vocabulary_equals_plain(s: SamplingSettings, spread: float) -> None:
    p = softmax(FULL, seed=11, spread=spread)
    best = np.argsort(-p, kind="stable")[:6].tolist()
    history = best[:3] * 3 + best[3:] + best[:3]
    sampler, uniform = Sampler(s, 2), np.random.default_rng(2)
    for _ in range(3):
        u = uniform.random() if s.temperature else 0.0
        assert sampler.choose(p, history) == plain_choice(p, s, history, u)


@given(st.integers(1, 60), st.integers(0, 20), st.booleans())
def test_shortlist_holds_every_survivor(k: int, seed: int, tied: bool) -> None:
    p = softmax(20_000, seed, spread=2.0)
    if tied:
        p = np.round(p, 5) + np.float32(1e-5)
    assert np.count_nonzero(p >= top_k_floor(p, k)) >= k
    listed = shortlist(p, SamplingSettings(temperature=1, top_k=k))
    assert np.isin(np.argsort(-p, kind="stable")[:k], listed).all()
    assert (np.diff(listed) > 0).all()


def test_shortlist_is_short() -> None:
    p = softmax(FULL, seed=0)
    assert len(shortlist(p, SamplingSettings(temperature=1, top_k=40))) < 80
    assert len(shortlist(p, SamplingSettings(temperature=1, min_p=0.5))) < 80
    assert top_k_floor(masses(*SHARES), 2) == 0


def test_uniform_ties_keep_the_lowest_indices() -> None:
    p = np.full(FULL, 1 / FULL, np.float32)
    sampler = Sampler(SamplingSettings(temperature=1, top_k=3), 0)
    assert {sampler.choose(p, []) for _ in range(50)} == {0, 1, 2}
    assert Sampler(SamplingSettings(), 0).choose(p, []) == 0


# What cannot be chosen from.


@pytest.mark.parametrize(
    "p", [[], [0.0, 0.0], [0.5, math.nan], [math.nan, 0.5], [0.5, math.inf], [math.inf, math.nan]], ids=str
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_to_choose_from(p: list[float], temperature: float) -> None:
    sampler = Sampler(SamplingSettings(temperature=temperature, repetition_penalty=1.1), 0)
    with pytest.raises(ValueError, match="nothing to choose from"):
        sampler.choose(masses(*p), [0])


def test_masses_at_both_ends_of_float32() -> None:
    for scale in (1e-45, 1e-38, 1e37):
        sampler = Sampler(SamplingSettings(temperature=0.5, min_p=0.9, top_p=0.9, presence_penalty=0.1), 0)
        assert sampler.choose(masses(0, 0, 2, 0) * np.float32(scale), [2]) == 2


def test_one_sampler_serves_distributions_of_different_lengths() -> None:
    sampler = Sampler(SamplingSettings(presence_penalty=1.0), 0)
    assert [sampler.choose(softmax(n, n), [0]) for n in (4, 9, 4)] == [
        Sampler(SamplingSettings(presence_penalty=1.0), 0).choose(softmax(n, n), [0]) for n in (4, 9, 4)
    ]
