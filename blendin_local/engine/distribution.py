"""Probability distributions of a model's next token, in NumPy: softmax, confidence, entropy, divergence."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Masses = npt.NDArray[np.float32]

LOG2_E = 1.0 / math.log(2.0)

# exp() of logits up to here, and their sum, stay far inside float32's range.
_HIGHEST_UNSHIFTED_PEAK = 50.0


class Distribution:
    """softmax of one row of logits, in buffers that are reused from step to step.

    After `update`: `masses` float32[n] sums to `total`, not to 1; `top` is the most probable id,
    `confidence` its probability, `entropy` in bits.
    """

    def __init__(self, n: int) -> None:
        self.masses: Masses = np.zeros(n, np.float32)
        self.total = 0.0
        self.top = 0
        self.confidence = 0.0
        self.entropy = 0.0

    def update(self, logits: npt.NDArray[np.float32]) -> None:
        """Compute the distribution of float32[n] logits. Raises FloatingPointError if none is finite."""
        self.top = int(logits.argmax())
        peak = float(logits[self.top])
        if not math.isfinite(peak):
            raise FloatingPointError("the model's logits are not finite")
        # Shifting is one more pass over a vocabulary that has left the processor's cache.
        if not 0 <= peak <= _HIGHEST_UNSHIFTED_PEAK:
            logits = logits - np.float32(peak)
        np.exp(logits, out=self.masses)
        self.total = float(self.masses.sum())
        self.confidence = float(self.masses[self.top]) / self.total
        # einsum, because np.dot would wake BLAS threads beside llama.cpp's. It raises no warnings.
        weighted = float(np.einsum("i,i->", logits, self.masses))
        if math.isnan(weighted):
            # 0 times -inf: a forbidden token adds nothing.
            allowed = self.masses > 0
            weighted = float(logits[allowed] @ self.masses[allowed])
        self.entropy = max(0.0, (math.log(self.total) - weighted / self.total) * LOG2_E)

    def probability(self, index: int) -> float:
        """Return the probability of one id."""
        return float(self.masses[index]) / self.total

    def probabilities(self) -> Masses:
        """Return a new float32[n] array that sums to 1."""
        return self.masses / np.float32(self.total)


def jensen_shannon(p: Masses, q: Masses) -> float:
    """Return the Jensen-Shannon divergence in bits, in [0, 1], of two float32[n] that sum to 1."""
    both = np.flatnonzero((p > 0) & (q > 0))
    p_both, q_both = p[both], q[both]
    middle = (p_both + q_both) * np.float32(0.5)
    # Where only one of them has mass, its term is that mass times log2(p / (p / 2)) = 1 bit.
    alone = (1.0 - p_both.sum(dtype=np.float64)) + (1.0 - q_both.sum(dtype=np.float64))
    # float32 logarithms are many at a time, and each term's error is its mass times 1e-7.
    terms = p_both * np.log(p_both / middle) + q_both * np.log(q_both / middle)
    shared = float(terms.sum(dtype=np.float64)) * LOG2_E
    return float(np.clip((shared + alone) / 2, 0.0, 1.0))
