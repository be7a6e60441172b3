"""Random tiny GGUF models, written in milliseconds: real enough for llama.cpp to load, tokenize and decode.

Three vocabularies of a few hundred tokens, alike in what they can say and different in how:

spm         like Gemma 3: SentencePiece, all 256 byte tokens *before* the normal tokens that spell the same
            bytes, a beginning-of-sequence token added, no space invented at the front
spm-prefix  like Llama 2: the same without a normal newline token, and with that space
bpe         like SmolLM2: byte-level BPE, ChatML control tokens, nothing added

and four architectures: llama, gemma3 (a sliding window in every other layer), mamba (a recurrent state,
which cannot be partly forgotten) and bert (embeddings only: no memory, no logits).

The weights are random, so the text is a word salad; but it depends on the whole context, and confidence
moves between doubt and near certainty as a real model's does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, TokenType

Architecture = Literal["llama", "gemma3", "mamba", "bert"]
Kind = Literal["spm", "spm-prefix", "bpe"]
Array = npt.NDArray[np.float32]

WINDOW = 16
"""Tokens that a sliding-window layer of the gemma3 model looks back."""

_EMBD, _HEADS, _FF, _INNER, _STATE, _CONV, _RANK = 32, 2, 64, 64, 8, 4, 4
_HEAD = _EMBD // _HEADS

# Both vocabularies know the first list whole, with a space in front; each knows one of the others.
_WORDS = """the of and to a in is it that was for on are with as his they be at one have this from or had
by word but what some we can out other were all there when up use your how said an each she which do their
time if will way about many then them write would like so these her long make thing see him two has look
more day could go come did sound no most people my over know water call first who Paris hello world"""
_SPM_WORDS = "mirror soul winter summer language France capital question because never under thought"
_BPE_WORDS = "assistant system model answer number little small found still between should home big"
_STARTS = "The It Yes No Paris hello Hello 's ing er ed ly ion"

_CHATML_SPECIAL = dict.fromkeys(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], TokenType.CONTROL)
_LLAMA_SPECIAL = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}
_GEMMA_SPECIAL = {
    **dict.fromkeys(["<pad>", "<eos>", "<bos>"], TokenType.CONTROL),
    "<unk>": TokenType.UNKNOWN,
    **dict.fromkeys(["<start_of_turn>", "<end_of_turn>"], TokenType.CONTROL),
    # This one spells nothing, and the next is recognized even in plain text.
    "<unused0>": TokenType.UNUSED,
    "<table>": TokenType.USER_DEFINED,
}


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes, as byte-level BPE vocabularies spell them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)).difference(printable))
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _byte_characters()
_CHARACTERS = dict(zip(_BYTES.values(), _BYTES, strict=True))


@dataclass(frozen=True, slots=True)
class TinyVocabulary:
    """A vocabulary as it is written to the file, and what each of its tokens spells."""

    model: Literal["llama", "gpt2"]
    tokens: Mapping[str, TokenType]
    """As the file spells them ("▁the", "Ġthe", "<0x0A>"), in the order of their ids."""
    merges: Sequence[tuple[str, str]]
    """The pairs that training joined, first to last. A SentencePiece file keeps only their order."""
    bos: str
    eos: str
    unknown: str
    adds_bos: bool = False
    adds_space: bool = False

    def __len__(self) -> int:
        return len(self.tokens)

    def id(self, token: str) -> int:
        return list(self.tokens).index(token)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes that each token spells; none for one that is not text."""
        return [self._piece(token, kind) for token, kind in self.tokens.items()]

    @property
    def scores(self) -> list[float]:
        """SentencePiece's priorities: the earlier a pair was joined, the higher."""
        ranks = {left + right: -float(rank) for rank, (left, right) in enumerate(self.merges)}
        return [ranks.get(token, -1000.0) for token in self.tokens]

    def _piece(self, token: str, kind: TokenType) -> bytes:
        match kind:
            case TokenType.BYTE:
                return bytes([int(token[3:5], 16)])
            case TokenType.USER_DEFINED:
                return token.encode()
            case TokenType.NORMAL if self.model == "gpt2":
                return bytes(_BYTES[character] for character in token)
            case TokenType.NORMAL:
                return token.replace("▁", " ").encode()
            case _:
                return b""


def never_ending(kind: Kind = "spm") -> dict[str, float]:
    """A bias for models that never end a reply by themselves."""
    ends = {
        "spm": ("<eos>", "<end_of_turn>"),
        "spm-prefix": ("</s>",),
        "bpe": ("<|im_end|>", "<|endoftext|>"),
    }
    return dict.fromkeys(ends[kind], -100.0)


@cache
def tiny_vocabulary(kind: Kind = "spm") -> TinyVocabulary:
    """The vocabulary of that kind, always the same."""
    return _bpe() if kind == "bpe" else _spm(gemma=kind == "spm")


def _spm(*, gemma: bool) -> TinyVocabulary:
    texts = [*_spaced(_WORDS, _SPM_WORDS), *_STARTS.split(), "  ", "日本", "café", *["\n\n"] * gemma]
    texts = [text.replace(" ", "▁") for text in texts]
    merges = _train(texts)
    tokens = dict(_GEMMA_SPECIAL if gemma else _LLAMA_SPECIAL)
    tokens |= dict.fromkeys((f"<0x{byte:02X}>" for byte in range(256)), TokenType.BYTE)
    characters = sorted(set(map(chr, range(0x21, 0x7F))).union("üß…", *texts))
    tokens |= dict.fromkeys([*_joined(merges), *characters], TokenType.NORMAL)
    bos, eos = ("<bos>", "<eos>") if gemma else ("<s>", "</s>")
    return TinyVocabulary("llama", tokens, merges, bos, eos, "<unk>", adds_bos=True, adds_space=not gemma)


def _bpe() -> TinyVocabulary:
    texts = [*_spaced(_WORDS, _BPE_WORDS), *_STARTS.split(), "user", "\n\n", "é", "日本"]
    # Some tokens of such vocabularies end inside a character, as these two do.
    spelled = [*(text.encode() for text in texts), "😀".encode()[:3], "語".encode()[:2]]
    merges = _train("".join(_CHARACTERS[byte] for byte in text) for text in spelled)
    tokens = _CHATML_SPECIAL | dict.fromkeys([*_BYTES, *_joined(merges)], TokenType.NORMAL)
    return TinyVocabulary("gpt2", tokens, merges, "<|im_start|>", "<|im_end|>", "<|endoftext|>")


def _spaced(*lists: str) -> list[str]:
    return [f" {word}" for words in lists for word in words.split()]


def _joined(merges: Iterable[tuple[str, str]]) -> list[str]:
    return [left + right for left, right in merges]


def _train(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding: join the pair seen most often, until every text is one token."""
    rows = [list(text) for text in texts]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for row in rows for pair in pairwise(row)):
        most = max(counts.values())
        left, right = min(pair for pair, count in counts.items() if count == most)
        merges.append((left, right))
        for row in rows:
            for i in range(len(row) - 1):
                if row[i : i + 2] == [left, right]:
                    row[i : i + 2] = [left + right]
    return merges


_ATTENTION = {f"attn_{part}": (_EMBD, _EMBD) for part in ("q", "k", "v", "output")}
_FEED_FORWARD = {"ffn_up": (_FF, _EMBD), "ffn_down": (_EMBD, _FF)}
_LLAMA = {
    "attn_norm": (_EMBD,),
    **_ATTENTION,
    "ffn_norm": (_EMBD,),
    "ffn_gate": (_FF, _EMBD),
    **_FEED_FORWARD,
}
_BLOCKS: Mapping[Architecture, Mapping[str, tuple[int, ...]]] = {
    "llama": _LLAMA,
    "gemma3": {
        **_LLAMA,
        **dict.fromkeys(["attn_q_norm", "attn_k_norm"], (_HEAD,)),
        **dict.fromkeys(["post_attention_norm", "post_ffw_norm"], (_EMBD,)),
    },
    "mamba": {
        "attn_norm": (_EMBD,),
        "ssm_in": (2 * _INNER, _EMBD),
        "ssm_conv1d": (_INNER, _CONV),
        "ssm_x": (_RANK + 2 * _STATE, _INNER),
        "ssm_dt": (_INNER, _RANK),
        "ssm_a": (_INNER, _STATE),
        "ssm_d": (_INNER,),
        "ssm_out": (_EMBD, _INNER),
        **dict.fromkeys(["ssm_conv1d.bias", "ssm_dt.bias"], (_INNER,)),
    },
    "bert": {
        **_ATTENTION,
        **_FEED_FORWARD,
        **dict.fromkeys(["attn_output_norm", "layer_output_norm"], (_EMBD,)),
        **dict.fromkeys(["attn_output_norm.bias", "layer_output_norm.bias"], (_EMBD,)),
    },
}
"""Tensors of one layer, as (rows written, columns read)."""


def write_tiny(
    path: Path,
    *,
    arch: Architecture = "llama",
    vocabulary: Kind = "spm",
    seed: int = 0,
    n_layer: int = 2,
    n_ctx_train: int = 512,
    chat_template: str | None = None,
    sharp: float = 4.0,
    bias: Mapping[str, float] | None = None,
    control: Sequence[str] = (),
    cached: bool = True,
) -> Path:
    """Write a model to `path`; the same arguments give the same bytes.

    sharp: the spread of the logits. At 4 the top token's probability runs from 0.1 to 0.95 over contexts,
    at 0 every token is alike.
    bias: tokens, as the file spells them, that are likelier everywhere. About half of the number reaches
    their logits; 100 on an end token makes a model that stops at once.
    control: control tokens at the end of the vocabulary.
    cached: False writes the model anew, for a test that has patched the writer.
    """
    biases = tuple((bias or {}).items())
    make = tiny_bytes if cached else tiny_bytes.__wrapped__
    path.write_bytes(
        make(arch, vocabulary, seed, n_layer, n_ctx_train, chat_template, sharp, biases, tuple(control))
    )
    return path


@cache
def tiny_bytes(
    arch: Architecture,
    vocabulary: Kind,
    seed: int,
    n_layer: int,
    n_ctx_train: int,
    chat_template: str | None,
    sharp: float,
    biases: tuple[tuple[str, float], ...],
    control: tuple[str, ...] = (),
) -> bytes:
    """The bytes of a model, made once: tests ask for the same few hundreds of times."""
    tokenizer = tiny_vocabulary(vocabulary)
    tokenizer = replace(tokenizer, tokens={**tokenizer.tokens, **dict.fromkeys(control, TokenType.CONTROL)})
    tensors = _weights(arch, np.random.default_rng(seed), n_layer, len(tokenizer), n_ctx_train)
    if arch != "bert":
        tensors["output.weight"] *= sharp
        tensors["output.weight"][:, 0] = _prior(tokenizer, sharp, dict(biases))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        writer = GGUFWriter(path, arch)
        writer.add_name(f"Tiny {arch} {vocabulary} {seed}")
        _add_tokenizer(writer, tokenizer, chat_template)
        _add_architecture(writer, arch, n_layer, n_ctx_train)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _add_tokenizer(writer: GGUFWriter, vocabulary: TinyVocabulary, chat_template: str | None) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.tokens.values()))
    if vocabulary.model == "gpt2":
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    else:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.adds_space)
    writer.add_bos_token_id(vocabulary.id(vocabulary.bos))
    writer.add_eos_token_id(vocabulary.id(vocabulary.eos))
    writer.add_unk_token_id(vocabulary.id(vocabulary.unknown))
    writer.add_add_bos_token(vocabulary.adds_bos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def _add_architecture(writer: GGUFWriter, arch: Architecture, n_layer: int, n_ctx_train: int) -> None:
    writer.add_block_count(n_layer)
    writer.add_context_length(n_ctx_train)
    writer.add_embedding_length(_EMBD)
    writer.add_feed_forward_length(_FF)
    writer.add_layer_norm_rms_eps(1e-6)
    if arch == "mamba":
        writer.add_ssm_conv_kernel(_CONV)
        writer.add_ssm_inner_size(_INNER)
        writer.add_ssm_state_size(_STATE)
        writer.add_ssm_time_step_rank(_RANK)
    else:
        writer.add_head_count(_HEADS)
    if arch == "gemma3":
        writer.add_sliding_window(WINDOW)
        writer.add_sliding_window_pattern(2)
    if arch == "bert":
        writer.add_layer_norm_eps(1e-6)
        writer.add_causal_attention(False)
        writer.add_token_type_count(1)


def _weights(
    arch: Architecture, rng: np.random.Generator, n_layer: int, n_vocab: int, n_ctx_train: int
) -> dict[str, Array]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (n_vocab, _EMBD)}
    if arch == "bert":
        shapes |= {"position_embd": (n_ctx_train, _EMBD), "token_types": (1, _EMBD)}
        shapes |= {"token_embd_norm": (_EMBD,), "token_embd_norm.bias": (_EMBD,)}
    else:
        shapes |= {"output_norm": (_EMBD,), "output": (n_vocab, _EMBD)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(n_layer) for name, shape in _BLOCKS[arch].items()}
    tensors = {_full_name(name): _random(name, shape, rng) for name, shape in shapes.items()}
    # The first number of the running state stays 1: `_prior` puts each token's bias on it.
    tensors["token_embd.weight"][:, 0] = 1.0
    for name in tensors:
        if name.endswith(("attn_output.weight", "ffn_down.weight", "ssm_out.weight")):
            tensors[name][0] = 0.0
    if arch == "gemma3":
        # The model itself multiplies its embeddings by this.
        tensors["token_embd.weight"] /= np.float32(_EMBD**0.5)
    return tensors


def _full_name(name: str) -> str:
    return name if name.endswith((".bias", "ssm_a", "ssm_d")) else f"{name}.weight"


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    part = name.rpartition(".")[2]
    # Large queries and keys: attention that picks tokens out instead of averaging them.
    gain = 2.0 if part.startswith(("attn_q", "attn_k")) else 1.0
    if part == "bias":
        tensor = np.zeros(shape)
    elif part == "ssm_a":
        # How fast the recurrent state decays: within a token or over dozens.
        tensor = -np.exp(rng.uniform(-3.0, 1.0, shape))
    elif len(shape) == 1:
        tensor = np.full(shape, gain)
    elif part in ("token_embd", "position_embd", "token_types"):
        tensor = rng.normal(size=shape)
    else:
        tensor = rng.normal(scale=gain / shape[1] ** 0.5, size=shape)
    return tensor.astype(np.float32)


def _prior(vocabulary: TinyVocabulary, sharp: float, bias: Mapping[str, float]) -> Array:
    """What speaks for each token in every context: less for those that no reader would see."""
    kinds, pieces = vocabulary.tokens.values(), vocabulary.pieces
    seen = [kind != TokenType.BYTE and _readable(piece) for kind, piece in zip(kinds, pieces, strict=True)]
    prior = np.where(seen, 0.0, -3.0 * sharp).astype(np.float32)
    for token, raised in bias.items():
        prior[vocabulary.id(token)] += raised
    return prior


def _readable(piece: bytes) -> bool:
    return piece != b"" and piece.decode("utf-8", "surrogateescape").strip(" \n").isprintable()


def truncated(source: Path, target: Path, size: int) -> Path:
    """A copy of the first `size` bytes; without the last ones where it is negative."""
    target.write_bytes(source.read_bytes()[:size])
    return target


def flipped(source: Path, target: Path, offset: int, bit: int = 0) -> Path:
    """A copy with one bit changed in the byte at `offset`."""
    data = bytearray(source.read_bytes())
    data[offset] ^= 1 << bit
    target.write_bytes(data)
    return target


def wrong_magic(source: Path, target: Path) -> Path:
    """A copy that does not begin with "GGUF"."""
    target.write_bytes(b"GGML" + source.read_bytes()[4:])
    return target


def empty(target: Path) -> Path:
    target.write_bytes(b"")
    return target
