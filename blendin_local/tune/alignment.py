"""Where a known reply is cut: the base's tokens of it, and what the guide has read at each of them.

Follows `engine.blended_response` in every detail, so that what is scored here is what would be blended
there. Only tokenizers are needed, no decode.
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
    """A known reply to a prompt, which each model sees in its own format."""

    id: str
    base: Prompt
    guide: Prompt
    reply: str


@dataclass(frozen=True, slots=True)
class Position:
    """A position of the reply: before one of the base's tokens.

    n_bytes: what the token adds to the reply. begun: whether the reply has begun. consultable: False inside
    a character. guide_length: tokens of the reply that the guide has read. branch: None where these are the
    first of the guide's tokens of the whole reply; else how many of them are, and the tokens that follow.
    """

    n_bytes: int
    begun: bool
    consultable: bool
    guide_length: int
    branch: tuple[int, tuple[int, ...]] | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """A reply in the tokens of both models; as many places as base tokens."""

    tokens: list[int]
    guide_tokens: list[int]
    places: list[Position]
    n_bytes: int


def align(pair: Pair, text: Text) -> Alignment:
    """Cut a reply. Raises EvaluationError where it is empty, or a model has no tokens for it."""
    reply = text.reply.encode("utf-8", "replace")
    if not reply:
        raise EvaluationError(f"The reply of {text.id} is empty: there is nothing to score.")
    tokens = pair.base.tokenize(text.base.lead + reply)
    whole = pair.guide.tokenize(text.guide.lead + reply)
    for model, spelled, lead in ((pair.base, tokens, text.base.lead), (pair.guide, whole, text.guide.lead)):
        if model.vocabulary.decode(spelled) != lead + reply:
            raise EvaluationError(f"{model.name} cannot spell the reply of {text.id} in its tokens.")
    return Alignment(tokens, whole, _places(pair, text, tokens, whole), len(reply))


def _places(pair: Pair, text: Text, tokens: list[int], whole: list[int]) -> list[Position]:
    retokenizer = Retokenizer(pair.guide)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    said, begun, places = b"", False, []
    for token in tokens:
        inside = bool(decoder.getstate()[0])
        read: list[int] = []
        if begun and not inside:
            read = retokenizer.tokens(text.guide.lead + said)
        length, branch = len(read), None
        if (shared := common_prefix(whole, read)) < length:
            branch = (shared, tuple(read[shared:]))
        data, was_begun = pair.base.vocabulary.token_bytes(token), begun
        if data and not begun:
            begun = True
            data = data.removeprefix(text.base.lead)
        places.append(Position(len(data), was_begun, not inside, length, branch))
        said += decoder.decode(data).encode()
    return places
