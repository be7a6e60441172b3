"""What is compared: a model alone, or a pair with a method and settings.

An `ArmSpec` is what a user asked for, with lists of values where every combination is meant; `make_arms`
finds the files and makes `Arm`s of it. The base alone and the guide alone of every pair are always among
them: with a large gap between two models no blend beats the better one, and that must be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from blendin_local.compare.naming import name_arms, name_models
from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import PromptFormat, choose_format
from blendin_local.errors import EvaluationError, SettingError
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.methods import METHODS
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.loading import name_pair
from blendin_local.settings import BlendSettings, Formats, GenerationSettings, SamplingSettings

__all__ = ["ALONE", "Arm", "ArmModel", "ArmSpec", "Kind", "find_model", "make_arms"]

Kind = Literal["base", "guide", "pair", "model"]

ALONE = BlendSettings(method="base", guide_stop=False)
"""How a model alone is run: as a base that never asks anybody."""

Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One line of a plan: a pair by name or by two models, or a single model.

    blend, sampling: fields of `BlendSettings` and `SamplingSettings`, each with the values to be tried;
    every combination is an arm. What is not named of the blend is as the pair recommends, of the sampling
    greedy. paper: no guide stop. name: of the arm, where there is but one. where: for complaints.
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
    """One model of an arm: how it is called, its file, the file's SHA-256, how it is asked."""

    name: str
    header: GgufHeader
    sha256: str
    format: PromptFormat


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of a comparison.

    kind: "pair"; or a single model, "base" or "guide" after its part in the pair that brought it in,
    "model" where it was asked for itself. base, guide: a single model stands at its own place, a "model"
    at the base's. pair: how its pair is called. settings: without the length and the seed, which are the
    task's and the question's.
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
        """The arm in which one model of this pair writes alone, chosen from in the same way."""
        model = self.base if role == "base" else self.guide
        if not self.is_pair or model is None:
            return None
        wanted = _identity(_single("base", model, self.settings))
        return next((arm for arm in arms if not arm.is_pair and _identity(arm) == wanted), None)


def make_arms(
    wishes: Sequence[ArmSpec], catalogue: Catalogue, identify: Callable[[Path], str]
) -> tuple[Arm, ...]:
    """Find and check all files, and make the arms, each once, with names that tell them apart.

    identify: the SHA-256 of a model's bytes. One model is one arm, whichever pairs share it, if it is asked
    and chosen from alike. Raises CatalogueError, ModelError, PromptError, SettingError or EvaluationError,
    before any model is loaded.
    """
    arms: list[Arm] = []
    for wish in wishes:
        arms += _of_wish(wish, catalogue, identify)
    if not arms:
        raise EvaluationError("There is nothing to compare: name a pair with --pair, or models with --model.")
    unique: dict[Any, Arm] = {}
    for arm in arms:
        known = unique.setdefault(_identity(arm), arm)
        # A name that was given wins over one that was made.
        if arm.name and not known.name:
            unique[_identity(arm)] = replace(known, name=arm.name)
    return _named(list(unique.values()))


def find_model(
    catalogue: Catalogue, identify: Callable[[Path], str], given: str, format_name: str = "auto"
) -> ArmModel:
    """A model by its name, path or source; its own name is "" where it has none in the catalogue.

    Raises CatalogueError, ModelError or PromptError.
    """
    header = read_header(catalogue.resolve_model(given))
    header.check_usable()
    form = choose_format(format_name, header.chat_template)
    return ArmModel(given if given in catalogue.models else "", header, identify(header.path), form)


def _of_wish(wish: ArmSpec, catalogue: Catalogue, identify: Callable[[Path], str]) -> list[Arm]:
    def model(given: str, format_name: str) -> ArmModel:
        return find_model(catalogue, identify, given, format_name)

    if wish.model:
        single = model(wish.model, wish.formats.base)
        settings = _combined(wish, ALONE)
        return [
            replace(_single("base", single, each), kind="model", name=wish.name if len(settings) == 1 else "")
            for each in settings
        ]
    entry = name_pair(catalogue, wish.pair or None, wish.base or None, wish.guide or None)
    base, guide = model(entry.base, wish.formats.base), model(entry.guide, wish.formats.guide)
    blends = [each for each in _combined(wish, entry.blend) if METHODS[each.blend.method].trigger != "never"]
    alone = [
        _single(role, each, settings) for settings in _samplings(wish) for role, each in _roles(base, guide)
    ]
    pairs = [
        Arm(wish.name if len(blends) == 1 else "", "pair", base, guide, settings, pair=entry.name)
        for settings in blends
    ]
    return [*alone, *pairs]


def _roles(base: ArmModel, guide: ArmModel) -> tuple[tuple[Role, ArmModel], ...]:
    return ("base", base), ("guide", guide)


def _single(role: Role, model: ArmModel, settings: GenerationSettings) -> Arm:
    settings = replace(settings, blend=ALONE)
    base, guide = (model, None) if role == "base" else (None, model)
    return Arm("", role, base, guide, settings)


def _samplings(wish: ArmSpec) -> list[GenerationSettings]:
    return [
        GenerationSettings(ALONE, _checked(wish, SamplingSettings(), chosen), stop=wish.stop)
        for chosen in _choices(wish.sampling)
    ]


def _combined(wish: ArmSpec, recommended: BlendSettings) -> list[GenerationSettings]:
    """All combinations of the wish's values, each setting that has no effect under a method tried once."""
    if wish.paper:
        recommended = replace(recommended, guide_stop=False)
    values = dict(wish.blend)
    if "alpha" in values:
        methods = values.setdefault("method", ("fixed",))
        if "fixed" not in methods:
            raise SettingError(
                f"{wish.where}alpha belongs to the method fixed, not to {', '.join(map(str, methods))}."
            )
    found: dict[Any, GenerationSettings] = {}
    for sampling in _samplings(wish):
        for chosen in _choices(values):
            blend = _checked(wish, recommended, chosen)
            settings = replace(sampling, blend=blend)
            found.setdefault((effective(blend), sampling.sampling), settings)
    return list(found.values())


def _checked(wish: ArmSpec, settings: Any, chosen: Mapping[str, Any]) -> Any:
    try:
        return replace(settings, **chosen)
    except SettingError as error:
        raise SettingError(f"{wish.where}{error}") from error


def _choices(values: Values) -> Iterable[dict[str, Any]]:
    """Every combination of the values, the first setting changing slowest."""
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


_NEEDS_TRIGGER = ("gamma", "capability_gap")
_BELONGS_TO = {"alpha": "fixed", "prior": "tuned", "compete_k": "compete", "tau": "tiered"}


def effective(blend: BlendSettings) -> tuple[tuple[str, Any], ...]:
    """The settings that can change a reply under their method."""
    trigger = METHODS[blend.method].trigger
    return tuple(
        (name, value)
        for name, value in asdict(blend).items()
        if _BELONGS_TO.get(name, blend.method) == blend.method
        and (name not in _NEEDS_TRIGGER or trigger == "uncertain")
        and (trigger != "never" or name == "method")
    )


def _identity(arm: Arm) -> Any:
    """Equal for two arms that would give the same answers."""
    models = [(model.sha256, model.format) for model in arm.models]
    settings = arm.settings
    if not arm.is_pair:
        return "alone", models[0], settings.sampling, settings.stop
    return "pair", *models, effective(settings.blend), settings.sampling, settings.stop


def _named(arms: list[Arm]) -> tuple[Arm, ...]:
    """Models and arms with names that tell them apart."""
    headers = {model.sha256: model for arm in arms for model in arm.models if not model.name}
    headers |= {model.sha256: model for arm in arms for model in arm.models if model.name}
    names = name_models({sha256: (model.name, model.header) for sha256, model in headers.items()})

    def called(model: ArmModel | None) -> ArmModel | None:
        return replace(model, name=names[model.sha256]) if model else None

    arms = [replace(arm, base=called(arm.base), guide=called(arm.guide)) for arm in arms]
    arms = [
        replace(arm, pair=arm.pair or "+".join(model.name for model in arm.models)) if arm.is_pair else arm
        for arm in arms
    ]
    return tuple(replace(arm, name=name) for arm, name in zip(arms, _arm_names(arms), strict=True))


def _arm_names(arms: Sequence[Arm]) -> list[str]:
    """A name for each arm, no two alike."""
    listed = []
    for arm in arms:
        subject = arm.pair if arm.is_pair else arm.models[0].name
        settings = {**dict(effective(arm.settings.blend)), **asdict(arm.settings.sampling)}
        formats = [model.format.name for model in arm.models]
        settings |= {"formats": "/".join(formats), "stop": arm.settings.stop}
        listed.append((arm.name, subject, arm.settings.blend if arm.is_pair else None, settings))
    return name_arms(listed)
