"""Read a model's vocabulary from llama.cpp, token by token."""

from __future__ import annotations

import ctypes
import hashlib
import re
from dataclasses import replace
from typing import Any

from blendin_local.engine.vocabulary import TokenKind, Vocabulary, make_vocabulary
from blendin_local.llamacpp.library import api

_NORMAL, _BYTE, _USER_DEFINED = 4, 32, 16
_SPECIAL = 1 | 2 | 8  # unknown, unused, control
_WORDWISE_TOKENIZERS = (1, 2)  # SentencePiece and byte-level BPE
_LONGEST_TOKEN = 4096

# Tokens that open or close a turn are special, whatever type the file gives them.
_TURN_MARKER = re.compile(
    rb"<(?:\||\xef\xbd\x9c)[^<>]*(?:\||\xef\xbd\x9c)>|</?s>|<(?:bos|eos|(?:start|end)_of_turn)>|\[/?INST\]"
)


def read_vocabulary(vocab: Any) -> Vocabulary:
    """The vocabulary of a llama_vocab pointer."""
    buffer = ctypes.create_string_buffer(_LONGEST_TOKEN)
    pieces: list[bytes] = []
    kinds: list[int] = []
    specials: dict[str, int] = {}
    bos, eos = api.llama_vocab_bos(vocab), api.llama_vocab_eos(vocab)
    for token in range(api.llama_vocab_n_tokens(vocab)):
        attributes = api.llama_vocab_get_attr(vocab, token)
        # Called for few tokens only, because a vocabulary has up to 262 144.
        if (attributes != _NORMAL or token in (bos, eos)) and (
            kind := _special_kind(vocab, token, attributes)
        ):
            kinds.append(kind)
            pieces.append(b"")
            specials.setdefault(_text(vocab, token).decode("utf-8", "replace"), token)
            continue
        length = api.llama_token_to_piece(vocab, token, buffer, _LONGEST_TOKEN, 0, False)
        kinds.append(TokenKind.BYTE if attributes & _BYTE else TokenKind.TEXT)
        pieces.append(ctypes.string_at(buffer, max(0, length)))
    kind_of_tokenizer = api.llama_vocab_type(vocab)
    vocabulary = make_vocabulary(
        pieces,
        kinds,
        specials,
        bos=bos if bos >= 0 else None,
        eos=eos if eos >= 0 else None,
        adds_bos=bool(api.llama_vocab_get_add_bos(vocab)),
        splits_at_words=kind_of_tokenizer in _WORDWISE_TOKENIZERS,
        fingerprint="",
    )
    digest = hashlib.sha256(bytes([kind_of_tokenizer]))
    for array in (vocabulary.blob, vocabulary.offsets, vocabulary.kinds):
        digest.update(array.tobytes())
    return replace(vocabulary, fingerprint=digest.hexdigest())


def _special_kind(vocab: Any, token: int, attributes: int) -> TokenKind | None:
    if api.llama_vocab_is_eog(vocab, token):
        return TokenKind.END
    if attributes & _SPECIAL or token == api.llama_vocab_bos(vocab):
        return TokenKind.CONTROL
    if attributes & _USER_DEFINED and _TURN_MARKER.fullmatch(_text(vocab, token)):
        return TokenKind.CONTROL
    return None


def _text(vocab: Any, token: int) -> bytes:
    return api.llama_vocab_get_text(vocab, token) or b""
