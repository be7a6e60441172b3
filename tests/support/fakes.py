"""A scripted language model over any small vocabulary, so that the engine runs in tests without llama.cpp.

What a fake says is a *mind*: a function from the whole list of tokens in a sequence to logits. Everything
that it is asked to decode or tokenize is on record, and it is stricter than llama.cpp: half a character
fed to the tokenizer, logits read too late, an empty decode or a token that does not exist are errors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import numpy as np
from hypothesis import strategies as st

from blendin_local.engine.language_model import Cancellation, Logits, Status
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.vocabulary import TokenKind, Vocabulary, VocabularyMap, make_vocabulary

Mind = Callable[[tuple[int, ...]], Logits]

TEXT, BYTE, CONTROL, END = TokenKind.TEXT, TokenKind.BYTE, TokenKind.CONTROL, TokenKind.END
SILENT = -60.0
"""Logit of what a scripted mind does not say, where 0 is certain."""


class FakeModel:
    """A `LanguageModel` whose logits are `mind(tokens of the sequence)`.

    n_cells: room of all sequences together, for a context that is full although each sequence would fit.
    goes_back: how many tokens can be forgotten without losing all of them; None is any number (attention),
    0 none (a recurrent state), others a sliding window.
    before_decode: called with the number of each decode, from 0 on, before it begins.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        mind: Mind,
        *,
        name: str = "fake",
        n_ctx: int = 1 << 20,
        n_seq: int = 8,
        n_cells: int | None = None,
        goes_back: int | None = None,
        n_batch: int = 1 << 10,
        n_outputs: int = 1 << 10,
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.n_ctx = n_ctx
        self.n_seq = n_seq
        self.mind = mind
        self.n_cells = n_cells
        self.goes_back = goes_back
        self.n_batch = n_batch
        self.n_outputs = n_outputs
        self.before_decode: Callable[[int], None] = lambda number: None
        self.decodes: list[dict[int, tuple[int, ...]]] = []
        self.tokenized: list[bytes] = []
        self.watched: Cancellation | None = None
        self.closed = False
        self._attempts = count()
        self._cached: list[list[int]] = [[] for _ in range(n_seq)]
        self._logits: dict[int, Logits] = {}
        self._rows: dict[tuple[int, int], Logits] = {}
        self._ids = _text_ids(vocabulary)
        self._longest = max(map(len, self._ids), default=0)

    @property
    def decoded(self) -> int:
        """How many tokens it has decoded so far."""
        return sum(len(tokens) for decode in self.decodes for tokens in decode.values())

    def tokenize(self, text: bytes, *, continuation: bool = True) -> list[int]:
        """The longest token that fits, from left to right; bytes that no token spells are skipped.

        Of several tokens with the same bytes it uses the last normal one, as Gemma's tokenizer does.
        """
        text.decode()
        self.tokenized.append(text)
        tokens, place = [], 0
        while place < len(text):
            for length in range(min(self._longest, len(text) - place), 0, -1):
                token = self._ids.get(text[place : place + length])
                if token is not None:
                    tokens.append(token)
                    place += length
                    break
            else:
                place += 1
        return tokens

    def cached(self, seq: int) -> Sequence[int]:
        return self._cached[seq]

    def rewind(self, seq: int, length: int) -> int:
        cached = self._cached[seq]
        assert length >= 0
        back = len(cached) - length
        if back <= 0:
            return len(cached)
        self._logits.pop(seq, None)
        if self.goes_back is not None and back > self.goes_back:
            length = 0
        del cached[length:]
        return length

    def advance(self, work: Mapping[int, Sequence[int]]) -> Status:
        assert work and all(work.values()), "nothing to decode"
        for logits in (*self._logits.values(), *self._rows.values()):
            # Whoever still holds a view of the last logits now sees what llama.cpp might show: rubbish.
            logits[:] = np.nan
        self._logits = {}
        self._rows = {}
        self.before_decode(next(self._attempts))
        for tokens in work.values():
            assert all(0 <= token < len(self.vocabulary) for token in tokens), f"no such token in {tokens}"
        if self.watched is not None and self.watched.requested:
            return Status.CANCELLED
        if any(len(self._cached[seq]) + len(tokens) > self.n_ctx for seq, tokens in work.items()):
            return Status.CONTEXT_FULL
        held = sum(map(len, self._cached)) + sum(map(len, work.values()))
        if self.n_cells is not None and held > self.n_cells:
            return Status.CONTEXT_FULL
        self.decodes.append({seq: tuple(tokens) for seq, tokens in work.items()})
        for seq, tokens in work.items():
            self._cached[seq] += tokens
            self._logits[seq] = self.mind(tuple(self._cached[seq])).copy()
        return Status.DONE

    def logits(self, seq: int) -> Logits:
        return self._logits[seq]

    def advance_rows(self, work: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]]) -> Status:
        assert sum(map(len, work.values())) <= self.n_batch
        assert sum(map(len, wanted.values())) <= self.n_outputs
        status = self.advance(work)
        self._logits = {}
        if status is Status.DONE:
            for seq, places in wanted.items():
                before = len(self._cached[seq]) - len(work[seq])
                for place in places:
                    assert 0 <= place < len(work[seq])
                    self._rows[seq, place] = self.mind(tuple(self._cached[seq][: before + place + 1])).copy()
        return status

    def row(self, seq: int, place: int) -> Logits:
        return self._rows[seq, place]

    @property
    def forks(self) -> bool:
        return self.goes_back is None

    def fork(self, source: int, target: int, length: int) -> int:
        assert source != target and 0 < length <= len(self._cached[source])
        self._logits.pop(target, None)
        self._cached[target] = self._cached[source][:length] if self.forks else []
        return len(self._cached[target])

    def watch(self, cancellation: Cancellation | None) -> None:
        self.watched = cancellation

    def close(self) -> None:
        self.closed = True


def _text_ids(vocabulary: Vocabulary) -> dict[bytes, int]:
    ids: dict[bytes, int] = {}
    for kind in (BYTE, TEXT):
        for token in np.flatnonzero(vocabulary.kinds == kind).tolist():
            if data := vocabulary.token_bytes(token):
                ids[data] = token
    return ids


# Vocabularies


def vocabulary_of(
    tokens: Sequence[tuple[bytes, TokenKind]], *, bos: int | None = None, splits_at_words: bool = True
) -> Vocabulary:
    """The vocabulary of these tokens, in this order; equal tokens give equal fingerprints."""
    specials = {f"<|{kind.name.lower()} {i}|>": i for i, (_, kind) in enumerate(tokens) if kind >= CONTROL}
    return make_vocabulary(
        [data for data, _ in tokens],
        [kind for _, kind in tokens],
        specials,
        bos=bos,
        splits_at_words=splits_at_words,
        fingerprint=repr([(data if kind < CONTROL else b"", int(kind)) for data, kind in tokens]),
    )


def words_and_bytes(words: str | Iterable[bytes] = (), *, ends: int = 1) -> Vocabulary:
    """A prompt token (0), `ends` end tokens, the 256 byte tokens, then words; those of a string with "_"
    for the space that begins them.
    """
    if isinstance(words, str):
        words = [word.replace("_", " ").encode() for word in words.split()]
    special = [(b"", CONTROL), *[(b"", END)] * ends]
    raw = [(bytes([value]), BYTE) for value in range(256)]
    return vocabulary_of([*special, *raw, *((word, TEXT) for word in words)])


def prompt_of(length: int = 1, lead: bytes = b"") -> Prompt:
    """`length` times the prompt token of `words_and_bytes`, which spells nothing."""
    return Prompt([0] * length, lead)


# Random ones, complete over this alphabet: half characters are among its tokens.

_ALPHABET = [*(bytes([value]) for value in b"abo. \n"), "é".encode()[:1], "é".encode()[1:]]
_PIECES = st.lists(st.sampled_from(_ALPHABET), min_size=1, max_size=4).map(b"".join)


@st.composite
def vocabularies(
    draw: st.DrawFn, *, ends: int = 2, complete: bool = True, duplicates: bool = True
) -> Vocabulary:
    """Random small vocabularies: normal tokens, byte tokens, control and end tokens in any order.

    Token 0 is a control token, for prompts. ends: most end tokens. complete: every byte of the alphabet is
    a token, so everything can be spelled. duplicates: several tokens may have the same bytes.
    """
    pieces = draw(st.lists(_PIECES, min_size=4, max_size=16, unique=not duplicates))
    raw = _ALPHABET if complete else draw(st.lists(st.sampled_from(_ALPHABET), unique=True))
    raw = [byte for byte in raw if duplicates or byte not in pieces]
    tokens = [(piece, TEXT) for piece in pieces] + [(byte, BYTE) for byte in raw]
    tokens += [(b"", CONTROL)] * draw(st.integers(0, 2)) + [(b"", END)] * draw(st.integers(1, ends))
    random.Random(draw(st.integers(0, 99))).shuffle(tokens)
    return vocabulary_of([(b"", CONTROL), *tokens])


# Minds


def dreaming(vocabulary: Vocabulary, seed: int, spread: float = 2.0, *, of_text: bool = False) -> Mind:
    """Random logits that depend on every token of the context; a larger spread is more often sure.

    of_text: on the text alone, however it is cut into tokens.
    """

    def mind(tokens: tuple[int, ...]) -> Logits:
        context: Iterable[int] = tokens
        if of_text:
            context = vocabulary.decode(tokens).decode("utf-8", "ignore").encode()
        generator = np.random.default_rng([seed, *context])
        return generator.normal(scale=spread, size=len(vocabulary)).astype(np.float32)

    return mind


def saying(vocabulary: Vocabulary, table: Mapping[str, Mapping[str | int, float]]) -> Mind:
    """Probabilities by what the text of the context ends with: the longest such key of the table counts.

    They are given for token ids, or for the tokens that the tokenizer takes for a string; what is left of
    1 goes to all other tokens alike.
    """
    ids = _text_ids(vocabulary)

    def row_of(probabilities: Mapping[str | int, float]) -> Logits:
        said = ((ids[t.encode()] if isinstance(t, str) else t, p) for t, p in probabilities.items())
        return _logits(vocabulary, dict(said))

    rows = {key.encode(): row_of(probabilities) for key, probabilities in table.items()}

    def mind(tokens: tuple[int, ...]) -> Logits:
        context = vocabulary.decode(tokens)
        return rows[max((key for key in rows if context.endswith(key)), key=len)]

    return mind


def reciting(vocabulary: Vocabulary, text: bytes, *, confidence: float = 0.9) -> Mind:
    """Goes on with `text` where the context's text is a beginning of it, and ends where it is not.

    By the longest token that fits, even one that ends inside a character.
    """
    ids = _text_ids(vocabulary)
    end = int(vocabulary.end_tokens[0])

    def mind(tokens: tuple[int, ...]) -> Logits:
        said = vocabulary.decode(tokens)
        rest = text[len(said) :] if text.startswith(said) else b""
        fitting = (rest[:length] for length in range(len(rest), 0, -1))
        token = next((ids[piece] for piece in fitting if piece in ids), end)
        return _logits(vocabulary, {token: confidence})

    return mind


def _logits(vocabulary: Vocabulary, probabilities: Mapping[int, float]) -> Logits:
    rest = 1.0 - sum(probabilities.values())
    assert rest > -1e-9
    row = np.full(len(vocabulary), max(rest, 0.0) / (len(vocabulary) - len(probabilities)))
    for token, probability in probabilities.items():
        row[token] = probability
    return np.log(np.maximum(row, np.exp(SILENT))).astype(np.float32)


def shared_tokens(mapping: VocabularyMap) -> int:
    """How many text tokens of the guide a map takes to one token of the base."""
    is_text = mapping.guide.kinds < TokenKind.CONTROL
    return int((is_text & (mapping.outcome_of >= 0) & (mapping.outcome_of < len(mapping.base))).sum())
