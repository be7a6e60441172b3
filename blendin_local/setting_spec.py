"""Declarations of settings: one `setting()` for each field of a settings class.

Validation, command-line options, preferences, the chat's settings screen, comparison plans and documentation
are derived from the declarations, which `settings_of` lists.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.methods import METHODS

__all__ = ["Checked", "SettingSpec", "setting", "settings_of"]

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: 'a list of texts that are not empty, such as ["End", "\\n"]',
}
_NUMBERS: dict[type, type] = {int: Integral, float: Real}
"""NumPy's numbers are accepted too."""
_UNBOUNDED = 1 << 16
"""Upper limits from here on are not shown to users."""
_LARGEST = 1 << 63
"""TOML and SQLite store no larger integers; a foreign file may have thousands of digits."""


def _always_used(settings: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """The declaration of one setting.

    kind: bool, int, float, str, or tuple for a list of texts. help: one sentence.
    low, high: range of a number, both ends included. choices: allowed texts, each with its meaning as str().
    pattern: regular expression of a text, which `form` describes.
    symbol: in formulas and labels. flag: command-line option, derived from the name unless given; letter: its
    short form. selects: the method that this setting selects when it is given without one.
    idle: computes from `GenerationSettings` why the setting has no effect, in a few words, or "".
    internal: set by the program, never by the user. variable: environment variable that overrides the
    preferences file.
    """

    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: Mapping[str, object] = field(default_factory=dict)
    pattern: str = ""
    form: str = ""
    symbol: str = ""
    flag: str = ""
    letter: str = ""
    idle: Callable[[Any], str] = _always_used
    selects: str = ""
    internal: bool = False
    variable: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")

    @property
    def description(self) -> str:
        """The help text, with the methods that use the setting unless all do."""
        methods = self.methods
        if not methods:
            return self.help
        plural = "s" if len(methods) > 1 else ""
        return f"{self.help.rstrip('.')} (method{plural} {', '.join(methods)})."

    @property
    def option(self) -> str:
        """The command-line option, such as "--max-tokens"."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods whose rule has this parameter; empty for settings of all methods."""
        return tuple(name for name, method in METHODS.items() if self.name in method.parameters)

    @property
    def limits(self) -> str:
        """The allowed values: "a, b" or "0 to 32"; "" for no limits beyond the type."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None or self.high is None or self.high >= _UNBOUNDED:
            return ""
        return f"{self.low:g} to {self.high:g}"

    @property
    def expected(self) -> str:
        """The valid values, to complete "it must be ..."."""
        if not self.choices:
            return self.form or _KINDS[self.kind]
        listed = ", ".join(self.choices)
        return f"a list of different names out of {listed}" if self.kind is tuple else f"one of {listed}"

    def idle_reason(self, settings: Any) -> str:
        """Return why the setting has no effect under these `GenerationSettings`; "" if it has one."""
        if (methods := self.methods) and settings.blend.method not in methods:
            return f"only for {', '.join(methods)}"
        return self.idle(settings)

    def check(self, value: Any) -> None:
        """Raise SettingError unless the value has the right type and lies in the range."""
        if not self._has_kind(value):
            raise SettingError(f"{self.name} must be {self.expected}, not {_format_value(value)}.")
        # In this form NaN fails too.
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise SettingError(
                f"{self.name} must be between {self.low} and {self.high}, not {_format_value(value)}."
            )

    def read(self, value: Any) -> Any:
        """Return a value of a JSON or TOML document as this setting's type. Raises SettingError."""
        if self.kind is float and type(value) is int and abs(value) < _LARGEST:
            value = float(value)
        elif self.kind is tuple and type(value) is list:
            value = tuple(value)
        self.check(value)
        return value

    def convert(self, text: str) -> Any:
        """Return a typed text as this setting's type, not checked; the text itself if it has another form.

        Lists of names are separated by commas, lists of texts are JSON.
        """
        value: Any = text
        if self.kind is tuple and not self.choices:
            with suppress(ValueError, RecursionError):
                value = json.loads(text)
        elif self.kind is tuple:
            value = tuple(part.strip() for part in text.split(","))
        elif self.kind is bool:
            value = {"true": True, "false": False}.get(text.strip().lower(), text)
        elif self.kind in _NUMBERS:
            with suppress(ValueError):
                value = self.kind(text)
        return value

    def _has_kind(self, value: Any) -> bool:
        if self.kind is tuple:
            return isinstance(value, tuple) and self._has_items(value)
        if type(value) is self.kind:
            return self._is_allowed(value)
        if self.kind in _NUMBERS:
            return isinstance(value, _NUMBERS[self.kind]) and not isinstance(value, bool)
        return isinstance(value, self.kind) and self._is_allowed(value)

    def _is_allowed(self, value: Any) -> bool:
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            return False
        return not self.choices or value in self.choices

    def _has_items(self, value: tuple[Any, ...]) -> bool:
        if not all(isinstance(each, str) and each for each in value):
            return False
        return not self.choices or (
            bool(value) and set(value) <= self.choices.keys() and len(set(value)) == len(value)
        )


def _format_value(value: Any) -> str:
    """Format the beginning of a value for an error message."""
    # Python refuses to format a number of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number far beyond"
    return reprlib.repr(list(value) if isinstance(value, tuple) else value)


def setting(default: Any, help: str, **more: Any) -> Any:
    """Declare a field of a settings class; `more` are fields of `SettingSpec`."""
    return field(default=default, metadata={"setting": SettingSpec(type(default), default, help, **more)})


@cache
def _settings_of(cls: Any) -> Mapping[str, SettingSpec]:
    return {
        each.name: replace(each.metadata["setting"], name=each.name)
        for each in fields(cls)
        if "setting" in each.metadata
    }


def settings_of(cls: type) -> Mapping[str, SettingSpec]:
    """Return the declared settings of a class by name, in their order."""
    return _settings_of(cls)


class Checked:
    """Base of settings classes that checks every declared field. Raises SettingError."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, spec in settings_of(type(self)).items():
            value = getattr(self, name)
            spec.check(value)
            if spec.kind in _NUMBERS and type(value) not in _NUMBERS:
                # JSON cannot serialize NumPy's numbers.
                object.__setattr__(self, name, spec.kind(value))
