"""Tokenize a growing text without repeating the work for its beginning."""

from __future__ import annotations

import re

from blendin_local.engine.language_model import LanguageModel

# "letter, space, letter" is a boundary of every word-splitting tokenizer whose vocabulary has no token that
# spans it (`Vocabulary.joins_words`): the tokens before it do not depend on the text after it.
_WORD_BOUNDARY = re.compile(rb"(?<=[A-Za-z]) (?=[A-Za-z])")


def tokenize_reply(model: LanguageModel, text: bytes) -> list[int]:
    """Return the tokens of text of a reply, in which the marks of thinking are the model's tokens for them.

    They are not in what users write.
    """
    marks = model.vocabulary.mark_tokens
    if not marks or not any(mark in text for mark in marks):
        return model.tokenize(text)
    pieces = re.split(b"(" + b"|".join(map(re.escape, sorted(marks, key=len, reverse=True))) + b")", text)
    return [
        token
        for piece in pieces
        if piece
        for token in ([marks[piece]] if piece in marks else model.tokenize(piece))
    ]


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
                self._settled_tokens += tokenize_reply(self._model, tail[:boundary])
                self._settled += tail[:boundary]
                tail = tail[boundary:]
        return self._settled_tokens + (tokenize_reply(self._model, tail) if tail else [])
