"""Convert the arguments of the public functions to the types that the package uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from blendin_local.engine.prompts import Message
from blendin_local.errors import PromptError, SettingError
from blendin_local.inputs.messages import messages_of, prompt_of, text_of
from blendin_local.models.catalogue import Catalogue, load_catalogue
from blendin_local.models.loading import PairFiles, locate_pair, name_pair
from blendin_local.setting_spec import SettingSpec
from blendin_local.settings import (
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    override_settings,
    setting_names,
)
from blendin_local.tune.examples import Example

__all__ = [
    "Prompt",
    "apply_changes",
    "as_list",
    "check_number",
    "example_of",
    "find_pair",
    "messages_from",
    "replace_options",
]

Prompt = str | Sequence[Message | Mapping[str, Any]]
"""A text, or the messages of a conversation that ends with a user message."""

Options = TypeVar("Options")

_OWNERS = (BlendSettings, SamplingSettings, GenerationSettings)
_NAMES = [name for owner in _OWNERS for name in setting_names(owner) if name not in ("blend", "sampling")]


def find_pair(
    pair: str | None, base: str | Path | None, guide: str | Path | None, catalogue: Catalogue | None = None
) -> PairFiles:
    """Find the files of a pair. Raises CatalogueError or ModelError."""
    catalogue = catalogue or load_catalogue()
    models = (None if each is None else str(each) for each in (base, guide))
    return locate_pair(catalogue, name_pair(catalogue, pair, *models))


def replace_options(options: Options, changes: Mapping[str, Any]) -> Options:
    """Replace fields of a settings object. Raises SettingError for an unknown name or a bad value."""
    names = [field.name for field in fields(options) if field.name != "explicit"]  # type: ignore[arg-type]
    _check_names(changes, names)
    if isinstance(options, ModelOptions):
        changes = {**changes, "explicit": options.explicit | changes.keys()}
    return replace(options, **changes)  # type: ignore[type-var]


def apply_changes(settings: GenerationSettings, changes: Mapping[str, Any]) -> GenerationSettings:
    """Override settings by name, as `override_settings` does. Raises SettingError."""
    _check_names(changes, _NAMES)
    if "stop" in changes:
        changes = {**changes, "stop": tuple(as_list(changes["stop"]))}
    return override_settings(settings, changes)


def _check_names(changes: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in changes:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            raise SettingError(f"There is no setting {name!r}: {hint}")


def as_list(value: Any) -> list[Any]:
    """Return one or several values as a list; an empty one for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Path)) else [value]


def check_number(name: str, value: Any, low: int, high: int = (1 << 63) - 1) -> None:
    """Raise SettingError unless the value is a whole number in the range, both ends included."""
    SettingSpec(int, low, "", low, high, name=name).check(value)


def messages_from(prompt: Prompt) -> list[Message]:
    """Parse a prompt into messages. Raises PromptError."""
    if isinstance(prompt, str):
        return list(prompt_of(prompt, "prompt"))
    if not isinstance(prompt, Iterable):
        raise PromptError(f"A prompt must be a text or a list of messages, not {type(prompt).__name__}.")
    prompt = list(prompt)
    messages = [each for each in prompt if isinstance(each, Message)]
    if messages and len(messages) == len(prompt) and messages[-1].role == "user":
        return messages
    plain = [
        {"role": each.role, "content": each.content} if isinstance(each, Message) else each for each in prompt
    ]
    return list(messages_of(plain, "messages"))


def example_of(row: Mapping[str, Any], number: int) -> Example:
    """Parse a reference answer. number: its position, the id of one without. Raises PromptError."""
    if not isinstance(row, Mapping):
        raise PromptError(f"Reference answer {number} must be an object, not {type(row).__name__}.")
    response = text_of(row.get("response"), "`response`")
    asked = row.get("prompt", row.get("messages"))
    return Example(str(row.get("id", number)), tuple(messages_from(asked)), response)
