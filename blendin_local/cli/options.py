"""Options shared by several commands, and the settings built from their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from blendin_local.cli.complete_names import complete_model, complete_model_option, complete_pair
from blendin_local.cli.grouped_help import option_group
from blendin_local.cli.terminal import standard_input
from blendin_local.errors import PromptError, SettingError
from blendin_local.formats import ROLES, THINKING, Formats, parse_template_variables
from blendin_local.methods import METHODS
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import (
    DEFAULT_PAIR,
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    model_option_specs,
    override_settings,
    paper_settings,
    parse_model_options,
    setting_names,
)

if TYPE_CHECKING:
    from blendin_local.models.entries import PairEntry
    from blendin_local.models.loading import PairFiles
    from blendin_local.preferences.preferences import Preferences

_LONGEST_TEXT = 1 << 24  # bytes; a device such as /dev/zero has no end

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_option(spec: SettingSpec, *, show_default: bool = False) -> Callable[[Any], Any]:
    """Return the click option of a setting. Without show_default, its default value is None."""
    flag = f"{spec.option}/--no-{spec.option.removeprefix('--')}" if spec.kind is bool else spec.option
    kind = click.Choice(list(spec.choices)) if spec.choices else spec.kind
    implied = f" Implies --method {spec.selects}." if spec.selects else ""
    return click.option(
        flag,
        *filter(None, [spec.letter]),
        spec.name,
        type=kind,
        default=spec.default if show_default else None,
        show_default=show_default and spec.default != "",
        help=spec.description + implied,
    )


def pair_options(default: str = DEFAULT_PAIR) -> Callable[[Command], Command]:
    """Return the options --pair, --base and --guide. default: the default that help shows."""
    return option_group(
        "Models",
        click.option(
            "--pair",
            "-p",
            shell_complete=complete_pair,
            help=f"Name of a pair in the catalogue (`blendin models list`).  [default: {default}]",
        ),
        click.option(
            "--base",
            shell_complete=complete_model,
            help="Base model: a name, a .gguf file, or hf:OWNER/REPO:FILE.",
        ),
        click.option("--guide", shell_complete=complete_model, help="Guide model, in the same forms."),
    )


def _assignments(
    flag: str, name: str, parse: Callable[[Iterable[str]], dict[str, Any]], **attributes: Any
) -> Callable[[Any], Any]:
    """Return a repeatable option NAME=VALUE. parse: of all its values; its SettingError gets the flag."""

    def parse_all(_context: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
        try:
            return parse(texts)
        except SettingError as error:
            raise SettingError(f"{flag}: {error}") from error

    return click.option(flag, name, multiple=True, metavar="NAME=VALUE", callback=parse_all, **attributes)


def _own_options(role: str) -> Callable[[Any], Any]:
    """Return the repeatable option that sets an option of one model."""
    return _assignments(
        f"--{role}-set",
        f"{role}_options",
        parse_model_options,
        shell_complete=complete_model_option,
        help=f"Set an option of the {role} alone, by its name in the preferences: n_ctx, n_gpu_layers, "
        "kv_type ... (repeatable; docs/models.md).",
    )


model_options = option_group(
    "Model loading",
    *(setting_option(spec, show_default=True) for spec in model_option_specs().values()),
    _own_options("base"),
    _own_options("guide"),
)
"""Options of loading both models, and of loading one of them."""

method_options = option_group(
    "Blending (default: the pair's recommendation)",
    *map(setting_option, settings_of(BlendSettings).values()),
    click.option(
        "--paper",
        is_flag=True,
        help="Use the settings of the paper: greedy, no guide stop. Other options override it.",
    ),
)
"""Blend settings."""

SAMPLING = "Sampling (default: the pair's recommendation; --temperature 0 alone drops its penalties)"

sampling_options = option_group(
    SAMPLING,
    *map(setting_option, settings_of(SamplingSettings).values()),
)
"""Sampling settings."""


def _variables_option(role: str, seen_by: str) -> Callable[[Any], Any]:
    """Return the repeatable option that sets a variable of chat templates. role: "" for both models."""
    return _assignments(
        f"--{role}-template-var" if role else "--template-var",
        f"{role or 'both'}_variables",
        parse_template_variables,
        help=f"Set a variable of {seen_by} (repeatable; docs/models.md).",
    )


_FORMATS = "auto, chat, question-answer, user-assistant, raw, or a Jinja file."

FORMAT_OPTIONS = (
    click.option("--system", "-s", help="System prompt."),
    click.option(
        "--base-format", default="auto", show_default=True, help=f"Prompt format of the base: {_FORMATS}"
    ),
    click.option(
        "--guide-format",
        default="auto",
        show_default=True,
        help="Prompt format of the guide, in the same forms.",
    ),
    click.option("--raw", is_flag=True, help="No prompt format: both models continue the text."),
    click.option(
        "--thinking",
        type=click.Choice(list(THINKING)),
        default="auto",
        show_default=True,
        help="Whether models think before they answer; auto: not where only one of the two can.",
    ),
    _variables_option("", "the chat templates of both models: true, false, a number, JSON, or a text"),
    _variables_option("base", "the base's chat template alone"),
    _variables_option("guide", "the guide's chat template alone"),
)
format_options = option_group("Prompt", *FORMAT_OPTIONS)
"""--system, and how prompts are written."""


def require_text(_context: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts of a repeatable option. Raises SettingError where one is empty."""
    if "" in texts:
        raise SettingError(f"{param.opts[0]} must not be empty.")
    return texts


length_options = option_group(
    "Output",
    setting_option(settings_of(GenerationSettings)["max_tokens"], show_default=True),
    setting_option(settings_of(GenerationSettings)["max_thinking"], show_default=True),
    click.option("--stop", multiple=True, callback=require_text,
                 help="Stop the reply before this string (repeatable)."),
)  # fmt: skip
"""--max-tokens, --max-thinking, --stop."""


@contextmanager
def name_flags() -> Iterator[None]:
    """Replace the field name at the start of a SettingError by the flag of the running command."""
    try:
        yield
    except SettingError as error:
        context = click.get_current_context(silent=True)
        flags = {param.name: max(param.opts, key=len) for param in context.command.params} if context else {}
        name, space, rest = str(error).partition(" ")
        raise SettingError(f"{flags.get(name, name)}{space}{rest}") from error


def model_options_of(values: Mapping[str, Any], preferred: ModelOptions | None = None) -> ModelOptions:
    """Return the preferred options, overridden by typed `model_options`. Raises SettingError."""
    typed = _typed_values(ModelOptions, values)
    with name_flags():
        return replace(
            preferred or ModelOptions(), **typed, explicit=frozenset(typed) & settings_of(ModelOptions).keys()
        )


def generation_settings_of(
    values: Mapping[str, Any], entry: PairEntry, seed: int, preferences: Preferences
) -> GenerationSettings:
    """Return the pair's settings, overridden by preferences, then by typed options. Raises SettingError.

    --alpha alone selects the method fixed; --temperature 0 means plain greedy decoding and drops the pair's
    penalties unless they are given too; --raw switches guide stop off.
    """
    return override_typed(preferences.settings(entry.blend, entry.sampling), values, seed)


def override_typed(preferred: GenerationSettings, values: Mapping[str, Any], seed: int) -> GenerationSettings:
    """Return settings overridden by typed options, as `generation_settings_of`. Raises SettingError."""
    blend, sampling = preferred.blend, preferred.sampling
    if values.get("paper"):
        blend, sampling = paper_settings(method=blend.method, gamma=blend.gamma, prior=blend.prior)
    if values.get("raw"):
        blend = replace(blend, guide_stop=False)
    typed = {**given_values(BlendSettings, values), **given_values(SamplingSettings, values)}
    lengths = {name: values[name] for name in ("max_tokens", "max_thinking") if name in values}
    typed |= _typed_values(GenerationSettings, lengths)
    if values.get("stop"):
        typed["stop"] = tuple(values["stop"])
    with name_flags():
        return override_settings(replace(preferred, blend=blend, sampling=sampling, seed=seed), typed)


class GenerationArguments(NamedTuple):
    """The located pair and the settings that the options of `generate` describe."""

    files: PairFiles
    settings: GenerationSettings
    options: ModelOptions
    formats: Formats


def read_generation_arguments(values: Mapping[str, Any]) -> GenerationArguments:
    """Locate the pair, and apply preferences and typed options. Raises BlendinError."""
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.loading import locate_pair, name_pair
    from blendin_local.preferences.preferences import load_preferences

    catalogue, preferences = load_catalogue(), load_preferences()
    entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
    seed = (preferences.seed or 0) if values["seed"] is None else values["seed"]
    settings = generation_settings_of(values, entry, seed, preferences)
    options = model_options_of(values, preferences.models)
    formats = formats_of(values, preferences.formats)
    return GenerationArguments(locate_pair(catalogue, entry), settings, options, formats)


def formats_of(values: Mapping[str, Any], preferred: Formats) -> Formats:
    """Return the preferred formats, overridden by typed `format_options`."""
    if values.get("raw"):
        return Formats("raw", "raw")
    given = _given_parameters()
    typed = {role: values[f"{role}_format"] for role in ROLES if f"{role}_format" in given}
    if "thinking" in given:
        typed["thinking"] = values["thinking"]
    both = values["both_variables"]
    return replace(preferred, **typed).replaced(
        both | values["base_variables"], both | values["guide_variables"]
    )


def _given_parameters() -> set[str]:
    """Return the names of the parameters that were given on the command line."""
    context = click.get_current_context()
    return {
        name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def _typed_values(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values given on the command line."""
    given = _given_parameters()
    return {name: value for name, value in given_values(cls, values).items() if name in given}


def given_values(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a class's settings that are not None."""
    return {name: values[name] for name in setting_names(cls) if values.get(name) is not None}


def parse_methods(text: str) -> tuple[str, ...]:
    """Parse --methods: comma-separated methods, or "all". Raises SettingError."""
    names = tuple(METHODS) if text == "all" else split_names(text)
    if unknown := [name for name in names if name not in METHODS]:
        raise SettingError(f"Unknown method {unknown[0]!r}: use {', '.join(METHODS)}, or all.")
    if not names:
        raise SettingError("No method is named: use --methods nudge,blendin, or all.")
    return names


def split_names(text: str) -> tuple[str, ...]:
    """Split at commas, without blank and repeated parts."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def read_text(path: str) -> str:
    """Return the text of a file, or of standard input for "-". Raises PromptError if it cannot be read."""
    from blendin_local.files import decode_text

    try:
        if path == "-":
            data = standard_input().read(_LONGEST_TEXT + 1)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(_LONGEST_TEXT + 1)
    except OSError as error:
        raise PromptError(f"Cannot read {path}: {error.strerror or error}.") from error
    if len(data) > _LONGEST_TEXT:
        raise PromptError(f"{path} is longer than any context: a prompt has at most {_LONGEST_TEXT:,} bytes.")
    try:
        return decode_text(data)
    except ValueError as error:
        raise PromptError(f"Cannot read {path}: {error}.") from error
