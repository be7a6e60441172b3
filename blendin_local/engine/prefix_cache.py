"""Reuse common prefixes of prompts, between sequences or from one prompt to the next.

`ForkedPrefixes` copies prefixes between all sequences of a model; results then depend, in their last digits,
on what is decoded in parallel. `BlockPrefixes` reuses prefixes within one sequence, bitwise reproducibly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from blendin_local.engine.language_model import LanguageModel, common_prefix, reuse

__all__ = ["BLOCK", "WORTH_SHARING", "BlockPrefixes", "Decode", "ForkedPrefixes"]

WORTH_SHARING = 16
"""Minimum number of tokens to share: for fewer, an extra decode costs more than it saves."""

BLOCK = 64
"""Tokens per block: a decode of so many is about as fast per token as a longer one."""

Decode = Callable[[int, Sequence[int]], bool]
"""Decodes tokens into a sequence; returns False on failure, which the caller handles."""


class ForkedPrefixes:
    """Shares prefixes between the sequences of one model; without `forks`, only within each sequence."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def begin(self, prompts: Mapping[int, Sequence[int]], decode: Decode) -> dict[int, Sequence[int]]:
        """Fill sequences with cached prefixes of their prompts; return the rest of each, at least one token.

        A prefix common to several prompts that no sequence holds is decoded once.
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
        """Return the rest, at least one token, of a text that continues the sequence's."""
        return reuse(self._model, seq, tokens)

    def _copy(self, seq: int, tokens: Sequence[int]) -> None:
        """Copy the longest cached prefix from another sequence, if it is long enough."""
        most = len(tokens) - 1
        own = common_prefix(self._model.cached(seq), tokens)
        if most - own < WORTH_SHARING:
            return
        held = {other: common_prefix(self._model.cached(other), tokens) for other in range(self._model.n_seq)}
        source = max(held, key=held.__getitem__)
        if held[source] - own >= WORTH_SHARING:
            self._model.fork(source, seq, min(held[source], most))


def _worth_decoding(tokens: Sequence[int], held: int, following: Iterable[Sequence[int]]) -> int:
    """Length of the prefix that later sequences can copy; 0 if it is too short for a decode."""
    shared = max((common_prefix(tokens, other) for other in following), default=0)
    shared = min(shared, len(tokens) - 1)
    return shared if shared - held >= WORTH_SHARING else 0


class BlockPrefixes:
    """Reuses prefixes within each sequence, for models whose sequences have separate caches.

    Prompts are decoded in blocks from their first token, and only whole blocks are reused. So the state after
    a prompt is bitwise independent of what was decoded before it.
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
