"""What the decodes of a pair cost, and the speed to be expected of a method from them.

The seconds are measured in the run that they are used for: these machines drift. Measuring needs two
models, everything else is arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Costs"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of decodes in one run.

    base_s: one token of the base. guide_s: (tokens, seconds) of batches of the guide, the sizes rising,
    the first of one token. base_only_s, blend_s: the engine's own work at a step without the guide, and
    what a blend adds to it.
    """

    base_s: float
    guide_s: tuple[tuple[int, float], ...]
    base_only_s: float
    blend_s: float

    def guide_seconds(self, tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds of guide batches of so many tokens: linear between the measured sizes, and beyond them."""
        wanted = np.asarray(tokens, np.float64)
        sizes, seconds = np.array(self.guide_s, np.float64).T
        inside = np.interp(wanted, sizes, seconds)
        if len(sizes) == 1:
            return np.asarray(seconds[0] * np.maximum(wanted / sizes[0], 1.0))
        slope = max(0.0, (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2]))
        return np.asarray(inside + np.maximum(wanted - sizes[-1], 0) * slope)
