"""Read a model's vocabulary from llama.cpp, token by token."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blendin_local.engine.vocabulary import TokenKind, Vocabulary, make_vocabulary
from blendin_local.llamacpp.library import api
from blendin_local.templates.thinking_marks import is_mark_token

_NORMAL, _BYTE, _USER_DEFINED = 4, 32, 16
_SPECIAL = 1 | 2 | 8  # unknown, unused, control
_WORDWISE_TOKENIZERS = (1, 2)  # SentencePiece and byte-level BPE
_LONGEST_TOKEN = 4096

# Tokens that open or close a turn are special, whatever type the file gives them.
_TURN_MARKER = re.compile(
    rb"<(?:\||\xef\xbd\x9c)[^<>]*(?:\||\xef\xbd\x9c)>|</?s>|<(?:bos|eos|(?:start|end)_of_turn)>|\[/?INST\]"
)


def read_vocabulary(vocab: Any, special_ids: Mapping[str, int]) -> Vocabulary:
    """Return the vocabulary of a llama_vocab pointer.

    special_ids: the special tokens that the file states (`GgufHeader.special_ids`). llama.cpp answers with
    others for those that it does not state: "," is the beginning and the end of a text for many a vocabulary.
    """
    buffer = ctypes.create_string_buffer(_LONGEST_TOKEN)
    pieces: list[bytes] = []
    kinds: list[int] = []
    specials: dict[str, int] = {}
    bos, eos = special_ids.get("bos"), special_ids.get("eos")
    marks: dict[bytes, int] = {}
    ends = {special_ids[name] for name in ("eos", "eot", "eom") if name in special_ids}
    for token in range(api.llama_vocab_n_tokens(vocab)):
        attributes = api.llama_vocab_get_attr(vocab, token)
        # Called for few tokens only, because a vocabulary has up to 262 144.
        kind = TokenKind.END if token in ends else TokenKind.CONTROL if token == bos else None
        if kind is None and attributes != _NORMAL:
            kind = _special_kind(vocab, token, attributes)
        if kind is not None:
            kinds.append(kind)
            pieces.append(b"")
            text = _text(vocab, token)
            name = text.decode("utf-8", "replace")
            specials.setdefault(name, token)
            if kind is TokenKind.CONTROL and is_mark_token(name):
                marks[text] = token
                kinds[-1], pieces[-1] = TokenKind.TEXT, text
            continue
        length = api.llama_token_to_piece(vocab, token, buffer, _LONGEST_TOKEN, 0, False)
        kinds.append(TokenKind.BYTE if attributes & _BYTE else TokenKind.TEXT)
        pieces.append(ctypes.string_at(buffer, max(0, length)))
    kind_of_tokenizer = api.llama_vocab_type(vocab)
    vocabulary = make_vocabulary(
        pieces,
        kinds,
        specials,
        bos=bos,
        eos=eos,
        adds_bos=bool(api.llama_vocab_get_add_bos(vocab)),
        splits_at_words=kind_of_tokenizer in _WORDWISE_TOKENIZERS,
        fingerprint="",
        mark_tokens=marks,
    )
    digest = hashlib.sha256(bytes([kind_of_tokenizer]))
    for array in (vocabulary.blob, vocabulary.offsets, vocabulary.kinds):
        digest.update(array.tobytes())
    return replace(vocabulary, fingerprint=digest.hexdigest())


def _special_kind(vocab: Any, token: int, attributes: int) -> TokenKind | None:
    if api.llama_vocab_is_eog(vocab, token) and (
        token != api.llama_vocab_eos(vocab) or _TURN_MARKER.fullmatch(_text(vocab, token))
    ):
        return TokenKind.END
    if attributes & _SPECIAL:
        return TokenKind.CONTROL
    if attributes & _USER_DEFINED and _TURN_MARKER.fullmatch(_text(vocab, token)):
        return TokenKind.CONTROL
    return None


def _text(vocab: Any, token: int) -> bytes:
    return api.llama_vocab_get_text(vocab, token) or b""
