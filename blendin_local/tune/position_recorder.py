"""What is noted of two distributions at one position of a known reply: NumPy alone, no model."""

from __future__ import annotations

from typing import Any

import numpy as np

from blendin_local.engine.distribution import Distribution, Masses, jensen_shannon
from blendin_local.engine.vocabulary import VocabularyMap
from blendin_local.tune.alignment import Alignment
from blendin_local.tune.record import POSITION_FIELDS, TYPES, Record

__all__ = ["PositionRecorder"]


class PositionRecorder:
    """Notes what a record keeps of each place of one reply; each place once, in any order.

    leads: the spaces with which the base's and the guide's prompts make a reply begin.
    """

    def __init__(self, mapping: VocabularyMap, leads: tuple[bytes, bytes], places: Alignment) -> None:
        self._map = mapping
        self._places = places
        self._first_reach = mapping.at_first_step(*leads)
        self._mixed: Masses = np.zeros(mapping.n_outcomes, np.float32)
        n = len(places.tokens)
        self._columns = {name: np.zeros(n, TYPES[name]) for name in POSITION_FIELDS}
        self._columns["n_bytes"][:] = [place.n_bytes for place in places.places]
        self._columns["consultable"][:] = [place.consultable for place in places.places]
        self._columns["guide_length"][:] = [place.guide_length for place in places.places]

    def observe(self, index: int, base: Distribution, guide: Distribution | None, own: int = -1) -> None:
        """Note what the base and the guide say at a place.

        guide: None where it cannot be asked. own: the guide's own token that the reply goes on with, where
        its tokens and the base's end at the same place.
        """
        token = self._places.tokens[index]
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
            self._note_guide(index, base, guide, self._places.places[index].begun, outcome, own)

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
        """The record of the reply, once every place was observed."""
        return Record(
            **self._columns,
            ids=(name,),
            guide_bits=np.array([guide_bits]),
            guide_tokens=np.array([len(self._places.guide_tokens)], np.int32),
            bytes=np.array([self._places.n_bytes], np.int32),
        )
