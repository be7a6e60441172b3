"""A pair: two loaded models and the map between their vocabularies."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from blendin_local.engine.language_model import Cancellation, LanguageModel
from blendin_local.engine.steps import Calibration, uncalibrated
from blendin_local.engine.vocabulary import VocabularyMap, map_vocabularies
from blendin_local.files import write_bytes

Role = Literal["base", "guide"]

LoadProgress = Callable[[str, float], bool]
"""Called with "base" or "guide" and the loaded fraction of its file; returning False stops the load."""

_MAP_FORMAT = 1


@dataclass
class Pair:
    """A loaded base and guide.

    base_calibration, guide_calibration: the pair's curves, or None if it was not tuned.
    """

    base: LanguageModel
    guide: LanguageModel
    vocabulary_map: VocabularyMap
    base_calibration: Calibration | None = None
    guide_calibration: Calibration | None = None

    def model(self, role: Role) -> LanguageModel:
        return self.base if role == "base" else self.guide

    @property
    def calibrated(self) -> bool:
        return self.base_calibration is not None and self.guide_calibration is not None

    @property
    def base_reliability(self) -> Callable[[float], float]:
        return self.base_calibration or uncalibrated

    @property
    def guide_reliability(self) -> Callable[[float], float]:
        return self.guide_calibration or uncalibrated

    @contextmanager
    def watched(self, cancellation: Cancellation | None) -> Iterator[None]:
        """Let `cancellation` stop decodes of both models within the block."""
        self.base.watch(cancellation)
        self.guide.watch(cancellation)
        try:
            yield
        finally:
            self.base.watch(None)
            self.guide.watch(None)

    def close(self) -> None:
        self.base.close()
        self.guide.close()


def pair_models(
    base: LanguageModel,
    guide: LanguageModel,
    *,
    base_calibration: Calibration | None = None,
    guide_calibration: Calibration | None = None,
    cache: Path | None = None,
) -> Pair:
    """Pair two loaded models. cache: folder that stores vocabulary maps between runs."""
    mapping = _cached_map(base, guide, cache) if cache else _build_map(base, guide)
    return Pair(base, guide, mapping, base_calibration, guide_calibration)


def _build_map(base: LanguageModel, guide: LanguageModel) -> VocabularyMap:
    return map_vocabularies(base.vocabulary, guide.vocabulary, base.tokenize)


def _cached_map(base: LanguageModel, guide: LanguageModel, cache: Path) -> VocabularyMap:
    """Return the map, from the cache if it is there: building one takes most of a second for large
    vocabularies.
    """
    identity = f"{_MAP_FORMAT} {base.vocabulary.fingerprint} {guide.vocabulary.fingerprint}"
    path = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
    # An unusable cache only costs time.
    with (
        suppress(OSError, ValueError, KeyError, EOFError, BadZipFile),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return VocabularyMap.from_arrays(base.vocabulary, guide.vocabulary, stored)
    mapping = _build_map(base, guide)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **mapping.to_arrays())
    with suppress(OSError):
        write_bytes(path, packed.getvalue())
    return mapping
