"""The teacher-forced pass: what both models say at every position of texts that are known already.

The base reads a reply in its own tokens, many to a decode. The guide is asked at the same places: its tokens
of the whole reply, decoded alike, answer wherever one of them ends there (the trunk). Where none does, short
branches of its sequence do, each the guide's tokens of the reply so far, as the engine would have them.
Nothing here knows llama.cpp, a method or a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from blendin_local.engine.distribution import Distribution
from blendin_local.engine.language_model import Cancellation, Logits, ScoringModel, Status, common_prefix
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Prompt
from blendin_local.engine.response import read_logits
from blendin_local.errors import EvaluationError
from blendin_local.tune.alignment import Alignment, Text, align
from blendin_local.tune.position_recorder import PositionRecorder
from blendin_local.tune.record import Record, join_records

__all__ = ["ROWS", "Cancelled", "Text", "read_rows", "score_text", "score_texts"]

ROWS = 64
"""Rows of logits of one decode: enough for decodes to be as fast as they get (measured: 32 are up to 17 %
slower), and few, for a row of a large vocabulary has a megabyte."""

_TRUNK = 0
_LEAST = 1e-45  # the smallest float32: a probability of 0 has no logarithm

_Branch = tuple[int, int, tuple[int, ...]]
"""A place, how many of the guide's tokens of the whole reply it shares, and the tokens that follow them."""


class Cancelled(Exception):
    """The pass was asked to stop between two replies, or inside one, which is then lost."""


def score_texts(
    pair: Pair,
    base_prompts: Sequence[Prompt],
    guide_prompts: Sequence[Prompt],
    replies: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
    cancellation: Cancellation | None = None,
) -> Record:
    """The record of replies to prompts, one after the other; `progress` hears how many are done, of how many.

    Replies to one prompt should follow each other: the prompt is then decoded once. Raises as `score_text`.
    """
    records: list[Record] = []
    before: tuple[Prompt, Prompt] | None = None
    for place, (base, guide, reply) in enumerate(zip(base_prompts, guide_prompts, replies, strict=True)):
        text = Text(str(place), base, guide, reply)
        records.append(score_text(pair, text, cancellation, again=before == (base, guide)))
        before = (base, guide)
        if progress:
            progress(place + 1, len(replies))
    return join_records(records)


def score_text(
    pair: Pair, text: Text, cancellation: Cancellation | None = None, *, again: bool = False
) -> Record:
    """The record of one reply. Both models must be `ScoringModel`s, the guide's sequences sharing a cache.

    It depends on the text alone, not on what was read before: quantized models answer a little differently
    to the same tokens in other batches. again: the text scored last, by this function, had the same prompts,
    which are kept. Raises EvaluationError for a reply that cannot be scored, ModelError if a model fails,
    and `Cancelled`.
    """
    places = align(pair, text)
    base: ScoringModel = pair.base  # type: ignore[assignment]
    observer = PositionRecorder(pair.vocabulary_map, (text.base.lead, text.guide.lead), places)
    reader = _GuideReader(pair, text, places, observer, again)
    with pair.watched(cancellation):
        for start, rows in read_rows(base, text.base, places.tokens, text.id, again):
            reader.read(start, rows)
        reader.finish()
    return observer.record(text.id, reader.bits)


def read_rows(
    model: ScoringModel, prompt: Prompt, tokens: Sequence[int], name: str, again: bool
) -> Iterator[tuple[int, list[Logits]]]:
    """What a model says before each of the known tokens of a reply, read many to a decode.

    Yields the place of the first, and a row for each, valid until the next are asked for. name, again: as of
    the text in `score_text`, which raises the same.
    """
    inputs = _read_prompt(model, prompt, tokens[:-1], name, again)
    size = _rows(model)
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        _decode(model, part, name)
        yield start, [model.row(_TRUNK, place) for place in range(len(part))]


class _GuideReader:
    """Decodes the guide along one reply, and has every place observed with what it says there."""

    def __init__(
        self, pair: Pair, text: Text, places: Alignment, observer: PositionRecorder, again: bool
    ) -> None:
        self.bits = 0.0
        self._again = again
        self._model: ScoringModel = pair.guide  # type: ignore[assignment]
        self._text = text
        self._places = places
        self._observer = observer
        self._inputs: list[int] = []
        # Rows of the trunk that were read; what the latest of them said may be asked for once more.
        self._read = 0
        self._on_trunk, self._on_branch = (Distribution(len(pair.guide.vocabulary)) for _ in range(2))
        self._base, self._base_says = pair.base, Distribution(len(pair.base.vocabulary))

    def read(self, start: int, rows: Sequence[Logits]) -> None:
        """Observe the places from `start` on, of which the base's rows are at hand."""
        waiting: dict[int, list[int]] = {}
        branches: list[tuple[int, int, tuple[int, ...]]] = []
        for index, row in enumerate(rows, start):
            place = self._places.places[index]
            if not place.consultable:
                self._observe(index, row, None)
            elif place.branch is None:
                waiting.setdefault(place.guide_length, []).append(index)
            else:
                branches.append((index, *place.branch))

        def observe(length: int, own: int) -> None:
            for index in waiting.pop(length, ()):
                self._observe(index, rows[index - start], self._on_trunk, own)

        observe(self._read - 1, self._own(self._read - 1))
        farthest = max([*waiting, *(shared for _, shared, _ in branches)], default=-1)
        self._advance(farthest + 1, observe)
        for group in self._groups(branches):
            self._branch(group, lambda index: rows[index - start])

    def finish(self) -> None:
        """Read the trunk to its end: the guide's own probability of the reply needs every row."""
        self._advance(len(self._places.guide_tokens), lambda length, own: None)

    def _observe(self, index: int, row: Logits, guide: Distribution | None, own: int = -1) -> None:
        read_logits(self._base_says, row, self._base)
        self._observer.observe(index, self._base_says, guide, own)

    def _own(self, length: int) -> int:
        """The guide's own token after so many of them, -1 at the end of the reply."""
        tokens = self._places.guide_tokens
        return tokens[length] if 0 <= length < len(tokens) else -1

    def _advance(self, rows: int, observe: Callable[[int, int], None]) -> None:
        """Read the trunk until so many of its rows were."""
        if not self._inputs:
            self._inputs = _read_prompt(
                self._model, self._text.guide, self._places.guide_tokens, self._text.id, self._again
            )
        while self._read < rows:
            part = self._inputs[self._read : min(rows, self._read + _rows(self._model))]
            _decode(self._model, part, self._text.id)
            for place in range(len(part)):
                read_logits(self._on_trunk, self._model.row(_TRUNK, place), self._model)
                own = self._own(self._read)
                if own >= 0:
                    # Rounding may make a certainty a little more than 1.
                    self.bits -= math.log2(min(max(self._on_trunk.probability(own), _LEAST), 1.0))
                observe(self._read, own)
                self._read += 1

    def _groups(self, branches: Sequence[_Branch]) -> Iterator[list[_Branch]]:
        """Branches that fit into one decode, if one alone does."""
        prompt, tokens = len(self._text.guide.tokens), 0
        group: list[_Branch] = []
        for branch in branches:
            room = min(self._model.n_seq - 1, _rows(self._model))
            length = len(branch[2]) if self._model.forks else prompt + branch[1] + len(branch[2])
            if group and (len(group) == room or tokens + length > self._model.n_batch):
                yield group
                group, tokens = [], 0
            group.append(branch)
            tokens += length
        if group:
            yield group

    def _branch(
        self, group: Sequence[_Branch], row_of: Callable[[int], Logits], *, copied: bool = True
    ) -> None:
        """Observe places where the guide's tokens of the reply so far are not those of the whole reply."""
        model, prompt = self._model, self._text.guide.tokens
        work: dict[int, Sequence[int]] = {}
        try:
            for seq, (_, shared, tail) in enumerate(group, start=1):
                kept = model.fork(_TRUNK, seq, len(prompt) + shared) if copied else 0
                work[seq] = [*[*prompt, *self._places.guide_tokens[:shared]][kept:], *tail]
            status = model.advance(work)
            if status is not Status.CONTEXT_FULL or not copied:
                _checked(model, status, self._text.id)
                for seq, (index, _, _) in enumerate(group, start=1):
                    read_logits(self._on_branch, model.logits(seq), model)
                    self._observe(index, row_of(index), self._on_branch)
                return
        finally:
            # What they hold is room that the next reply may need.
            for seq in work:
                model.rewind(seq, 0)
        # Together they overfill the cache; even one does where copies pin what a sliding window would let go.
        for branch in group:
            self._branch([branch], row_of, copied=len(group) > 1)


def _rows(model: ScoringModel) -> int:
    return min(ROWS, model.n_batch, model.n_outputs)


def _read_prompt(
    model: ScoringModel, prompt: Prompt, tokens: Sequence[int], name: str, again: bool
) -> list[int]:
    """Let the trunk hold a prompt but for its last token; returns that token and those of the reply."""
    head = prompt.tokens[:-1]
    there = again and common_prefix(model.cached(_TRUNK), head) == len(head)
    if model.rewind(_TRUNK, len(head) if there else 0) < len(head):
        model.rewind(_TRUNK, 0)
        _checked(model, model.advance({_TRUNK: head}), name)
    return [prompt.tokens[-1], *tokens]


def _decode(model: ScoringModel, tokens: Sequence[int], name: str) -> None:
    """Read on along the trunk, with a row for every token."""
    _checked(model, model.advance_rows({_TRUNK: tokens}, {_TRUNK: range(len(tokens))}), name)


def _checked(model: ScoringModel, status: Status, name: str) -> None:
    if status is Status.CANCELLED:
        raise Cancelled
    if status is Status.CONTEXT_FULL:
        raise EvaluationError(
            f"{name} is too long for {model.name}, whose context holds {model.n_ctx} tokens: load the models "
            "with a longer context, or leave it out."
        )
