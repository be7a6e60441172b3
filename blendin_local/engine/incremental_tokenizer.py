"""Tokenize a growing text without repeating the work for its beginning."""

from __future__ import annotations

import re

from blendin_local.engine.language_model import LanguageModel

# "letter, space, letter" is a boundary of every word-splitting tokenizer whose vocabulary has no token that
# spans it (`Vocabulary.joins_words`): the tokens before it do not depend on the text after it.
_WORD_BOUNDARY = re.compile(rb"(?<=[A-Za-z]) (?=[A-Za-z])")


class Retokenizer:
    """Tokens of a growing text, always equal to tokenizing it whole."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._settled = b""
        self._settled_tokens: list[int] = []

    def tokens(self, text: bytes) -> list[int]:
        """Return all tokens of `text` (complete UTF-8 characters), which must extend the text of the last
        call.
        """
        tail = text[len(self._settled) :]
        if not self._model.vocabulary.joins_words:
            # Only up to the last boundary: the word after it may still grow.
            for match in _WORD_BOUNDARY.finditer(tail):
                boundary = match.start()
            if _WORD_BOUNDARY.search(tail):
                self._settled_tokens += self._model.tokenize(tail[:boundary])
                self._settled += tail[:boundary]
                tail = tail[boundary:]
        return self._settled_tokens + (self._model.tokenize(tail) if tail else [])
