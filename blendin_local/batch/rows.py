"""What is to be answered: one row of the input, with the settings and the random numbers that are its own.

Nothing here knows a file format (`reading`) or a model (`scheduler`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.prompts import Message
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings, setting_names

__all__ = ["BadRow", "Row", "own_settings", "seed_of"]

_BLEND = setting_names(BlendSettings)
_SAMPLING = setting_names(SamplingSettings)
_REPLY = ("max_tokens", "seed", "stop")


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be answered.

    index: its place in the input, from 0. where: the same for a reader, such as "line 7". settings: all
    that decides the answer beside models and messages, its seed included. own: what the row itself set.
    """

    id: str
    index: int
    where: str
    messages: tuple[Message, ...]
    settings: GenerationSettings
    own: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Sixteen digits that say what was asked, whatever the run."""
        asked = [[message.role, message.content] for message in self.messages]
        text = json.dumps([asked, dict(self.own)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be answered. error: one sentence: what is wrong and what to do."""

    id: str
    index: int
    where: str
    error: str


def seed_of(seed: int, id: str) -> int:
    """A row's own seed: by the run's and its id alone, so that the order of rows does not matter."""
    return int(hashlib.sha256(f"{seed}\0{id}".encode()).hexdigest()[:12], 16)


def own_settings(run: GenerationSettings, own: Mapping[str, Any], id: str) -> GenerationSettings:
    """The run's settings changed by a row's own, each under its name in `blendin_local.settings`.

    Raises SettingError for a setting that is unknown or outside its range.
    """
    for name in own:
        if name not in (*_BLEND, *_SAMPLING, *_REPLY):
            raise SettingError(f"there is no setting {name!r}.")
    try:
        return replace(
            run,
            blend=replace(run.blend, **{name: own[name] for name in _BLEND if name in own}),
            sampling=replace(run.sampling, **{name: own[name] for name in _SAMPLING if name in own}),
            seed=own.get("seed", seed_of(run.seed, id)),
            max_tokens=own.get("max_tokens", run.max_tokens),
            stop=tuple(own.get("stop", run.stop)),
        )
    except TypeError as error:
        raise SettingError(f"a setting is of the wrong type ({error}).") from error
