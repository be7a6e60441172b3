"""Record the figures of two distributions at each position of a known reply, with NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from blendin_local.engine.distribution import Distribution, Masses, jensen_shannon
from blendin_local.engine.vocabulary import VocabularyMap
from blendin_local.tune.alignment import Alignment
from blendin_local.tune.record import POSITION_FIELDS, TYPES, Record

__all__ = ["PositionRecorder"]


class PositionRecorder:
    """Collects the record of one reply. Positions are observed once each, in any order.

    leads: the spaces that a reply begins with after the base's and the guide's prompt.
    """

    def __init__(self, mapping: VocabularyMap, leads: tuple[bytes, bytes], alignment: Alignment) -> None:
        self._map = mapping
        self._alignment = alignment
        self._first_reach = mapping.at_first_step(*leads)
        self._mixed: Masses = np.zeros(mapping.n_outcomes, np.float32)
        n = len(alignment.tokens)
        self._columns = {name: np.zeros(n, TYPES[name]) for name in POSITION_FIELDS}
        self._columns["n_bytes"][:] = [position.n_bytes for position in alignment.positions]
        self._columns["consultable"][:] = [position.consultable for position in alignment.positions]
        self._columns["guide_length"][:] = [position.guide_length for position in alignment.positions]

    def observe(self, index: int, base: Distribution, guide: Distribution | None, own: int = -1) -> None:
        """Record the distributions of both models at a position.

        guide: None where it cannot be consulted. own: the guide's own next token of the reply, if its tokens
        and the base's end at the same position; else -1.
        """
        token = self._alignment.tokens[index]
        outcome = int(self._map.base_outcome[token])
        self._note(
            index,
            p_base=base.probability(token),
            p_outcome=base.probability(token),
            c_b=base.confidence,
            base_entropy=base.entropy,
            base_right=int(self._map.base_outcome[base.top]) == outcome,
        )
        if guide is not None:
            self._note_guide(index, base, guide, self._alignment.positions[index].begun, outcome, own)

    def _note_guide(
        self, index: int, base: Distribution, guide: Distribution, begun: bool, outcome: int, own: int
    ) -> None:
        mapping, mixed = self._map, self._mixed
        outcome_of, projection = (mapping.outcome_of, mapping.projection) if begun else self._first_reach
        mapping.fold_base(base.masses, 1 / base.total, mixed)
        from_guide = projection.collect(guide.masses, 1 / guide.total)
        at = int(np.searchsorted(projection.reached, outcome))
        reached = at < len(projection.reached) and int(projection.reached[at]) == outcome
        top = int(outcome_of[guide.top])
        agreement = float(mixed[top]) if top >= 0 else 0.0
        above = np.flatnonzero(mixed > agreement)
        self._note(
            index,
            p_outcome=float(mixed[outcome]),
            p_guide=float(from_guide[at]) if reached else 0.0,
            guide_mass=float(from_guide.sum()),
            c_g=guide.confidence,
            guide_entropy=guide.entropy,
            agreement=agreement,
            guide_rank=len(above),
            mass_above=float(mixed[above].sum()),
            divergence=jensen_shannon(mixed[projection.reached], from_guide),
            guide_right=top == outcome or guide.top == own,
        )

    def _note(self, index: int, **values: Any) -> None:
        for name, value in values.items():
            self._columns[name][index] = value

    def record(self, name: str, guide_bits: float) -> Record:
        """Return the record of the reply, after every position was observed."""
        return Record(
            **self._columns,
            ids=(name,),
            guide_bits=np.array([guide_bits]),
            guide_tokens=np.array([len(self._alignment.guide_tokens)], np.int32),
            bytes=np.array([self._alignment.n_bytes], np.int32),
        )
