"""Every setting of the package, declared once, with its default and its range.

Front ends take their defaults from these fields. Nothing here knows a model or a user interface.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from blendin_local.errors import SettingError
from blendin_local.methods import METHODS

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
FLASH_ATTENTION = ("auto", "on", "off")
UNITS = ("token", "word")

DEFAULT_PAIR = "demo"

Unit = Literal["token", "word"]


def _within(owner: object, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    # Written so that NaN fails too.
    if not low <= value <= high:
        raise SettingError(f"{name} must be between {low} and {high}, not {value}.")


def _one_of(owner: object, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if value not in allowed:
        raise SettingError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How one GGUF file is opened.

    n_ctx: context length in tokens of each sequence; 0 takes the model's own training length.
    n_seq: how many sequences the context holds side by side.
    n_batch: most tokens in one decode.
    n_threads: CPU threads; 0 takes the number of physical cores.
    n_gpu_layers: layers offloaded to the GPU; -1 is all of them (ignored by CPU builds).
    kv_type: number format of the KV cache, one of `KV_TYPES`; quantized ones need flash attention.
    flash_attention: one of `FLASH_ATTENTION`.
    swa_full: keep the whole KV cache of sliding-window layers, so that rewinding never recomputes.
    mmap, mlock: map the file instead of reading it; forbid the system to swap it out.
    n_outputs: most positions of one decode that ask for logits; 0 means one for each sequence.
    shared_cache: all sequences share one KV cache, so that one can begin as a copy of another; else each
        has its own.
    n_contexts: for how many full contexts a shared cache has room, over all sequences.
    """

    n_ctx: int = 4096
    n_seq: int = 1
    n_batch: int = 512
    n_threads: int = 0
    n_gpu_layers: int = -1
    kv_type: str = "f16"
    flash_attention: str = "auto"
    swa_full: bool = True
    mmap: bool = True
    mlock: bool = False
    n_outputs: int = 0
    shared_cache: bool = False
    n_contexts: int = 1

    def __post_init__(self) -> None:
        _within(self, "n_ctx", 0, 1 << 24)
        _within(self, "n_seq", 1, 256)
        _within(self, "n_batch", 1, 1 << 16)
        _within(self, "n_threads", 0, 1024)
        _within(self, "n_gpu_layers", -1, 1 << 16)
        _within(self, "n_outputs", 0, 1 << 16)
        _within(self, "n_contexts", 1, 256)
        _one_of(self, "kv_type", KV_TYPES)
        _one_of(self, "flash_attention", FLASH_ATTENTION)


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """Which method blends the two models, and its parameters (docs/method.md).

    method: a name of `blendin_local.methods.METHODS`.
    gamma: threshold in [0, 1] under which the base's confidence makes it uncertain; 0 never consults.
    alpha: the guide's share under the method `fixed`.
    prior: the pair prior b of the method `tuned`; 0 is the paper's rule.
    compete_k: how deep in the base's ranking the guide's top token may stand under `compete`.
    tau: lower step of the method `tiered`.
    unit: `word` lets the guide finish the word it started.
    max_intervention_rate: cap on interventions / steps once more than 20 steps are out; 1 is no cap.
    capability_gap: guide's benchmark score minus the base's; raises the threshold by gap / 2 of itself.
    guide_stop: ask the guide at the end of a sentence or line whether the response is over.
    """

    method: str = "blendin"
    gamma: float = 0.4
    alpha: float = 0.5
    prior: float = 0.0
    compete_k: int = 5
    tau: float = 0.3
    unit: Unit = "token"
    max_intervention_rate: float = 1.0
    capability_gap: float = 0.0
    guide_stop: bool = True

    def __post_init__(self) -> None:
        _one_of(self, "method", tuple(METHODS))
        _within(self, "gamma", 0, 1)
        _within(self, "alpha", 0, 1)
        _within(self, "prior", -50, 50)
        _within(self, "compete_k", 1, 1 << 20)
        _within(self, "tau", 0, 1)
        _one_of(self, "unit", UNITS)
        _within(self, "max_intervention_rate", 0, 1)
        _within(self, "capability_gap", -1, 1)


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How an outcome is chosen from the (blended) distribution (docs/method.md, "Choosing").

    temperature: 0 takes the most probable outcome; above, probabilities are raised to 1 / temperature.
    min_p, top_k, top_p: filters, applied in this order after the temperature; 0, 0 and 1 switch them off.
    repetition_penalty: at least 1; multiplies the log-probability of outcomes already in the window.
    presence_penalty, frequency_penalty: subtracted from it once, or once per occurrence.
    dry_multiplier, dry_base, dry_allowed_length: an outcome that would extend a repeated run of n outcomes,
        n at least the allowed length, loses multiplier * base ** (n - allowed length).
    penalty_window: how many of the latest outcomes of the response the penalties look at.
    """

    temperature: float = 0.0
    min_p: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    penalty_window: int = 512

    def __post_init__(self) -> None:
        _within(self, "temperature", 0, 100)
        _within(self, "min_p", 0, 1)
        _within(self, "top_k", 0, 1 << 24)
        _within(self, "top_p", 0, 1)
        _within(self, "repetition_penalty", 1, 100)
        _within(self, "presence_penalty", 0, 100)
        _within(self, "frequency_penalty", 0, 100)
        _within(self, "dry_multiplier", 0, 100)
        _within(self, "dry_base", 1, 10)
        _within(self, "dry_allowed_length", 1, 1 << 16)
        _within(self, "penalty_window", 0, 1 << 24)


RECOMMENDED_SAMPLING = SamplingSettings(
    temperature=0.7, min_p=0.05, top_k=40, top_p=0.95, repetition_penalty=1.05, dry_multiplier=0.8
)
"""For pairs that the catalogue recommends nothing else for. Small models loop under greedy decoding; these
settings were measured on the demo pair (docs/measure_sampling.py)."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Everything that decides one response, beside the two models and the prompt."""

    blend: BlendSettings = field(default_factory=BlendSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    max_tokens: int = 512
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _within(self, "max_tokens", 1, 1 << 24)
        _within(self, "seed", 0, (1 << 63) - 1)
        if any(not text for text in self.stop):
            raise SettingError("A stop string must not be empty.")


@dataclass(frozen=True, slots=True)
class Formats:
    """Names of the prompt formats of both models, as `prompts.choose_format` knows them."""

    base: str = "auto"
    guide: str = "auto"


def paper_settings(**blend: Any) -> tuple[BlendSettings, SamplingSettings]:
    """The paper to the letter: greedy, no guide stop, no protection against repetition."""
    return BlendSettings(**{**blend, "guide_stop": False}), SamplingSettings()


def setting_names(cls: type) -> tuple[str, ...]:
    """Names of a settings class's fields, in their order."""
    return tuple(field.name for field in fields(cls))


SETTING_HELP = {
    # BlendSettings
    "method": "How to blend (docs/method.md).",
    "gamma": "Consult the guide where the base's confidence is less.",
    "alpha": "The guide's share under the method fixed.",
    "prior": "Shifts the paper's weight: above 0 to the guide, below 0 to the base (method tuned).",
    "compete_k": "The guide's favourite must be among so many of the base's (method compete).",
    "tau": "Below this confidence of the base the guide's share is 0.7 (method tiered).",
    "unit": "word: the guide finishes the word it began.",
    "max_intervention_rate": "The guide steps in at no more than this share of the steps; 1: no cap.",
    "capability_gap": "Guide's benchmark score minus the base's, -1 to 1: above 0 raises gamma.",
    "guide_stop": "Ask the guide when to stop.",
    # SamplingSettings
    "temperature": "0: greedy, without the pair's penalties.",
    "min_p": "Keep those with at least this share of the best.",
    "top_k": "Keep the k most probable; 0: all.",
    "top_p": "Keep the most probable that sum to p; 1: all.",
    "repetition_penalty": "Makes what was written already less probable; 1: off.",
    "presence_penalty": "The same, by subtracting once; 0: off.",
    "frequency_penalty": "The same, once for each time it was written; 0: off.",
    "dry_multiplier": "Penalty on repeated runs; 0: none.",
    "dry_base": "How fast that penalty grows with the length of the run, 1 to 10.",
    "dry_allowed_length": "Repeated runs shorter than this are free.",
    "penalty_window": "How many latest outcomes penalties look at.",
    # GenerationSettings
    "max_tokens": "Longest reply, in steps.",
    # ModelOptions
    "n_ctx": "Context length in tokens; 0: what the model was trained for.",
    "n_batch": "Most tokens in one decode.",
    "n_threads": "CPU threads; 0: the number of physical cores.",
    "n_gpu_layers": "Layers on the GPU; -1: all, where there is one.",
    "kv_type": "Number format of the KV caches.",
    "flash_attention": "Flash attention.",
    "swa_full": "Keep sliding windows whole, to rewind fast.",
    "mmap": "Map the files instead of reading them.",
    "mlock": "Forbid swapping the models out.",
}
