"""Check from their headers whether two models are compatible and fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendin_local.engine.vocabulary import TokenKind, Vocabulary
from blendin_local.llamacpp.devices import Device
from blendin_local.llamacpp.header import GgufHeader
from blendin_local.models import memory_estimate
from blendin_local.models.memory_estimate import MemoryEstimate
from blendin_local.settings import ModelOptions

__all__ = ["MemoryCheck", "Overlap", "cautions", "check_memory", "find_overlap", "same_vocabulary"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of two vocabularies.

    guide_tokens: text tokens of the guide. shared: those of them that the base also has as one token.
    """

    guide_tokens: int
    shared: int

    @property
    def share(self) -> float:
        return self.shared / self.guide_tokens if self.guide_tokens else 0.0


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """The memory that a pair needs, and whether it is available; a sentence each."""

    needs: str
    verdict: str
    fits: bool


def same_vocabulary(base: GgufHeader, guide: GgufHeader) -> bool:
    return bool(base.fingerprint) and base.fingerprint == guide.fingerprint


def find_overlap(base: GgufHeader, guide: GgufHeader) -> Overlap:
    """Count the tokens that both vocabularies share; large ones take a second or two.

    Raises ModelError for a file that cannot be loaded.
    """
    from blendin_local.llamacpp.tokenizer import open_tokenizer

    with open_tokenizer(base) as ours, open_tokenizer(guide) as theirs:
        known, texts = set(_texts(ours.vocabulary)), _texts(theirs.vocabulary)
    return Overlap(len(texts), sum(text in known for text in texts))


def _texts(vocabulary: Vocabulary) -> list[bytes]:
    """Bytes of every text token."""
    raw, offsets = vocabulary.blob.tobytes(), vocabulary.offsets.tolist()
    tokens = np.flatnonzero(vocabulary.kinds < TokenKind.CONTROL).tolist()
    return [text for token in tokens if (text := raw[offsets[token] : offsets[token + 1]])]


def cautions(base: GgufHeader, guide: GgufHeader) -> Iterator[str]:
    """Yield a sentence for each reason against using the models in these roles."""
    if guide.chat_template is None:
        yield "The guide has no chat template: it may not be tuned to follow instructions."
    if guide.n_params > base.n_params:
        yield "The guide is larger than the base: the other way round is usually faster."


def check_memory(
    pair: Sequence[GgufHeader],
    options: ModelOptions,
    loaded: Sequence[GgufHeader] = (),
    free: int | None = None,
) -> MemoryCheck:
    """Check whether a pair fits beside the loaded one, in its place, or not at all.

    pair, loaded: headers of base and guide. free: free memory in bytes, measured if None.
    """
    available = memory_estimate.free_memory() if free is None else free
    devices = memory_estimate.offload_devices()
    new = _estimates(pair, options, devices)
    needs = memory_estimate.describe(*new, free=available, devices=devices)
    if not (warning := memory_estimate.warning(*new, free=available, devices=devices)):
        return MemoryCheck(needs, "It fits beside the loaded pair." if loaded else "It fits.", True)
    held = _estimates(loaded, options, devices)
    # The loaded files are memory-mapped, so the system counts them as free already.
    freed = sum(each.ram.kv_cache + each.ram.buffers for each in held)
    parts = [part for each in held for part in each.on_devices]
    emptied = [
        replace(device, free=device.free + sum(part.total for part in parts if part.device == device.name))
        for device in devices
    ]
    if held and not memory_estimate.warning(*new, free=available + freed, devices=emptied):
        return MemoryCheck(needs, "It does not fit beside the loaded pair, which is unloaded first.", True)
    return MemoryCheck(needs, warning, False)


def _estimates(
    pair: Sequence[GgufHeader], options: ModelOptions, devices: Sequence[Device]
) -> list[MemoryEstimate]:
    both = options.of("base"), options.of("guide")
    return [memory_estimate.estimate(header, own, devices) for header, own in zip(pair, both, strict=False)]
