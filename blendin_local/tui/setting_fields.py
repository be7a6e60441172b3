"""Format and parse settings as text, for the settings form and the commands that change settings.

Names, choices, ranges and help come from the declarations in `settings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import (
    BlendSettings,
    GenerationSettings,
    SamplingSettings,
    replace_settings,
    setting_names,
)

RANDOM = "random"
"""The seed as text if every reply takes another one."""

_SWITCH = {"on": "", "off": ""}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_NOTES = {
    "seed": f"{RANDOM}: another one for each reply.",
    "stop": "One on each line; \\n is a line break.",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting in a form."""

    spec: SettingSpec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def label(self) -> str:
        return self.spec.label

    @property
    def help(self) -> str:
        return " ".join(filter(None, [self.spec.description, _NOTES.get(self.name)]))

    @property
    def choices(self) -> Mapping[str, str]:
        """Allowed values with their descriptions; empty for numbers and texts."""
        if self.spec.kind is bool:
            return _SWITCH
        return {choice: str(meaning) for choice, meaning in self.spec.choices.items()}

    def idle(self, settings: GenerationSettings) -> str:
        """Return in a few words why the setting has no effect under these settings; "" if it has one."""
        return self.spec.idle_reason(settings)

    def text(self, settings: GenerationSettings) -> str:
        """Format the setting's value as it is typed."""
        value = getattr(_owner(settings, self.name), self.name)
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float):
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        if isinstance(value, tuple):
            return "\n".join(_escaped(text) for text in value)
        return str(value)

    def value(self, text: str) -> Any:
        """Parse and check a typed value. Raises SettingError."""
        value: Any = text.strip()
        if self.spec.kind is tuple:
            value = tuple(_unescaped(line) for line in text.splitlines() if line.strip())
        elif self.spec.kind is bool:
            if value not in _SWITCH:
                raise SettingError(f"{self.name} must be on or off, not {value!r}.")
            value = value == "on"
        elif self.spec.kind is not str:
            # The check below reports the expected values.
            with suppress(ValueError):
                value = self.spec.kind(value)
        self.spec.check(value)
        return value


def _owner(settings: GenerationSettings, name: str) -> object:
    for part in (settings.blend, settings.sampling):
        if name in setting_names(type(part)):
            return part
    return settings


def _escaped(text: str) -> str:
    marks = {character: f"\\{mark}" for mark, character in _ESCAPES.items()}
    return "".join(marks.get(character, character) for character in text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([nrt\\])", lambda match: _ESCAPES[match[1]], text)


GROUPS: dict[str, tuple[Field, ...]] = {
    title: tuple(map(Field, settings_of(cls).values()))
    for title, cls in (
        ("Blending", BlendSettings),
        ("Sampling", SamplingSettings),
        ("Length and end", GenerationSettings),
    )
}
"""All fields of the generation settings by group, in the order of the form."""

FIELDS = {each.name: each for group in GROUPS.values() for each in group}


def changed(settings: GenerationSettings, values: Mapping[str, str]) -> GenerationSettings:
    """Return the settings with changes parsed from text by name. Raises SettingError."""
    return replace_settings(settings, {name: field_of(name).value(text) for name, text in values.items()})


def field_of(name: str) -> Field:
    """Return the field of a setting. Raises SettingError with similar names if there is none."""
    if found := FIELDS.get(name.replace("-", "_")):
        return found
    close = get_close_matches(name, FIELDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "/set and Tab lists them."
    raise SettingError(f"There is no setting {name[:40]}: {hint}")
