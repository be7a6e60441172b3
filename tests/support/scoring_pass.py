"""A pass of `tune` over a few answers by models that stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Message
from blendin_local.tune.costs import Costs
from blendin_local.tune.examples import Example
from blendin_local.tune.passes import Measured, PassCheckpoint, finish_pass, run_pass
from blendin_local.tune.scoring import Text
from support.fakes import FakeModel, dreaming, prompt_of, words_and_bytes

ALL = 10_000
COSTS = Costs(0.02, ((1, 0.01),), 0.001, 0.002)
SAID = "the, the cat, the mat, a cat sat, the mat sat too, off, he came, to see it, who is there"
EXAMPLES = [Example(f"n{n}", (Message("user", "Say."),), said) for n, said in enumerate(SAID.split(", "))]
LENGTHS = [len(example.response) for example in EXAMPLES]


def make_pair(**options: Any) -> Pair:
    vocabulary = words_and_bytes()
    return pair_models(
        FakeModel(vocabulary, dreaming(vocabulary, 0), name="base", **options),
        FakeModel(vocabulary, dreaming(vocabulary, 1), name="guide", **options),
    )


def make_text(example: Example) -> Text:
    return Text(example.id, prompt_of(2), prompt_of(3), example.response)


def run(
    folder: Path,
    budget: int = ALL,
    *,
    pair: Pair | None = None,
    examples: Sequence[Example] = EXAMPLES,
    make: Callable[[Example], Text] = make_text,
    **options: Any,
) -> Measured:
    kept = PassCheckpoint.open(folder)
    run_pass(pair or make_pair(), examples, make, kept, budget=budget, **options)
    return finish_pass(PassCheckpoint.open(folder), len(examples), budget)
