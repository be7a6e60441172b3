"""Parse slash commands: one table declares their names, arguments and help.

A line is parsed into a `Command`, which the chat screen runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from blendin_local.errors import SettingError
from blendin_local.settings import GenerationSettings
from blendin_local.tui.setting_fields import FIELDS, RANDOM, changed, field_of

# Results of parsing


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """Use `settings` from the next reply on.

    says: a sentence for the user. seed_random: whether every reply takes another seed; None changes nothing.
    """

    settings: GenerationSettings
    says: str
    seed_random: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeSystem:
    """Use another system prompt from the next reply on; "" removes it. says: a sentence for the user."""

    system: str
    says: str


@dataclass(frozen=True, slots=True)
class Act:
    """Run an action of the chat screen by the command's name, with the command's argument.

    `/open` with a JSON file becomes "import".
    """

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """Send the text as a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Reject an unknown command or a wrong argument. says: the reason, one sentence."""

    says: str


Command = ChangeSettings | ChangeSystem | Act | Say | Refused


@dataclass(frozen=True, slots=True)
class Names:
    """Names that complete arguments.

    pairs: descriptions by name. folder: the folder that file names are relative to.
    """

    pairs: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    folder: Path = Path()


Read = Callable[[str, GenerationSettings], Command]
Offer = Callable[[str, Names], Mapping[str, str]]
"""Returns completions of an argument's last word, with descriptions, from the words before it."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Declaration of a command.

    argument: its syntax: choices in small letters, placeholders in capitals, optional parts in brackets.
    read: parses the argument; None makes an `Act`. offer: completes the argument; None offers its choices.
    """

    name: str
    argument: str
    help: str
    read: Read | None = None
    offer: Offer | None = None

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.argument}".rstrip()

    @property
    def choices(self) -> tuple[str, ...]:
        plain = self.argument.strip("[]")
        return tuple(plain.split("|")) if plain and plain.islower() else ()

    @property
    def needs_argument(self) -> bool:
        return bool(self.argument) and not self.argument.startswith("[")


def _set(name: str, text: str, settings: GenerationSettings) -> Command:
    if name == "seed" and text == RANDOM:
        return ChangeSettings(settings, "Every reply takes another seed.", seed_random=True)
    values = {name: text} | ({"method": selects} if (selects := FIELDS[name].spec.selects) else {})
    after = changed(settings, values)
    says = f"{FIELDS[name].label} is {FIELDS[name].text(after) or 'empty'}"
    if after.blend.method != settings.blend.method and name != "method":
        says += f" and the method {after.blend.method}"
    idle = FIELDS[name].idle(after)
    return ChangeSettings(
        after,
        f"From the next reply on, {says}{f' ({idle})' if idle else ''}.",
        seed_random=False if name == "seed" else None,
    )


def _setting(name: str) -> Read:
    return lambda text, settings: _set(name, text, settings)


def _set_any(argument: str, settings: GenerationSettings) -> Command:
    name, *rest = argument.split(maxsplit=1)
    each, text = field_of(name), "".join(rest)
    if not text and each.name != "stop":
        like = f"one of {', '.join(each.choices)}" if each.choices else "a value"
        raise SettingError(f"/set {each.name} needs {like}; it is {each.text(settings)}.")
    return _set(each.name, text, settings)


def _system(text: str, settings: GenerationSettings) -> Command:
    if text:
        return ChangeSystem(text, "From the next reply on, both models read this system prompt.")
    return ChangeSystem("", "The system prompt is removed.")


def _offer_values(name: str) -> Offer:
    return lambda before, names: {} if before else FIELDS[name].choices


def _offer_settings(before: str, names: Names) -> Mapping[str, str]:
    if not before:
        return {f"{name} ": each.help for name, each in FIELDS.items()}
    each = FIELDS.get(before.strip().replace("-", "_"))
    return each.choices if each else {}


def _offer_pairs(before: str, names: Names) -> Mapping[str, str]:
    pairs = {} if before.strip() else names.pairs
    return {**pairs, **{name: "model" for name in names.models}}


def _offer_themes(before: str, names: Names) -> Mapping[str, str]:
    return {} if before else dict.fromkeys(names.themes, "")


SPECS = (
    Spec("method", "NAME", "how the models are blended", _setting("method"), _offer_values("method")),
    Spec("gamma", "X", "ask the guide where the base is less sure than X", _setting("gamma")),
    Spec("alpha", "X", "the guide's share, always X (method fixed)", _setting("alpha")),
    Spec("temperature", "X", "0: always the most probable; higher: more varied", _setting("temperature")),
    Spec("max-tokens", "N", "longest reply, in steps", _setting("max_tokens")),
    Spec("seed", f"N|{RANDOM}", "the same number gives the same reply", _setting("seed"),
         lambda before, names: {RANDOM: "another for each reply"}),
    Spec("set", "NAME VALUE", "change any setting", _set_any, _offer_settings),
    Spec("system", "[TEXT]", "the system prompt; without a text, none", _system),
    Spec("settings", "", "all settings on one page"),
    Spec("reset", "", "the settings recommended for the pair"),
    Spec("pair", "[NAME|BASE GUIDE]", "load other models", offer=_offer_pairs),
    Spec("compare", "", "answer with several methods side by side"),
    Spec("again", "", "write the last reply again"),
    Spec("continue", "", "go on with the last reply"),
    Spec("edit", "", "change your last message"),
    Spec("delete", "", "take out the last message"),
    Spec("undo", "", "bring back what was taken out"),
    Spec("new", "", "begin a new conversation"),
    Spec("open", "[SEARCH|FILE.json]", "earlier conversations, or one that was exported"),
    Spec("rename", "TITLE", "call this conversation something else"),
    Spec("export", "FILE", "write the conversation to a .md, .json or .html file"),
    Spec("copy", "[code]", "copy the last reply, or only the code in it"),
    Spec("view", "markdown|tokens", "show replies formatted, or token by token"),
    Spec("colours", "source|alpha|confidence|divergence", "what the colours of the words mean"),
    Spec("inspect", "", "look at one step: what each model would have said"),
    Spec("weak", "", "go to the next weak passage"),
    Spec("theme", "NAME", "colours of the screen", offer=_offer_themes),
    Spec("panel", "", "show or hide the panel"),
    Spec("help", "", "all keys and commands"),
    Spec("quit", "", "leave"),
)  # fmt: skip

COMMANDS = {spec.name: spec for spec in SPECS}


# A message that begins with a slash is typed with two slashes.


def is_command(text: str) -> bool:
    """Return whether a typed text is a command rather than a message."""
    return text.startswith("/") and not text.startswith("//")


def message_of(typed: str) -> str:
    """Return the message of a typed text: the text without an escaping slash."""
    return typed[1:] if typed.startswith("//") else typed


def typed_for(message: str) -> str:
    """Return the text that is typed for a message, with an escaping slash where needed."""
    return f"/{message}" if message.startswith("/") else message


def words(argument: str) -> list[str]:
    """Split an argument into words; double quotes enclose words with spaces."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', argument)]


def _unquoted(name: str) -> str:
    """Return a file name without the double quotes around it."""
    return name[1:].removesuffix('"') if name.startswith('"') else name


def parse(text: str, settings: GenerationSettings, names: Names | None = None) -> Command:
    """Parse a typed text. names: if given, `/theme` accepts only their themes."""
    if not is_command(text):
        return Say(message_of(text))
    name, argument = re.findall(r"/(\S*)\s*(.*)", text, re.DOTALL)[0]
    spec = COMMANDS.get(name)
    if spec is None:
        return Refused(_unknown(name))
    try:
        return _read(spec, argument.rstrip(), settings, names)
    except SettingError as error:
        return Refused(str(error))


def _read(spec: Spec, argument: str, settings: GenerationSettings, names: Names | None) -> Command:
    if spec.name == "export":
        argument = _unquoted(argument)
    if spec.name == "open" and _unquoted(argument).lower().endswith(".json"):
        return Act("import", _unquoted(argument))
    if argument and not spec.argument:
        raise SettingError(f"/{spec.name} takes no argument.")
    if not argument and spec.needs_argument:
        raise SettingError(f"An argument is missing: {spec.usage}.")
    allowed = names.themes if names and spec.name == "theme" else spec.choices
    if argument and allowed and argument not in allowed:
        close = get_close_matches(argument, allowed, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(allowed)}."
        raise SettingError(f"/{spec.name} does not know {argument[:40]}: {hint}")
    if spec.name == "pair" and len(words(argument)) > 2:
        raise SettingError('/pair takes a pair, or a base and a guide; put names with spaces in "quotes".')
    return spec.read(argument, settings) if spec.read else Act(spec.name, argument)


def _unknown(name: str) -> str:
    close = get_close_matches(name, COMMANDS, n=2)
    hint = f"did you mean {' or '.join(f'/{each}' for each in close)}?" if close else "/help lists them all."
    return f"There is no command /{name[:40]}: {hint} A message that begins with / is typed with //."
