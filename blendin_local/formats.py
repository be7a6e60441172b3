"""How the prompts of both models are written: names of formats, template variables, thinking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from blendin_local.errors import SettingError
from blendin_local.files import parse_json

__all__ = [
    "AUTO_FORMATS",
    "ROLES",
    "THINKING",
    "Formats",
    "check_template_variables",
    "parse_template_variables",
]


@dataclass(frozen=True, slots=True)
class Formats:
    """How the prompts of both models are written.

    base, guide: names of their formats, as `prompts.choose_format` reads them. base_variables,
    guide_variables: what their templates see beside the messages, by name. thinking: one of `THINKING`.
    Raises SettingError.
    """

    base: str = "auto"
    guide: str = "auto"
    thinking: str = "auto"
    base_variables: Mapping[str, Any] = field(default_factory=dict, hash=False)
    guide_variables: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.thinking not in THINKING:
            raise SettingError(f"thinking must be {', '.join(THINKING)}, not {self.thinking!r}.")
        for variables in (self.base_variables, self.guide_variables):
            check_template_variables(variables)

    def variables(self, role: str) -> Mapping[str, Any]:
        """Return the template variables of the "base" or the "guide"."""
        return self.base_variables if role == "base" else self.guide_variables

    def replaced(self, base: Mapping[str, Any], guide: Mapping[str, Any]) -> Formats:
        """Set template variables, keeping those of other names."""
        return replace(
            self,
            base_variables={**self.base_variables, **base},
            guide_variables={**self.guide_variables, **guide},
        )

    def recommended(self, base: Mapping[str, Any], guide: Mapping[str, Any]) -> Formats:
        """Add the template variables that a pair recommends, where the user gave none of their names."""
        return replace(
            self,
            base_variables={**base, **self.base_variables},
            guide_variables={**guide, **self.guide_variables},
        )


ROLES = ("base", "guide")
THINKING = {
    "auto": "as each model does by itself, but not where only one of the two can",
    "on": "as each model does by itself",
    "off": "not at all",
}
"""Values of `Formats.thinking`."""
_MOST_VARIABLE = 1 << 16


def check_template_variables(variables: object) -> dict[str, Any]:
    """Return template variables, checked: names and what JSON can hold. Raises SettingError."""
    if not isinstance(variables, Mapping):
        raise SettingError(f"template variables must be given by name, not as {type(variables).__name__}.")
    for name, value in variables.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise SettingError(f"{name!r} cannot be the name of a template variable.")
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise SettingError(f"the template variable {name} has no value of JSON: {error}.") from error
        if len(text) > _MOST_VARIABLE:
            raise SettingError(f"the template variable {name} is longer than {_MOST_VARIABLE:,} characters.")
    return dict(variables)


def parse_template_variables(texts: Iterable[str]) -> dict[str, Any]:
    """Parse template variables, each NAME=VALUE: a value that is JSON as such, any other as a text.

    Raises SettingError.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"{name.strip()} has no value: write {name.strip()}=VALUE.")
        try:
            found[name.strip()] = parse_json(value)
        except ValueError:
            found[name.strip()] = {"True": True, "False": False}.get(value, value)
    return check_template_variables(found)


AUTO_FORMATS = Formats()
