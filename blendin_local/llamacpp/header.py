"""Read the header of a GGUF file, in about 0.1 s and without loading the model."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blendin_local.errors import ModelError
from blendin_local.llamacpp.gguf_reader import GgufFile, Tensor
from blendin_local.llamacpp.header_checks import find_damage
from blendin_local.llamacpp.library import api

__all__ = ["GgufHeader", "model_files", "read_header"]

# If a file does not state which layers have a sliding window, llama.cpp decides by the
# architecture's name: every n-th layer sees the whole context.
_WINDOW_PERIODS = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "olmo2": 4,
    "smallthinker": 4,
}
_IMAGE_TENSORS = ("double_blocks.", "joint_blocks.", "model.diffusion_model.", "single_blocks.")
_EMBEDDERS = re.compile(r"bert|embed")
_IMAGE_ARCHITECTURES = (
    "aura", "chroma", "cosmos", "flux", "hidream", "hyvid", "ltxv", "lumina2", "pig", "qwen_image", "sd1",
    "sd3", "sdxl", "wan", "z_image",
)  # fmt: skip
_UNUSABLE_ARCHITECTURES = {
    **dict.fromkeys(_IMAGE_ARCHITECTURES, "a model that makes images or videos"),
    "clip": "a projector for images or sound",
    "dream": "a diffusion model",
    "llada": "a diffusion model",
    "llada-moe": "a diffusion model",
    "t5": "an encoder-decoder model",
    "t5encoder": "an embedding model",
    "wavtokenizer-dec": "a sound decoder",
}
_UNUSABLE_FILES = {
    "adapter": "an adapter (LoRA)",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for images or sound",
}
# The limit of llama.cpp.
_MOST_LAYERS = 512
_LAYER = re.compile(r"blk\.(\d{1,4})\.", re.ASCII)
_PART = re.compile(r"(.+-)(\d{5})(-of-\d{5}\.gguf)")


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A model as described by its file. Missing values are zero or "".

    size_bytes, n_params: of all parts of a split model.
    quantization: as named by llama.cpp ("Q4_K_M"); the most frequent tensor type if the file names none.
    n_head_kv: for each layer with keys and values. key_length, value_length: size of one head.
    sliding_window: size of the attention window. windowed: for each layer, whether it has the window.
    recurrent_size: elements of the recurrent state of one sequence, over all layers.
    layer_bytes: weights of each layer. output_bytes: weights of the output layer. shared_output: whether
    these are the input embeddings, so that a device needs a copy of them.
    fingerprint: hash of the vocabulary, equal for quantizations of one model; "" without a vocabulary.
    unusable: the kind of a model without next-token probabilities ("an embedding model"), else "".
    special_ids: ids of special tokens that the file states, by name ("bos", "eos", "eot", "eom").
    damage: a fault that would crash llama.cpp ("two of its tokens have the same text"), else "".
    """

    path: Path
    size_bytes: int
    split_count: int
    architecture: str
    name: str
    quantization: str
    n_params: int
    n_ctx_train: int
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: tuple[int, ...]
    key_length: int
    value_length: int
    sliding_window: int
    windowed: tuple[bool, ...]
    recurrent_size: int
    n_vocab: int
    tokenizer_model: str
    tokenizer_pre: str
    chat_template: str | None
    fingerprint: str
    unusable: str
    damage: str = ""
    layer_bytes: tuple[int, ...] = ()
    output_bytes: int = 0
    shared_output: bool = False
    special_ids: tuple[tuple[str, int], ...] = ()

    @property
    def has_decoder(self) -> bool:
        """Whether the model gives next-token probabilities."""
        return not self.unusable

    def check_usable(self) -> None:
        """Raise ModelError if the model gives no next-token probabilities or would crash llama.cpp."""
        if not self.has_decoder:
            raise ModelError(f"{self.path} cannot write text: it is {self.unusable}.")
        if self.damage:
            raise ModelError(f"{self.path} is damaged ({self.damage}): get the model again.")

    @property
    def label(self) -> str:
        """The model's name, or else the file's."""
        return self.name or self.path.stem


def read_header(path: str | os.PathLike[str]) -> GgufHeader:
    """Read the header of a file; for a split model, of its first part.

    Raises ModelError if the file is missing, unreadable, no GGUF file, damaged, truncated, or a later part of
    a split model, or if another part is missing.
    """
    with GgufFile(Path(path)) as file:
        size, tensors = file.size, file.tensors
        split_count = max(1, file.integer("split.count"))
        if split_count > 1:
            for part in _other_parts(file, split_count):
                with GgufFile(part) as other:
                    size, tensors = size + other.size, tensors + other.tensors
        return _describe(file, size, tensors, split_count)


def model_files(path: Path) -> list[Path]:
    """Return the files of a model; a split model's parts, whose presence was checked with its header."""
    name = _PART.fullmatch(path.name)
    if name is None or name[2] != "00001":
        return [path]
    return [path.with_name(f"{name[1]}{number:05d}{name[3]}") for number in range(1, int(name[3][4:9]) + 1)]


def _describe(file: GgufFile, size: int, tensors: list[Tensor], split_count: int) -> GgufHeader:
    arch = file.text("general.architecture")
    n_layer = file.integer(f"{arch}.block_count")
    if not 0 <= n_layer <= _MOST_LAYERS:
        raise ModelError(f"{file.path} is damaged (it claims {n_layer:,} layers): get the model again.")
    n_embd = file.integer(f"{arch}.embedding_length")
    n_head = max(file.integers(f"{arch}.attention.head_count"), default=0)
    head_size = n_embd // n_head if n_head else 0
    n_head_kv = file.integers(f"{arch}.attention.head_count_kv") or (n_head,)
    if len(n_head_kv) == 1:
        n_head_kv *= n_layer
    texts = file.texts("tokenizer.ggml.tokens")
    layer_bytes, output_bytes, shared_output = _weights_by_layer(tensors, n_layer)
    return GgufHeader(
        path=file.path,
        size_bytes=size,
        split_count=split_count,
        architecture=arch,
        name=file.text("general.name"),
        quantization=_quantization(file, tensors),
        n_params=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=file.integer(f"{arch}.context_length"),
        n_layer=n_layer,
        n_embd=n_embd,
        n_ff=max(file.integers(f"{arch}.feed_forward_length"), default=0),
        n_head=n_head,
        # The last layers of some models look up the keys and values of an earlier one.
        n_head_kv=n_head_kv[: max(0, n_layer - file.integer(f"{arch}.attention.shared_kv_layers"))],
        key_length=file.integer(f"{arch}.attention.key_length") or head_size,
        value_length=file.integer(f"{arch}.attention.value_length") or head_size,
        sliding_window=file.integer(f"{arch}.attention.sliding_window"),
        windowed=_windowed(file, arch, n_layer),
        recurrent_size=_recurrent_size(file, arch, sum(heads == 0 for heads in n_head_kv)),
        n_vocab=len(texts) or file.integer(f"{arch}.vocab_size"),
        tokenizer_model=file.text("tokenizer.ggml.model"),
        tokenizer_pre=file.text("tokenizer.ggml.pre"),
        chat_template=file.text("tokenizer.chat_template") or None,
        fingerprint=_fingerprint(file, texts),
        unusable=_unusable(file, arch, tensors),
        damage=find_damage(file, arch, texts),
        layer_bytes=layer_bytes,
        output_bytes=output_bytes,
        shared_output=shared_output,
        special_ids=tuple(_special_ids(file, len(texts))),
    )


def _weights_by_layer(tensors: list[Tensor], n_layer: int) -> tuple[tuple[int, ...], int, bool]:
    """Return the bytes of each layer, those of the output, and whether the output is the input's matrix."""
    layers, output, sizes = [0] * n_layer, 0, {tensor.name: tensor.size for tensor in tensors}
    for name, size in sizes.items():
        if (match := _LAYER.match(name)) and int(match[1]) < n_layer:
            layers[int(match[1])] += size
        elif name.startswith("output"):
            output += size
    shared = "output.weight" not in sizes
    return tuple(layers), output + (sizes.get("token_embd.weight", 0) if shared else 0), shared


def _special_ids(file: GgufFile, n_vocab: int) -> Iterator[tuple[str, int]]:
    """Yield what the file says of its special tokens. llama.cpp makes up ids for those that it leaves out."""
    for name in ("bos", "eos", "eot", "eom"):
        token = file.integer(f"tokenizer.ggml.{name}_token_id", -1)
        if 0 <= token < n_vocab:
            yield name, token


def _quantization(file: GgufFile, tensors: list[Tensor]) -> str:
    # A guessed type has a flag above the number.
    number = file.integer("general.file_type", -1)
    if number >= 0 and (name := _file_types().get(number & 1023)):
        return name
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type_name] += tensor.n_elements
    return sizes.most_common(1)[0][0].upper() if sizes else ""


@cache
def _file_types() -> dict[int, str]:
    """llama.cpp's names of quantizations by number."""
    pattern = re.compile("LLAMA_FTYPE_(?:MOSTLY|ALL)_(.+)")
    return {getattr(api, key): match[1] for key in dir(api) if (match := pattern.fullmatch(key))}


def _windowed(file: GgufFile, arch: str, n_layer: int) -> tuple[bool, ...]:
    if not file.integer(f"{arch}.attention.sliding_window"):
        return (False,) * n_layer
    pattern = file.integers(f"{arch}.attention.sliding_window_pattern")
    if len(pattern) > 1:
        return tuple(map(bool, pattern[:n_layer]))
    # For an architecture not known to use its window, no layer is taken to have one.
    period = pattern[0] if pattern else _WINDOW_PERIODS.get(arch, 1)
    return tuple(period == 0 or layer % period < period - 1 for layer in range(n_layer))


def _recurrent_size(file: GgufFile, arch: str, n_layer: int) -> int:
    inner, state = file.integer(f"{arch}.ssm.inner_size"), file.integer(f"{arch}.ssm.state_size")
    return n_layer * inner * (state + max(0, file.integer(f"{arch}.ssm.conv_kernel") - 1))


def _fingerprint(file: GgufFile, texts: list[bytes]) -> str:
    if not texts:
        return ""
    parts = (
        file.text("tokenizer.ggml.model").encode(),
        file.text("tokenizer.ggml.pre").encode(),
        file.raw("tokenizer.ggml.token_type"),
        str(file.length("tokenizer.ggml.merges")).encode(),
        str(len(texts)).encode(),
        b"\0".join(texts),
    )
    # Each part is hashed with its length, so that different lists of parts differ.
    return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).hexdigest()


def _unusable(file: GgufFile, arch: str, tensors: list[Tensor]) -> str:
    kind = file.text("general.type")
    if what := _UNUSABLE_FILES.get(kind) or _UNUSABLE_ARCHITECTURES.get(arch):
        return what
    # Embedding models have a pooling type other than 0.
    if _EMBEDDERS.search(arch) or file.integer(f"{arch}.pooling_type") > 0:
        return "an embedding model"
    if not tensors:
        return "a vocabulary without a model"
    if any(tensor.name.startswith(_IMAGE_TENSORS) for tensor in tensors):
        return "a model that makes images or videos"
    return "" if arch else "a file that names no architecture"


def _other_parts(file: GgufFile, split_count: int) -> list[Path]:
    """Return the later parts of a split model."""
    if file.holds_more:
        raise ModelError(
            f"{file.path} seems to be {split_count} parts of a split model joined into one file, which "
            f"llama.cpp cannot read: keep the parts, NAME-00001-of-{split_count:05d}.gguf and so on, as they "
            "were, and give the first."
        )
    name = _PART.fullmatch(file.path.name)
    if name is None:
        raise ModelError(
            f"{file.path} is one of {split_count} parts of a split model, which llama.cpp finds by their "
            f"names: call them NAME-00001-of-{split_count:05d}.gguf and so on."
        )
    number = file.integer("split.no")
    if number:
        raise ModelError(
            f"{file.path} is part {number + 1} of {split_count} of a split model: give the first part, "
            f"{name[1]}00001{name[3]}."
        )
    parts = [file.path.with_name(f"{name[1]}{i:05d}{name[3]}") for i in range(2, split_count + 1)]
    for part in parts:
        if not part.exists():
            raise ModelError(
                f"{file.path} is the first of {split_count} parts of a split model: put {part.name} with it."
            )
    return parts
