"""Run the teacher-forced pass: the distributions of both models at every position of a known reply.

The base decodes a reply in its own tokens, many per decode. The guide's distribution is read at the same
positions: from its tokens of the whole reply (the trunk) where one of them ends there, else from a short
branch of its sequence, which holds the guide's tokens of the reply so far, as the engine would have them.
The pass does not depend on llama.cpp, a method or a threshold.
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
"""Rows of logits per decode. 32 were measured to be up to 17 % slower; more rows only cost memory, a megabyte
each for a large vocabulary."""

_TRUNK = 0
_LEAST = 1e-45  # the smallest float32: a probability of 0 has no logarithm

_Branch = tuple[int, int, tuple[int, ...]]
"""The index of a position, the length of its prefix of the trunk, and the tokens after that prefix."""


class Cancelled(Exception):
    """The pass was cancelled; a reply that was being scored is lost."""


def score_texts(
    pair: Pair,
    base_prompts: Sequence[Prompt],
    guide_prompts: Sequence[Prompt],
    replies: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
    cancellation: Cancellation | None = None,
) -> Record:
    """Score replies to prompts, all three of equal length. progress: called with (done, total) after each.

    Consecutive replies to one prompt share its decode. Raises as `score_text`.
    """
    records: list[Record] = []
    before: tuple[Prompt, Prompt] | None = None
    for index, (base, guide, reply) in enumerate(zip(base_prompts, guide_prompts, replies, strict=True)):
        text = Text(str(index), base, guide, reply)
        records.append(score_text(pair, text, cancellation, again=before == (base, guide)))
        before = (base, guide)
        if progress:
            progress(index + 1, len(replies))
    return join_records(records)


def score_text(
    pair: Pair, text: Text, cancellation: Cancellation | None = None, *, again: bool = False
) -> Record:
    """Score one reply. Both models must be `ScoringModel`s, the guide's sequences sharing a cache.

    The record depends on the text alone: its prompts are decoded anew, since quantized models give slightly
    different logits for the same tokens in other batches. again: the previous call had the same prompts, so
    their caches are kept. Raises EvaluationError for a reply that cannot be scored, ModelError if a model
    fails, and `Cancelled`.
    """
    alignment = align(pair, text)
    base: ScoringModel = pair.base  # type: ignore[assignment]
    recorder = PositionRecorder(pair.vocabulary_map, (text.base.lead, text.guide.lead), alignment)
    reader = _GuideReader(pair, text, alignment, recorder, again)
    with pair.watched(cancellation):
        for start, rows in read_rows(base, text.base, alignment.tokens, text.id, again):
            reader.read(start, rows)
        reader.finish()
    return recorder.record(text.id, reader.bits)


def read_rows(
    model: ScoringModel, prompt: Prompt, tokens: Sequence[int], name: str, again: bool
) -> Iterator[tuple[int, list[Logits]]]:
    """Yield the logits before each token of a known reply, many per decode: (index of the first, rows).

    Rows are valid until the next iteration. name: the reply in messages. again: as in `score_text`, which
    raises the same errors.
    """
    inputs = _read_prompt(model, prompt, tokens[:-1], name, again)
    size = _rows(model)
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        _decode(model, part, name)
        yield start, [model.row(_TRUNK, row) for row in range(len(part))]


class _GuideReader:
    """Decodes the guide along one reply and records every position with its distributions."""

    def __init__(
        self, pair: Pair, text: Text, alignment: Alignment, recorder: PositionRecorder, again: bool
    ) -> None:
        self.bits = 0.0
        self._again = again
        self._model: ScoringModel = pair.guide  # type: ignore[assignment]
        self._text = text
        self._alignment = alignment
        self._recorder = recorder
        self._inputs: list[int] = []
        # Rows of the trunk that were read; `_on_trunk` holds the latest, which the next read may need.
        self._read = 0
        self._on_trunk, self._on_branch = (Distribution(len(pair.guide.vocabulary)) for _ in range(2))
        self._base, self._of_base = pair.base, Distribution(len(pair.base.vocabulary))

    def read(self, start: int, rows: Sequence[Logits]) -> None:
        """Record the positions from `start` on, given the base's row of each."""
        waiting: dict[int, list[int]] = {}
        branches: list[tuple[int, int, tuple[int, ...]]] = []
        for index, row in enumerate(rows, start):
            position = self._alignment.positions[index]
            if not position.consultable:
                self._observe(index, row, None)
            elif position.branch is None:
                waiting.setdefault(position.guide_length, []).append(index)
            else:
                branches.append((index, *position.branch))

        def observe(length: int, own: int) -> None:
            for index in waiting.pop(length, ()):
                self._observe(index, rows[index - start], self._on_trunk, own)

        observe(self._read - 1, self._own(self._read - 1))
        farthest = max([*waiting, *(shared for _, shared, _ in branches)], default=-1)
        self._advance(farthest + 1, observe)
        for group in self._groups(branches):
            self._branch(group, lambda index: rows[index - start])

    def finish(self) -> None:
        """Decode the rest of the trunk, for the guide's own probability of the reply."""
        self._advance(len(self._alignment.guide_tokens), lambda length, own: None)

    def _observe(self, index: int, row: Logits, guide: Distribution | None, own: int = -1) -> None:
        read_logits(self._of_base, row, self._base)
        self._recorder.observe(index, self._of_base, guide, own)

    def _own(self, length: int) -> int:
        """Return the guide's token at index `length` of the reply, -1 at its end."""
        tokens = self._alignment.guide_tokens
        return tokens[length] if 0 <= length < len(tokens) else -1

    def _advance(self, rows: int, observe: Callable[[int, int], None]) -> None:
        """Decode the trunk until `rows` of its rows were read."""
        if not self._inputs:
            self._inputs = _read_prompt(
                self._model, self._text.guide, self._alignment.guide_tokens, self._text.id, self._again
            )
        while self._read < rows:
            part = self._inputs[self._read : min(rows, self._read + _rows(self._model))]
            _decode(self._model, part, self._text.id)
            for row in range(len(part)):
                read_logits(self._on_trunk, self._model.row(_TRUNK, row), self._model)
                own = self._own(self._read)
                if own >= 0:
                    # By rounding, a probability may exceed 1.
                    self.bits -= math.log2(min(max(self._on_trunk.probability(own), _LEAST), 1.0))
                observe(self._read, own)
                self._read += 1

    def _groups(self, branches: Sequence[_Branch]) -> Iterator[list[_Branch]]:
        """Group branches so that each group fits into one decode; a branch that fits none stands alone."""
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
        """Record positions where the guide's tokens of the reply so far leave the trunk."""
        model, prompt = self._model, self._text.guide.tokens
        work: dict[int, Sequence[int]] = {}
        try:
            for seq, (_, shared, tail) in enumerate(group, start=1):
                kept = model.fork(_TRUNK, seq, len(prompt) + shared) if copied else 0
                work[seq] = [*[*prompt, *self._alignment.guide_tokens[:shared]][kept:], *tail]
            status = model.advance(work)
            if status is not Status.CONTEXT_FULL or not copied:
                _check_status(model, status, self._text.id)
                for seq, (index, _, _) in enumerate(group, start=1):
                    read_logits(self._on_branch, model.logits(seq), model)
                    self._observe(index, row_of(index), self._on_branch)
                return
        finally:
            # Free their room in the cache for the next reply.
            for seq in work:
                model.rewind(seq, 0)
        # Together they overfill the cache. One alone does too if its copy pins cells that a sliding window
        # would release, so it is then decoded without a copy.
        for branch in group:
            self._branch([branch], row_of, copied=len(group) > 1)


def _rows(model: ScoringModel) -> int:
    return min(ROWS, model.n_batch, model.n_outputs)


def _read_prompt(
    model: ScoringModel, prompt: Prompt, tokens: Sequence[int], name: str, again: bool
) -> list[int]:
    """Cache a prompt without its last token; returns that token and those of the reply."""
    head = prompt.tokens[:-1]
    there = again and common_prefix(model.cached(_TRUNK), head) == len(head)
    if model.rewind(_TRUNK, len(head) if there else 0) < len(head):
        model.rewind(_TRUNK, 0)
        _check_status(model, model.advance({_TRUNK: head}), name)
    return [prompt.tokens[-1], *tokens]


def _decode(model: ScoringModel, tokens: Sequence[int], name: str) -> None:
    """Extend the trunk, with a row of logits for every token."""
    _check_status(model, model.advance_rows({_TRUNK: tokens}, {_TRUNK: range(len(tokens))}), name)


def _check_status(model: ScoringModel, status: Status, name: str) -> None:
    if status is Status.CANCELLED:
        raise Cancelled
    if status is Status.CONTEXT_FULL:
        raise EvaluationError(
            f"{name} is too long for {model.name}, whose context holds {model.n_ctx} tokens: load the models "
            "with a longer context, or leave it out."
        )
