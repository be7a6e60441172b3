"""What the user prefers: `config.toml` in the configuration folder, every key declared once.

Command-line flags stand above the environment, the environment above the file, the file above what a pair
recommends. The list of `blendin config`, docs/config.md and the default file are made from `KEYS`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import SettingError
from blendin_local.files import config_dir
from blendin_local.methods import METHODS
from blendin_local.preferences.keys import KEYMAP, Key
from blendin_local.safe_text import sanitize
from blendin_local.settings import (
    DEFAULT_PAIR,
    FLASH_ATTENTION,
    KV_TYPES,
    SETTING_HELP,
    UNITS,
    BlendSettings,
    Formats,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    setting_names,
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
    "chat": "How the chat opens and looks, and what it keeps.",
    "generation": "How replies are written. What is unset is as the pair recommends.",
    "models": "How model files are opened, and how prompts are written for them.",
    "compare": "Replies side by side.",
    KEYMAP: "Keys of the chat: the name of a binding, and its keys, separated by commas.",
}
_CHOICES = {"method": tuple(METHODS), "unit": UNITS, "kv_type": KV_TYPES, "flash_attention": FLASH_ATTENTION}
_BINDING = re.compile(r"[\w-]+(?:\.[\w-]+)*", re.ASCII)
# The program itself sets these two: how many sequences it needs, and how many positions ask for logits.
_OWN_OPTIONS = ("n_seq", "n_outputs", "shared_cache", "n_contexts")
_FORMATS = "auto, chat, question-answer, user-assistant, raw, or a Jinja file."


def _key(default: Any, about: str, low: float = 0, high: float = 0, variable: str = "") -> Any:
    return field(default=default, metadata={"about": about, "low": low, "high": high, "variable": variable})


@dataclass(frozen=True, slots=True)
class ChatPreferences:
    """Section [chat]; every field says itself what it is for."""

    pair: str = _key(DEFAULT_PAIR, "Pair that a chat opens with.", variable="BLENDIN_PAIR")
    system: str = _key("", "System prompt of new conversations.")
    view: Literal["markdown", "tokens"] = _key("markdown", "How finished replies are shown.")
    colours: Literal["source", "alpha", "confidence", "divergence"] = _key(
        "source", "What the colours of tokens tell."
    )
    candidates: int = _key(8, "Alternatives kept of base, guide and blend at every step.", 0, 32)
    hint_rate: float = _key(HINT_RATE, "Intervention rate above which the panel gives a hint.", 0, 1)
    panel: Literal["auto", "shown", "hidden"] = _key("auto", "The panel; auto: where it fits.")
    theme: str = _key("textual-dark", "Theme, as the command palette names it.")
    looks_per_second: int = _key(10, "How often the screen looks for new tokens.", 5, 60)
    keep: bool = _key(True, "Keep conversations in the database.")
    keep_deleted_days: int = _key(30, "Days after which a deleted conversation is gone for good.", 0, 36_500)
    mouse: bool = _key(True, "Use the mouse; false leaves it to the terminal.")


@dataclass(frozen=True, slots=True)
class ComparePreferences:
    """Section [compare]."""

    methods: tuple[str, ...] = _key(("base", "guide", "nudge", "blendin"), "Methods, from left to right.")


@dataclass(frozen=True, slots=True)
class Preferences:
    """Everything that the user prefers.

    generation: the fields of `BlendSettings`, `SamplingSettings` and `GenerationSettings` that are set.
    formats: how prompts are written for both models.
    keys: Textual's keymap: id of a binding, and its keys separated by commas.
    """

    chat: ChatPreferences = field(default_factory=ChatPreferences)
    generation: Mapping[str, Any] = field(default_factory=dict)
    models: ModelOptions = field(default_factory=ModelOptions)
    compare: ComparePreferences = field(default_factory=ComparePreferences)
    keys: Mapping[str, str] = field(default_factory=dict)
    formats: Formats = field(default_factory=Formats)

    @property
    def seed(self) -> int | None:
        """The seed of the first reply, None where the file says nothing of it."""
        return self.generation.get("seed")

    def settings(self, blend: BlendSettings, sampling: SamplingSettings) -> GenerationSettings:
        """What a pair recommends, changed by what is set here.

        As with the flag, the temperature 0 means plain greedy decoding: the pair's penalties go, unless they
        are set here too.
        """
        if self.generation.get("temperature") == 0:
            sampling = SamplingSettings()
        return GenerationSettings(
            blend=replace(blend, **self._given(BlendSettings)),
            sampling=replace(sampling, **self._given(SamplingSettings)),
            **self._given(GenerationSettings),
        )

    def _given(self, cls: type) -> dict[str, Any]:
        return {name: value for name, value in self.generation.items() if name in setting_names(cls)}


def _declared(section: str, cls: type) -> Iterator[Key]:
    """The keys of a section that is declared above."""
    hints = get_type_hints(cls)
    for each in fields(cls):
        hint = hints[each.name]
        kind = {Literal: str, tuple: tuple}.get(get_origin(hint), hint)
        choices = get_args(hint) if kind is str else tuple(METHODS) if kind is tuple else ()
        yield Key(section, each.name, kind, each.default, choices=choices, **each.metadata)


def _borrowed(section: str, cls: type, names: Iterable[str], *, unset: bool = False) -> Iterator[Key]:
    """Keys that are fields of a settings class."""
    for name in names:
        default = getattr(cls(), name)
        yield Key(
            section,
            name,
            type(default),
            None if unset else default,
            SETTING_HELP[name],
            _CHOICES.get(name, ()),
            owner=cls,
        )


def _all_keys() -> Iterator[Key]:
    yield from _declared("chat", ChatPreferences)
    for cls in (BlendSettings, SamplingSettings):
        yield from _borrowed("generation", cls, setting_names(cls), unset=True)
    yield from _borrowed("generation", GenerationSettings, ["max_tokens"])
    about = "Seed of the first reply, one more for each after it."
    yield Key(
        "generation", "seed", int, None, about, owner=GenerationSettings, unset="random; 0 in `generate`"
    )
    about = "End a reply before any of these texts."
    yield Key("generation", "stop", tuple, (), about, owner=GenerationSettings)
    options = (name for name in setting_names(ModelOptions) if name not in _OWN_OPTIONS)
    yield from _borrowed("models", ModelOptions, options)
    yield Key("models", "base_format", str, "auto", f"Prompt format of the base: {_FORMATS}")
    yield Key("models", "guide_format", str, "auto", f"Prompt format of the guide: {_FORMATS}")
    yield from _declared("compare", ComparePreferences)


KEYS: Mapping[str, Key] = {str(key): key for key in _all_keys()}
"""Every key but those of [keys], which are the chat's to know, by its full name ("chat.pair")."""


def key_named(name: str) -> Key:
    """The key of that full name. Raises SettingError for an unknown one, with those that look like it."""
    section, _, rest = name.partition(".")
    if section == KEYMAP and _BINDING.fullmatch(rest):
        return Key(KEYMAP, rest, str)
    if key := KEYS.get(name):
        return key
    close = get_close_matches(rest or name, [key.name for key in KEYS.values()], n=2, cutoff=0.7)
    close = [full for full, key in KEYS.items() if key.name in close]
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise SettingError(f"There is no key {sanitize(name)}{hint}; `blendin config` shows them all.")


@dataclass(frozen=True, slots=True)
class Value:
    """A key's value, and who says so: "default", "file", or the name of an environment variable."""

    value: Any
    origin: str = "default"


def preferences_file() -> Path:
    """The file. It may not exist."""
    return config_dir() / "config.toml"


def find_values(path: Path | None = None) -> dict[str, Value]:
    """What holds for every key, and where it comes from. Raises SettingError as `load_preferences` does."""
    values = {name: Value(key.default) for name, key in KEYS.items()}
    values |= {name: Value(value, "file") for name, value in _read(path or preferences_file()).items()}
    for name, key in KEYS.items():
        if key.variable and (text := os.environ.get(key.variable)):
            values[name] = Value(key.parse(text), key.variable)
    return values


def load_preferences(path: Path | None = None) -> Preferences:
    """Read the file (the one in the configuration folder); one that does not exist means the defaults.

    Raises SettingError where it cannot be read, or holds an unknown key or a wrong value.
    """
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, each in find_values(path).items():
        if each.origin != "default":
            section, _, rest = name.partition(".")
            sections[section][rest] = each.value
    models = sections["models"]
    formats = {role: models.pop(f"{role}_format", "auto") for role in ("base", "guide")}
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
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"The preferences {path} cannot be read: {reason}.") from error
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
