"""The report of `blendin models inspect` on one model, or on a base and a guide and their compatibility."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blendin_local.llamacpp.devices import Device
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.compatibility import Overlap, cautions, find_overlap, same_vocabulary
from blendin_local.models.memory_estimate import (
    MemoryEstimate,
    MemoryPart,
    describe,
    estimate,
    free_memory,
    offload_devices,
    warning,
)
from blendin_local.settings import ModelOptions
from blendin_local.templates.thinking_marks import switches_of, thinking_marks


@dataclass(frozen=True, slots=True)
class Inspection:
    """Headers, memory estimates and, of a pair, the overlap of vocabularies.

    options: how the models are opened. free: free RAM in bytes. devices: those to offload to.
    """

    headers: Sequence[GgufHeader]
    memory: Sequence[MemoryEstimate]
    same_vocabulary: bool | None
    overlap: Overlap | None
    free: int
    options: ModelOptions
    devices: Sequence[Device]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the table: a title, and a text for each model."""
        for title, value in _ROWS:
            yield (title, *(value(header) for header in self.headers))
        if any(each.on_devices for each in self.memory):
            yield ("RAM", *(_memory_row(each.ram) for each in self.memory))
            for device in self.devices:
                parts = [_part_on(each, device) for each in self.memory]
                yield (device.name, *(_memory_row(part) if part else "nothing" for part in parts))

    def sentences(self) -> Iterator[str]:
        """Yield the sentences below the table."""
        for header in self.headers:
            if header.unusable:
                yield f"{header.path.name} is {header.unusable}: it cannot be blended."
        if self.same_vocabulary:
            yield "Both have the same vocabulary: every token of the guide is one of the base."
        elif self.overlap is not None:
            yield (
                f"The vocabularies differ and are mapped by bytes: {self.overlap.shared:,} of the guide's "
                f"{self.overlap.guide_tokens:,} text tokens ({self.overlap.share:.1%}) are also the base's."
            )
        if len(self.headers) == 2 and not any(header.unusable for header in self.headers):
            yield from cautions(*self.headers)
        needs = describe(*self.memory, free=self.free, devices=self.devices)
        contexts = [each.n_ctx for each in _options_of(self.options, len(self.headers))]
        lengths = " and ".join(str(length or "all") for length in dict.fromkeys(contexts))
        yield f"{needs} (At a context of {lengths} tokens.)"
        if too_much := warning(*self.memory, free=self.free, devices=self.devices):
            yield too_much

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "models": [
                {**header_json(header), "memory": _memory_json(memory)}
                for header, memory in zip(self.headers, self.memory, strict=True)
            ],
            "free_memory": self.free,
            "devices": [asdict(device) for device in self.devices],
            "fits": not warning(*self.memory, free=self.free, devices=self.devices),
        }
        if len(self.headers) == 2:
            shown["pair"] = {
                "same_vocabulary": self.same_vocabulary,
                "guide_tokens": self.overlap.guide_tokens if self.overlap else None,
                "shared_tokens": self.overlap.shared if self.overlap else None,
                "shared_share": round(self.overlap.share, 4) if self.overlap else None,
            }
        return shown


def inspect_files(paths: Sequence[Path], options: ModelOptions | None = None) -> Inspection:
    """Read the header of one file, or of a base and a guide. options: for the estimate. Raises ModelError."""
    headers = [read_header(path) for path in paths]
    same, overlap = None, None
    if len(headers) == 2:
        base, guide = headers
        same = same_vocabulary(base, guide)
        if base.has_decoder and guide.has_decoder and not same:
            overlap = find_overlap(base, guide)
    options, devices = options or ModelOptions(), offload_devices()
    memory = [
        estimate(header, own, devices)
        for header, own in zip(headers, _options_of(options, len(headers)), strict=True)
    ]
    return Inspection(headers, memory, same, overlap, free_memory(), options, devices)


def _options_of(options: ModelOptions, n_models: int) -> list[ModelOptions]:
    return [options.of("base"), options.of("guide")][:n_models]


def _part_on(memory: MemoryEstimate, device: Device) -> MemoryPart | None:
    return next((part for part in memory.on_devices if part.device == device.name), None)


def _memory_row(part: MemoryPart) -> str:
    sizes = (("weights", part.file), ("KV cache", part.kv_cache), ("buffers", part.buffers))
    return f"{part.total / 1e9:.2f} GB: " + ", ".join(f"{name} {size / 1e9:.2f}" for name, size in sizes)


def _memory_json(memory: MemoryEstimate) -> dict[str, Any]:
    """Convert an estimate to plain data: the totals, and what of them is in RAM and on each device."""
    ram = {name: value for name, value in asdict(memory.ram).items() if name != "device"}
    return asdict(memory) | {
        "total": memory.total,
        "ram": ram | {"total": memory.ram.total},
        "on_devices": [asdict(part) | {"total": part.total} for part in memory.on_devices],
    }


def _chat_row(header: GgufHeader) -> str:
    if header.chat_template is None:
        return "none: a plain transcript"
    return f"{len(header.chat_template):,} characters"


def _thinking_row(header: GgufHeader) -> str:
    template = header.chat_template or ""
    marks = thinking_marks(template)
    if marks is None:
        return "none"
    switches = switches_of(template)
    return f"after {marks.open.strip()}" + (f"; switched by {', '.join(switches)}" if switches else "")


def _window_row(header: GgufHeader) -> str:
    if not any(header.windowed):
        return "none"
    return f"{header.sliding_window:,} tokens in {sum(header.windowed)} of {header.n_layer} layers"


_ROWS = (
    ("File", lambda header: str(header.path)),
    ("Size", lambda header: f"{header.size_bytes / 1e9:.2f} GB" + _parts(header)),
    ("Architecture", lambda header: header.architecture),
    ("Parameters", lambda header: f"{header.n_params / 1e6:,.0f} M"),
    ("Quantization", lambda header: header.quantization),
    ("Context", lambda header: f"{header.n_ctx_train:,} tokens"),
    ("Layers", lambda header: f"{header.n_layer} of width {header.n_embd:,}"),
    ("Sliding window", _window_row),
    (
        "Vocabulary",
        lambda header: f"{header.n_vocab:,} tokens ({header.tokenizer_model} {header.tokenizer_pre})",
    ),
    ("Vocabulary hash", lambda header: header.fingerprint[:16]),
    ("Chat template", _chat_row),
    ("Thinking", _thinking_row),
)


def _parts(header: GgufHeader) -> str:
    return f" in {header.split_count} files" if header.split_count > 1 else ""


def header_json(header: GgufHeader) -> dict[str, Any]:
    """Convert a header to plain data for `--json`."""
    return {
        "path": str(header.path),
        "size": header.size_bytes,
        "files": header.split_count,
        "model_name": header.name,
        "architecture": header.architecture,
        "parameters": header.n_params,
        "quantization": header.quantization,
        "context_length": header.n_ctx_train,
        "layers": header.n_layer,
        "embedding_length": header.n_embd,
        "sliding_window": header.sliding_window,
        "vocabulary_size": header.n_vocab,
        "tokenizer": {"model": header.tokenizer_model, "pre": header.tokenizer_pre},
        "fingerprint": header.fingerprint,
        "chat_template": header.chat_template,
        "thinks": thinking_marks(header.chat_template or "") is not None,
        "can_be_blended": header.has_decoder,
        "unusable": header.unusable or None,
    }
