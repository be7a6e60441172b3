"""Measure how close a quantized model is to a reference on a text.

The procedure is that of llama.cpp's perplexity tool (tools/perplexity/perplexity.cpp, with
`--kl-divergence`), so that figures are comparable with published ones. The text is split into chunks of n_ctx
tokens. If the vocabulary begins texts with a BOS token, that replaces each chunk's first token. Only
predictions in the second half of a chunk are scored, where the model has some context.

One thing differs. The tool stores the reference's log-probabilities as 16-bit numbers, floored 16 below the
largest logit, and omits those not above -16. Here both models run side by side, and the divergence is summed
over the whole vocabulary. The tool's value for one token is therefore off by about 1e-4, so it prints small
negative ones, and its mean by about a thousandth of itself if models are far apart.

A model of another vocabulary scores the same bytes: both halves of each chunk are tokenized again,
separately. A character that a chunk of the reference ends inside of is left out.

The arithmetic is in `blendin_local.compare.divergence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendin_local.compare.divergence import (
    Fidelity,
    Integers,
    Perplexity,
    Positions,
    RowStatistics,
    Softmax,
    fidelity_of,
    perplexity_of,
)
from blendin_local.engine.language_model import Logits, ScoringModel, Status
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import EvaluationError, ModelError, SettingError
from blendin_local.settings import ModelOptions

__all__ = [
    "N_CTX",
    "Fidelity",
    "Perplexity",
    "TextChunk",
    "measure_fidelity",
    "measure_perplexity",
    "measure_text_chunks",
    "scoring_options",
    "text_chunks",
]

N_CTX = 512
"""Tokens per chunk in published figures."""

_FEWEST_TOKENS = 8
_LOGIT_BYTES = 1 << 26
"""Bytes of logits per decode of one model."""

Progress = Callable[[int, int], None]
"""Called with the number of predictions scored so far, and their total."""


def scoring_options(n_vocab: int, options: ModelOptions | None = None, *, n_ctx: int = N_CTX) -> ModelOptions:
    """Return options to open a model with for a measurement: one chunk of context, many rows of logits."""
    rows = max(1, min(n_ctx // 2, _LOGIT_BYTES // (4 * n_vocab)))
    return replace(options or ModelOptions(), n_ctx=n_ctx, n_seq=1, n_outputs=rows)


def measure_perplexity(
    model: ScoringModel,
    text: bytes,
    *,
    n_ctx: int = N_CTX,
    chunks: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Measure perplexity and bits per byte of one model on UTF-8 text, at most `chunks` chunks of it.

    Overwrites sequence 0. Raises EvaluationError if the text is shorter than two chunks or a chunk does not
    fit the context, SettingError if chunks or n_ctx are too small, KeyboardInterrupt if a decode was
    cancelled.
    """
    cut = _split(model, text, n_ctx, chunks)
    rows = Softmax(len(model.vocabulary))
    predictions = _predictions([model], cut.segments(), cut.positions, progress)
    nll = np.array([_check_nll(rows.nll(logits, token), model) for token, (logits,) in predictions])
    return perplexity_of(nll, cut.scored_bytes(model.vocabulary), chunks=len(cut.chunks), n_ctx=n_ctx)


def measure_fidelity(
    reference: ScoringModel,
    model: ScoringModel,
    text: bytes,
    *,
    n_ctx: int = N_CTX,
    chunks: int | None = None,
    progress: Progress | None = None,
) -> Fidelity:
    """Compare a model with a reference that has the same vocabulary, on UTF-8 text.

    The reference runs again beside every model: its distributions over 262 144 tokens at the 255 positions of
    one chunk take 267 MB, so recomputing them is cheaper than storing them. Raises the errors of
    `measure_perplexity`, and EvaluationError if the vocabularies differ.
    """
    if reference.vocabulary.fingerprint != model.vocabulary.fingerprint:
        raise EvaluationError(
            f"{model.name} and {reference.name} have different vocabularies, so their probabilities cannot "
            "be compared token by token: compare their bits per byte."
        )
    cut = _split(reference, text, n_ctx, chunks)
    models = [reference] if model is reference else [reference, model]
    _check_context(model, n_ctx)
    rows = Softmax(len(model.vocabulary))
    found: list[RowStatistics] = []
    for token, logits in _predictions(models, cut.segments(), cut.positions, progress):
        statistics = rows.statistics(logits[0], logits[-1], token)
        _check_nll(statistics.reference_nll, reference)
        _check_nll(statistics.nll, model)
        found.append(statistics)
    reference_nll, nll, kld, same_top = (np.array(column) for column in zip(*found, strict=True))
    positions = Positions(reference_nll, nll, kld, same_top, cut.scored_bytes(model.vocabulary))
    return fidelity_of(positions, chunks=len(cut.chunks), n_ctx=n_ctx)


# Another vocabulary


@dataclass(frozen=True, slots=True)
class TextChunk:
    """One chunk as UTF-8 text: the context, and the bytes to predict."""

    before: bytes
    scored: bytes


def text_chunks(
    reference: ScoringModel, text: bytes, *, n_ctx: int = N_CTX, chunks: int | None = None
) -> list[TextChunk]:
    """Split a text as `measure_perplexity` does for the reference, without decoding; raises the same."""
    cut = _split(reference, text, n_ctx, chunks)
    decode, found = reference.vocabulary.decode, []
    for chunk in cut.chunks:
        before = decode(chunk[0 if cut.bos is None else 1 : cut.first + 1].tolist())
        scored = decode(chunk[cut.first + 1 :].tolist())
        # A character belongs to the half in which it begins; an incomplete one is left out.
        inside = next((index for index, byte in enumerate(scored) if byte & 0xC0 != 0x80), len(scored))
        before, scored = before + scored[:inside], scored[inside:]
        found.append(TextChunk(*(part.decode("utf-8", "ignore").encode() for part in (before, scored))))
    return found


def measure_text_chunks(
    model: ScoringModel,
    chunks: Sequence[TextChunk],
    *,
    n_ctx: int = N_CTX,
    progress: Progress | None = None,
) -> Perplexity:
    """Measure perplexity on chunks that another model's tokens define. n_ctx: tokens per chunk of that model.

    If a chunk has more tokens than the context, its unscored part is truncated at the start. Raises
    EvaluationError if the scored part alone does not fit; else as `measure_perplexity`.
    """
    segments = [_segment(model, chunk) for chunk in chunks if chunk.scored]
    sizes: list[int] = []
    lengths = np.diff(model.vocabulary.offsets)
    for chunk, (_, _, expected) in zip((each for each in chunks if each.scored), segments, strict=True):
        each = lengths[expected]
        # Bytes that the tokens do not represent count too: the total is that of the text.
        each[-1] += len(chunk.scored) - int(each.sum())
        sizes += each.tolist()
    rows = Softmax(len(model.vocabulary))
    nll = np.empty(len(sizes))
    for index, (token, (logits,)) in enumerate(_predictions([model], segments, len(sizes), progress)):
        nll[index] = _check_nll(rows.nll(logits, token), model)
    return perplexity_of(nll, np.array(sizes), chunks=len(segments), n_ctx=n_ctx)


def _segment(model: ScoringModel, chunk: TextChunk) -> _Segment:
    vocabulary = model.vocabulary
    expected = model.tokenize(chunk.scored)
    start = [vocabulary.bos] if vocabulary.bos is not None and vocabulary.adds_bos else []
    before = model.tokenize(chunk.before)
    # The last token predicts nothing.
    room = model.n_ctx + 1 - len(expected) - len(start)
    if room < 1 or not expected or not (start or before):
        raise EvaluationError(
            f"A chunk of the text does not fit {model.name}, whose context holds {model.n_ctx} tokens: "
            "choose a smaller n_ctx."
        )
    before = [*start, *before[-room:]]
    return [*before, *expected[:-1]], len(before) - 1, expected


# Chunks of a text

_Segment = tuple[list[int], int, list[int]]
"""Tokens to decode, the index of the first scored prediction, and the token predicted from there on."""


@dataclass(frozen=True, slots=True)
class _Chunks:
    """A text as int64[chunks, n_ctx] tokens. bos: replaces each chunk's first token, if not None."""

    chunks: Integers
    bos: int | None

    @property
    def first(self) -> int:
        """Index in a chunk of the first scored prediction."""
        return int(self.chunks.shape[1]) // 2

    @property
    def positions(self) -> int:
        return int(self.chunks[:, self.first + 1 :].size)

    def scored_bytes(self, vocabulary: Vocabulary) -> Integers:
        return np.diff(vocabulary.offsets)[self.chunks[:, self.first + 1 :].ravel()]

    def segments(self) -> Iterator[_Segment]:
        """Yield the chunks without their last tokens, whose predictions are not scored."""
        for chunk in self.chunks:
            start = chunk[:1] if self.bos is None else [self.bos]
            tokens = [*map(int, start), *chunk[1:-1].tolist()]
            yield tokens, self.first, chunk[self.first + 1 :].tolist()


def _split(model: ScoringModel, text: bytes, n_ctx: int, chunks: int | None) -> _Chunks:
    if n_ctx < _FEWEST_TOKENS:
        raise SettingError(f"n_ctx must be at least {_FEWEST_TOKENS}, not {n_ctx}.")
    if chunks is not None and chunks < 1:
        raise SettingError(f"chunks must be at least 1, not {chunks}.")
    _check_context(model, n_ctx)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise EvaluationError(f"The text is not UTF-8 at byte {error.start}: convert it first.") from None
    vocabulary = model.vocabulary
    bos = vocabulary.bos if vocabulary.adds_bos else None
    # As in the tool, the text's own BOS token counts, which shifts the borders of all chunks.
    tokens = [*([] if bos is None else [bos]), *model.tokenize(text, continuation=False)]
    if len(tokens) < 2 * n_ctx:
        raise EvaluationError(
            f"The text has {len(tokens)} tokens for {model.name}, but two chunks of {n_ctx} are needed: "
            "take a longer text, or a smaller n_ctx."
        )
    count = min(len(tokens) // n_ctx, chunks or len(tokens))
    return _Chunks(np.array(tokens[: count * n_ctx], np.int64).reshape(count, n_ctx), bos)


def _check_context(model: ScoringModel, n_ctx: int) -> None:
    if model.n_ctx < n_ctx:
        raise EvaluationError(
            f"The context of {model.name} holds {model.n_ctx} tokens, fewer than a chunk of {n_ctx}: "
            "choose a smaller n_ctx, or open it with a larger context."
        )


def _predictions(
    models: Sequence[ScoringModel], segments: Iterable[_Segment], total: int, progress: Progress | None
) -> Iterator[tuple[int, list[Logits]]]:
    """Yield each scored token with each model's logits for it, views that are valid until the next."""
    most = min(model.n_batch for model in models)
    most_rows = max(1, _LOGIT_BYTES // (4 * len(models[0].vocabulary)))
    rows = min(most, most_rows, *(model.n_outputs for model in models))
    done = 0
    for tokens, first, expected in segments:
        for model in models:
            model.rewind(0, 0)
            for start in range(0, first, most):
                _advance(model, tokens[start : min(start + most, first)], range(0))
        for start in range(first, len(tokens), rows):
            block = tokens[start : start + rows]
            for model in models:
                _advance(model, block, range(len(block)))
            for row in range(len(block)):
                yield expected[start - first + row], [model.row(0, row) for model in models]
            done += len(block)
            if progress:
                progress(done, total)


def _advance(model: ScoringModel, tokens: Sequence[int], wanted: Sequence[int]) -> None:
    status = model.advance_rows({0: tokens}, {0: wanted})
    if status is Status.CANCELLED:
        raise KeyboardInterrupt
    if status is Status.CONTEXT_FULL:
        raise EvaluationError(
            f"The context of {model.name} is full before the end of a chunk: choose a smaller n_ctx."
        )


def _check_nll(nll: float, model: ScoringModel) -> float:
    if math.isnan(nll):
        raise ModelError(
            f"{model.name} answers with NaN instead of numbers: its file is damaged, get it again."
        )
    return nll
