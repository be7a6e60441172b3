"""Compute perplexity, KL divergence and related statistics from rows of logits.

The definitions are those of llama.cpp's perplexity tool with `--kl-divergence`, but without its rounding to
16 bits and its omitted tokens (see `blendin_local.compare.fidelity`). This module does not depend on a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blendin_local.engine.language_model import Logits
from blendin_local.statistics import mean_and_error

__all__ = [
    "Fidelity",
    "Perplexity",
    "Positions",
    "RowStatistics",
    "Softmax",
    "fidelity_of",
    "perplexity_of",
    "row_statistics",
]

# The quantiles that the tool prints, in its order.
_HIGH = {"max": 1.0, "p999": 0.999, "p99": 0.99, "p95": 0.95, "p90": 0.9}
_LOW = {"p10": 0.1, "p5": 0.05, "p1": 0.01, "p01": 0.001, "min": 0.0}
_KLD_QUANTILES = {**_HIGH, "median": 0.5, **_LOW}
_DELTA_QUANTILES = {**_HIGH, "p75": 0.75, "median": 0.5, "p25": 0.25, **_LOW}

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


# One position


class RowStatistics(NamedTuple):
    """One prediction: both negative log-likelihoods of the true token and the divergence, in nats."""

    reference_nll: float
    nll: float
    kld: float
    same_top: bool


def row_statistics(reference: Logits, logits: Logits, token: int) -> RowStatistics:
    """Compare two rows of logits, float32[n_vocab], at a position where `token` comes next."""
    return Softmax(len(reference)).statistics(reference, logits, token)


class Softmax:
    """Softmax statistics of rows of logits, in reused buffers of one length.

    Exponentials are float32, the precision of the logits; sums and differences of large numbers are float64.
    The divergence is accurate to about 1e-6.
    """

    def __init__(self, n_vocab: int) -> None:
        self._reference, self._other, self._masses = np.empty((3, n_vocab), np.float32)

    def _reduce(self, logits: Logits, out: Logits) -> tuple[int, float, float]:
        """Write logits minus their maximum to `out`.

        Returns the index of the maximum, and the log-sum-exp of the logits and of `out`.
        """
        top = int(logits.argmax())
        largest = logits[top]
        np.subtract(logits, largest, out=out)
        np.exp(out, out=self._masses)
        reduced_sum = math.log(float(self._masses.sum(dtype=np.float64)))
        return top, float(largest) + reduced_sum, reduced_sum

    @np.errstate(invalid="ignore")
    def nll(self, logits: Logits, token: int) -> float:
        """Return -ln p(token); NaN if the logits are not numbers."""
        _, log_sum, _ = self._reduce(logits, self._reference)
        return log_sum - float(logits[token])

    @np.errstate(invalid="ignore")
    def statistics(self, reference: Logits, logits: Logits, token: int) -> RowStatistics:
        """See `row_statistics`."""
        top, log_sum, reduced_sum = self._reduce(logits, self._other)
        reference_top, reference_log_sum, reference_reduced_sum = self._reduce(reference, self._reference)
        # sum p_ref (ln p_ref - ln p), with each logarithm split into a logit and the log-sum-exp of its row.
        np.subtract(self._reference, self._other, out=self._other)
        np.multiply(self._other, self._masses, out=self._other)
        weighted = float(self._other.sum(dtype=np.float64)) / math.exp(reference_reduced_sum)
        kld = weighted + reduced_sum - reference_reduced_sum
        if not math.isfinite(kld):
            kld = _divergence(reference, logits)
        return RowStatistics(
            reference_nll=reference_log_sum - float(reference[token]),
            nll=log_sum - float(logits[token]),
            # By rounding, the divergence of equal rows may be slightly negative.
            kld=0.0 if kld < 0 else kld,
            same_top=top == reference_top,
        )


def _divergence(reference: Logits, logits: Logits) -> float:
    """Compute the divergence if some logits are -inf, as models give forbidden tokens."""
    wide = [row.astype(np.float64) - float(row.max()) for row in (reference, logits)]
    log_p, log_q = (row - math.log(float(np.exp(row).sum())) for row in wide)
    possible = log_p > -math.inf
    return float((np.exp(log_p[possible]) * (log_p[possible] - log_q[possible])).sum())


# Figures


@dataclass(frozen=True, slots=True)
class Positions:
    """Statistics of every prediction in a text, in its order.

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
    """Perplexity of one model on a text. Only bits per byte are comparable across vocabularies.

    perplexity: exp of the mean negative log-likelihood of a token. bits_per_byte: -log2 of the probability
    of the scored tokens over their bytes; None if they have no bytes. Standard errors assume independent
    tokens, as llama.cpp does; None for fewer than two. positions: number of predictions. n_bytes: bytes of
    the scored tokens.
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
    """Figures of a model against a reference with the same vocabulary, over the same predictions.

    ppl_ratio: the model's perplexity over the reference's. ppl_difference: their difference. The errors of
    both account for the correlation of the two models. correlation: Pearson's, of the negative
    log-likelihoods; None if one is constant. kld: mean, mean_se and quantiles from max to min, in nats.
    delta_p: change of the true token's probability: mean, mean_se, quantiles, rms and rms_se. same_top: share
    of positions with the same top token, with its binomial error.
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
    """Compute perplexity from negative log-likelihoods in nats, float64[n], n ≥ 1, and bytes, int64[n]."""
    mean, error = float(nll.mean()), mean_and_error(nll)[1]
    perplexity = float(np.exp(mean))
    total = int(n_bytes.sum())
    bits = bits_error = None
    if total:
        bits = float(nll.sum()) / math.log(2) / total
        # Standard error of a ratio of sums: that of the residuals after the ratio.
        residual = mean_and_error(nll / math.log(2) - bits * n_bytes)[1]
        bits_error = None if residual is None else residual * len(nll) / total
    return Perplexity(
        perplexity, _scale_error(perplexity, error), bits, bits_error, len(nll), total, chunks, n_ctx
    )


@np.errstate(over="ignore", invalid="ignore")
def fidelity_of(positions: Positions, *, chunks: int, n_ctx: int) -> Fidelity:
    """Compute the fidelity over at least one position. chunks, n_ctx: how the text was split."""
    n = len(positions.nll)
    log_ratio = float(positions.nll.mean() - positions.reference_nll.mean())
    # The error of the paired differences, which avoids the cancellation of variances and covariance.
    log_ratio_error = mean_and_error(positions.nll - positions.reference_nll)[1]
    ratio = float(np.exp(log_ratio))
    same = float(positions.same_top.mean())
    own, reference = (
        perplexity_of(nll, positions.n_bytes, chunks=chunks, n_ctx=n_ctx)
        for nll in (positions.nll, positions.reference_nll)
    )
    # First-order error propagation, again of the paired differences.
    apart = own.perplexity * positions.nll - reference.perplexity * positions.reference_nll
    return Fidelity(
        own=own,
        reference=reference,
        ppl_ratio=ratio,
        ppl_ratio_se=_scale_error(ratio, log_ratio_error),
        ppl_difference=own.perplexity - reference.perplexity,
        ppl_difference_se=mean_and_error(apart)[1],
        correlation=_correlation(positions.nll, positions.reference_nll),
        kld=_mean_and_quantiles(positions.kld, _KLD_QUANTILES),
        delta_p=_delta_statistics(positions.delta_p),
        same_top=same,
        same_top_se=math.sqrt(same * (1 - same) / (n - 1)) if n > 1 else None,
    )


def _correlation(first: Doubles, second: Doubles) -> float | None:
    if len(first) < 2 or not first.std() > 0 or not second.std() > 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _mean_and_quantiles(values: Doubles, quantiles: Mapping[str, float]) -> dict[str, float | None]:
    """Compute mean and quantiles, interpolated linearly as in the tool."""
    mean, error = mean_and_error(values)
    found = np.quantile(values, list(quantiles.values()))
    return {"mean": mean, "mean_se": error, **dict(zip(quantiles, map(float, found), strict=True))}


def _delta_statistics(delta_p: Doubles) -> dict[str, float | None]:
    square, square_error = mean_and_error(delta_p**2)
    rms = math.sqrt(square or 0.0)
    # d sqrt(x) = dx / (2 sqrt(x)); without any change of a probability the error is 0 too.
    error = square_error if square_error is None or rms == 0 else 0.5 / rms * square_error
    return {**_mean_and_quantiles(delta_p, _DELTA_QUANTILES), "rms": rms, "rms_se": error}


def _scale_error(value: float, error: float | None) -> float | None:
    return None if error is None else value * error


def _finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity by None, at any depth."""
    return {
        name: _finite(value)
        if isinstance(value, Mapping)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in figures.items()
    }
