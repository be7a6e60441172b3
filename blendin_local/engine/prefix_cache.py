"""Beginnings that prompts have in common: decoded once, then copied to other sequences or kept for the next.

Both only save work. `ForkedPrefixes` shares among all sequences of a model; what a decode gives then depends,
in its last digits, on what stood beside it. `BlockPrefixes` shares along a sequence that is alone, so that it
does not. Nothing here knows llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from blendin_local.engine.language_model import LanguageModel, common_prefix, reuse

__all__ = ["BLOCK", "WORTH_SHARING", "BlockPrefixes", "Decode", "ForkedPrefixes"]

WORTH_SHARING = 16
"""Tokens: for fewer, a decode of their own would cost more than it saves."""

BLOCK = 64
"""Tokens: a decode of so many is about as fast for each of them as a longer one."""

Decode = Callable[[int, Sequence[int]], bool]
"""Appends tokens to a sequence and says whether that went well; whoever gives it sees to it if not."""


class ForkedPrefixes:
    """Beginnings copied among the sequences of one model.

    Where the model cannot copy, each sequence reuses only what it holds itself.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def begin(self, prompts: Mapping[int, Sequence[int]], decode: Decode) -> dict[int, Sequence[int]]:
        """Let sequences hold what is known of these prompts; returns what is left of each.

        That is at least the last token. What several of them begin with, and no sequence holds, is decoded.
        """
        left: dict[int, Sequence[int]] = {}
        following = dict(prompts)
        for seq, tokens in prompts.items():
            del following[seq]
            if self._model.forks:
                self._copy(seq, tokens)
            left[seq] = reuse(self._model, seq, tokens)
            if self._model.forks:
                held = len(tokens) - len(left[seq])
                shared = _worth_decoding(tokens, held, following.values())
                if shared and decode(seq, tokens[held:shared]):
                    left[seq] = tokens[shared:]
        return left

    def go_on(self, seq: int, tokens: Sequence[int]) -> Sequence[int]:
        """What is left of a text that goes on from the sequence's last one; at least one token."""
        return reuse(self._model, seq, tokens)

    def _copy(self, seq: int, tokens: Sequence[int]) -> None:
        """Begin as a copy of the sequence that holds most of these tokens, where that is worth it."""
        most = len(tokens) - 1
        own = common_prefix(self._model.cached(seq), tokens)
        if most - own < WORTH_SHARING:
            return
        held = {other: common_prefix(self._model.cached(other), tokens) for other in range(self._model.n_seq)}
        source = max(held, key=held.__getitem__)
        if held[source] - own >= WORTH_SHARING:
            self._model.fork(source, seq, min(held[source], most))


def _worth_decoding(tokens: Sequence[int], held: int, following: Iterable[Sequence[int]]) -> int:
    """How many of these tokens sequences that follow can copy; 0 where that is not worth a decode."""
    shared = max((common_prefix(tokens, other) for other in following), default=0)
    shared = min(shared, len(tokens) - 1)
    return shared if shared - held >= WORTH_SHARING else 0


class BlockPrefixes:
    """Beginnings kept along each sequence, for models whose sequences have caches of their own.

    Prompts are decoded in blocks, counted from their first token, and only whole blocks are kept for the
    next. So the state after a prompt is the same to the last bit, whatever was decoded before it.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._whole = [0] * model.n_seq

    def begin(self, prompts: Mapping[int, Sequence[int]], decode: Decode) -> dict[int, Sequence[int]]:
        """As `ForkedPrefixes.begin`."""
        return {seq: self._begin(seq, tokens, decode) for seq, tokens in prompts.items()}

    def _begin(self, seq: int, tokens: Sequence[int], decode: Decode) -> Sequence[int]:
        kept = min(common_prefix(self._model.cached(seq), tokens), self._whole[seq], len(tokens) - 1)
        place = self._model.rewind(seq, kept // BLOCK * BLOCK)
        while place + BLOCK < len(tokens) and decode(seq, tokens[place : place + BLOCK]):
            place += BLOCK
        self._whole[seq] = place
        return tokens[place:]

    def go_on(self, seq: int, tokens: Sequence[int]) -> Sequence[int]:
        """As `ForkedPrefixes.go_on`."""
        left = reuse(self._model, seq, tokens)
        self._whole[seq] = min(self._whole[seq], len(tokens) - len(left))
        return left
