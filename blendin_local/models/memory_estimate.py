"""Estimate the memory of a model from its header, before loading it, in RAM and on each device.

The formulas follow llama.cpp's allocations; measured on the demo pair, the KV cache is exact and the buffers
are within 10 %. Weights that llama.cpp repacks for a CPU's matrix instructions take their size once more and
are not counted, because the mapped file can then leave memory. Layers are placed on devices as llama.cpp
places them; the buffers there are those of a CPU.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING

import psutil

from blendin_local.settings import ModelOptions

if TYPE_CHECKING:
    from blendin_local.llamacpp.devices import Device
    from blendin_local.llamacpp.header import GgufHeader

__all__ = [
    "MemoryEstimate",
    "MemoryPart",
    "describe",
    "estimate",
    "free_memory",
    "offload_devices",
    "warning",
]

# Size in bytes of a KV cache block, and elements in it.
_BLOCKS = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
}
_CACHE_STEP = 256
_DEFAULT_CONTEXT = 4096
# Bytes that llama.cpp keeps per vocabulary entry (text, score, hash entries), measured.
_VOCABULARY_ENTRY = 256
_GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """Memory of one model in one place, in bytes: weights, KV caches of all sequences, buffers."""

    file: int
    kv_cache: int
    buffers: int
    device: str = ""

    @property
    def total(self) -> int:
        return self.file + self.kv_cache + self.buffers


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory of one model in bytes: weights, KV caches of all sequences, buffers; all places together.

    on_devices: what of it each device holds; the rest is in RAM.
    """

    file: int
    kv_cache: int
    buffers: int
    on_devices: tuple[MemoryPart, ...] = ()

    @property
    def total(self) -> int:
        return self.file + self.kv_cache + self.buffers

    @property
    def ram(self) -> MemoryPart:
        """The part that no device holds."""
        return MemoryPart(
            self.file - sum(part.file for part in self.on_devices),
            self.kv_cache - sum(part.kv_cache for part in self.on_devices),
            self.buffers - sum(part.buffers for part in self.on_devices),
        )


def offload_devices() -> tuple[Device, ...]:
    """Return the devices that llama.cpp offloads to, with their free memory."""
    from blendin_local.llamacpp.devices import devices

    return devices()


def estimate(
    header: GgufHeader, options: ModelOptions, devices: Sequence[Device] | None = None
) -> MemoryEstimate:
    """Estimate the memory of a model opened with `options`. devices: those of this machine if None."""
    trained = header.n_ctx_train or options.n_ctx or _DEFAULT_CONTEXT
    n_ctx = min(options.n_ctx or trained, trained)
    n_ctx = _round_up_context(n_ctx * options.n_contexts if options.shared_cache else n_ctx)
    caches = 1 if options.shared_cache else options.n_seq
    kv_cache = [caches * size for size in _kv_cache(header, options, n_ctx)]
    state = _spread(options.n_seq * 4 * header.recurrent_size, header.n_layer)
    kept = [sum(pair) for pair in zip_longest(kv_cache, state, fillvalue=0)]
    whole = MemoryEstimate(header.size_bytes, sum(kept), _buffers(header, options, n_ctx))
    devices = offload_devices() if devices is None else devices
    places = _places(header, options, devices)
    if not any(places):
        return whole
    return _divided(header, whole, kept, places, _compute(header, options, n_ctx))


def _divided(
    header: GgufHeader,
    whole: MemoryEstimate,
    kept: Sequence[int],
    places: Sequence[str],
    compute: tuple[int, int],
) -> MemoryEstimate:
    """Divide an estimate. kept: bytes of KV cache and state of each layer. places: see `_places`.

    compute: bytes of the compute buffer where layers are, and of that of the inputs alone.
    """
    layers = header.layer_bytes or _spread(header.size_bytes, header.n_layer)
    weights = [*layers, header.output_bytes]
    parts = [
        MemoryPart(
            sum(size for size, place in zip(weights, places, strict=True) if place == device),
            sum(size for size, place in zip_longest(kept, places, fillvalue=0) if place == device),
            compute[0],
            device,
        )
        for device in dict.fromkeys(filter(None, places))
    ]
    copied = header.output_bytes if places[-1] and header.shared_output else 0
    in_ram = whole.buffers - (0 if "" in places[:-1] else compute[0] - compute[1])
    return MemoryEstimate(
        whole.file + copied,
        whole.kv_cache,
        in_ram + sum(part.buffers for part in parts),
        tuple(parts),
    )


def _places(header: GgufHeader, options: ModelOptions, devices: Sequence[Device]) -> list[str]:
    """Return the device of each layer and of the output, as llama.cpp chooses it; "" for the CPU."""
    wanted = [name.strip() for name in options.device.split(",") if name.strip()]
    chosen = [device for device in devices if not wanted or device.name in wanted]
    if options.main_gpu >= 0:
        chosen = chosen[options.main_gpu : options.main_gpu + 1]
    n_places = header.n_layer + 1
    offloaded = n_places if options.n_gpu_layers < 0 else min(options.n_gpu_layers, n_places)
    if not chosen or not offloaded:
        return [""] * n_places
    given = [float(share) for share in options.tensor_split.split(",") if share] if len(chosen) > 1 else []
    shares = [*given, *[0.0] * len(chosen)][: len(chosen)]
    if not any(shares):
        shares = [float(device.free) for device in chosen]
    if not any(shares):
        shares = [1.0] * len(chosen)
    ends = [end / sum(shares) for end in accumulate(shares)]
    # Rounding must not leave the last layer without a device.
    names = [chosen[min(bisect_right(ends, n / offloaded), len(ends) - 1)].name for n in range(offloaded)]
    return [""] * (n_places - offloaded) + names


def _spread(total: int, parts: int) -> list[int]:
    """Divide bytes into equal whole parts; none without parts."""
    return [total * (n + 1) // parts - total * n // parts for n in range(parts)]


def _kv_cache(header: GgufHeader, options: ModelOptions, n_ctx: int) -> list[int]:
    """Bytes of one KV cache of n_ctx tokens, by layer."""
    block_bytes, block_length = _BLOCKS[options.kv_type]
    windows = header.sliding_window * (options.n_seq if options.shared_cache else 1)
    window = n_ctx if options.swa_full else min(n_ctx, _round_up_context(windows + options.n_batch))
    layers = []
    for layer, n_heads in enumerate(header.n_head_kv):
        cells = window if layer < len(header.windowed) and header.windowed[layer] else n_ctx
        sizes = (header.key_length, header.value_length)
        layers.append(sum(cells * -(-n_heads * size // block_length) * block_bytes for size in sizes))
    return layers


def _buffers(header: GgufHeader, options: ModelOptions, n_ctx: int) -> int:
    logits = 4 * (options.n_outputs or options.n_seq) * header.n_vocab
    return _compute(header, options, n_ctx)[0] + logits + _VOCABULARY_ENTRY * header.n_vocab


def _compute(header: GgufHeader, options: ModelOptions, n_ctx: int) -> tuple[int, int]:
    """Bytes of a compute buffer for layers, and of one for the inputs alone."""
    n_batch = min(options.n_batch, n_ctx)
    logits = 4 * (options.n_outputs or options.n_seq) * header.n_vocab
    activations = 4 * n_batch * (3 * header.n_ff + 4 * header.n_embd)
    if options.flash_attention == "off":
        activations += 4 * n_batch * header.n_head * n_ctx
    # float16 for each pair of batch and context positions; windowed layers have a mask of their own.
    mask = 2 * n_batch * n_ctx * (2 if any(header.windowed) else 1)
    return mask + max(activations, logits), mask + 4 * n_batch * header.n_embd


def _round_up_context(n: int) -> int:
    return -(-n // _CACHE_STEP) * _CACHE_STEP


def free_memory() -> int:
    """Bytes that can be allocated without swapping."""
    return int(psutil.virtual_memory().available)


def describe(
    *estimates: MemoryEstimate, free: int | None = None, devices: Sequence[Device] | None = None
) -> str:
    """Return a sentence on the memory of models together and on free memory, in RAM and on each device.

    free: bytes of RAM; devices: those of this machine. Both are measured if None.
    """
    ram = _together([each.ram for each in estimates])
    parts = {"files": ram.file, "KV caches": ram.kv_cache, "buffers": ram.buffers}
    detail = ", ".join(f"{name} {size / _GB:.2f}" for name, size in parts.items())
    available = free_memory() if free is None else free
    on_devices = _on_devices(estimates)
    place = " of RAM" if on_devices else ""
    sentence = f"Needs about {_gigabytes(ram.total)}{place} ({detail}); {_gigabytes(available)} are free"
    known = _by_name(on_devices, devices)
    for name, needed in on_devices.items():
        there = f", where {_gigabytes(known[name].free)} are free" if name in known else ""
        sentence += f"; about {_gigabytes(needed)} on {name}{there}"
    return f"{sentence}."


def warning(
    *estimates: MemoryEstimate, free: int | None = None, devices: Sequence[Device] | None = None
) -> str:
    """Return a warning if the models together exceed free memory in RAM or on a device, else "".

    free, devices: as for `describe`.
    """
    available = free_memory() if free is None else free
    on_devices = _on_devices(estimates)
    known = _by_name(on_devices, devices)
    ram = _together([each.ram for each in estimates])
    # The memory of an integrated device is RAM.
    total = ram.total + sum(size for name, size in on_devices.items() if name in known and known[name].shared)
    if total > available:
        shorter = ram.kv_cache > total - available
        remedy = "a shorter context or a smaller KV cache type" if shorter else "smaller models"
        return (
            f"Not enough memory: about {_gigabytes(total)} are needed and {_gigabytes(available)} are free, "
            f"so close other programs or choose {remedy}."
        )
    for name, needed in on_devices.items():
        if name in known and needed > known[name].free:
            return (
                f"Not enough memory on {name}: about {_gigabytes(needed)} are needed and "
                f"{_gigabytes(known[name].free)} are free, so offload fewer layers (--gpu-layers) or choose "
                "smaller models."
            )
    return ""


def _together(parts: Iterable[MemoryPart]) -> MemoryPart:
    parts = list(parts)
    return MemoryPart(
        sum(part.file for part in parts),
        sum(part.kv_cache for part in parts),
        sum(part.buffers for part in parts),
    )


def _on_devices(estimates: Iterable[MemoryEstimate]) -> dict[str, int]:
    """Return the bytes that models together take on each device."""
    found: dict[str, int] = {}
    for each in estimates:
        for part in each.on_devices:
            found[part.device] = found.get(part.device, 0) + part.total
    return found


def _by_name(needed: Mapping[str, int], devices: Sequence[Device] | None) -> dict[str, Device]:
    """Return the devices by name; they are measured only where something is needed on one."""
    if not needed:
        return {}
    return {device.name: device for device in (offload_devices() if devices is None else devices)}


def _gigabytes(size: int) -> str:
    return f"{size / _GB:.1f} GB"
