"""What the figures of docs/tune.md rest on.

    python docs/measure_tune.py speed               how long a pass takes, beside two yardsticks
    python docs/measure_tune.py harm [POSITIONS]    whether a recommendation does harm, on four pairs
    python docs/measure_tune.py arithmetic          what a batched decode changes

`speed` and `harm` make SmolLM2 at Q8_0 and Q2_K from the demo pair's guide, in a temporary folder.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from blendin_local.engine.distribution import Distribution
from blendin_local.engine.language_model import ScoringModel, Status, reuse
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import choose_format, make_prompt
from blendin_local.llamacpp.library import api, captured_log
from blendin_local.llamacpp.model import GgufModel
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, load_pair, locate_pair, name_pair
from blendin_local.settings import BlendSettings, ModelOptions
from blendin_local.tune.alignment import Text, align
from blendin_local.tune.costs import measure_costs
from blendin_local.tune.diagnosis import analyse
from blendin_local.tune.examples import built_in_examples, shuffled
from blendin_local.tune.position_recorder import PositionRecorder
from blendin_local.tune.record import Record, join_records
from blendin_local.tune.scoring import ROWS, score_text
from blendin_local.tune.setting_scores import bits_by_example

SCORING = ModelOptions(n_ctx=2048, n_seq=16, n_outputs=ROWS, shared_cache=True)
ROUNDS = 5
POSITIONS = 600


def main() -> None:
    measure = {"speed": speed, "harm": harm, "arithmetic": arithmetic}
    if len(sys.argv) < 2 or sys.argv[1] not in measure:
        sys.exit(__doc__)
    measure[sys.argv[1]](*map(int, sys.argv[2:]))


# Speed


def speed() -> None:
    """Rounds in turn, medians of the ratios within a round."""
    with tempfile.TemporaryDirectory() as folder:
        same = located(smollm2("Q8_0", folder), smollm2("Q2_K", folder))
        pair = load_pair(same, replace(SCORING, n_outputs=512))
        texts = some_texts(same, pair, POSITIONS)
        ratios = []
        for _ in range(ROUNDS):
            seconds = [timed(pair, lambda: scored(pair, texts)), timed(pair, lambda: bare(pair, texts))]
            ratios.append(seconds[0] / seconds[1])
        print(f"same vocabulary: the pass / two bare batched prefills: {shown(ratios)}")
        pair.close()

    demo = located("gemma-3-270m", "smollm2-135m-instruct")
    pair = load_pair(demo, SCORING)
    texts = some_texts(demo, pair, POSITIONS)
    ratios, grids = [], []
    for _ in range(ROUNDS):
        record = scored(pair, texts)
        took = timed(pair, lambda: scored(pair, texts))
        ratios.append(took / timed(pair, lambda: one_by_one(pair, texts)))
        costs = measure_costs(pair, texts[0])
        begun = perf_counter()
        analyse(record, costs, seed=0)
        grids.append((perf_counter() - begun) / took)
    print(f"demo pair: the pass / position by position with a re-tokenized guide: {shown(ratios)}")
    print(f"demo pair: the whole analysis / the pass, {len(record)} positions: {shown(grids)}")
    pair.close()


def timed(pair: Pair, run: object) -> float:
    for model in (pair.base, pair.guide):
        model.forget()  # type: ignore[attr-defined]
    begun = perf_counter()
    run()  # type: ignore[operator]
    return perf_counter() - begun


def scored(pair: Pair, texts: Sequence[Text]) -> Record:
    return join_records([score_text(pair, text) for text in texts])


def bare(pair: Pair, texts: Sequence[Text]) -> None:
    """Prompts and replies through both models, logits asked for at every position and not looked at."""
    for text in texts:
        for role, prompt in (("base", text.base), ("guide", text.guide)):
            model: GgufModel = getattr(pair, role)
            reply = model.tokenize(prompt.lead + text.reply.encode())
            tokens = [*prompt.tokens, *reply[:-1]]
            model.rewind(0, 0)
            for start in range(0, len(tokens), model.n_batch):
                part = tokens[start : start + model.n_batch]
                first = max(0, len(prompt.tokens) - 1 - start)
                assert model.advance_rows({0: part}, {0: range(first, len(part))}) is Status.DONE


def one_by_one(pair: Pair, texts: Sequence[Text]) -> None:
    """The same record from one decode of each model for every position, both caches reused."""
    base: ScoringModel = pair.base  # type: ignore[assignment]
    guide: ScoringModel = pair.guide  # type: ignore[assignment]
    base_says, said = Distribution(len(base.vocabulary)), Distribution(len(guide.vocabulary))
    for text in texts:
        alignment = align(pair, text)
        observer = PositionRecorder(pair.vocabulary_map, (text.base.lead, text.guide.lead), alignment)
        read = list(text.base.tokens)
        for index, (token, place) in enumerate(zip(alignment.tokens, alignment.positions, strict=True)):
            base.advance({0: reuse(base, 0, read)})
            shared, tail = place.branch or (place.guide_length, ())
            guide.advance({0: reuse(guide, 0, [*text.guide.tokens, *alignment.guide_tokens[:shared], *tail])})
            said.update(guide.logits(0))
            base_says.update(base.logits(0))
            observer.observe(index, base_says, said)
            read.append(token)


def shown(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} rounds)"


# No harm


def harm(positions: int = 6000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fine, coarse = smollm2("Q8_0", folder), smollm2("Q2_K", folder)
        for base, guide in (
            ("gemma-3-270m", "smollm2-135m-instruct"),
            ("smollm2-135m-instruct", "gemma-3-270m"),
            (fine, coarse),
            (coarse, fine),
        ):
            files = located(base, guide)
            pair = load_pair(files, SCORING)
            texts = some_texts(files, pair, positions)
            result = analyse(scored(pair, texts), measure_costs(pair, texts[0]), seed=0)
            pair.close()
            found = result.recommendation
            setting = f"{found.setting.method} {found.setting.gamma} {found.setting.prior}"
            low, high = found.interval
            print(f"{Path(base).name} + {Path(guide).name}: {setting}")
            print(f"    held out {found.held_out_bits_per_byte:.3f}, {found.single} alone", end=" ")
            print(f"{found.held_out_single:.3f}: gain {found.gain:.1%} ({low:.1%} to {high:.1%})")


# Arithmetic


def arithmetic() -> None:
    """Bits per byte of the same replies, read in batches and token by token."""
    demo = located("gemma-3-270m", "smollm2-135m-instruct")
    pair = load_pair(demo, SCORING)
    texts = some_texts(demo, pair, POSITIONS)
    batched = scored(pair, texts)
    base: ScoringModel = pair.base  # type: ignore[assignment]
    distribution = Distribution(len(base.vocabulary))
    probabilities = []
    for text in texts:
        read = list(text.base.tokens)
        for token in base.tokenize(text.base.lead + text.reply.encode()):
            base.advance({0: reuse(base, 0, read)})
            distribution.update(base.logits(0))
            probabilities.append(distribution.probability(token))
            read.append(token)
    difference = np.log2(probabilities) - np.log2(batched.p_base.astype(np.float64))
    size = float(batched.bytes.sum())
    alone = -np.log2(probabilities).sum() / size
    together = bits_by_example(batched, BlendSettings(method="base")).sum() / size
    print(f"base, {len(batched)} positions: {alone:.4f} bits per byte one by one, {together:.4f} in batches")
    print(f"a position differs by {np.sqrt((difference**2).mean()):.3f} bits (rms), {difference.mean():+.4f}")
    pair.close()


# Pairs and texts


def located(base: str, guide: str) -> PairFiles:
    catalogue = load_catalogue()
    return locate_pair(catalogue, name_pair(catalogue, None, base, guide) or PairEntry("", base, guide))


def some_texts(files: PairFiles, pair: Pair, positions: int) -> list[Text]:
    formats = [choose_format("auto", header.chat_template) for header in (files.base, files.guide)]
    texts: list[Text] = []
    total = 0
    for example in shuffled(built_in_examples(), 0):
        if total >= positions:
            break
        prompts = [make_prompt(getattr(pair, role), form, example.messages)
                   for role, form in zip(("base", "guide"), formats, strict=True)]  # fmt: skip
        texts.append(Text(example.id, prompts[0], prompts[1], example.response))
        total += len(pair.base.tokenize(example.response.encode()))
    return texts


def smollm2(quantization: str, folder: str) -> str:
    """The demo pair's guide at another quantization; what its file has lost stays lost."""
    catalogue = load_catalogue()
    source = catalogue.resolve_model("smollm2-135m-instruct")
    target = Path(folder) / f"smollm2-{quantization}.gguf"
    if not target.exists():
        params = api.llama_model_quantize_default_params()
        params.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{quantization}")
        params.allow_requantize = True
        with captured_log() as log:
            if api.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)):
                raise RuntimeError(log.reason())
    return str(target)


if __name__ == "__main__":
    main()
