"""Every setting of the package, declared once (see `setting_spec`), and when it has no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from blendin_local.errors import SettingError
from blendin_local.methods import METHODS
from blendin_local.setting_spec import Checked, setting, settings_of

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
FLASH_ATTENTION = ("auto", "on", "off")

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
    """How to load a GGUF file. Raises SettingError for a value outside its range."""

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


@dataclass(frozen=True, slots=True)
class Formats:
    """Names of the prompt formats of both models, as `prompts.choose_format` reads them."""

    base: str = "auto"
    guide: str = "auto"


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
