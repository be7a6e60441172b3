"""Parse conversations and settings of rows from JSON values.

Unusable values raise PromptError or SettingError, one sentence without the place of the row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from blendin_local.engine.prompts import Message, Role
from blendin_local.errors import PromptError, SettingError

__all__ = ["id_of", "kind_of", "messages_of", "prompt_of", "settings_of", "text_of", "with_system"]

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def kind_of(value: Any) -> str:
    """Return the name of a JSON value's type, for error messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "an object" if isinstance(value, dict) else "a list"


def text_of(value: Any, what: str) -> str:
    """Check that a value is encodable text. Raises PromptError, whose sentence begins with `what`."""
    if not isinstance(value, str):
        raise PromptError(f"{what} must be text, not {kind_of(value)}.")
    if _SURROGATE.search(value):
        raise PromptError(f"{what} contains a lone surrogate, which is not a character: remove it.")
    if "\0" in value:
        raise PromptError(f"{what} contains a NUL character: remove it.")
    return value


def id_of(value: Any, name: str) -> str | None:
    """Return the id of a row: text, or an integer as text; None for null."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise PromptError(f"`{name}` must be text or a whole number, not {kind_of(value)}.")
    if not value:
        raise PromptError(f"`{name}` is empty: leave it out, or give the row a name.")
    return text_of(value, f"`{name}`")


def messages_of(value: Any, name: str) -> tuple[Message, ...]:
    """Parse a list of messages that ends with a user message; contents may be lists of text parts."""
    if not isinstance(value, list):
        raise PromptError(f"`{name}` must be a list of messages, not {kind_of(value)}.")
    messages = tuple(_message(each, f"Message {n} of `{name}`") for n, each in enumerate(value, 1))
    if not messages:
        raise PromptError(f"`{name}` is empty: give the models something to answer.")
    if (last := messages[-1].role) != "user":
        raise PromptError(f"`{name}` must end with a message of the user, not of the {last}.")
    _check_filled(messages[-1].content)
    return messages


def prompt_of(value: Any, name: str) -> tuple[Message, ...]:
    """Parse a prompt: text, or a list of messages."""
    if isinstance(value, list):
        return messages_of(value, name)
    text = text_of(value, f"`{name}`")
    _check_filled(text)
    return (Message("user", text),)


def with_system(messages: Sequence[Message], system: str) -> tuple[Message, ...]:
    """Return the messages after `system`, unless it is empty or they contain a system message."""
    if not system or any(message.role == "system" for message in messages):
        return tuple(messages)
    return (Message("system", system), *messages)


def settings_of(settings: Any) -> dict[str, Any]:
    """Parse a row's own settings: null values are dropped, a single stop string becomes a list."""
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise SettingError(f"`settings` must be an object, not {kind_of(settings)}.")
    own = {name: value for name, value in settings.items() if value is not None}
    if "stop" in own:
        stops = [own["stop"]] if isinstance(own["stop"], str) else own["stop"]
        if not isinstance(stops, list):
            raise SettingError(f"stop must be text or a list of texts, not {kind_of(stops)}.")
        own["stop"] = [text_of(stop, "A stop string") for stop in stops]
    return own


def _check_filled(prompt: str) -> None:
    if not prompt.strip():
        raise PromptError("The prompt is empty: give the models something to answer.")


def _message(value: Any, what: str) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise PromptError(f"{what} must be an object with `role` and `content`.")
    role = value["role"]
    if not isinstance(role, str) or role not in _ROLES:
        shown = repr(role) if isinstance(role, str) else kind_of(role)
        raise PromptError(f"{what} has the role {shown[:40]}: use system, user or assistant.")
    content = value["content"]
    if isinstance(content, list):
        content = "".join(_part(part, what) for part in content)
    return Message(_ROLES[role], text_of(content, f"`content` of {what[0].lower()}{what[1:]}"))


def _part(part: Any, what: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text":
        return text_of(part.get("text"), f"A part of {what[0].lower()}{what[1:]}")
    raise PromptError(f"{what} has a part that is not text: only text is supported.")
