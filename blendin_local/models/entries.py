"""The records of a catalogue: one model, one pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blendin_local.settings import RECOMMENDED_SAMPLING, BlendSettings, SamplingSettings

__all__ = ["Curve", "ModelEntry", "PairEntry"]

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""A calibration curve: rising confidences, and the reliability at each."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of a catalogue.

    sources: where it comes from; of several, each holds a part and the parts are joined in this order.
    file: the file's name once it is pulled; "" takes the source's own. size: its bytes, if known.
    sha256: its checksum, "" if unknown. origin: the catalogue's file, None for a source typed by the user.
    """

    name: str
    sources: tuple[str, ...]
    file: str = ""
    size: int | None = None
    sha256: str = ""
    licence: str = ""
    note: str = ""
    origin: Path | None = None


@dataclass(frozen=True, slots=True)
class PairEntry:
    """Two models that go together, with the settings recommended for them.

    base, guide: a model's name, the path of a file, or an `hf:` source.
    calibration: the curves of "base" and "guide", or None if the pair has not been tuned.
    """

    name: str
    base: str
    guide: str
    description: str = ""
    blend: BlendSettings = field(default_factory=BlendSettings)
    sampling: SamplingSettings = RECOMMENDED_SAMPLING
    calibration: Mapping[str, Curve] | None = None
    origin: Path | None = None
