"""Rows of a job: requests with their own settings and seeds, or the error of a malformed row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from blendin_local.engine.prompts import Message
from blendin_local.errors import SettingError
from blendin_local.setting_spec import settings_of
from blendin_local.settings import (
    BlendSettings,
    GenerationSettings,
    SamplingSettings,
    replace_settings,
    setting_names,
)

__all__ = ["BadRow", "Row", "own_settings", "seed_of"]

_SPECS = {
    name: spec
    for owner in (BlendSettings, SamplingSettings, GenerationSettings)
    for name, spec in settings_of(owner).items()
}
_BLEND = setting_names(BlendSettings)
_SAMPLING = setting_names(SamplingSettings)


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be answered.

    index: position in the input, from 0. where: its place for messages, such as "line 7". settings: all
    settings of the row, with its seed. own: the settings that the row itself gave, unconverted. raw: the
    message is text to be continued, without a prompt format.
    """

    id: str
    index: int
    where: str
    messages: tuple[Message, ...]
    settings: GenerationSettings
    own: Mapping[str, Any]
    raw: bool = False

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify messages and own settings, independent of the run."""
        asked = [[message.role, message.content] for message in self.messages]
        # 1 and 1.0 are the same value of a setting.
        own = {name: _value(self.settings, name) for name in self.own}
        text = json.dumps([asked, own, self.raw], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be answered. error: one sentence with fault and remedy."""

    id: str
    index: int
    where: str
    error: str
    kind: Literal["bad row", "duplicate id"] = "bad row"


def seed_of(seed: int, id: str) -> int:
    """Derive the seed of a row from the run's seed and its id alone, independent of the order of rows."""
    return int(hashlib.sha256(f"{seed}\0{id}".encode()).hexdigest()[:12], 16)


def own_settings(run: GenerationSettings, own: Mapping[str, Any], id: str) -> GenerationSettings:
    """Return the run's settings with the row's own, named as in `blendin_local.settings`.

    Raises SettingError for an unknown setting, a wrong type, or a value out of range.
    """
    typed = {name: _convert(name, value) for name, value in own.items()}
    return replace_settings(run, {"seed": seed_of(run.seed, id), **typed})


def _value(settings: GenerationSettings, name: str) -> Any:
    owner = settings.blend if name in _BLEND else settings.sampling if name in _SAMPLING else settings
    return getattr(owner, name)


def _convert(name: str, value: Any) -> Any:
    """Convert a value to the type that its setting is declared with; an integer may come as 64.0."""
    if name not in _SPECS:
        near = get_close_matches(name, _SPECS, 1)
        raise SettingError(
            f"There is no setting {name[:40]!r}: {f'did you mean {near[0]}?' if near else 'leave it out.'}"
        )
    spec = _SPECS[name]
    if spec.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    return spec.read(value)
