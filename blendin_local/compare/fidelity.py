"""Measure how close a quantized model is to a reference on a text.

As llama.cpp's perplexity tool does it (tools/perplexity/perplexity.cpp, with `--kl-divergence`), so that the
figures can be put beside published ones. The text is cut into chunks of n_ctx tokens. Where the vocabulary
begins texts with a BOS token, that takes the place of each chunk's first token. Only predictions from the
second half of a chunk count, where the model has seen some context.

One thing differs. The tool keeps the reference's log-probabilities as 16-bit numbers, floored 16 below the
largest logit, and leaves out those not above -16. Here both models run side by side, and the divergence is
summed over the whole vocabulary. So the tool's figure for one token is off by 1e-4 or so, which is why it
prints small negative ones, and its mean by about a thousandth of itself where models are far apart.

A model of another vocabulary reads the same chunks as bytes: in its own tokens, beginning anew where a
chunk's scored half begins. So bits per byte are over the same bytes for all, but for a character that a
chunk of the reference ends inside of.

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
    Rows,
    RowStatistics,
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
    "Stretch",
    "measure_fidelity",
    "measure_perplexity",
    "measure_stretches",
    "scoring_options",
    "stretches_of",
]

N_CTX = 512
"""Tokens of a chunk: what published figures are made with."""

_FEWEST_TOKENS = 8
_LOGIT_BYTES = 1 << 26
"""Logits of one decode. Two models side by side ask for twice as much."""

Progress = Callable[[int, int], None]
"""Called with the predictions scored so far, and how many there are in all."""


def scoring_options(n_vocab: int, options: ModelOptions | None = None, *, n_ctx: int = N_CTX) -> ModelOptions:
    """How to open a model for the measurements below: one chunk of context, and room for many rows."""
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
    """Perplexity and bits per byte of one model on UTF-8 text, at most `chunks` chunks of it.

    The model's first sequence is used. Raises EvaluationError where the text is shorter than two chunks or a
    chunk does not fit the context, SettingError where chunks or n_ctx are too small, KeyboardInterrupt where
    a decode was cancelled.
    """
    cut = _cut(model, text, n_ctx, chunks)
    rows = Rows(len(model.vocabulary))
    predictions = _predictions([model], cut.pieces(), cut.positions, progress)
    nll = np.array([_known(rows.nll(logits, token), model) for token, (logits,) in predictions])
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

    The reference runs beside every model anew: its distributions over 262 144 tokens at the 255 positions of
    one chunk take 267 MB, so making them again costs less than keeping them. Raises as `measure_perplexity`
    does, and EvaluationError where the vocabularies differ.
    """
    if reference.vocabulary.fingerprint != model.vocabulary.fingerprint:
        raise EvaluationError(
            f"{model.name} and {reference.name} have different vocabularies, so their probabilities cannot "
            "be compared token by token: compare their bits per byte."
        )
    cut = _cut(reference, text, n_ctx, chunks)
    models = [reference] if model is reference else [reference, model]
    _check_context(model, n_ctx)
    rows = Rows(len(model.vocabulary))
    found: list[RowStatistics] = []
    for token, logits in _predictions(models, cut.pieces(), cut.positions, progress):
        statistics = rows.statistics(logits[0], logits[-1], token)
        _known(statistics.reference_nll, reference)
        _known(statistics.nll, model)
        found.append(statistics)
    reference_nll, nll, kld, same_top = (np.array(column) for column in zip(*found, strict=True))
    positions = Positions(reference_nll, nll, kld, same_top, cut.scored_bytes(model.vocabulary))
    return fidelity_of(positions, chunks=len(cut.chunks), n_ctx=n_ctx)


# Another vocabulary


@dataclass(frozen=True, slots=True)
class Stretch:
    """One chunk as UTF-8 text: what a model may know, and what it must foresee."""

    before: bytes
    scored: bytes


def stretches_of(
    reference: ScoringModel, text: bytes, *, n_ctx: int = N_CTX, chunks: int | None = None
) -> list[Stretch]:
    """The text as `measure_perplexity` would cut it for the reference; no model runs. Raises like that."""
    cut = _cut(reference, text, n_ctx, chunks)
    decode, found = reference.vocabulary.decode, []
    for chunk in cut.chunks:
        before = decode(chunk[0 if cut.bos is None else 1 : cut.first + 1].tolist())
        scored = decode(chunk[cut.first + 1 :].tolist())
        # A character belongs to the half in which it begins; what is not whole in the chunk is left out.
        inside = next((place for place, byte in enumerate(scored) if byte & 0xC0 != 0x80), len(scored))
        before, scored = before + scored[:inside], scored[inside:]
        found.append(Stretch(*(part.decode("utf-8", "ignore").encode() for part in (before, scored))))
    return found


def measure_stretches(
    model: ScoringModel,
    stretches: Sequence[Stretch],
    *,
    n_ctx: int = N_CTX,
    progress: Progress | None = None,
) -> Perplexity:
    """Figures of a model on stretches that another model's tokens have cut; n_ctx: what they were cut by.

    Where a stretch has more tokens than the context, what may be known loses its beginning. Raises
    EvaluationError where the scored part alone does not fit; else as `measure_perplexity`.
    """
    pieces = [_piece(model, stretch) for stretch in stretches if stretch.scored]
    sizes: list[int] = []
    lengths = np.diff(model.vocabulary.offsets)
    for stretch, (_, _, expected) in zip((each for each in stretches if each.scored), pieces, strict=True):
        each = lengths[expected]
        # What no token spells counts all the same: the bytes are those of the text.
        each[-1] += len(stretch.scored) - int(each.sum())
        sizes += each.tolist()
    rows = Rows(len(model.vocabulary))
    nll = np.empty(len(sizes))
    for place, (token, (logits,)) in enumerate(_predictions([model], pieces, len(sizes), progress)):
        nll[place] = _known(rows.nll(logits, token), model)
    return perplexity_of(nll, np.array(sizes), chunks=len(pieces), n_ctx=n_ctx)


def _piece(model: ScoringModel, stretch: Stretch) -> _Piece:
    vocabulary = model.vocabulary
    expected = model.tokenize(stretch.scored)
    start = [vocabulary.bos] if vocabulary.bos is not None and vocabulary.adds_bos else []
    before = model.tokenize(stretch.before)
    # The last token predicts nothing.
    room = model.n_ctx + 1 - len(expected) - len(start)
    if room < 1 or not expected or not (start or before):
        raise EvaluationError(
            f"A chunk of the text does not fit {model.name}, whose context holds {model.n_ctx} tokens: "
            "choose a smaller n_ctx."
        )
    before = [*start, *before[-room:]]
    return [*before, *expected[:-1]], len(before) - 1, expected


# How a text is read

_Piece = tuple[list[int], int, list[int]]
"""Tokens to decode, the first place that predicts something scored, and what comes after each from there."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A text as int64[chunks, n_ctx] tokens, and what each chunk really begins with."""

    chunks: Integers
    bos: int | None

    @property
    def first(self) -> int:
        """The first place of a chunk from which a prediction counts."""
        return int(self.chunks.shape[1]) // 2

    @property
    def positions(self) -> int:
        return int(self.chunks[:, self.first + 1 :].size)

    def scored_bytes(self, vocabulary: Vocabulary) -> Integers:
        return np.diff(vocabulary.offsets)[self.chunks[:, self.first + 1 :].ravel()]

    def pieces(self) -> Iterator[_Piece]:
        """The last token of a chunk predicts nothing that is scored."""
        for chunk in self.chunks:
            start = chunk[:1] if self.bos is None else [self.bos]
            tokens = [*map(int, start), *chunk[1:-1].tolist()]
            yield tokens, self.first, chunk[self.first + 1 :].tolist()


def _cut(model: ScoringModel, text: bytes, n_ctx: int, chunks: int | None) -> _Cut:
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
    # As in the tool, the text's own BOS token takes a place: it shifts where all chunks are cut.
    tokens = [*([] if bos is None else [bos]), *model.tokenize(text, continuation=False)]
    if len(tokens) < 2 * n_ctx:
        raise EvaluationError(
            f"The text has {len(tokens)} tokens for {model.name}, but two chunks of {n_ctx} are needed: "
            "take a longer text, or a smaller n_ctx."
        )
    count = min(len(tokens) // n_ctx, chunks or len(tokens))
    return _Cut(np.array(tokens[: count * n_ctx], np.int64).reshape(count, n_ctx), bos)


def _check_context(model: ScoringModel, n_ctx: int) -> None:
    if model.n_ctx < n_ctx:
        raise EvaluationError(
            f"The context of {model.name} holds {model.n_ctx} tokens, fewer than a chunk of {n_ctx}: "
            "choose a smaller n_ctx, or open it with a larger context."
        )


def _predictions(
    models: Sequence[ScoringModel], pieces: Iterable[_Piece], total: int, progress: Progress | None
) -> Iterator[tuple[int, list[Logits]]]:
    """Each scored token, and what each model predicted in its place: views, valid until the next one."""
    most = min(model.n_batch for model in models)
    most_rows = max(1, _LOGIT_BYTES // (4 * len(models[0].vocabulary)))
    rows = min(most, most_rows, *(model.n_outputs for model in models))
    done = 0
    for tokens, first, expected in pieces:
        for model in models:
            model.rewind(0, 0)
            for start in range(0, first, most):
                _advance(model, tokens[start : min(start + most, first)], range(0))
        for start in range(first, len(tokens), rows):
            block = tokens[start : start + rows]
            for model in models:
                _advance(model, block, range(len(block)))
            for place in range(len(block)):
                yield expected[start - first + place], [model.row(0, place) for model in models]
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


def _known(nll: float, model: ScoringModel) -> float:
    if math.isnan(nll):
        raise ModelError(
            f"{model.name} answers with NaN instead of numbers: its file is damaged, get it again."
        )
    return nll
