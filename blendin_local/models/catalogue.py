"""Models and pairs by name, from the shipped catalogue and the user's own.

Both are TOML files of one format (docs/models.md). A user's entry replaces the shipped entry of the same
name. `blendin_local.models.download` knows the files of pulled models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from blendin_local.errors import CatalogueError, SettingError
from blendin_local.files import config_dir, is_file_name, local_path, parse_toml, read_text
from blendin_local.formats import check_template_variables
from blendin_local.models.download.store import find_pulled
from blendin_local.models.entries import Curve, ModelEntry, PairEntry
from blendin_local.safe_text import sanitize
from blendin_local.setting_spec import settings_of
from blendin_local.settings import (
    RECOMMENDED_SAMPLING,
    BlendSettings,
    SamplingSettings,
    check_model_options,
    model_option_specs,
    setting_names,
)

__all__ = [
    "Catalogue",
    "is_name",
    "load_catalogue",
    "user_catalogue_file",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REMOTE = re.compile(r"(?:hf|pypi|url):|https?://")
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models and pairs known by name."""

    models: Mapping[str, ModelEntry]
    pairs: Mapping[str, PairEntry]

    def model(self, name: str) -> ModelEntry:
        """Return the entry of a model, or a new one for a full source (`hf:...`, a URL).

        Raises CatalogueError for an unknown name, with similar ones, and for an incomplete source.
        """
        if entry := self.models.get(name):
            return entry
        if not name:
            raise CatalogueError("A model's name is missing: `blendin models list` shows them all.")
        if _REMOTE.match(name):
            return ModelEntry(name=_slug(name), sources=(name,))
        if name in self.pairs:
            pair = self.pairs[name]
            raise CatalogueError(f"{name} is a pair, not a model: name {pair.base} or {pair.guide} instead.")
        raise CatalogueError(_unknown("model", name, self.models))

    def pair(self, name: str) -> PairEntry:
        """Return the entry of a pair. Raises CatalogueError for an unknown name, with similar ones."""
        if entry := self.pairs.get(name):
            return entry
        if name in self.models:
            raise CatalogueError(f"{name} is a model, not a pair: give it as base or as guide.")
        raise CatalogueError(_unknown("pair", name, self.pairs))

    def resolve_model(self, text: str) -> Path:
        """Return the file of a model given as a path, a name or an `hf:` source.

        Raises CatalogueError for a model that is unknown or not pulled.
        """
        path = local_path(text)
        try:
            if path.is_file():
                return path
        except OSError as error:
            raise CatalogueError(f"{sanitize(text)} cannot be read: {error.strerror}.") from error
        if text not in self.models and not _REMOTE.match(text) and _is_path(text):
            if path.is_dir():
                raise CatalogueError(f"{path} is a folder: give the .gguf file inside it.")
            what = "is not a regular file" if path.exists() else "does not exist"
            raise CatalogueError(f"The model file {path} {what}.")
        entry = self.model(text)
        if pulled := find_pulled(entry):
            return pulled
        raise CatalogueError(
            f"The model {text} is not on this machine yet: run `blendin models pull {text}`."
        )


def load_catalogue(user_file: Path | None = None) -> Catalogue:
    """Read the shipped catalogue and the user's: `user_file`, or the one in the configuration folder.

    Raises CatalogueError for an unreadable file or an invalid entry.
    """
    models, pairs = _read(_shipped_file())
    own_models, own_pairs = _read(user_file or user_catalogue_file())
    return Catalogue(models | own_models, pairs | own_pairs)


def is_name(text: str) -> bool:
    """Return whether a text is a valid name of a model or a pair."""
    return _NAME.fullmatch(text) is not None


def user_catalogue_file() -> Path:
    """Return the user's catalogue, which may not exist."""
    return config_dir() / "pairs.toml"


def _shipped_file() -> Path:
    """Return the catalogue in the package, or in a repository checkout in its models folder."""
    package = Path(__file__).parents[1]
    for file in (package / "pairs.toml", package.parent / "models" / "pairs.toml"):
        if file.is_file():
            return file
    raise CatalogueError(f"The package's own catalogue is missing in {package}: install blendin-local again.")


def _read(file: Path) -> tuple[dict[str, ModelEntry], dict[str, PairEntry]]:
    try:
        document = parse_toml(read_text(file))
    except FileNotFoundError:
        return {}, {}
    except ValueError as error:
        raise CatalogueError(f"The catalogue {file} cannot be read: {error}.") from error
    reader = _Reader(file)
    reader.known(document, ("models", "pairs"), "")
    return (
        {name: reader.model(name, table) for name, table in reader.tables(document, "models")},
        {name: reader.pair(name, table) for name, table in reader.tables(document, "pairs")},
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Converts the tables of one file to entries; errors name the file and the table."""

    file: Path

    def model(self, name: str, table: dict[str, Any]) -> ModelEntry:
        where = f"models.{name}"
        self.known(table, setting_names(ModelEntry)[1:-1], where)
        sources = self.value(table, "sources", list, where, default=[])
        if not sources or not all(isinstance(source, str) and source for source in sources):
            raise self.wrong(where, "sources must be a list of texts, with at least one")
        file = self.value(table, "file", str, where, default="")
        if file and not is_file_name(file):
            raise self.wrong(where, f"file must be a plain file name, not {file!r}")
        sha256 = self.value(table, "sha256", str, where, default="")
        if sha256 and not _SHA256.fullmatch(sha256):
            raise self.wrong(where, "sha256 must be 64 hexadecimal digits in lower case")
        sizes = {
            key: self.value(table, key, int, where, default=None) for key in ("size", "approximate_size")
        }
        for key, size in sizes.items():
            if size is not None and size <= 0:
                raise self.wrong(where, f"{key} must be a number of bytes")
        return ModelEntry(
            name=name,
            sources=tuple(sources),
            file=file,
            size=sizes["size"],
            sha256=sha256,
            licence=self.value(table, "licence", str, where, default=""),
            note=self.value(table, "note", str, where, default=""),
            approximate_size=sizes["approximate_size"],
            thinking=self.value(table, "thinking", bool, where, default=False),
            checked=self.value(table, "checked", str, where, default=""),
            origin=self.file,
        )

    def pair(self, name: str, table: dict[str, Any]) -> PairEntry:
        where = f"pairs.{name}"
        self.known(table, setting_names(PairEntry)[1:-1], where)
        base, guide = (self.value(table, key, str, where, default="") for key in ("base", "guide"))
        if not base or not guide:
            raise self.wrong(where, "base and guide must both be given")
        return PairEntry(
            name=name,
            base=base,
            guide=guide,
            description=self.value(table, "description", str, where, default=""),
            blend=self.settings(table, "blend", BlendSettings, where),
            sampling=(
                self.settings(table, "sampling", SamplingSettings, where)
                if "sampling" in table
                else RECOMMENDED_SAMPLING
            ),
            calibration=self.calibration(table, f"{where}.calibration") if "calibration" in table else None,
            base_options=self.model_options(table, "base_options", where),
            guide_options=self.model_options(table, "guide_options", where),
            base_variables=self.variables(table, "base_variables", where),
            guide_variables=self.variables(table, "guide_variables", where),
            origin=self.file,
        )

    def settings(self, table: dict[str, Any], key: str, make: type[T], where: str) -> T:
        where = f"{where}.{key}"
        values = self.value(table, key, dict, where, default={})
        specs = settings_of(make)
        self.known(values, specs, where)
        try:
            return make(**{name: specs[name].read(value) for name, value in values.items()})
        except SettingError as error:
            raise self.wrong(where, str(error).rstrip(".")) from error

    def model_options(self, table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        where = f"{where}.{key}"
        values = self.value(table, key, dict, where, default={})
        self.known(values, model_option_specs(), where)
        try:
            return check_model_options(values)
        except SettingError as error:
            raise self.wrong(where, str(error).rstrip(".")) from error

    def variables(self, table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        try:
            return check_template_variables(self.value(table, key, dict, where, default={}))
        except SettingError as error:
            raise self.wrong(f"{where}.{key}", str(error).rstrip(".")) from error

    def calibration(self, table: dict[str, Any], where: str) -> dict[str, Curve]:
        curves = self.value(table, "calibration", dict, where)
        self.known(curves, ("base", "guide"), where)
        if len(curves) != 2:
            raise self.wrong(where, "both base and guide must have a curve")
        return {model: self.curve(curves, model, f"{where}.{model}") for model in ("base", "guide")}

    def curve(self, curves: dict[str, Any], model: str, where: str) -> Curve:
        table = self.value(curves, model, dict, where)
        self.known(table, ("confidences", "reliabilities"), where)
        lists = [self.value(table, key, list, where) for key in ("confidences", "reliabilities")]
        numbers = [value for values in lists for value in values]
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in numbers):
            raise self.wrong(where, "confidences and reliabilities must be numbers between 0 and 1")
        if len(lists[0]) != len(lists[1]) or not lists[0]:
            raise self.wrong(where, "confidences and reliabilities must be equally many, and at least one")
        if any(values != sorted(values) for values in lists) or len(set(lists[0])) != len(lists[0]):
            raise self.wrong(where, "confidences must rise and reliabilities must not fall")
        return tuple(map(float, lists[0])), tuple(map(float, lists[1]))

    def tables(self, document: dict[str, Any], key: str) -> Iterable[tuple[str, dict[str, Any]]]:
        for name, table in self.value(document, key, dict, key, default={}).items():
            if not _NAME.fullmatch(name):
                raise self.wrong(key, f"the name {name!r} may hold only letters, digits and . _ -")
            if not isinstance(table, dict):
                raise self.wrong(f"{key}.{name}", "it must be a table")
            yield name, table

    def value(self, table: dict[str, Any], key: str, kind: type, where: str, **default: Any) -> Any:
        """Return a value of type `kind`; a missing key takes `default`, or is an error without one."""
        if key not in table and default:
            return default["default"]
        value = table.get(key)
        if type(value) is not kind:
            name = {
                str: "a text",
                list: "a list",
                dict: "a table",
                int: "a whole number",
                bool: "true or false",
            }[kind]
            raise self.wrong(where, f"{key} must be {name}")
        return value

    def known(self, table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
        allowed = list(allowed)
        for key, value in table.items():
            if key in allowed:
                continue
            close = _did_you_mean(key, allowed)
            if where.count(".") == 1 and isinstance(value, dict) and not close:
                # [models.llama-3.2-1b] is the table "2-1b" in the table "llama-3".
                group, name = where.split(".")
                raise self.wrong(group, f'a name with a dot goes into quotes: [{group}."{name}.{key}"]')
            raise self.wrong(where, f"the key {key} is unknown{close}")

    def wrong(self, where: str, what: str) -> CatalogueError:
        return CatalogueError(f"In {self.file}{f', [{where}]' if where else ''}: {what}.")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return (
        f"There is no {what} called {name}{_did_you_mean(name, known)}; `blendin models list` shows them all."
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _is_path(text: str) -> bool:
    return (
        text.endswith(".gguf") or "/" in text or "\\" in text or text.startswith("~") or text in (".", "..")
    )


def _slug(source: str) -> str:
    """Return a name, valid as a folder, made from a source."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", source.partition(":")[2]).strip("-.")[-100:].lstrip("-.")
    # Without a name, the model's folder would be the folder of all models.
    if not name:
        raise CatalogueError(f"{source} does not name a model: write hf:OWNER/REPO:FILE.gguf, or a URL.")
    return name
