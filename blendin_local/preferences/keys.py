"""One key of the preferences: what its value must be, and how it is read from what a user typed."""

from __future__ import annotations

import json
import reprlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blendin_local.errors import SettingError

__all__ = ["Key"]

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
# Textual names its keys by one word each; a comma stands between them.
KEYMAP = "keys"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file.

    kind: type of its value; a tuple is a list of texts, of any where there are no choices. default: None
    where something else decides, and unset says what. low, high: the range of a number, if they differ.
    variable: the variable of the environment that goes before the file, or "". owner: the settings class
    that has the field of this name and checks it.
    """

    section: str
    name: str
    kind: type
    default: Any = None
    about: str = ""
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    variable: str = ""
    owner: type | None = None
    unset: str = "the pair's"

    def __str__(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def example(self) -> Any:
        """A value to show: the default, or the settings class's own."""
        return getattr(self.owner(), self.name) if self.owner else self.default

    @property
    def limits(self) -> str:
        """The values that there are: "a, b" or "0 to 32"; "" where the type says it all."""
        return f"{self.low:g} to {self.high:g}" if self._ranged else ", ".join(self.choices)

    @property
    def expected(self) -> str:
        """What a value must be, as the end of "it must be ..."."""
        if self.section == KEYMAP:
            return "keys separated by commas, such as escape,ctrl+g"
        if self.kind is tuple:
            listed = (
                f"different names out of {self.limits}" if self.choices else 'texts, such as ["End", "\\n"]'
            )
            return f"a list of {listed}"
        if self.choices:
            return f"one of {self.limits}"
        return _KINDS[self.kind] + (f" from {self.limits}" if self._ranged else "")

    def check(self, value: Any) -> Any:
        """The value as the program uses it. Raises SettingError with what was expected and what was found."""
        checked = self._converted(value)
        if type(checked) is not self.kind or not self._fits(checked):
            raise SettingError(f"{self} must be {self.expected}, not {_shown(value)}.")
        if self.owner:
            try:
                self.owner(**{self.name: checked})
            except SettingError as error:
                raise SettingError(f"{self.section}.{error}") from error
        return checked

    def parse(self, text: str) -> Any:
        """The value that a user typed as `text`; a list of names has commas, one of any texts is JSON.

        Raises SettingError.
        """
        value: Any = text
        if self.kind is tuple and not self.choices:
            with suppress(ValueError, RecursionError):
                value = json.loads(text)
        elif self.kind is tuple:
            value = tuple(part.strip() for part in text.split(","))
        elif self.kind is bool:
            value = {"true": True, "false": False}.get(text.strip().lower(), text)
        elif self.kind in (int, float):
            try:
                value = self.kind(text)
            except ValueError:
                value = text
        return self.check(value)

    def show(self, value: Any) -> str:
        """The text that `parse` reads as `value`; "" for None."""
        if value is None:
            return ""
        if self.kind is bool:
            return str(value).lower()
        if self.kind is tuple:
            return ",".join(value) if self.choices else json.dumps(value, ensure_ascii=False)
        return str(value)

    @property
    def _ranged(self) -> bool:
        return self.low != self.high

    def _converted(self, value: Any) -> Any:
        if self.kind is float and type(value) is int and abs(value) < 1 << 53:
            return float(value)
        if self.kind is tuple and type(value) is list:
            return tuple(value)
        if self.section == KEYMAP and type(value) is str:
            return ",".join(key.strip() for key in value.split(","))
        return value

    def _fits(self, value: Any) -> bool:
        if self.kind is tuple and self.choices:
            return bool(value) and all(each in self.choices and value.count(each) == 1 for each in value)
        if self.kind is tuple:
            return all(type(each) is str and each and _is_text(each) for each in value)
        if self.kind is str:
            if self.section == KEYMAP and not all(len(key.split()) == 1 for key in value.split(",")):
                return False
            return _is_text(value) and (not self.choices or value in self.choices)
        if self.kind is int and not -(1 << 63) <= value < 1 << 63:
            # TOML promises no more.
            return False
        # Written so that NaN fails too.
        return not self._ranged or self.low <= value <= self.high


def _shown(value: Any) -> str:
    """Beginning of a value, as it would be typed."""
    return reprlib.repr(list(value) if isinstance(value, tuple) else value)


def _is_text(value: str) -> bool:
    """Whether it can be written: halves of surrogate pairs, which stand for broken bytes, cannot."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
