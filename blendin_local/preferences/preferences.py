"""The user's preferences: `config.toml` in the configuration folder, every key declared once.

Command-line options override the environment, the environment the file, the file what a pair recommends. The
list of `blendin config`, docs/config.md and the default file are made from `KEYS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import SettingError
from blendin_local.files import config_dir, parse_toml, read_text
from blendin_local.formats import ROLES, THINKING, Formats, parse_template_variables
from blendin_local.methods import METHODS
from blendin_local.preferences.keys import KEYMAP, Key
from blendin_local.safe_text import sanitize
from blendin_local.setting_spec import SettingSpec, setting, settings_of
from blendin_local.settings import (
    DEFAULT_PAIR,
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    replace_settings,
)

__all__ = [
    "KEYS",
    "SECTIONS",
    "ChatPreferences",
    "ComparePreferences",
    "Preferences",
    "Value",
    "find_values",
    "key_named",
    "load_preferences",
    "preferences_file",
]

SECTIONS = {
    "chat": "Start, appearance and storage of the chat.",
    "generation": "Settings of replies. Unset ones are as the pair recommends.",
    "models": "Loading of model files, and prompt formats.",
    "compare": "Side-by-side replies of the chat.",
    KEYMAP: "Key bindings of the chat: the name of a binding, and its keys, separated by commas.",
}
_BINDING = re.compile(r"[\w-]+(?:\.[\w-]+)*", re.ASCII)
_FORMATS = "auto, chat, question-answer, user-assistant, raw, or a Jinja file."
_VIEWS = ("markdown", "tokens")
_COLOURS = ("source", "alpha", "confidence", "divergence")
_PANEL = ("auto", "shown", "hidden")


@dataclass(frozen=True, slots=True)
class ChatPreferences:
    """Section [chat]."""

    pair: str = setting(DEFAULT_PAIR, "Pair that the chat loads at the start.", variable="BLENDIN_PAIR")
    system: str = setting("", "System prompt of new conversations.")
    view: Literal["markdown", "tokens"] = setting(
        "markdown", "View of finished replies.", choices=dict.fromkeys(_VIEWS, "")
    )
    colours: Literal["source", "alpha", "confidence", "divergence"] = setting(
        "source", "Quantity shown by the colours of tokens.", choices=dict.fromkeys(_COLOURS, "")
    )
    candidates: int = setting(8, "Top candidates of base, guide and blend kept at each step.", low=0, high=32)
    hint_rate: float = setting(
        HINT_RATE, "Intervention rate above which the panel gives a hint.", low=0, high=1
    )
    panel: Literal["auto", "shown", "hidden"] = setting(
        "auto", "Visibility of the panel; auto: if it fits.", choices=dict.fromkeys(_PANEL, "")
    )
    theme: str = setting("textual-dark", "Name of the theme, as in the command palette.")
    looks_per_second: int = setting(10, "Screen updates per second during a reply.", low=5, high=60)
    keep: bool = setting(True, "Save conversations in the database.")
    keep_deleted_days: int = setting(
        30, "Days until a deleted conversation is removed permanently.", low=0, high=36_500
    )
    mouse: bool = setting(True, "Use the mouse; false: leave it to the terminal.")


@dataclass(frozen=True, slots=True)
class ComparePreferences:
    """Section [compare]."""

    methods: tuple[str, ...] = setting(
        ("base", "guide", "nudge", "blendin"), "Methods of the columns, from left to right.", choices=METHODS
    )


@dataclass(frozen=True, slots=True)
class Preferences:
    """All preferences of the user.

    generation: the fields of `BlendSettings`, `SamplingSettings` and `GenerationSettings` that are set.
    formats: prompt formats of both models.
    keys: Textual's keymap: binding ids and their comma-separated keys.
    """

    chat: ChatPreferences = field(default_factory=ChatPreferences)
    generation: Mapping[str, Any] = field(default_factory=dict)
    models: ModelOptions = field(default_factory=ModelOptions)
    compare: ComparePreferences = field(default_factory=ComparePreferences)
    keys: Mapping[str, str] = field(default_factory=dict)
    formats: Formats = field(default_factory=Formats)

    @property
    def seed(self) -> int | None:
        """The seed of the first reply, or None if the file does not set it."""
        return self.generation.get("seed")

    def settings(self, blend: BlendSettings, sampling: SamplingSettings) -> GenerationSettings:
        """Return the pair's recommended settings, overridden by the preferences.

        As on the command line, temperature 0 means plain greedy decoding: it drops the pair's penalties,
        unless the preferences set them too.
        """
        if self.generation.get("temperature") == 0:
            sampling = SamplingSettings()
        return replace_settings(GenerationSettings(blend, sampling), self.generation)


def _keys(section: str, cls: type, *, unset: str = "") -> Iterator[Key]:
    """Yield the keys of a settings class. unset: source of the value of unset keys, if not the default."""
    for spec in settings_of(cls).values():
        if not spec.internal:
            yield Key(section, spec, None if unset else spec.default, unset)


_MORE_HELP = {"temperature": "0 drops the pair's penalties too"}


def _with_help(key: Key, more: str) -> Key:
    return replace(key, spec=replace(key.spec, help=f"{key.spec.help.rstrip('.')}; {more}."))


def _all_keys() -> Iterator[Key]:
    yield from _keys("chat", ChatPreferences)
    for cls in (BlendSettings, SamplingSettings):
        for key in _keys("generation", cls, unset="the pair's"):
            yield _with_help(key, _MORE_HELP[key.name]) if key.name in _MORE_HELP else key
    for key in _keys("generation", GenerationSettings):
        # Without a seed, a chat draws a random one for its first reply.
        if key.name == "seed":
            key = replace(
                _with_help(key, "each later reply adds 1"), default=None, unset="random; 0 in `generate`"
            )
        yield key
    yield from _keys("models", ModelOptions)
    for role in ROLES:
        help = f"Prompt format of the {role}: {_FORMATS}"
        yield Key("models", SettingSpec(str, "auto", help, name=f"{role}_format"), "auto")
        seen = f'Variables of the {role}\'s chat template, such as ["enable_thinking=false"].'
        yield Key("models", SettingSpec(tuple, (), seen, name=f"{role}_template_vars"), ())
    thinking = SettingSpec(
        str, "auto", "Whether models think before they answer.", choices=THINKING, name="thinking"
    )
    yield Key("models", thinking, "auto")
    yield from _keys("compare", ComparePreferences)


KEYS: Mapping[str, Key] = {str(key): key for key in _all_keys()}
"""All keys by full name ("chat.pair"), except those of [keys], which the chat defines."""


def key_named(name: str) -> Key:
    """Return the key of a full name. Raises SettingError for an unknown one, suggesting similar names."""
    section, _, rest = name.partition(".")
    if section == KEYMAP and _BINDING.fullmatch(rest):
        return Key(KEYMAP, SettingSpec(str, None, "", name=rest))
    if key := KEYS.get(name):
        return key
    close = get_close_matches(rest or name, [key.name for key in KEYS.values()], n=2, cutoff=0.7)
    close = [full for full, key in KEYS.items() if key.name in close]
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise SettingError(f"There is no key {sanitize(name)}{hint}; `blendin config` shows them all.")


@dataclass(frozen=True, slots=True)
class Value:
    """A key's value and its origin: "default", "file", or the name of an environment variable."""

    value: Any
    origin: str = "default"


def preferences_file() -> Path:
    """Return the path of the file, which may not exist."""
    return config_dir() / "config.toml"


def find_values(path: Path | None = None) -> dict[str, Value]:
    """Return the value and origin of every key. Raises SettingError as `load_preferences` does."""
    values = {name: Value(key.default) for name, key in KEYS.items()}
    values |= {name: Value(value, "file") for name, value in _read(path or preferences_file()).items()}
    for name, key in KEYS.items():
        if (variable := key.spec.variable) and (text := os.environ.get(variable)):
            values[name] = Value(key.parse(text), variable)
    return values


def load_preferences(path: Path | None = None) -> Preferences:
    """Read the file, by default the one in the configuration folder; without it, return the defaults.

    Raises SettingError for a file that cannot be read, an unknown key or a wrong value.
    """
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, each in find_values(path).items():
        if each.origin != "default":
            section, _, rest = name.partition(".")
            sections[section][rest] = each.value
    models = sections["models"]
    formats = {role: models.pop(f"{role}_format", "auto") for role in ROLES}
    formats["thinking"] = models.pop("thinking", "auto")
    for role in ROLES:
        try:
            variables = parse_template_variables(models.pop(f"{role}_template_vars", ()))
        except SettingError as error:
            raise SettingError(f"models.{role}_template_vars: {error}") from error
        formats[f"{role}_variables"] = variables
    return Preferences(
        ChatPreferences(**sections["chat"]),
        sections["generation"],
        ModelOptions(**models),
        ComparePreferences(**sections["compare"]),
        sections["keys"],
        Formats(**formats),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_toml(read_text(path))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise SettingError(f"The preferences {path} cannot be read: {error}.") from error
    try:
        return {str(key): key.check(value) for key, value in _entries(document)}
    except SettingError as error:
        raise SettingError(f"In {path}: {error}") from error


def _entries(document: dict[str, Any]) -> Iterator[tuple[Key, Any]]:
    for section, table in document.items():
        if not isinstance(table, dict):
            key_named(section)
        if section not in SECTIONS or not isinstance(table, dict):
            close = get_close_matches(section, SECTIONS, n=1)
            hint = f" (did you mean [{close[0]}]?)" if close else ""
            raise SettingError(f"there is no section {sanitize(section)}{hint}.")
        for name, value in table.items():
            if section == KEYMAP and isinstance(value, dict):
                raise SettingError(
                    f'in [keys], a name with a dot goes into quotes: "{sanitize(name)}. ..." = "...".'
                )
            yield key_named(f"{section}.{name}"), value
