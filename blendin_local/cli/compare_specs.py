"""Build the arms, tasks and run settings that the options of `blendin compare` describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from blendin_local.cli.options import given_values, parse_methods, split_names
from blendin_local.compare.arms import ArmSpec
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.errors import EvaluationError, SettingError
from blendin_local.formats import Formats
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import BlendSettings, SamplingSettings, setting_names
from blendin_local.tasks.datasets_source import HUB

__all__ = ["arm_specs", "run_settings", "task_specs"]


def arm_specs(values: Mapping[str, Any], formats: Formats, usual: str = "") -> list[ArmSpec]:
    """Return the arms of --pair, --base with --guide, and --model.

    Each carries the given settings; `compare` expands them to every combination. usual: the pair to use if
    no model or pair is given. Raises EvaluationError or SettingError for contradicting or empty options.
    """
    if bool(values["base"]) != bool(values["guide"]):
        given, other = ("base", "guide") if values["base"] else ("guide", "base")
        raise EvaluationError(f"--{given} needs --{other}; a model alone is --model {values[given]}.")
    flags = {"pairs": "--pair", "models": "--model"}
    if empty := [flag for name, flag in flags.items() if "" in values[name]]:
        raise EvaluationError(f"{empty[0]} is empty: name one, or leave it out.")
    blend = _blend_values(values)
    sampling = {name: (value,) for name, value in given_values(SamplingSettings, values).items()}
    common: dict[str, Any] = {
        "sampling": sampling,
        "stop": tuple(values["stop"]),
        "formats": formats,
    }
    pairs = [ArmSpec(pair=name, blend=blend, paper=values["paper"], **common) for name in values["pairs"]]
    if values["base"]:
        base, guide = values["base"], values["guide"]
        pairs.append(ArmSpec(base=base, guide=guide, blend=blend, paper=values["paper"], **common))
    if usual and not pairs and not values["models"]:
        pairs = [ArmSpec(pair=usual, blend=blend, paper=values["paper"], **common)]
    if blend and not pairs:
        raise EvaluationError("Methods and their settings need a pair: add --pair NAME.")
    return [*pairs, *(ArmSpec(model=name, **common) for name in values["models"])]


def _blend_values(values: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    if values["methods"] is not None:
        found["method"] = parse_methods(values["methods"])
    specs = settings_of(BlendSettings)
    for name, value in given_values(BlendSettings, values).items():
        found[name] = _numbers(specs[name], value) if specs[name].kind in (int, float) else (value,)
    return found


def _numbers(spec: SettingSpec, text: str) -> tuple[Any, ...]:
    try:
        numbers = tuple(dict.fromkeys(spec.kind(part) for part in split_names(text)))
    except ValueError:
        numbers = ()
    if not numbers:
        kind = "whole numbers" if spec.kind is int else "numbers"
        raise SettingError(f"{spec.option} must be {kind} separated by commas, not {text!r}.")
    return numbers


def task_specs(names: Sequence[str], files: Sequence[str], datasets: bool) -> list[TaskSpec]:
    """Pair each --task with its --data by position; one task may have several files.

    With --datasets, tasks without a file come from the hub. Raises EvaluationError if the numbers differ.
    """
    if files and not names:
        raise EvaluationError(f"--data {files[0]} needs --task: name the task of its questions.")
    if len(names) == 1 and files:
        return [TaskSpec(names[0], file) for file in files]
    if len(files) > len(names) or (len(files) < len(names) and not datasets):
        raise EvaluationError(
            f"There are {len(names)} --task and {len(files)} --data: give each task its file, or add "
            "--datasets to load the missing ones from the Hugging Face hub."
        )
    return [TaskSpec(name, file) for name, file in zip(names, [*files, *[HUB] * len(names)], strict=False)]


def run_settings(planned: Mapping[str, Any], values: Mapping[str, Any]) -> RunSettings:
    """Return the plan's run settings, overridden by typed options.

    Raises EvaluationError for settings of a text where no text is given.
    """
    context = click.get_current_context()
    typed = {
        name: values[name]
        for name in setting_names(RunSettings)
        if name in values and context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if isinstance(typed.get("text"), str):
        typed["text"] = Path(typed["text"])
    settings = replace(RunSettings(), **{**planned, **typed})
    if settings.text is None:
        for name in ("reference", "chunks", "text_ctx"):
            if getattr(settings, name) != getattr(RunSettings(), name):
                flag = f"--{name.replace('_', '-')}"
                raise EvaluationError(f"{flag} needs a text: add --text FILE.")
    return settings
