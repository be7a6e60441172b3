"""Every setting of the package, declared once (see `setting_spec`), and when it has no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from blendin_local.errors import SettingError
from blendin_local.methods import METHODS
from blendin_local.setting_spec import Checked, SettingSpec, setting, settings_of

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
FLASH_ATTENTION = ("auto", "on", "off")

_SHARE = r"\d{1,9}(\.\d{1,9})?"

DEFAULT_PAIR = "demo"
MOST_CANDIDATES = 1000
MOST_PARALLEL = 256
"""As many sequences as llama.cpp opens in one context."""


# When a setting has no effect


def _unless_trigger(*triggers: str) -> Callable[[GenerationSettings], str]:
    def idle(settings: GenerationSettings) -> str:
        method = settings.blend.method
        return "" if METHODS[method].trigger in triggers else f"not used by {method}"

    return idle


def _unless_asked(settings: GenerationSettings) -> str:
    return "" if settings.blend.may_consult else "the guide is never asked"


def _unless_on(reason: str, *names: str) -> Callable[[GenerationSettings], str]:
    """Idle with this reason while all these sampling settings have their default, which is off."""

    def idle(settings: GenerationSettings) -> str:
        specs = settings_of(SamplingSettings)
        off = all(getattr(settings.sampling, name) == specs[name].default for name in names)
        return reason if off else ""

    return idle


_UNCERTAIN = _unless_trigger("uncertain")
_DRAWN = _unless_on("unused at temperature 0", "temperature")
_DRY = _unless_on("unused: dry multiplier 0", "dry_multiplier")
_PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier")


# The settings


@dataclass(frozen=True, slots=True)
class ModelOptions(Checked):
    """How to load the GGUF files of both models.

    base_options, guide_options: options of one model, by name, that replace those of both. explicit: names of
    the options of both models that the user gave, which a pair's recommendation does not replace.
    Raises SettingError for an unknown name and a value outside its range.
    """

    n_ctx: int = setting(
        4096, "Context length in tokens; 0: the model's training context.", low=0, high=1 << 24
    )
    n_seq: int = setting(
        1, "Number of parallel sequences in the context.", low=1, high=MOST_PARALLEL, internal=True
    )
    n_batch: int = setting(512, "Maximum tokens per decode call.", low=1, high=1 << 16, flag="--batch-size")
    n_threads: int = setting(
        0, "CPU threads; 0: the number of physical cores.", low=0, high=1024, flag="--threads"
    )
    n_gpu_layers: int = setting(
        -1, "Layers to offload to the GPU; -1: all.", low=-1, high=1 << 16,
        flag="--gpu-layers",
    )  # fmt: skip
    main_gpu: int = setting(
        -1, "Number of the device that holds all offloaded layers; -1: they are split.", low=-1, high=1 << 16
    )
    tensor_split: str = setting(
        "", "Shares of the devices in the offloaded layers, such as 3,1; empty: by their free memory.",
        pattern=rf"({_SHARE}(,{_SHARE}){{0,127}})?", form="numbers separated by commas, such as 3,1",
    )  # fmt: skip
    device: str = setting(
        "", "Devices to offload to, by llama.cpp's names, such as CUDA0,CUDA1; none: no device; empty: all."
    )
    kv_type: str = setting(
        "f16", "Data type of the KV cache; quantized types need flash attention.",
        choices=dict.fromkeys(KV_TYPES, ""),
    )  # fmt: skip
    flash_attention: str = setting("auto", "Flash attention.", choices=dict.fromkeys(FLASH_ATTENTION, ""))
    swa_full: bool = setting(
        True, "Use a full-size KV cache for sliding-window layers, so that rewinding never recomputes."
    )
    mmap: bool = setting(True, "Memory-map the model file instead of reading it.")
    mlock: bool = setting(False, "Lock the models in RAM, so that they are never swapped out.")
    n_outputs: int = setting(
        0, "Maximum positions per decode call that return logits; 0: one for each sequence.",
        low=0, high=1 << 16, internal=True,
    )  # fmt: skip
    shared_cache: bool = setting(
        False, "All sequences share one KV cache, so that one can start as a copy of another.", internal=True
    )
    n_contexts: int = setting(
        1, "Size of a shared KV cache, in full contexts.",
        low=1, high=MOST_PARALLEL, internal=True,
    )  # fmt: skip
    base_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    guide_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    explicit: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for name in _ROLES.values():
            try:
                object.__setattr__(self, name, check_model_options(getattr(self, name)))
            except SettingError as error:
                raise SettingError(f"{name}: {error}") from error

    def of(self, role: Literal["base", "guide"]) -> ModelOptions:
        """Return the options of one model of a pair."""
        own = dict(getattr(self, _ROLES[role]))
        if "n_batch" in own and self.shared_cache:
            # A round decodes one token of each sequence at once.
            own["n_batch"] = max(own["n_batch"], self.n_seq)
        return replace(self, base_options={}, guide_options={}, explicit=frozenset(), **own)

    def recommended(self, base: Mapping[str, Any], guide: Mapping[str, Any]) -> ModelOptions:
        """Add the options that a pair recommends for its models, where the user gave none."""

        def merged(recommended: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
            return {name: each for name, each in recommended.items() if name not in self.explicit} | {**own}

        if not base and not guide:
            return self
        return replace(
            self,
            base_options=merged(base, self.base_options),
            guide_options=merged(guide, self.guide_options),
        )

    def pinned(self, **changes: Any) -> ModelOptions:
        """Change options of both models, whatever each has of its own."""

        def others(own: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in own.items() if name not in changes}

        return replace(
            self,
            base_options=others(self.base_options),
            guide_options=others(self.guide_options),
            explicit=self.explicit | changes.keys(),
            **changes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain data for a record, without unset ones that older records lack."""
        unset = ModelOptions()
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name in setting_names(ModelOptions)
            if name != "explicit"
            and ((value := getattr(self, name)) != getattr(unset, name) or name not in _LATER)
        }


_ROLES = {"base": "base_options", "guide": "guide_options"}
_LATER = ("main_gpu", "tensor_split", "device", *_ROLES.values())
"""Fields that records of earlier versions lack."""


def model_option_specs() -> dict[str, SettingSpec]:
    """Return the options that can be given for one model, by name."""
    return {name: spec for name, spec in settings_of(ModelOptions).items() if not spec.internal}


def check_model_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of one model, checked. Raises SettingError for an unknown name or a wrong value."""
    if not isinstance(given, Mapping):
        raise SettingError(f"options must be given by name, not as {type(given).__name__}.")
    return {name: _model_option(name).read(value) for name, value in given.items()}


def parse_model_options(texts: Iterable[str]) -> dict[str, Any]:
    """Parse options of one model, each NAME=VALUE; the last of a name counts.

    Raises SettingError for another form, an unknown name or a wrong value.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        spec = _model_option(name.strip())
        if not equals:
            raise SettingError(f"{spec.name} has no value: write {spec.name}={_example(spec)}.")
        found[spec.name] = spec.read(spec.convert(value.strip()))
    return found


def format_model_options(options: Mapping[str, Any]) -> str:
    """Return options as the text NAME=VALUE NAME=VALUE that `parse_model_options` reads, split at spaces."""
    return " ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in options.items()
    )


def _model_option(name: str) -> SettingSpec:
    specs = model_option_specs()
    if name not in specs:
        raise SettingError(f"there is no option {name!r}: there are {', '.join(specs)}.")
    return specs[name]


def _example(spec: SettingSpec) -> str:
    return str(spec.default).lower() if spec.default != "" else "VALUE"


@dataclass(frozen=True, slots=True)
class BlendSettings(Checked):
    """Which method blends the two models, and its parameters (docs/method.md).

    Raises SettingError for a value outside its range.
    """

    method: str = setting("blendin", "Blending method (docs/method.md).", choices=METHODS, letter="-m")
    gamma: float = setting(
        0.4, "Consult the guide where the base's confidence is below this; 0: never.",
        low=0, high=1, symbol="γ", letter="-g", idle=_UNCERTAIN,
    )  # fmt: skip
    alpha: float = setting(0.5, "Constant weight of the guide.", low=0, high=1, symbol="α", selects="fixed")
    prior: float = setting(
        0.0, "Pair prior: above 0 shifts the paper's weight to the guide, below 0 to the base.",
        low=-50, high=50, symbol="b",
    )  # fmt: skip
    compete_k: int = setting(
        5, "The guide's top token must be among this many top tokens of the base.",
        low=1, high=1 << 20, symbol="k",
    )  # fmt: skip
    tau: float = setting(
        0.3, "Base confidence below which the guide's weight is 0.7.", low=0, high=1, symbol="τ"
    )
    unit: Literal["token", "word"] = setting(
        "token", "Extent of an intervention; word: the guide finishes the word it began.",
        choices=dict.fromkeys(("token", "word"), ""), idle=_UNCERTAIN,
    )  # fmt: skip
    max_intervention_rate: float = setting(
        1.0, "Maximum interventions per step, after the first 20 steps; 1: no limit.",
        low=0, high=1, idle=_unless_trigger("uncertain", "always"),
    )  # fmt: skip
    capability_gap: float = setting(
        0.0, "The guide's benchmark score minus the base's: above 0 raises gamma.",
        low=-1, high=1, idle=_UNCERTAIN,
    )  # fmt: skip
    guide_stop: bool = setting(
        True, "Ask the guide at the end of a sentence or line whether to stop.", idle=_unless_asked
    )

    @property
    def may_consult(self) -> bool:
        """Whether these settings can ever decode the guide beside the base."""
        trigger = METHODS[self.method].trigger
        return trigger == "always" or (trigger == "uncertain" and self.gamma > 0)


@dataclass(frozen=True, slots=True)
class SamplingSettings(Checked):
    """How to sample a token from the (blended) distribution (docs/method.md, "Choosing").

    The filters apply in the order min-p, top-k, top-p, after the temperature. Raises SettingError for a value
    outside its range.
    """

    temperature: float = setting(0.0, "Sampling temperature; 0: greedy.", low=0, high=100, letter="-t")
    min_p: float = setting(
        0.0, "Keep tokens with at least this share of the top token's probability; 0: off.",
        low=0, high=1, idle=_DRAWN,
    )  # fmt: skip
    top_k: int = setting(0, "Keep the k most probable tokens; 0: all.", low=0, high=1 << 24, idle=_DRAWN)
    top_p: float = setting(
        1.0, "Keep the most probable tokens that sum to this probability; 1: all.", low=0, high=1, idle=_DRAWN
    )
    repetition_penalty: float = setting(
        1.0, "Penalty on tokens that occurred already; 1: off.", low=1, high=100
    )
    presence_penalty: float = setting(
        0.0, "Fixed penalty on each token that occurred already; 0: off.", low=0, high=100
    )
    frequency_penalty: float = setting(
        0.0, "Penalty on each token, times the number of its occurrences; 0: off.", low=0, high=100
    )
    dry_multiplier: float = setting(
        0.0, "DRY: strength of the penalty on repeated sequences; 0: off.", low=0, high=100
    )
    dry_base: float = setting(
        1.75, "DRY: growth of the penalty with the length of the sequence.", low=1, high=10, idle=_DRY
    )
    dry_allowed_length: int = setting(
        2, "DRY: shorter repeated sequences are not penalized.", low=1, high=1 << 16, idle=_DRY
    )
    penalty_window: int = setting(
        512, "Number of latest tokens that the penalties consider.", low=0, high=1 << 24,
        idle=_unless_on("unused: no penalties", *_PENALTIES),
    )  # fmt: skip


RECOMMENDED_SAMPLING = SamplingSettings(
    temperature=0.7, min_p=0.05, top_k=40, top_p=0.95, repetition_penalty=1.05, dry_multiplier=0.8
)
"""Sampling of pairs without a recommendation in the catalogue, measured on the demo pair
(docs/measure_sampling.py): small models loop under greedy decoding."""


@dataclass(frozen=True, slots=True)
class GenerationSettings(Checked):
    """All settings of one reply.

    Raises SettingError for a value outside its range.
    """

    blend: BlendSettings = field(default_factory=BlendSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    max_tokens: int = setting(512, "Maximum reply length in tokens.", low=1, high=1 << 24, letter="-n")
    seed: int = setting(
        0, "Random seed; the same seed gives the same reply.", low=0, high=(1 << 63) - 1, idle=_DRAWN
    )
    stop: tuple[str, ...] = setting((), "Stop the reply before any of these strings.")
    max_thinking: int = setting(
        2048, "Maximum length of the thinking before an answer, in tokens; 0: none.", low=0, high=1 << 24
    )

    def to_dict(self, *, thinks: bool) -> dict[str, Any]:
        """Return the settings as plain data. thinks: with those that only replies that think depend on."""
        plain = asdict(self)
        return plain if thinks else {name: plain[name] for name in plain if name != "max_thinking"}


def paper_settings(**blend: Any) -> tuple[BlendSettings, SamplingSettings]:
    """Return the settings of the paper: greedy, no guide stop, no protection against repetition."""
    return BlendSettings(**{**blend, "guide_stop": False}), SamplingSettings()


def select_method(given: Iterable[str], methods: Sequence[str]) -> str:
    """Return the method that one of the given blend settings selects where no method is named, or "".

    given: names of the settings. Raises SettingError where methods are named, but not that one.
    """
    for name, spec in settings_of(BlendSettings).items():
        if spec.selects and name in given:
            if not methods:
                return spec.selects
            if spec.selects not in methods:
                raise SettingError(
                    f"{name} belongs to the method {spec.selects}, not to {', '.join(methods)}."
                )
    return ""


def replace_settings(settings: GenerationSettings, changes: Mapping[str, Any]) -> GenerationSettings:
    """Return settings with some of them replaced, each by its own name, whichever part it belongs to.

    Raises SettingError for a value outside its range, TypeError for an unknown name.
    """
    rest = dict(changes)

    def within(part: Any) -> Any:
        return replace(part, **{name: rest.pop(name) for name in setting_names(type(part)) if name in rest})

    blend, sampling = within(settings.blend), within(settings.sampling)
    return replace(settings, blend=blend, sampling=sampling, **rest)


def override_settings(settings: GenerationSettings, changes: Mapping[str, Any]) -> GenerationSettings:
    """Return recommended settings with a user's changes, as `replace_settings`.

    A setting that belongs to one method selects it: `alpha` alone means the method fixed. Temperature 0 means
    plain greedy decoding: it drops the penalties too, unless the changes name them. Raises SettingError.
    """
    changes = dict(changes)
    if selected := select_method(changes, [changes["method"]] if "method" in changes else []):
        changes["method"] = selected
    if changes.get("temperature") == 0:
        settings = replace(settings, sampling=SamplingSettings())
    return replace_settings(settings, changes)


def setting_names(cls: type) -> tuple[str, ...]:
    """Return the names of a settings class's fields, in their order."""
    return tuple(field.name for field in fields(cls))
