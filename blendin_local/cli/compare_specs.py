"""What the flags of `blendin compare` ask for: arms, tasks, settings of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from blendin_local.compare.arms import ArmSpec
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.errors import EvaluationError, SettingError
from blendin_local.methods import METHODS
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import BlendSettings, Formats, SamplingSettings, setting_names
from blendin_local.tasks.datasets_source import HUB

__all__ = ["arm_specs", "run_settings", "task_specs"]


def arm_specs(values: Mapping[str, Any], formats: Formats, usual: str = "") -> list[ArmSpec]:
    """Arms by --pair, --base and --guide, --model, each with every combination of the settings given.

    usual: the pair to take where none of these is named.
    """
    if bool(values["base"]) != bool(values["guide"]):
        given, other = ("base", "guide") if values["base"] else ("guide", "base")
        raise EvaluationError(f"--{given} needs --{other}; a model alone is --model {values[given]}.")
    flags = {"pairs": "--pair", "models": "--model"}
    if empty := [flag for name, flag in flags.items() if "" in values[name]]:
        raise EvaluationError(f"{empty[0]} is empty: name one, or leave it out.")
    blend = _blend_values(values)
    sampling = {name: (value,) for name, value in _given_values(SamplingSettings, values).items()}
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
        raise EvaluationError("Methods and their settings belong to a pair: name one with --pair.")
    return [*pairs, *(ArmSpec(model=name, **common) for name in values["models"])]


def _blend_values(values: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    if values["methods"] is not None:
        found["method"] = _method_names(values["methods"])
    specs = settings_of(BlendSettings)
    for name, value in _given_values(BlendSettings, values).items():
        found[name] = _numbers(specs[name], value) if specs[name].kind in (int, float) else (value,)
    return found


def _method_names(text: str) -> tuple[str, ...]:
    names = list(METHODS) if text == "all" else _split_names(text)
    if unknown := [name for name in names if name not in METHODS]:
        raise SettingError(f"Unknown method {unknown[0]!r}: use {', '.join(METHODS)}, or all.")
    if not names:
        raise SettingError("No method is named: use --methods nudge,blendin, or all.")
    return tuple(names)


def _numbers(spec: SettingSpec, text: str) -> tuple[Any, ...]:
    try:
        numbers = tuple(dict.fromkeys(spec.kind(part) for part in _split_names(text)))
    except ValueError:
        numbers = ()
    if not numbers:
        kind = "whole numbers" if spec.kind is int else "numbers"
        raise SettingError(f"{spec.option} must be {kind} separated by commas, not {text!r}.")
    return numbers


def _split_names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _given_values(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in setting_names(cls) if values.get(name) is not None}


def task_specs(names: Sequence[str], files: Sequence[str], datasets: bool) -> list[TaskSpec]:
    """--task and --data in pairs: the first file is the first task's, and so on; several files of one task
    are several tables. With --datasets, tasks without a file come from the hub.
    """
    if files and not names:
        raise EvaluationError(f"--data {files[0]} needs --task: say what kind of questions it holds.")
    if len(names) == 1 and files:
        return [TaskSpec(names[0], file) for file in files]
    if len(files) > len(names) or (len(files) < len(names) and not datasets):
        raise EvaluationError(
            f"--task and --data go in pairs, and there are {len(names)} and {len(files)}: give each task its "
            "file, or --datasets for those of the Hugging Face hub."
        )
    return [TaskSpec(name, file) for name, file in zip(names, [*files, *[HUB] * len(names)], strict=False)]


def run_settings(planned: Mapping[str, Any], values: Mapping[str, Any]) -> RunSettings:
    """What the plan says of the run, changed by what was typed. Raises EvaluationError where settings of a
    text come without one.
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
                raise EvaluationError(
                    f"{flag} belongs to a text, and there is none: give one with --text FILE."
                )
    return settings
