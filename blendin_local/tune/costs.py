"""Measure the decode times of a pair, from which the speed of every setting is estimated.

They are measured in the same run as the pass, since the speed of a machine drifts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from blendin_local.engine.decoder import Request, decode, respond
from blendin_local.engine.language_model import Cancellation, LanguageModel, Status, reuse
from blendin_local.engine.pair import Pair
from blendin_local.errors import EvaluationError
from blendin_local.settings import BlendSettings, GenerationSettings
from blendin_local.tune.alignment import Text
from blendin_local.tune.scoring import Cancelled

__all__ = ["Costs", "measure_costs"]

_BATCHES = (1, 2, 4, 8, 16)
_ROUNDS = 5
_STEPS = 24


@dataclass(frozen=True, slots=True)
class Costs:
    """Decode times of one run, in seconds.

    base_s: a decode of one token by the base. guide_s: (tokens, seconds) of guide batches by increasing
    size, starting at one token. base_only_s, guide_only_s: overhead of the engine per step when one model
    writes alone. blend_s: overhead that a blend adds to base_only_s.
    """

    base_s: float
    guide_s: tuple[tuple[int, float], ...]
    base_only_s: float
    blend_s: float
    guide_only_s: float = 0.0

    def guide_seconds(self, tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Interpolate the seconds of guide batches of `tokens` tokens; extrapolates linearly beyond."""
        wanted = np.asarray(tokens, np.float64)
        sizes, seconds = np.array(self.guide_s, np.float64).T
        inside = np.interp(wanted, sizes, seconds)
        if len(sizes) == 1:
            return np.asarray(seconds[0] * np.maximum(wanted / sizes[0], 1.0))
        slope = max(0.0, (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2]))
        return np.asarray(inside + np.maximum(wanted - sizes[-1], 0) * slope)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Costs:
        """Read what `as_dict` returned. Raises KeyError, TypeError or ValueError for anything else."""
        sizes = tuple((int(tokens), float(seconds)) for tokens, seconds in values["guide_s"])
        others = {name: float(values[name]) for name in ("base_s", "base_only_s", "blend_s", "guide_only_s")}
        rising = sizes and all(a < b for (a, _), (b, _) in pairwise(((0, 0.0), *sizes)))
        if not rising or not all(0 <= each < math.inf for each in (*others.values(), *dict(sizes).values())):
            raise ValueError("not a record of costs")
        return cls(guide_s=sizes, **others)


def measure_costs(pair: Pair, text: Text, cancellation: Cancellation | None = None) -> Costs:
    """Measure median times on the prompt and reply of one text. Overwrites sequence 0 of both models.

    Raises EvaluationError if the reply does not fit into a context, `scoring.Cancelled` when cancelled.
    """
    reply = text.reply.encode("utf-8", "replace")
    base = [*text.base.tokens, *pair.base.tokenize(text.base.lead + reply)]
    guide = [*text.guide.tokens, *pair.guide.tokenize(text.guide.lead + reply)]
    seconds = {size: _batch_seconds(pair.guide, guide, size) for size in _BATCHES if size < len(guide)}
    # Noise must not make a longer batch look cheaper than a shorter one.
    rising = np.maximum.accumulate(list(seconds.values()))
    without, guiding, blending = (
        _engine_seconds(pair, text, method, cancellation) for method in ("base", "guide", "blendin")
    )
    if cancellation and cancellation.requested:
        raise Cancelled
    return Costs(
        base_s=_batch_seconds(pair.base, base, 1),
        guide_s=tuple(zip(seconds, map(float, rising), strict=True)),
        base_only_s=without,
        blend_s=max(0.0, blending - without),
        guide_only_s=guiding,
    )


def _batch_seconds(model: LanguageModel, tokens: Sequence[int], size: int) -> float:
    """Median seconds to decode the last `size` of these tokens after the others."""
    head, tail = tokens[:-size], tokens[-size:]
    times = []
    for _ in range(_ROUNDS):
        if rest := reuse(model, 0, head):
            _advance(model, rest)
        begun = perf_counter()
        _advance(model, tail)
        times.append(perf_counter() - begun)
    return median(times)


def _advance(model: LanguageModel, tokens: Sequence[int]) -> None:
    if model.advance({0: tokens}) is not Status.DONE:
        raise EvaluationError(f"The speed of {model.name} cannot be measured: its context is too short.")


def _engine_seconds(pair: Pair, text: Text, method: str, cancellation: Cancellation | None) -> float:
    """Median seconds per step outside of decodes; a blend consults the guide at every step."""
    blend = BlendSettings(method=method, gamma=1.0, guide_stop=False)
    settings = GenerationSettings(blend, max_tokens=_STEPS)
    request = Request(text.base, text.guide, settings)
    response = respond(pair, request)
    times = [step.blend_s for _, step in decode(pair, [response], cancellation)]
    return median(times) if times else 0.0
