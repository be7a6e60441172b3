"""Read a plan file: the arms, the tasks and the settings of a comparison in TOML (docs/compare.md).

Error messages name the file and the table; that of an unknown key suggests a similar one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from blendin_local.compare.arms import ArmSpec
from blendin_local.compare.settings import TaskSpec
from blendin_local.errors import EvaluationError, SettingError
from blendin_local.files import local_path, parse_toml, read_text
from blendin_local.formats import Formats
from blendin_local.setting_spec import settings_of
from blendin_local.settings import BlendSettings, SamplingSettings, setting_names
from blendin_local.tasks.datasets_source import HUB

__all__ = ["ARM_KEYS", "RUN_KEYS", "TASK_KEYS", "Plan", "arm_of", "check_run", "read_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    arms: tuple[ArmSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)
    """The fields of `settings.RunSettings` that the file sets."""


_BLEND, _SAMPLING = setting_names(BlendSettings), setting_names(SamplingSettings)
_SPECS = {**settings_of(BlendSettings), **settings_of(SamplingSettings)}
_ARM_TEXTS = ("name", "pair", "base", "guide", "model", "base_format", "guide_format")
ARM_KEYS = (*_ARM_TEXTS, "stop", "paper", *_BLEND, *_SAMPLING)
TASK_KEYS: dict[str, type] = {
    "name": str,
    "data": str,
    "datasets": bool,
    "limit": int,
    "shots": int,
    "max_tokens": int,
}
RUN_KEYS: dict[str, type] = {
    "limit": int,
    "shots": int,
    "seed": int,
    "max_tokens": int,
    "system": str,
    "options": bool,
    "text": str,
    "reference": str,
    "text_ctx": int,
    "chunks": int,
    "judge": str,
    "judge_model": str,
}
_LOWEST = {"limit": 0, "shots": 0, "seed": 0, "max_tokens": 1, "text_ctx": 8, "chunks": 1}
_WORDS = {str: "a text", int: "a whole number", bool: "true or false", float: "a number", dict: "a table"}


def read_plan(path: Path, formats: Formats | None = None) -> Plan:
    """Read a plan. Paths in it are relative to its folder. formats: defaults of the arms.

    Raises EvaluationError for a file that cannot be read, an unknown key or a wrong value.
    """
    try:
        document = parse_toml(read_text(path))
    except (FileNotFoundError, ValueError) as error:
        reason = "No such file" if isinstance(error, FileNotFoundError) else error
        raise EvaluationError(f"The plan {path} cannot be read: {reason}.") from error
    reader = _Reader(path, formats or Formats())
    reader.known(document, ("arms", "tasks", "run"), "")
    return Plan(
        arms=tuple(reader.arm(table, where) for table, where in reader.tables(document, "arms")),
        tasks=tuple(reader.task(table, where) for table, where in reader.tables(document, "tasks")),
        run=reader.run(document),
    )


def arm_of(table: Mapping[str, Any], number: int) -> ArmSpec:
    """Make an arm of an object with `ARM_KEYS`. Raises EvaluationError for unknown keys or wrong values."""
    return _Reader(Path("arms"), Formats()).arm(dict(table), f"arm {number}")


def check_run(settings: Mapping[str, Any]) -> None:
    """Raise EvaluationError unless the fields of `RunSettings` have the types and ranges of `RUN_KEYS`."""
    _Reader(Path("settings"), Formats()).run({"run": {**settings}})


@dataclass(frozen=True, slots=True)
class _Reader:
    file: Path
    formats: Formats

    def arm(self, table: dict[str, Any], where: str) -> ArmSpec:
        self.known(table, ARM_KEYS, where)
        texts = {key: self.value(table, key, str, where) for key in _ARM_TEXTS if key in table}
        if empty := [key for key in ("pair", "base", "guide", "model") if texts.get(key) == ""]:
            raise self.wrong(where, f"{empty[0]} is empty: name one, or leave the line out")
        if "pair" in texts and texts.keys() & {"base", "guide"}:
            raise self.wrong(where, "pair names base and guide already: give the pair, or the two models")
        if "model" in texts and texts.keys() & {"pair", "base", "guide"}:
            raise self.wrong(where, "model is one alone, so pair, base and guide do not go with it")
        if "model" in texts and (blend := [key for key in _BLEND if key in table]):
            raise self.wrong(where, f"{blend[0]} belongs to a pair, and model is one alone")
        if not texts.keys() & {"pair", "model"} and not {"base", "guide"} <= texts.keys():
            raise self.wrong(where, "an arm needs a pair, or base and guide, or a model")
        stop = table.get("stop", [])
        if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
            raise self.wrong(where, "stop must be a list of texts")
        paper = table.get("paper", False)
        if not isinstance(paper, bool):
            raise self.wrong(where, "paper must be true or false")
        formats = {
            role: texts.pop(f"{role}_format", getattr(self.formats, role)) for role in ("base", "guide")
        }
        return ArmSpec(
            **texts,
            blend=self.settings(table, _BLEND, where),
            sampling=self.settings(table, _SAMPLING, where),
            stop=tuple(stop),
            paper=paper,
            formats=replace(self.formats, **formats),
            where=f"In {self.file}, [{where}]: ",
        )

    def settings(self, table: dict[str, Any], names: Iterable[str], where: str) -> dict[str, tuple[Any, ...]]:
        """Return the checked values of each setting, one or a list."""
        found = {}
        for name in names:
            if name not in table:
                continue
            values = table[name] if isinstance(table[name], list) else [table[name]]
            if not values:
                raise self.wrong(where, f"{name} is an empty list: give a value, or leave it out")
            try:
                found[name] = tuple(map(_SPECS[name].read, values))
            except SettingError as error:
                raise self.wrong(where, str(error).rstrip(".")) from error
        return found

    def task(self, table: dict[str, Any], where: str) -> TaskSpec:
        self.known(table, TASK_KEYS, where)
        values = self.values(table, TASK_KEYS, where)
        if "name" not in values:
            raise self.wrong(where, "a task needs a name")
        if bool(values.get("data")) == bool(values.get("datasets")):
            raise self.wrong(where, "a task needs data = FILE, or datasets = true")
        if values.pop("datasets", False):
            values["data"] = HUB
        elif not values["data"].startswith(HUB):
            values["data"] = str(self.path(values["data"]))
        return TaskSpec(**values)

    def run(self, document: dict[str, Any]) -> dict[str, Any]:
        table = document.get("run", {})
        if not isinstance(table, dict):
            raise self.wrong("run", "it must be a table")
        self.known(table, RUN_KEYS, "run")
        values = self.values(table, RUN_KEYS, "run")
        if "text" in values:
            values["text"] = self.path(values["text"])
        return values

    def path(self, text: str) -> Path:
        return self.file.parent / local_path(text)

    def values(self, table: dict[str, Any], kinds: Mapping[str, type], where: str) -> dict[str, Any]:
        values = {key: self.value(table, key, kinds[key], where) for key in table}
        for key, low in _LOWEST.items():
            if key in values and values[key] < low:
                raise self.wrong(where, f"{key} must be at least {low}, not {values[key]}")
        return values

    def value(self, table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
        value = table[key]
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise self.wrong(where, f"{key} must be {_WORDS[kind]}, not {value!r}")
        return value

    def tables(self, document: dict[str, Any], key: str) -> Iterable[tuple[dict[str, Any], str]]:
        """Return the tables of a list, each with its name for error messages: "arms 2"."""
        listed = document.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise self.wrong(key, f"write [[{key}]] with two brackets before each one")
        return [(each, f"{key} {number}") for number, each in enumerate(listed, 1)]

    def known(self, table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
        allowed = list(allowed)
        for key in table:
            if key not in allowed:
                close = get_close_matches(key, allowed, n=1, cutoff=0.5)
                hint = f" (did you mean {close[0]}?)" if close else f": known are {', '.join(allowed)}"
                raise self.wrong(where, f"the key {key} is unknown{hint}")

    def wrong(self, where: str, what: str) -> EvaluationError:
        return EvaluationError(f"In {self.file}{f', [{where}]' if where else ''}: {what}.")
