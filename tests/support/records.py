"""Records for tests of the evaluation: from rows by hand, and any that a pass could leave."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from blendin_local.tune.record import POSITION_FIELDS, TYPES, Record

COLUMNS: dict[str, Any] = {
    "n_bytes": np.int32,
    "p_base": np.float32,
    "p_outcome": np.float32,
    "p_guide": np.float32,
    "guide_mass": np.float32,
    "c_b": np.float32,
    "c_g": np.float32,
    "agreement": np.float32,
    "guide_rank": np.int32,
    "consultable": np.bool_,
    "guide_length": np.int32,
}
Row = tuple[Any, ...]


def record_of(examples: list[list[Row]], guide_bits: list[float] | None = None) -> Record:
    """A record from the rows of each example, in the order of COLUMNS; the rest says nothing of interest."""
    flat = [row for rows in examples for row in rows]
    n, e = len(flat), len(examples)
    columns = {
        name: np.array([row[place] for row in flat], kind)
        for place, (name, kind) in enumerate(COLUMNS.items())
    }
    sizes = [sum(row[0] for row in rows) for rows in examples]
    zeros = np.zeros(n, np.float32)
    return Record(
        **columns,
        example=np.repeat(np.arange(e, dtype=np.int32), [len(rows) for rows in examples]),
        mass_above=zeros,
        base_entropy=zeros,
        guide_entropy=zeros,
        divergence=zeros,
        base_right=np.zeros(n, np.bool_),
        guide_right=np.zeros(n, np.bool_),
        ids=tuple(f"example {place}" for place in range(e)),
        guide_bits=np.array(guide_bits or [10.0] * e),
        guide_tokens=np.array([2 * len(rows) for rows in examples], np.int32),
        bytes=np.array(sizes, np.int32),
    )


probabilities = st.sampled_from((0.0, 0.25, 1.0)) | st.floats(0, 1, width=32)
confidences = st.sampled_from(tuple(np.float32(k / 10) for k in range(1, 11))) | st.floats(
    2**-10, 1, width=32
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """One to five examples of up to eight positions, some of them empty, with all kinds of odd numbers."""
    examples = []
    for _ in range(draw(st.integers(1, 5))):
        rows_, length = [], 0
        for _ in range(draw(st.integers(0, 8))):
            p_base = draw(probabilities)
            rows_.append(
                (
                    draw(st.integers(0, 9)),
                    p_base,
                    min(1.0, p_base + draw(st.sampled_from((0.0, 0.01)))),
                    draw(probabilities),
                    draw(probabilities),
                    draw(confidences),
                    draw(confidences),
                    draw(probabilities),
                    draw(st.integers(0, 9)),
                    draw(st.sampled_from((True, True, True, False))),
                    length,
                )
            )
            length += draw(st.integers(0, 3))
        examples.append(rows_)
    # Sums of logarithms have no smaller ones than their last digit.
    spent = st.just(0.0) | st.floats(1e-12, 100)
    return record_of(examples, [draw(spent) for _ in examples])


def made(lengths: list[int], seed: int = 0, names: list[str] | None = None) -> Record:
    """A record of examples with so many positions each; every number is another one."""
    chance = np.random.default_rng(seed)
    n, e = sum(lengths), len(lengths)
    columns: dict[str, Any] = {
        name: (chance.random(n) * 2).astype(TYPES[name])
        if TYPES[name] is not np.int32
        else chance.integers(0, 1000, n, np.int32)
        for name in POSITION_FIELDS
    }
    columns["example"] = np.repeat(np.arange(e, dtype=np.int32), lengths)
    return Record(
        **columns,
        ids=tuple(names or [f"{seed}-{place}" for place in range(e)]),
        guide_bits=chance.random(e) * 100,
        guide_tokens=chance.integers(1, 99, e, np.int32),
        bytes=chance.integers(1, 99, e, np.int32),
    )


def assert_same(found: Record, expected: Record) -> None:
    assert found.ids == expected.ids
    for name in TYPES:
        column = getattr(found, name)
        assert column.dtype == TYPES[name], name
        assert column.tolist() == getattr(expected, name).tolist(), name
