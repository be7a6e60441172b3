"""Align a known reply: its tokens in the base's vocabulary, and the guide's context before each of them.

The alignment equals that of `engine.blended_response`, so scores describe the blends made there. Only
tokenizers are used, nothing is decoded.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from blendin_local.engine.incremental_tokenizer import Retokenizer
from blendin_local.engine.language_model import common_prefix
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Prompt
from blendin_local.errors import EvaluationError

__all__ = ["Alignment", "Position", "Text", "align"]


@dataclass(frozen=True, slots=True)
class Text:
    """A known reply, and its prompt in the format of each model."""

    id: str
    base: Prompt
    guide: Prompt
    reply: str


@dataclass(frozen=True, slots=True)
class Position:
    """A position of the reply: before one of the base's tokens.

    n_bytes: bytes that the token adds to the reply. begun: whether the reply has begun. consultable: False
    inside a UTF-8 character. guide_length: tokens of the reply in the guide's context. branch: None if these
    are a prefix of the guide's tokens of the whole reply; else the length of the common prefix, and the
    tokens after it.
    """

    n_bytes: int
    begun: bool
    consultable: bool
    guide_length: int
    branch: tuple[int, tuple[int, ...]] | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """A reply in the tokens of both models, with one position per base token."""

    tokens: list[int]
    guide_tokens: list[int]
    positions: list[Position]
    n_bytes: int


def align(pair: Pair, text: Text) -> Alignment:
    """Align a reply. Raises EvaluationError if it is empty, or a model cannot represent it in tokens."""
    reply = text.reply.encode("utf-8", "replace")
    if not reply:
        raise EvaluationError(f"The reply of {text.id} is empty: there is nothing to score.")
    tokens = pair.base.tokenize(text.base.lead + reply)
    whole = pair.guide.tokenize(text.guide.lead + reply)
    for model, spelled, lead in ((pair.base, tokens, text.base.lead), (pair.guide, whole, text.guide.lead)):
        if model.vocabulary.decode(spelled) != lead + reply:
            raise EvaluationError(f"{model.name} cannot spell the reply of {text.id} in its tokens.")
    return Alignment(tokens, whole, _positions(pair, text, tokens, whole), len(reply))


def _positions(pair: Pair, text: Text, tokens: list[int], whole: list[int]) -> list[Position]:
    retokenizer = Retokenizer(pair.guide)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    written, begun, positions = b"", False, []
    for token in tokens:
        inside = bool(decoder.getstate()[0])
        read: list[int] = []
        if begun and not inside:
            read = retokenizer.tokens(text.guide.lead + written)
        length, branch = len(read), None
        if (shared := common_prefix(whole, read)) < length:
            branch = (shared, tuple(read[shared:]))
        data, was_begun = pair.base.vocabulary.token_bytes(token), begun
        if data and not begun:
            begun = True
            data = data.removeprefix(text.base.lead)
        positions.append(Position(len(data), was_begun, not inside, length, branch))
        written += decoder.decode(data).encode()
    return positions
