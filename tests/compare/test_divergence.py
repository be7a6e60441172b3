"""Perplexity and divergence figures: hand-computed cases, laws, and other libraries' standard errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from blendin_local.compare.divergence import Positions, Softmax, fidelity_of, perplexity_of, row_statistics
from blendin_local.engine.language_model import Logits

LN2 = math.log(2)

rows = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        *[arrays(np.float32, n, elements=st.floats(-30, 30, width=32))] * 2, st.integers(0, n - 1)
    )
)


def logits(*probabilities: float) -> Logits:
    """Logits of these probabilities; any number may be added to a row of logits."""
    return (np.log(probabilities) + 3).astype(np.float32)


def positions(
    reference: list[float], own: list[float], n_bytes: list[int] | None = None, kld: list[float] | None = None
) -> Positions:
    """From both probabilities of the true tokens."""
    return Positions(
        reference_nll=-np.log(reference),
        nll=-np.log(own),
        kld=np.array(kld or [0.0] * len(own)),
        same_top=np.ones(len(own), bool),
        n_bytes=np.array(n_bytes or [1] * len(own), np.int64),
    )


def some_positions(n: int = 400) -> Positions:
    random = np.random.default_rng(1)
    reference_nll = random.exponential(2, n)
    return Positions(
        reference_nll=reference_nll,
        nll=reference_nll + random.normal(0.02, 0.1, n).clip(-reference_nll),
        kld=random.exponential(0.01, n),
        same_top=random.random(n) < 0.9,
        n_bytes=random.integers(1, 9, n),
    )


# One position


def test_a_divergence_by_hand() -> None:
    """1/2 ln(1/2 / 1/4) + 1/4 ln(1/4 / 1/2) + 1/4 ln(1/4 / 1/4) = 1/2 ln 2 - 1/4 ln 2 = 1/4 ln 2."""
    found = row_statistics(logits(1 / 2, 1 / 4, 1 / 4), logits(1 / 4, 1 / 2, 1 / 4), 0)
    assert found.kld == pytest.approx(LN2 / 4, abs=1e-6)
    assert found.reference_nll == pytest.approx(LN2, abs=1e-6)
    assert found.nll == pytest.approx(2 * LN2, abs=1e-6)
    assert not found.same_top


def test_the_reference_weighs_the_divergence() -> None:
    """(1/2 1/4 1/8 1/8) has an entropy of 1.75 bits; from four times 1/4 it diverges by the 2 - 1.75 missing.

    (7/8 1/8) from (1/2 1/2): 7/8 ln 7/4 - 1/8 ln 4; the other way round: 1/2 ln 4/7 + 1/2 ln 4.
    """
    even = logits(1 / 4, 1 / 4, 1 / 4, 1 / 4)
    assert row_statistics(logits(1 / 2, 1 / 4, 1 / 8, 1 / 8), even, 3).kld == pytest.approx(LN2 / 4, abs=1e-6)
    sure, unsure = logits(7 / 8, 1 / 8), logits(1 / 2, 1 / 2)
    forth, back = row_statistics(sure, unsure, 0).kld, row_statistics(unsure, sure, 0).kld
    assert forth == pytest.approx(7 / 8 * math.log(7 / 4) - math.log(4) / 8, abs=1e-6)
    assert back == pytest.approx(math.log(4 / 7) / 2 + LN2, abs=1e-6)


def test_of_equal_top_tokens_the_first_counts() -> None:
    """As in llama.cpp: both take the first of equally probable tokens, so these two agree."""
    assert row_statistics(logits(0.4, 0.4, 0.2), logits(0.6, 0.2, 0.2), 0).same_top
    assert not row_statistics(logits(0.4, 0.4, 0.2), logits(0.2, 0.6, 0.2), 0).same_top


def test_a_token_that_only_one_of_both_can_say() -> None:
    """What the reference excludes costs nothing: 1 ln(1 / 1/2). What the model alone excludes, infinity."""
    one, both = np.array([0, -math.inf], np.float32), np.zeros(2, np.float32)
    assert row_statistics(one, both, 0).kld == pytest.approx(LN2)
    assert row_statistics(one, one, 0).kld == 0
    assert row_statistics(both, one, 0).kld == math.inf
    assert row_statistics(both, one, 1).nll == math.inf


def test_what_is_not_a_number_stays_so() -> None:
    broken = np.array([0, math.nan], np.float32)
    assert math.isnan(row_statistics(np.zeros(2, np.float32), broken, 0).nll)
    assert math.isnan(Softmax(2).nll(np.full(2, -math.inf, np.float32), 0))


@given(rows)
def test_against_float64(case: tuple[Logits, Logits, int]) -> None:
    reference, own, token = case
    log_p, log_q = (stats_log_softmax(row) for row in (reference, own))
    found = row_statistics(reference, own, token)
    assert found.reference_nll == pytest.approx(-log_p[token], abs=1e-5)
    assert found.nll == pytest.approx(-log_q[token], abs=1e-5)
    assert found.kld == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum(), abs=1e-5)
    assert found.kld >= 0
    assert Softmax(len(own)).nll(own, token) == found.nll


def stats_log_softmax(row: Logits) -> np.ndarray:
    wide = row.astype(np.float64)
    return wide - np.logaddexp.reduce(wide)


@given(rows)
def test_a_model_is_true_to_itself(case: tuple[Logits, Logits, int]) -> None:
    _, own, token = case
    found = row_statistics(own, own.copy(), token)
    assert found.kld == 0 and found.same_top and found.nll == found.reference_nll


def test_rows_are_left_as_they_are_and_buffers_carry_nothing_over() -> None:
    first, second = logits(0.5, 0.25, 0.25), logits(0.25, 0.25, 0.5)
    kept = first.copy(), second.copy()
    used = Softmax(3)
    before = used.statistics(first, second, 1)
    used.statistics(second, first, 0)
    used.nll(second, 2)
    assert used.statistics(first, second, 1) == before
    assert np.array_equal(first, kept[0]) and np.array_equal(second, kept[1])


def with_sixteen_bits(reference: Logits, own: Logits) -> float:
    """The divergence as llama.cpp's tool keeps and sums it: see the module under test for what it loses."""
    largest = reference.max()
    lowest = max(reference.min(), largest - np.float32(16))
    step = (largest - lowest) / np.float32(65535)
    kept = np.rint((np.maximum(reference, lowest) - lowest) / step)
    log_p = step * kept + lowest - np.logaddexp.reduce(reference.astype(np.float64))
    counted = log_p > -16
    return float((np.exp(log_p) * (log_p - stats_log_softmax(own)))[counted].sum())


def test_the_sixteen_bits_of_llama_cpp_cost_little() -> None:
    """What its tool would print of the same rows, so that its figures and these can stand side by side."""
    random = np.random.default_rng(3)
    reference = random.normal(scale=3, size=(60, 5000)).astype(np.float32)
    for noise, most in ((0.0, 1e-4), (0.1, 1e-4), (2.0, 1e-2)):
        own = (reference + random.normal(scale=noise, size=reference.shape)).astype(np.float32)
        exact = np.array([row_statistics(p, q, 0).kld for p, q in zip(reference, own, strict=True)])
        rough = np.array([with_sixteen_bits(p, q) for p, q in zip(reference, own, strict=True)])
        assert abs(rough.mean() - exact.mean()) < most
    assert exact.mean() > 1


# Figures


def test_figures_by_hand() -> None:
    """Two tokens of 1 and 3 bytes, to which the reference gives 1/2 and 1/4, the model 1/4 and 1/4.

    NLL: reference (1, 2) ln 2, mean 1.5 ln 2; model (2, 2) ln 2. Perplexity 2^1.5 and 4, ratio 2^0.5.
    Errors, sqrt((E[x^2] - E[x]^2) / (n - 1)): reference ln 2 / 2, model 0; the difference (1, 0) ln 2 has
    mean ln 2 / 2 and error ln 2 / 2. Bits per byte: 4 bits / 4 bytes = 1; what that leaves of the bits is
    (2, 2) - (1, 3) = (1, -1), with error 1 of its mean, times n / bytes = 1/2.
    Delta p (-1/4, 0): mean -1/8, error 1/8; squares (1/16, 0): mean 1/32, error 1/32; RMS sqrt(1/32), its
    error 0.5 / sqrt(1/32) / 32 = 0.5 sqrt(1/32).
    """
    found = fidelity_of(positions([1 / 2, 1 / 4], [1 / 4, 1 / 4], [1, 3]), chunks=2, n_ctx=8)
    assert found.reference.perplexity == pytest.approx(2**1.5)
    assert found.reference.perplexity_se == pytest.approx(2**1.5 * LN2 / 2)
    assert found.own.perplexity == pytest.approx(4)
    assert found.own.perplexity_se == 0
    assert found.own.bits_per_byte == pytest.approx(1)
    assert found.own.bits_per_byte_se == pytest.approx(1 / 2)
    assert found.reference.bits_per_byte == pytest.approx(3 / 4)
    assert found.ppl_ratio == pytest.approx(2**0.5)
    assert found.ppl_ratio_se == pytest.approx(2**0.5 * LN2 / 2)
    assert found.correlation is None
    assert found.delta_p["mean"] == pytest.approx(-1 / 8)
    assert found.delta_p["mean_se"] == pytest.approx(1 / 8)
    assert found.delta_p["rms"] == pytest.approx((1 / 32) ** 0.5)
    assert found.delta_p["rms_se"] == pytest.approx(0.5 * (1 / 32) ** 0.5)
    assert found.delta_p["min"] == pytest.approx(-1 / 4)
    assert found.delta_p["max"] == 0
    assert (found.own.positions, found.own.chunks, found.own.n_ctx) == (2, 2, 8)


def test_quantiles_lie_on_the_line_between_two_values() -> None:
    """Of 0 1 2 3 4 the 90 % quantile stands at place 0.9 * 4 = 3.6, so it is 3.6."""
    kld = [3.0, 0.0, 4.0, 1.0, 2.0]
    found = fidelity_of(positions([0.5] * 5, [0.5] * 5, kld=kld), chunks=2, n_ctx=8).kld
    assert found == pytest.approx(
        {
            "mean": 2,
            # sqrt((6 - 4) / 4)
            "mean_se": 0.5**0.5,
            "median": 2,
            "p90": 3.6,
            "p95": 3.8,
            "p99": 3.96,
            "p999": 3.996,
            "max": 4,
            "p10": 0.4,
            "p5": 0.2,
            "p1": 0.04,
            "p01": 0.004,
            "min": 0,
        }
    )


def test_quantiles_of_delta_p() -> None:
    """Delta p of 0, 0.01 ... 1 less 0.5: the quantile of p % is p / 100 - 0.5."""
    own = np.linspace(0, 1, 101)
    with np.errstate(divide="ignore"):
        steps = Positions(
            np.full(101, LN2), -np.log(own), np.zeros(101), np.ones(101, bool), np.ones(101, np.int64)
        )
    found = fidelity_of(steps, chunks=2, n_ctx=8).delta_p
    for percent in (99, 95, 90, 75, 25, 10, 5, 1):
        assert found[f"p{percent}"] == pytest.approx(percent / 100 - 0.5)
    assert found["median"] == pytest.approx(0, abs=1e-12)
    assert (found["p999"], found["p01"]) == (pytest.approx(0.499), pytest.approx(-0.499))


def test_errors_against_scipy() -> None:
    taken = some_positions()
    found = fidelity_of(taken, chunks=2, n_ctx=402)
    difference = taken.nll - taken.reference_nll
    assert found.own.perplexity_se == pytest.approx(found.own.perplexity * stats.sem(taken.nll))
    assert found.reference.perplexity == pytest.approx(stats.gmean(np.exp(taken.reference_nll)))
    assert found.ppl_ratio == pytest.approx(found.own.perplexity / found.reference.perplexity)
    assert found.ppl_ratio_se == pytest.approx(found.ppl_ratio * stats.sem(difference))
    assert found.correlation == pytest.approx(stats.pearsonr(taken.nll, taken.reference_nll).statistic)
    assert found.kld["mean_se"] == pytest.approx(stats.sem(taken.kld))
    assert found.delta_p["mean_se"] == pytest.approx(stats.sem(taken.delta_p))
    assert found.same_top == taken.same_top.mean()
    assert found.same_top_se == pytest.approx(stats.sem(taken.same_top))
    # Two variances less twice the covariance, as llama.cpp writes it.
    together = np.cov(taken.nll, taken.reference_nll) / len(difference)
    written_out = together[0, 0] + together[1, 1] - 2 * together[0, 1]
    assert found.ppl_ratio_se == pytest.approx(found.ppl_ratio * math.sqrt(written_out))
    # The same for the difference of the perplexities.
    own, reference = found.own.perplexity, found.reference.perplexity
    written_out = (
        own**2 * together[0, 0] + reference**2 * together[1, 1] - 2 * own * reference * together[0, 1]
    )
    assert found.ppl_difference == pytest.approx(own - reference)
    assert found.ppl_difference_se == pytest.approx(math.sqrt(written_out))
    assert found.own.n_bytes == taken.n_bytes.sum()


def test_the_error_of_bits_per_byte_is_that_of_resampled_texts() -> None:
    taken = some_positions()
    found = perplexity_of(taken.nll, taken.n_bytes, chunks=2, n_ctx=402)
    random = np.random.default_rng(2)
    drawn = random.integers(0, len(taken.nll), (4000, len(taken.nll)))
    resampled = taken.nll[drawn].sum(1) / LN2 / taken.n_bytes[drawn].sum(1)
    assert found.bits_per_byte == pytest.approx(taken.nll.sum() / LN2 / taken.n_bytes.sum())
    assert found.bits_per_byte_se == pytest.approx(resampled.std(), rel=0.05)


def test_figures_of_a_model_against_itself() -> None:
    taken = some_positions()
    same = Positions(taken.nll, taken.nll, np.zeros(400), np.ones(400, bool), taken.n_bytes)
    found = fidelity_of(same, chunks=2, n_ctx=402)
    assert found.ppl_ratio == 1 and found.ppl_ratio_se == 0
    assert found.correlation == pytest.approx(1)
    assert set(found.delta_p.values()) == {0} and set(found.kld.values()) == {0}
    assert found.same_top == 1 and found.same_top_se == 0
    assert found.own == found.reference


def test_figures_are_plain_json_by_their_agreed_names() -> None:
    found = fidelity_of(some_positions(), chunks=2, n_ctx=402).as_dict()
    assert set(json.loads(json.dumps(found, allow_nan=False))) == {
        *("perplexity", "perplexity_se", "bits_per_byte", "bits_per_byte_se", "ppl_ratio", "ppl_ratio_se"),
        *("ppl_difference", "ppl_difference_se", "reference_perplexity", "reference_perplexity_se"),
        *("correlation", "kld", "delta_p", "same_top", "same_top_se"),
        *("positions", "bytes", "chunks", "n_ctx"),
    }
    assert set(found["delta_p"]) == {
        *("mean", "mean_se", "rms", "rms_se", "max", "p999", "p99", "p95", "p90", "p75", "median"),
        *("p25", "p10", "p5", "p1", "p01", "min"),
    }


def test_what_is_infinite_or_unknown_is_null() -> None:
    """A token that the model excludes makes its perplexity infinite; of one position nothing varies."""
    never = Positions(
        np.array([LN2, LN2]),
        np.array([LN2, math.inf]),
        np.array([0, math.inf]),
        np.ones(2, bool),
        np.ones(2, int),
    )
    found = fidelity_of(never, chunks=2, n_ctx=8).as_dict()
    json.dumps(found, allow_nan=False)
    assert found["perplexity"] is None and found["ppl_ratio"] is None and found["kld"]["mean"] is None
    assert found["delta_p"]["mean"] == pytest.approx(-1 / 4)
    alone = fidelity_of(positions([0.5], [0.25]), chunks=1, n_ctx=8).as_dict()
    assert alone["perplexity"] == pytest.approx(4)
    assert alone["perplexity_se"] is None and alone["same_top_se"] is None and alone["correlation"] is None
    silent = perplexity_of(np.array([LN2]), np.zeros(1, np.int64), chunks=1, n_ctx=8)
    assert silent.bits_per_byte is None
