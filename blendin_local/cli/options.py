"""Options that several commands share, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from blendin_local.cli.complete_names import complete_model, complete_pair
from blendin_local.cli.terminal import standard_input
from blendin_local.errors import PromptError, SettingError
from blendin_local.methods import METHODS
from blendin_local.settings import (
    DEFAULT_PAIR,
    FLASH_ATTENTION,
    KV_TYPES,
    UNITS,
    BlendSettings,
    Formats,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    paper_settings,
    setting_names,
)

if TYPE_CHECKING:
    from blendin_local.models.entries import PairEntry
    from blendin_local.preferences.preferences import Preferences

_LONGEST_TEXT = 1 << 24  # bytes; a device such as /dev/zero never ends

Command = TypeVar("Command", bound=Callable[..., Any])


def _default(cls: type, name: str) -> Any:
    default = next(field.default for field in fields(cls) if field.name == name)
    assert default is not MISSING
    return default


def decorate(options: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """One decorator for several options; help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pair_options(default: str = DEFAULT_PAIR) -> Callable[[Command], Command]:
    """--pair, --base, --guide; default: what help says of a pair that is not named."""
    return decorate(
        [
            click.option(
                "--pair",
                "-p",
                shell_complete=complete_pair,
                help=f"A pair of the catalogue.  [default: {default}]",
            ),
            click.option(
                "--base",
                shell_complete=complete_model,
                help="Base model: a name, a .gguf file, or hf:OWNER/REPO:FILE.",
            ),
            click.option("--guide", shell_complete=complete_model, help="Guide model, given alike."),
        ]
    )


def model_options(command: Command) -> Command:
    """How both models are opened."""

    def option(name: str, flag: str, kind: Any, text: str) -> Callable[[Command], Command]:
        return click.option(
            flag, name, type=kind, default=_default(ModelOptions, name), show_default=True, help=text
        )

    return decorate(
        [
            option("n_ctx", "--n-ctx", int, "Context length in tokens; 0: what the model was trained for."),
            option("n_threads", "--threads", int, "CPU threads; 0: the number of physical cores."),
            option("n_gpu_layers", "--gpu-layers", int, "Layers on the GPU; -1: all, where there is one."),
            option("n_batch", "--batch-size", int, "Most tokens in one decode."),
            option("kv_type", "--kv-type", click.Choice(KV_TYPES), "Number format of the KV caches."),
            option("flash_attention", "--flash-attention", click.Choice(FLASH_ATTENTION), "Flash attention."),
            option("mmap", "--mmap/--no-mmap", bool, "Map the files instead of reading them."),
            option("mlock", "--mlock/--no-mlock", bool, "Forbid swapping the models out."),
            option(
                "swa_full", "--swa-full/--no-swa-full", bool, "Keep sliding windows whole, to rewind fast."
            ),
        ]
    )(command)


def method_options(command: Command) -> Command:
    """How the two models are blended. Unset options are the pair's recommended settings."""
    methods = click.Choice(list(METHODS))
    return decorate(
        [
            click.option("--method", "-m", type=methods, help="How to blend (docs/method.md)."),
            click.option(
                "--gamma", "-g", type=float, help="Consult the guide where the base's confidence is less."
            ),
            click.option("--alpha", type=float, help="The guide's share under the method fixed (implied)."),
            click.option("--prior", type=float, help="Pair prior b of the method tuned."),
            click.option("--compete-k", type=int, help="Rank limit of the method compete."),
            click.option("--tau", type=float, help="Lower step of the method tiered."),
            click.option(
                "--unit", type=click.Choice(UNITS), help="word: the guide finishes the word it began."
            ),
            click.option("--max-intervention-rate", type=float, help="Cap on interventions / steps."),
            click.option("--capability-gap", type=float, help="Guide's minus base's benchmark score."),
            click.option("--guide-stop/--no-guide-stop", default=None, help="Ask the guide when to stop."),
            click.option(
                "--paper",
                is_flag=True,
                help="The paper to the letter: greedy, no guide stop. Other options win.",
            ),
        ]
    )(command)


def sampling_options(command: Command) -> Command:
    """How an outcome is chosen. Unset options are the pair's recommended settings."""
    return decorate(
        [
            click.option("--temperature", "-t", type=float, help="0: greedy, without the pair's penalties."),
            click.option("--top-k", type=int, help="Keep the k most probable; 0: all."),
            click.option("--top-p", type=float, help="Keep the most probable that sum to p; 1: all."),
            click.option("--min-p", type=float, help="Keep those with at least this share of the best."),
            click.option("--repetition-penalty", type=float, help="At least 1; 1: none."),
            click.option("--presence-penalty", type=float, help="0: none."),
            click.option("--frequency-penalty", type=float, help="0: none."),
            click.option("--dry-multiplier", type=float, help="Penalty on repeated runs; 0: none."),
            click.option("--dry-base", type=float, help="Its growth with the length of the run."),
            click.option("--dry-allowed-length", type=int, help="Longest run without penalty."),
            click.option("--penalty-window", type=int, help="How many latest outcomes penalties look at."),
        ]
    )(command)


def format_options(command: Command) -> Command:
    """--system, --base-format, --guide-format, --raw."""
    formats = "auto, chat, question-answer, user-assistant, raw, or a Jinja file."
    return decorate(
        [
            click.option("--system", "-s", help="System prompt."),
            click.option(
                "--base-format", default="auto", show_default=True, help=f"Prompt format: {formats}"
            ),
            click.option("--guide-format", default="auto", show_default=True, help="The guide's, alike."),
            click.option("--raw", is_flag=True, help="No chat format: both models continue the text."),
        ]
    )(command)


def length_options(command: Command) -> Command:
    """--max-tokens, --stop."""
    return decorate(
        [
            click.option(
                "--max-tokens",
                "-n",
                type=int,
                default=_default(GenerationSettings, "max_tokens"),
                show_default=True,
                help="Longest reply, in steps.",
            ),
            click.option("--stop", multiple=True, help="End the reply before this text (repeatable)."),
        ]
    )(command)


@contextmanager
def flags_named() -> Iterator[None]:
    """Settings' own messages begin with the name of a field: say the running command's flag in its place."""
    try:
        yield
    except SettingError as error:
        context = click.get_current_context(silent=True)
        flags = {param.name: max(param.opts, key=len) for param in context.command.params} if context else {}
        name, space, rest = str(error).partition(" ")
        raise SettingError(f"{flags.get(name, name)}{space}{rest}") from error


def model_options_of(values: Mapping[str, Any], preferred: ModelOptions | None = None) -> ModelOptions:
    """What is preferred, changed by the values of `model_options` that were typed. Raises SettingError."""
    with flags_named():
        return replace(preferred or ModelOptions(), **_typed(ModelOptions, values))


def generation_settings_of(
    values: Mapping[str, Any], entry: PairEntry, seed: int, preferences: Preferences
) -> GenerationSettings:
    """What the pair recommends, changed by what is preferred and by what was typed. Raises SettingError.

    --alpha alone means the method fixed; --temperature 0 means plain greedy decoding, so the pair's
    penalties go unless they are given too; --raw leaves no end of a response to ask the guide about.
    """
    return typed_over(preferences.settings(entry.blend, entry.sampling), values, seed)


def typed_over(preferred: GenerationSettings, values: Mapping[str, Any], seed: int) -> GenerationSettings:
    """Settings changed by what was typed, as `generation_settings_of` says. Raises SettingError."""
    blend, sampling = preferred.blend, preferred.sampling
    if values.get("paper"):
        blend, sampling = paper_settings(method=blend.method, gamma=blend.gamma, prior=blend.prior)
    if values.get("temperature") == 0:
        sampling = SamplingSettings()
    if values.get("raw"):
        blend = replace(blend, guide_stop=False)
    given = _given(BlendSettings, values)
    if "alpha" in given and given.setdefault("method", "fixed") != "fixed":
        raise SettingError(f"--alpha belongs to the method fixed, not to {given['method']}.")
    with flags_named():
        return replace(
            preferred,
            blend=replace(blend, **given),
            sampling=replace(sampling, **_given(SamplingSettings, values)),
            seed=seed,
            stop=tuple(values.get("stop") or preferred.stop),
            **_typed(GenerationSettings, {"max_tokens": values["max_tokens"]}),
        )


def formats_of(values: Mapping[str, Any], preferred: Formats) -> Formats:
    """What is preferred, changed by the values of `format_options` that were typed."""
    if values.get("raw"):
        return Formats("raw", "raw")
    typed = _typed(Formats, {name: values[f"{name}_format"] for name in setting_names(Formats)}, "{}_format")
    return replace(preferred, **typed)


def _typed(cls: type, values: Mapping[str, Any], option: str = "{}") -> dict[str, Any]:
    """The values that do not merely stand for the default of their option, named like this."""
    context = click.get_current_context()
    default = ParameterSource.DEFAULT
    return {
        name: value
        for name, value in _given(cls, values).items()
        if context.get_parameter_source(option.format(name)) is not default
    }


def _given(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in setting_names(cls) if values.get(name) is not None}


def read_text(path: str) -> str:
    """Text of a file, or of standard input for "-". Raises PromptError where it cannot be read."""
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
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
