"""Conversations for tests of the history: by hand, and any that there could be."""

from __future__ import annotations

import re
from dataclasses import fields
from types import NoneType
from typing import Any, get_args

from hypothesis import strategies as st

from blendin_local.engine.steps import Candidate, Candidates, FinishReason, Source, Step
from blendin_local.formats import Formats
from blendin_local.history.records import summarize
from blendin_local.history.tree import Setup, Tree, Turn
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from support.awkward import AWKWARD

NUMBERS = st.integers(-1, 1 << 40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CANDIDATE = st.builds(Candidate, st.binary(max_size=5), FLOATS, NUMBERS)
CANDIDATES = st.lists(CANDIDATE, max_size=3).map(tuple)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    made: dict[Any, st.SearchStrategy[Any]] = {
        int: NUMBERS,
        float: FLOATS,
        bool: st.booleans(),
        NoneType: st.none(),
        bytes: st.binary(max_size=6) | st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xe2\x82", b""]),
        str: st.text(max_size=6) | st.sampled_from(AWKWARD),
        Source: st.sampled_from(Source),
        FinishReason: st.sampled_from(get_args(FinishReason)),
        tuple[int, ...]: st.lists(NUMBERS, max_size=3).map(tuple),
        Candidates: st.builds(Candidates, CANDIDATES, CANDIDATES, CANDIDATES),
    }
    return made[kind] if kind in made else st.one_of(*map(values_of, get_args(kind)))


SETUP = Setup(
    base="./base.gguf",
    guide="hf:owner/name",
    system="Be \ud800 brief.",
    settings=GenerationSettings(
        BlendSettings(method="tuned", prior=-1.75),
        SamplingSettings(temperature=0.1),
        seed=7,
        stop=("\n", "Q:"),
    ),
    formats=Formats(base="plain"),
)


PLAIN = Setup("base-model", "guide-model", "demo")


def conversation(*texts: str, setup: Setup = PLAIN) -> Tree:
    """Questions and replies in turns; a reply has a step for each of its words."""
    tree = Tree()
    for i, text in enumerate(texts):
        turn = Turn("assistant" if i % 2 else "user", text, tree.leaf, id=str(i), created=float(i))
        if turn.is_reply:
            turn.steps = [word(n, each) for n, each in enumerate(re.findall(r"\s*\S+\s*", text))]
            turn.summary, turn.setup = summarize(turn.steps), setup
        tree.add(turn)
    return tree


def word(index: int, text: str) -> Step:
    source = (Source.BASE, Source.GUIDE, Source.BOTH, Source.BLEND)[index % 4]
    asked = source is not Source.BASE
    data = text.encode("utf-8", "surrogatepass")
    found = (Candidate(data, 0.25, 7), Candidate(b"\xff", 0.125, 8), Candidate(b"", 0.0625, 9))
    return Step(
        index=index, data=data, text=text, source=source, outcome=7, base_tokens=(index,), probability=0.25,
        c_b=0.3 if asked else 0.9, c_g=0.6 if asked else None, agreement=0.1 if asked else None,
        alpha=0.68 if asked else 0.0, divergence=0.3 if asked else None, intervened=asked, consulted=asked,
        guide_rank=2, candidates=Candidates(found, found[:2], found[:1]),
    )  # fmt: skip


def own(turn: Turn) -> list[Step]:
    return turn.steps


def everything(tree: Tree) -> list[Any]:
    turns = [
        {field.name: getattr(turn, field.name) for field in fields(turn)} for turn in tree.turns.values()
    ]
    return [tree.leaf, *turns]
