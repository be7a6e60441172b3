"""Catalogue entries: models and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blendin_local.settings import RECOMMENDED_SAMPLING, BlendSettings, SamplingSettings

__all__ = ["Curve", "ModelEntry", "PairEntry"]

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""A calibration curve: rising confidences and the reliability at each, all in 0..1."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of a catalogue.

    sources: where to download it; several hold parts, joined in this order. file: name of the pulled file, ""
    for the source's name. size: in bytes, if known. sha256: "" if unknown. approximate_size: in bytes, where
    the exact one is unknown. thinking: whether it thinks before it answers. checked: how the entry was
    verified. origin: the catalogue's file, None for a source that the user typed.
    """

    name: str
    sources: tuple[str, ...]
    file: str = ""
    size: int | None = None
    sha256: str = ""
    licence: str = ""
    note: str = ""
    approximate_size: int | None = None
    thinking: bool = False
    checked: str = ""
    origin: Path | None = None


@dataclass(frozen=True, slots=True)
class PairEntry:
    """A pair of models and its recommended settings.

    base, guide: a model's name, the path of a file, or an `hf:` source. calibration: curves of "base" and
    "guide", or None for a pair that was not tuned. base_options, guide_options: how to load each model, as in
    `ModelOptions`. base_variables, guide_variables: what each chat template sees, as in `Formats`.
    """

    name: str
    base: str
    guide: str
    description: str = ""
    blend: BlendSettings = field(default_factory=BlendSettings)
    sampling: SamplingSettings = RECOMMENDED_SAMPLING
    calibration: Mapping[str, Curve] | None = None
    base_options: Mapping[str, Any] = field(default_factory=dict)
    guide_options: Mapping[str, Any] = field(default_factory=dict)
    base_variables: Mapping[str, Any] = field(default_factory=dict)
    guide_variables: Mapping[str, Any] = field(default_factory=dict)
    origin: Path | None = None
