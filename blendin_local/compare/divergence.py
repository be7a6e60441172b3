"""Perplexity, KL divergence and what goes with them, from rows of logits: the arithmetic of fidelity.

The definitions are those of llama.cpp's perplexity tool with `--kl-divergence`, except that nothing is
rounded to 16 bits and no token is left out (`blendin_local.compare.fidelity` says more). Nothing here
knows a model or a text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blendin_local.engine.language_model import Logits
from blendin_local.statistics import covariance_of_means, mean_and_error

__all__ = [
    "Fidelity",
    "Perplexity",
    "Positions",
    "RowStatistics",
    "Rows",
    "fidelity_of",
    "perplexity_of",
    "row_statistics",
]

# What the tool prints, in its order.
_HIGH = {"max": 1.0, "p999": 0.999, "p99": 0.99, "p95": 0.95, "p90": 0.9}
_LOW = {"p10": 0.1, "p5": 0.05, "p1": 0.01, "p01": 0.001, "min": 0.0}
_KLD_QUANTILES = {**_HIGH, "median": 0.5, **_LOW}
_DELTA_QUANTILES = {**_HIGH, "p75": 0.75, "median": 0.5, "p25": 0.25, **_LOW}

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


# One position


class RowStatistics(NamedTuple):
    """Of one prediction: both negative log-likelihoods of the true token and the divergence, in nats."""

    reference_nll: float
    nll: float
    kld: float
    same_top: bool


def row_statistics(reference: Logits, logits: Logits, token: int) -> RowStatistics:
    """Compare two float32[n_vocab] rows of logits at a place where `token` comes next."""
    return Rows(len(reference)).statistics(reference, logits, token)


class Rows:
    """Softmax over rows of one length, in buffers that are used again.

    Exponentials are float32, which is all that the logits hold; sums, and what is left after large numbers
    cancel, are float64. The divergence is right to about 1e-6.
    """

    def __init__(self, n_vocab: int) -> None:
        self._reference, self._other, self._masses = np.empty((3, n_vocab), np.float32)

    def _reduced(self, logits: Logits, out: Logits) -> tuple[int, float, float]:
        """Leave logits minus the largest in `out`; returns its place, log-sum-exp of the row and of `out`."""
        top = int(logits.argmax())
        largest = logits[top]
        np.subtract(logits, largest, out=out)
        np.exp(out, out=self._masses)
        reduced_sum = math.log(float(self._masses.sum(dtype=np.float64)))
        return top, float(largest) + reduced_sum, reduced_sum

    @np.errstate(invalid="ignore")
    def nll(self, logits: Logits, token: int) -> float:
        """-ln p(token); NaN where the logits are not numbers."""
        _, log_sum, _ = self._reduced(logits, self._reference)
        return log_sum - float(logits[token])

    @np.errstate(invalid="ignore")
    def statistics(self, reference: Logits, logits: Logits, token: int) -> RowStatistics:
        """See `row_statistics`."""
        top, log_sum, reduced_sum = self._reduced(logits, self._other)
        reference_top, reference_log_sum, reference_reduced_sum = self._reduced(reference, self._reference)
        # sum p_ref (ln p_ref - ln p), with both logarithms split into logits and one sum for the whole row.
        np.subtract(self._reference, self._other, out=self._other)
        np.multiply(self._other, self._masses, out=self._other)
        weighted = float(self._other.sum(dtype=np.float64)) / math.exp(reference_reduced_sum)
        kld = weighted + reduced_sum - reference_reduced_sum
        if not math.isfinite(kld):
            kld = _divergence(reference, logits)
        return RowStatistics(
            reference_nll=reference_log_sum - float(reference[token]),
            nll=log_sum - float(logits[token]),
            # Rounding leaves a little less than nothing where the two agree.
            kld=0.0 if kld < 0 else kld,
            same_top=top == reference_top,
        )


def _divergence(reference: Logits, logits: Logits) -> float:
    """The same where some logits are -inf, as a model may give tokens that it must not write."""
    wide = [row.astype(np.float64) - float(row.max()) for row in (reference, logits)]
    log_p, log_q = (row - math.log(float(np.exp(row).sum())) for row in wide)
    said = log_p > -math.inf
    return float((np.exp(log_p[said]) * (log_p[said] - log_q[said])).sum())


# Figures


@dataclass(frozen=True, slots=True)
class Positions:
    """What a pass over a text leaves, in its order.

    reference_nll, nll: float64[n], -ln of the probability of the token that comes next. kld: float64[n],
    nats. same_top: bool[n], whether both have the same most probable token. n_bytes: int64[n], of the token.
    """

    reference_nll: Doubles
    nll: Doubles
    kld: Doubles
    same_top: npt.NDArray[np.bool_]
    n_bytes: Integers

    @property
    def delta_p(self) -> Doubles:
        """float64[n]: probability of the true token, minus the reference's."""
        return np.exp(-self.nll) - np.exp(-self.reference_nll)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well one model predicts a text. Only bits per byte compare across vocabularies.

    perplexity: exp of the mean negative log-likelihood of a token. bits_per_byte: -log2 of the probability
    of the scored tokens over their bytes; None where they have none. Standard errors take tokens as
    independent, as llama.cpp does; None where there are fewer than two. positions: predictions scored.
    n_bytes: those of the scored tokens.
    """

    perplexity: float
    perplexity_se: float | None
    bits_per_byte: float | None
    bits_per_byte_se: float | None
    positions: int
    n_bytes: int
    chunks: int
    n_ctx: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: null stands for what is unknown or infinite."""
        figures = asdict(self)
        return _finite({"bytes" if name == "n_bytes" else name: each for name, each in figures.items()})


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Figures of a model against a reference with the same vocabulary; both predicted the same tokens.

    ppl_ratio: the model's perplexity over the reference's; its error allows for how closely the two go
    together, which is `correlation` (Pearson, of the negative log-likelihoods; None where one never varies).
    ppl_difference: the same as a difference. kld: mean, mean_se and quantiles from max to min, in nats.
    delta_p: the same with rms, rms_se, as parts of 1. same_top: share of positions, with its binomial error.
    """

    own: Perplexity
    reference: Perplexity
    ppl_ratio: float
    ppl_ratio_se: float | None
    ppl_difference: float
    ppl_difference_se: float | None
    correlation: float | None
    kld: Mapping[str, float | None]
    delta_p: Mapping[str, float | None]
    same_top: float
    same_top_se: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: null stands for what is unknown or infinite."""
        figures = asdict(self)
        del figures["own"]
        reference = figures.pop("reference")
        figures |= {f"reference_{name}": reference[name] for name in ("perplexity", "perplexity_se")}
        return self.own.as_dict() | _finite(figures)


@np.errstate(over="ignore", invalid="ignore")
def perplexity_of(nll: Doubles, n_bytes: Integers, *, chunks: int, n_ctx: int) -> Perplexity:
    """Figures of float64[n] negative log-likelihoods in nats, n at least 1, of tokens of int64[n] bytes."""
    mean, error = float(nll.mean()), mean_and_error(nll)[1]
    perplexity = float(np.exp(mean))
    total = int(n_bytes.sum())
    bits = bits_error = None
    if total:
        bits = float(nll.sum()) / math.log(2) / total
        # The error of a ratio of two sums: that of what is left when the ratio has explained each term.
        left = mean_and_error(nll / math.log(2) - bits * n_bytes)[1]
        bits_error = None if left is None else left * len(nll) / total
    return Perplexity(perplexity, _times(perplexity, error), bits, bits_error, len(nll), total, chunks, n_ctx)


@np.errstate(over="ignore", invalid="ignore")
def fidelity_of(positions: Positions, *, chunks: int, n_ctx: int) -> Fidelity:
    """Figures of a whole pass over at least one position."""
    n = len(positions.nll)
    log_ratio = float(positions.nll.mean() - positions.reference_nll.mean())
    # Of the difference itself: the two variances less twice the covariance, without their cancellation.
    log_ratio_error = mean_and_error(positions.nll - positions.reference_nll)[1]
    ratio = float(np.exp(log_ratio))
    same = float(positions.same_top.mean())
    own, reference = (
        perplexity_of(nll, positions.n_bytes, chunks=chunks, n_ctx=n_ctx)
        for nll in (positions.nll, positions.reference_nll)
    )
    # To first order; of the difference itself, too, so that nothing cancels.
    apart = own.perplexity * positions.nll - reference.perplexity * positions.reference_nll
    return Fidelity(
        own=own,
        reference=reference,
        ppl_ratio=ratio,
        ppl_ratio_se=_times(ratio, log_ratio_error),
        ppl_difference=own.perplexity - reference.perplexity,
        ppl_difference_se=mean_and_error(apart)[1],
        correlation=_correlation(positions.nll, positions.reference_nll),
        kld=_spread(positions.kld, _KLD_QUANTILES),
        delta_p=_deltas(positions.delta_p),
        same_top=same,
        same_top_se=math.sqrt(same * (1 - same) / (n - 1)) if n > 1 else None,
    )


def _correlation(first: Doubles, second: Doubles) -> float | None:
    covariance = covariance_of_means(first, second)
    errors = mean_and_error(first)[1], mean_and_error(second)[1]
    if covariance is None or errors[0] is None or errors[1] is None:
        return None
    scale = errors[0] * errors[1]
    return min(1.0, max(-1.0, covariance / scale)) if scale > 0 else None


def _spread(values: Doubles, quantiles: Mapping[str, float]) -> dict[str, float | None]:
    """Mean and quantiles, linear between the two nearest values as in the tool."""
    mean, error = mean_and_error(values)
    found = np.quantile(values, list(quantiles.values()))
    return {"mean": mean, "mean_se": error, **dict(zip(quantiles, map(float, found), strict=True))}


def _deltas(delta_p: Doubles) -> dict[str, float | None]:
    square, square_error = mean_and_error(delta_p**2)
    rms = math.sqrt(square or 0.0)
    # d sqrt(x) = dx / (2 sqrt(x)); where no probability has moved at all there is no error either.
    error = square_error if square_error is None or rms == 0 else 0.5 / rms * square_error
    return {**_spread(delta_p, _DELTA_QUANTILES), "rms": rms, "rms_se": error}


def _times(value: float, error: float | None) -> float | None:
    return None if error is None else value * error


def _finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with None for NaN and infinity, at any depth."""
    return {
        name: _finite(value)
        if isinstance(value, Mapping)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in figures.items()
    }
