"""A key of the preferences file: its declaration, and parsing of its values from TOML and from text."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.setting_spec import SettingSpec

__all__ = ["KEYMAP", "Key"]

KEYMAP = "keys"
"""Section of key bindings; a value is a comma-separated list of Textual's key names."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file.

    default: None if the value comes from elsewhere when the key is unset. unset: description of that source.
    """

    section: str
    spec: SettingSpec
    default: Any = None
    unset: str = "the pair's"

    def __str__(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def kind(self) -> type:
        return self.spec.kind

    @property
    def about(self) -> str:
        """One sentence about the key, with the range of its values."""
        return self.spec.description + (f" ({self.spec.limits})" if self.spec.limits else "")

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.spec.choices)

    def check(self, value: Any) -> Any:
        """Return the value as the program uses it. Raises SettingError for a wrong type or range."""
        if self.section == KEYMAP:
            return self._keymap(value)
        try:
            checked = self.spec.read(value)
        except SettingError as error:
            raise SettingError(f"{self.section}.{error}") from error
        if not _is_text(checked):
            raise SettingError(f"{self} must be {self.spec.expected}, not {reprlib.repr(value)}.")
        return checked

    def parse(self, text: str) -> Any:
        """Parse and check a typed text; lists of names are separated by commas, lists of texts are JSON.

        Raises SettingError.
        """
        return self.check(self.spec.convert(text))

    def show(self, value: Any) -> str:
        """Return the text that `parse` reads as `value`; "" for None."""
        if value is None:
            return ""
        if self.kind is bool:
            return str(value).lower()
        if self.kind is tuple:
            return ",".join(value) if self.choices else json.dumps(value, ensure_ascii=False)
        return str(value)

    def _keymap(self, value: Any) -> str:
        keys = [key.strip() for key in value.split(",")] if isinstance(value, str) else []
        if not keys or any(len(key.split()) != 1 for key in keys) or not _is_text(value):
            raise SettingError(
                f"{self} must be keys separated by commas, such as escape,ctrl+g, not {reprlib.repr(value)}."
            )
        return ",".join(keys)


def _is_text(value: Any) -> bool:
    """Whether TOML can store the value; it cannot store lone surrogates."""
    try:
        "".join(value if isinstance(value, (str, tuple)) else "").encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
