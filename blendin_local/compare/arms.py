"""Arms of a comparison: a single model, or a pair with a method and settings.

An `ArmSpec` is a user's request, with lists of values whose combinations are compared; `make_arms` finds the
files and makes `Arm`s of it. The base alone and the guide alone of every pair are always added: with a large
gap between two models no blend beats the better one, and the comparison must show that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

from blendin_local.compare.naming import name_arms, name_models
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat
from blendin_local.engine.thinking import choose_formats
from blendin_local.errors import EvaluationError, SettingError
from blendin_local.formats import AUTO_FORMATS, Formats
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.methods import METHODS
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.loading import name_pair
from blendin_local.setting_spec import settings_of
from blendin_local.settings import (
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
    select_method,
)

__all__ = ["ALONE", "Arm", "ArmModel", "ArmSpec", "Kind", "find_model", "make_arms"]

Kind = Literal["base", "guide", "pair", "model"]

ALONE = BlendSettings(method="base", guide_stop=False)
"""Settings of a single model: a base that never consults a guide."""

Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One line of a plan: a pair by name or by two models, or a single model.

    blend, sampling: fields of `BlendSettings` and `SamplingSettings`, each with the values to compare; every
    combination is an arm. Unnamed blend settings are the pair's recommended ones, unnamed sampling settings
    greedy. paper: no guide stop. name: of the arm, if there is only one. where: prefix of error messages.
    """

    pair: str = ""
    base: str = ""
    guide: str = ""
    model: str = ""
    blend: Values = field(default_factory=dict)
    sampling: Values = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    paper: bool = False
    formats: Formats = field(default_factory=Formats)
    name: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class ArmModel:
    """One model of an arm: its name, its file, the file's SHA-256, its prompt format.

    options: names and values of `ModelOptions` that replace those of the comparison.
    """

    name: str
    header: GgufHeader
    sha256: str
    format: PromptFormat
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of a comparison.

    kind: "pair"; or a single model: "base" or "guide" by its role in the pair that added it, "model" if it
    was requested itself. base, guide: a single model fills the field of its role, a "model" that of the base.
    pair: name of the pair. settings: without length and seed, which come from the task and the question.
    """

    name: str
    kind: Kind
    base: ArmModel | None
    guide: ArmModel | None
    settings: GenerationSettings
    pair: str = ""

    @property
    def is_pair(self) -> bool:
        return self.kind == "pair"

    @property
    def models(self) -> tuple[ArmModel, ...]:
        return tuple(model for model in (self.base, self.guide) if model is not None)

    @property
    def method(self) -> str:
        return "guide" if self.kind == "guide" else self.settings.blend.method

    def alone(self, role: str, arms: Iterable[Arm]) -> Arm | None:
        """Return the arm in which one model of this pair writes alone with the same sampling, or None."""
        model = self.base if role == "base" else self.guide
        if not self.is_pair or model is None:
            return None
        wanted = _identity(_single("base", model, self.settings))
        return next((arm for arm in arms if not arm.is_pair and _identity(arm) == wanted), None)


def make_arms(
    specs: Sequence[ArmSpec],
    catalogue: Catalogue,
    identify: Callable[[Path], str],
    options: ModelOptions | None = None,
) -> tuple[Arm, ...]:
    """Find and check all files, and make the arms, each once, with distinct names.

    identify: returns the SHA-256 of a model's bytes. options: those of one model are given to the models of
    that role; a model that was requested itself is opened as a base. A model with one prompt format and one
    sampling is one arm, also where several pairs share it.

    Raises CatalogueError, ModelError, PromptError, SettingError or EvaluationError, before any model is
    loaded.
    """
    arms: list[Arm] = []
    for spec in specs:
        arms += _arms_of(spec, catalogue, identify, options or ModelOptions())
    if not arms:
        raise EvaluationError("There is nothing to compare: name a pair with --pair, or models with --model.")
    unique: dict[Any, Arm] = {}
    for arm in arms:
        known = unique.setdefault(_identity(arm), arm)
        # A given name replaces a generated one.
        if arm.name and not known.name:
            unique[_identity(arm)] = replace(known, name=arm.name)
    return _assign_names(list(unique.values()))


def find_model(catalogue: Catalogue, identify: Callable[[Path], str], given: str) -> ArmModel:
    """Return a model by its name, path or source; its name is "" if the catalogue has none.

    Raises CatalogueError, ModelError or PromptError.
    """
    return _find_models(catalogue, identify, {"base": given}, AUTO_FORMATS, ModelOptions())["base"]


def _find_models(
    catalogue: Catalogue,
    identify: Callable[[Path], str],
    given: Mapping[Role, str],
    formats: Formats,
    options: ModelOptions,
) -> dict[Role, ArmModel]:
    """Find one model or both of a pair, each with its own options. Raises as `find_model` does."""
    headers = {role: read_header(catalogue.resolve_model(each)) for role, each in given.items()}
    for header in headers.values():
        header.check_usable()
    forms = choose_formats(formats, {role: header.chat_template for role, header in headers.items()})
    own = {"base": options.base_options, "guide": options.guide_options}
    return {
        role: ArmModel(
            given[role] if given[role] in catalogue.models else "",
            header,
            identify(header.path),
            forms[role],
            tuple(sorted(own[role].items())),
        )
        for role, header in headers.items()
    }


def _arms_of(
    spec: ArmSpec, catalogue: Catalogue, identify: Callable[[Path], str], options: ModelOptions
) -> list[Arm]:
    find = partial(_find_models, catalogue, identify)
    if spec.model:
        single = find({"base": spec.model}, spec.formats, options)["base"]
        settings = _combine_settings(spec, ALONE)
        return [
            replace(_single("base", single, each), kind="model", name=spec.name if len(settings) == 1 else "")
            for each in settings
        ]
    entry = name_pair(catalogue, spec.pair or None, spec.base or None, spec.guide or None)
    options = options.recommended(entry.base_options, entry.guide_options)
    formats = spec.formats.recommended(entry.base_variables, entry.guide_variables)
    base, guide = find({"base": entry.base, "guide": entry.guide}, formats, options).values()
    blends = [
        each for each in _combine_settings(spec, entry.blend) if METHODS[each.blend.method].trigger != "never"
    ]
    alone = [
        _single(role, each, settings) for settings in _samplings(spec) for role, each in _roles(base, guide)
    ]
    pairs = [
        Arm(spec.name if len(blends) == 1 else "", "pair", base, guide, settings, pair=entry.name)
        for settings in blends
    ]
    return [*alone, *pairs]


def _roles(base: ArmModel, guide: ArmModel) -> tuple[tuple[Role, ArmModel], ...]:
    return ("base", base), ("guide", guide)


def _single(role: Role, model: ArmModel, settings: GenerationSettings) -> Arm:
    settings = replace(settings, blend=ALONE)
    base, guide = (model, None) if role == "base" else (None, model)
    return Arm("", role, base, guide, settings)


def _samplings(spec: ArmSpec) -> list[GenerationSettings]:
    return [
        GenerationSettings(ALONE, _replace_settings(spec, SamplingSettings(), chosen), stop=spec.stop)
        for chosen in _choices(spec.sampling)
    ]


def _combine_settings(spec: ArmSpec, recommended: BlendSettings) -> list[GenerationSettings]:
    """Return all combinations of the values; a setting that the method ignores takes only its first."""
    if spec.paper:
        recommended = replace(recommended, guide_stop=False)
    values = dict(spec.blend)
    try:
        if selected := select_method(values, values.get("method", ())):
            values["method"] = (selected,)
    except SettingError as error:
        raise SettingError(f"{spec.where}{error}") from error
    found: dict[Any, GenerationSettings] = {}
    for sampling in _samplings(spec):
        for chosen in _choices(values):
            blend = _replace_settings(spec, recommended, chosen)
            settings = replace(sampling, blend=blend)
            found.setdefault((effective(blend), sampling.sampling), settings)
    return list(found.values())


def _replace_settings(spec: ArmSpec, settings: Any, chosen: Mapping[str, Any]) -> Any:
    try:
        return replace(settings, **chosen)
    except SettingError as error:
        raise SettingError(f"{spec.where}{error}") from error


def _choices(values: Values) -> Iterable[dict[str, Any]]:
    """Yield every combination of the values, the first setting changing slowest."""
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def effective(blend: BlendSettings) -> tuple[tuple[str, Any], ...]:
    """Return the settings that can change a reply under their method."""
    settings = GenerationSettings(blend)
    return tuple(
        (name, getattr(blend, name))
        for name, spec in settings_of(BlendSettings).items()
        if not spec.idle_reason(settings)
    )


def _identity(arm: Arm) -> Any:
    """Return a key that is equal for two arms with the same answers."""
    models = [(model.sha256, model.format, model.options) for model in arm.models]
    settings = arm.settings
    if not arm.is_pair:
        return "alone", models[0], settings.sampling, settings.stop
    return "pair", *models, effective(settings.blend), settings.sampling, settings.stop


def _assign_names(arms: list[Arm]) -> tuple[Arm, ...]:
    """Give the arms and their models distinct names."""
    headers = {model.sha256: model for arm in arms for model in arm.models if not model.name}
    headers |= {model.sha256: model for arm in arms for model in arm.models if model.name}
    names = name_models({sha256: (model.name, model.header) for sha256, model in headers.items()})

    def rename(model: ArmModel | None) -> ArmModel | None:
        return replace(model, name=names[model.sha256]) if model else None

    arms = [replace(arm, base=rename(arm.base), guide=rename(arm.guide)) for arm in arms]
    arms = [
        replace(arm, pair=arm.pair or "+".join(model.name for model in arm.models)) if arm.is_pair else arm
        for arm in arms
    ]
    return tuple(replace(arm, name=name) for arm, name in zip(arms, _arm_names(arms), strict=True))


def _arm_names(arms: Sequence[Arm]) -> list[str]:
    """Return a distinct name for each arm."""
    listed = []
    for arm in arms:
        subject = arm.pair if arm.is_pair else arm.models[0].name
        settings = {**dict(effective(arm.settings.blend)), **asdict(arm.settings.sampling)}
        formats = [model.format.name for model in arm.models]
        settings |= {"formats": "/".join(formats), "stop": arm.settings.stop}
        listed.append((arm.name, subject, arm.settings.blend if arm.is_pair else None, settings))
    return name_arms(listed)
