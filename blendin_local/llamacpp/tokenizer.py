"""A model's vocabulary and tokenizer in llama.cpp, without the model's weights."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from blendin_local.llamacpp.header import GgufHeader
from blendin_local.llamacpp.library import api, load_file
from blendin_local.llamacpp.trial import try_file
from blendin_local.llamacpp.vocabulary import read_vocabulary


@contextmanager
def open_tokenizer(header: GgufHeader) -> Iterator[Tokenizer]:
    """Open the tokenizer of a file within the block.

    Raises ModelError if the file cannot be loaded, or its model could not be blended.
    """
    header.check_usable()
    try_file(header)
    params = api.llama_model_default_params()
    params.vocab_only = True
    model = load_file(header.path, params)
    try:
        yield Tokenizer(api.llama_model_get_vocab(model), dict(header.special_ids))
    finally:
        api.llama_model_free(model)


class Tokenizer:
    """The tokenizer of a llama_vocab pointer, which must outlive it.

    special_ids: as `GgufHeader.special_ids`.
    """

    def __init__(self, vocab: Any, special_ids: Mapping[str, int]) -> None:
        self._vocab = vocab
        self.vocabulary = read_vocabulary(vocab, special_ids)
        self._invents_space = self.vocabulary.decode(self._tokenize(b"a")) == b" a"

    def tokenize(self, text: bytes, *, continuation: bool = True) -> list[int]:
        """See `LanguageModel.tokenize`."""
        special = self.vocabulary.special_tokens
        tokens = self._plain(text, continuation)
        if special.isdisjoint(tokens):
            return tokens
        # Some files declare special tokens as user-defined ones, which llama.cpp parses in any text: the text
        # is cut inside their names.
        names = [name.encode() for name in self.vocabulary.specials if name.encode() in text]
        first, *rest = _cut_inside(text, names)
        parts = [self._plain(first, continuation), *(self._plain(piece, True) for piece in rest)]
        return [token for part in parts for token in part if token not in special]

    def tokenize_special(self, text: bytes, *, add_special: bool = False) -> list[int]:
        """Tokenize text with special tokens parsed: for templates, never for a user's text."""
        return self._tokenize(text, parse_special=True, add_special=add_special)

    def _plain(self, text: bytes, continuation: bool) -> list[int]:
        if continuation and self._invents_space:
            # After other text the tokenizer adds no space. The prefix must not merge with the text.
            for anchor in (b"\n", b"a", b"!"):
                before = self._tokenize(anchor)
                tokens = self._tokenize(anchor + text)
                if tokens[: len(before)] == before:
                    return tokens[len(before) :]
        return self._tokenize(text)

    def _tokenize(self, text: bytes, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        room = len(text) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = api.llama_tokenize(self._vocab, text, len(text), tokens, room, add_special, parse_special)
            if count >= 0:
                return tokens[:count]
            room = -count


def _cut_inside(text: bytes, names: Sequence[bytes]) -> list[bytes]:
    """Cut text after the first byte of each occurrence of the names."""
    cuts = [match.start() + 1 for match in re.finditer(b"|".join(map(re.escape, names)), text)]
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(edges)]
