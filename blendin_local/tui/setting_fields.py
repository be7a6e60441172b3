"""Settings as text: what each one does, when it has an effect, and how typed text changes it.

The settings screen and the commands that change settings are made from this one table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from blendin_local.engine.sampling import penalises
from blendin_local.engine.trigger import may_consult
from blendin_local.errors import SettingError
from blendin_local.methods import METHODS
from blendin_local.settings import (
    SETTING_HELP,
    UNITS,
    BlendSettings,
    GenerationSettings,
    SamplingSettings,
    setting_names,
)

RANDOM = "random"
"""What stands for the seed where every reply takes another one."""

_SWITCH = {"on": "", "off": ""}
_MOST_BITS = 64
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def _always(settings: GenerationSettings) -> str:
    return ""


def _only(method: str) -> Callable[[GenerationSettings], str]:
    def idle(settings: GenerationSettings) -> str:
        return "" if settings.blend.method == method else f"only for {method}"

    return idle


def _asks(*triggers: str) -> Callable[[GenerationSettings], str]:
    def idle(settings: GenerationSettings) -> str:
        method = settings.blend.method
        return "" if METHODS[method].trigger in triggers else f"not used by {method}"

    return idle


def _stops(settings: GenerationSettings) -> str:
    return "" if may_consult(settings.blend) else "the guide is never asked"


def _draws(settings: GenerationSettings) -> str:
    return "" if settings.sampling.temperature else "unused at temperature 0"


def _runs(settings: GenerationSettings) -> str:
    return "" if settings.sampling.dry_multiplier else "unused: dry multiplier 0"


def _looks_back(settings: GenerationSettings) -> str:
    # The window itself must not count: 0 switches the penalties off.
    windowed = replace(settings.sampling, penalty_window=1)
    return "" if penalises(windowed) else "unused: no penalties"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting. choices: what it can be, each with its meaning; none: a number or a text.

    idle: why it has no effect under some settings, in a few words; "" if it has one. own_help: where the
    sentence that flags and preferences have does not fit a chat, or there is none.
    """

    name: str
    choices: Mapping[str, str] = field(default_factory=dict)
    idle: Callable[[GenerationSettings], str] = _always
    own_help: str = ""

    @property
    def help(self) -> str:
        return self.own_help or SETTING_HELP[self.name]

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")

    def text(self, settings: GenerationSettings) -> str:
        """The setting's value as one would type it."""
        value = getattr(_owner(settings, self.name), self.name)
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float):
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        if isinstance(value, tuple):
            return "\n".join(_escaped(text) for text in value)
        return str(value)

    def value(self, text: str) -> Any:
        """What a typed text means. Raises SettingError; ranges are checked by the settings themselves."""
        kind = type(getattr(_owner(_DEFAULTS, self.name), self.name))
        if kind is tuple:
            return tuple(_unescaped(line) for line in text.splitlines() if line.strip())
        text = text.strip()
        if kind is bool:
            if text not in _SWITCH:
                raise SettingError(f"{self.name} must be on or off, not {text!r}.")
            return text == "on"
        if kind is str:
            return text
        try:
            number = kind(text)
        except ValueError as error:
            what = "a whole number" if kind is int else "a number"
            raise SettingError(f"{self.name} must be {what}, not {text[:40]!r}.") from error
        if kind is int and number.bit_length() > _MOST_BITS:
            raise SettingError(f"{self.name} is far too large.")
        return number


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


_DEFAULTS = GenerationSettings()
_UNCERTAIN, _CONSULTING = _asks("uncertain"), _asks("uncertain", "always")

GROUPS: dict[str, tuple[Field, ...]] = {
    "Blending": (
        Field(
            "method",
            {name: method.summary for name, method in METHODS.items()},
            own_help="How the two models are blended.",
        ),
        Field("gamma", idle=_UNCERTAIN),
        Field("alpha", idle=_only("fixed")),
        Field("prior", idle=_only("tuned")),
        Field("compete_k", idle=_only("compete")),
        Field("tau", idle=_only("tiered")),
        Field("unit", dict.fromkeys(UNITS, ""), _UNCERTAIN),
        Field("max_intervention_rate", idle=_CONSULTING),
        Field("capability_gap", idle=_UNCERTAIN),
        Field("guide_stop", _SWITCH, _stops),
    ),
    "Choosing": (
        Field("temperature", own_help="0: always the most probable; higher: more varied."),
        Field("min_p", idle=_draws),
        Field("top_k", idle=_draws),
        Field("top_p", idle=_draws),
        Field("repetition_penalty"),
        Field("presence_penalty"),
        Field("frequency_penalty"),
        Field("dry_multiplier"),
        Field("dry_base", idle=_runs),
        Field("dry_allowed_length", idle=_runs),
        Field("penalty_window", idle=_looks_back),
    ),
    "Length and end": (
        Field("max_tokens"),
        Field(
            "seed",
            idle=_draws,
            own_help=f"One number gives the same replies again; {RANDOM}: others each time.",
        ),
        Field(
            "stop", own_help="End the reply before any of these texts, one on each line; \\n is a line break."
        ),
    ),
}
"""Every field of the generation settings, in the order in which a form shows them."""

FIELDS = {each.name: each for group in GROUPS.values() for each in group}


def changed(settings: GenerationSettings, values: Mapping[str, str]) -> GenerationSettings:
    """The settings with those fields changed to what their texts mean. Raises SettingError."""
    read = {name: field_of(name).value(text) for name, text in values.items()}

    def within(cls: type) -> dict[str, Any]:
        return {name: read.pop(name) for name in setting_names(cls) if name in read}

    blend = replace(settings.blend, **within(BlendSettings))
    sampling = replace(settings.sampling, **within(SamplingSettings))
    return replace(settings, blend=blend, sampling=sampling, **read)


def field_of(name: str) -> Field:
    """The setting of that name. Raises SettingError for an unknown one, with those that look like it."""
    if found := FIELDS.get(name.replace("-", "_")):
        return found
    close = get_close_matches(name, FIELDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "/set and Tab lists them."
    raise SettingError(f"There is no setting {name[:40]}: {hint}")
