"""What the figures of docs/batch.md rest on.

    python docs/measure_batch.py speed          64 prompts, many at once beside one by one and bare llama.cpp
    python docs/measure_batch.py single         --parallel 1 beside `blendin generate` on one prompt at a time
    python docs/measure_batch.py arithmetic     how often an answer written among others is another one
    python docs/measure_batch.py memory         peak memory of 10 000 rows beside 100, on the demo pair

All on the demo pair. Ratios are of runs that alternate in one process, on this machine.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from blendin_local.batch.planning import parallel_options
from blendin_local.batch.results import Result
from blendin_local.batch.rows import Row, own_settings
from blendin_local.batch.run_manifest import RunManifest, describe_run
from blendin_local.batch.scheduler import Scheduler
from blendin_local.engine.pair import Pair, Role
from blendin_local.engine.prompts import Message, PromptFormat, choose_format
from blendin_local.formats import Formats
from blendin_local.llamacpp.model import GgufModel
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.loading import (
    AUTO_FORMATS,
    PairFiles,
    load_pair,
    locate_pair,
    name_pair,
    start_conversation,
)
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings
from blendin_local.tune.examples import built_in_examples, shuffled

PROMPTS, TOKENS, TOGETHER = 64, 128, 8
OPTIONS = ModelOptions(n_ctx=1024)
GREEDY = SamplingSettings()
ENDLESS = {"guide_stop": False}
"""So that replies have all their tokens: the yardsticks write as many."""


def main() -> None:
    measure = {"speed": speed, "single": single, "arithmetic": arithmetic, "memory": memory}
    if len(sys.argv) != 2 or sys.argv[1] not in measure:
        sys.exit(__doc__)
    measure[sys.argv[1]]()


def located() -> PairFiles:
    catalogue = load_catalogue()
    return locate_pair(catalogue, name_pair(catalogue, "demo"))


def rows_of(settings: GenerationSettings, count: int = PROMPTS) -> list[Row]:
    """The built-in reference questions, of eleven to some hundred words."""
    questions = [example.messages[-1].content for example in shuffled(built_in_examples(), 0)]
    return [
        Row(str(n), n, f"line {n + 1}", (Message("user", text),), own_settings(settings, {}, str(n)), {})
        for n, text in enumerate(questions[:count])
    ]


class Opened:
    """The demo pair, opened for so many rows at once."""

    def __init__(self, files: PairFiles, parallel: int, formats: Formats = AUTO_FORMATS) -> None:
        self.files, self.parallel, self.formats = files, parallel, formats
        self.pair: Pair = load_pair(files, parallel_options(OPTIONS, parallel))

    def forget(self) -> None:
        for model in (self.pair.base, self.pair.guide):
            assert isinstance(model, GgufModel)
            model.forget()

    def answer(self, rows: Sequence[Row], settings: GenerationSettings) -> tuple[list[Result], float]:
        """Results and seconds, prompts included, from empty caches."""
        self.forget()
        scheduler = Scheduler(self.pair, self._formats(), self._run(settings), self.parallel)
        began = perf_counter()
        found = list(scheduler.answer(rows))
        return found, perf_counter() - began

    def _formats(self) -> dict[Role, PromptFormat]:
        return {
            "base": choose_format(self.formats.base, self.files.base.chat_template),
            "guide": choose_format(self.formats.guide, self.files.guide.chat_template),
        }

    def _run(self, settings: GenerationSettings) -> RunManifest:
        return describe_run(settings, self.files, self.formats, OPTIONS)


def tokens_of(results: Iterable[Result]) -> int:
    return sum(result["summary"]["tokens"] for result in results)


# Speed


def speed() -> None:
    files = located()
    blend = GenerationSettings(BlendSettings(gamma=0.4), GREEDY, TOKENS)
    many, one = Opened(files, TOGETHER), Opened(files, 1)
    compare(
        f"blendin, gamma 0.4: {TOGETHER} at once / one at a time",
        rows_of(blend),
        lambda rows: many.answer(rows, blend),
        lambda rows: one.answer(rows, blend),
    )
    one.pair.close()
    many.pair.close()

    # Without a format there is nothing to stop at: every reply has all its tokens, as bare llama.cpp's have.
    alone = GenerationSettings(BlendSettings(method="base", **ENDLESS), GREEDY, TOKENS)
    raw = Opened(files, TOGETHER, Formats("raw", "raw"))
    compare(
        f"base: {TOGETHER} at once / bare llama.cpp, {TOGETHER} sequences in each decode",
        rows_of(alone),
        lambda rows: raw.answer(rows, alone),
        lambda rows: bare(raw, rows),
    )
    raw.pair.close()


Timed = Callable[[Sequence[Row]], tuple[list[Result], float]]


def compare(name: str, rows: Sequence[Row], first: Timed, second: Timed, part: int = 16) -> None:
    """Both on the same rows, by turns, a part of the rows in each turn."""
    ratios, totals = [], np.zeros((2, 2))
    for turn, start in enumerate(range(0, len(rows), part)):
        speeds = {}
        for place in (0, 1) if turn % 2 else (1, 0):
            results, seconds = (first, second)[place](rows[start : start + part])
            totals[place] += tokens_of(results), seconds
            speeds[place] = tokens_of(results) / seconds
        ratios.append(speeds[0] / speeds[1])
    whole = totals[:, 0] / totals[:, 1]
    print(f"{name}: {whole[0]:.1f} / {whole[1]:.1f} tokens/s = {whole[0] / whole[1]:.2f}", end="")
    print(f" (median of {len(ratios)} parts {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f})")


def bare(opened: Opened, rows: Sequence[Row]) -> tuple[list[Result], float]:
    """Greedy decoding with llama.cpp alone, in groups that begin and end together; logits are only ranked."""
    opened.forget()
    base = opened.pair.base
    made = 0
    began = perf_counter()
    for start in range(0, len(rows), opened.parallel):
        group = list(enumerate(rows[start : start + opened.parallel]))
        for seq, _ in group:
            base.rewind(seq, 0)
        bos = [base.vocabulary.bos] if base.vocabulary.bos is not None else []
        work = {seq: bos + base.tokenize(row.messages[-1].content.encode()) for seq, row in group}
        for _ in range(TOKENS):
            base.advance(work)
            work = {seq: [int(base.logits(seq).argmax())] for seq, _ in group}
            made += len(group)
    seconds = perf_counter() - began
    return [{"summary": {"tokens": made}}], seconds


def single() -> None:
    files = located()
    settings = GenerationSettings(BlendSettings(gamma=0.4), GREEDY, TOKENS)
    opened = Opened(files, 1)

    def one_by_one(rows: Sequence[Row]) -> tuple[list[Result], float]:
        """As `blendin generate PROMPT` does it, loading apart."""
        found, seconds = [], 0.0
        for row in rows:
            opened.forget()
            began = perf_counter()
            conversation = start_conversation(files, opened.pair, replace(row.settings))
            reply = conversation.send(row.messages[-1].content)
            for _ in reply:
                pass
            seconds += perf_counter() - began
            found.append({"summary": {"tokens": reply.summary.tokens}})
        return found, seconds

    compare(
        "blendin, gamma 0.4: --parallel 1 / one prompt at a time",
        rows_of(settings, 32),
        lambda rows: opened.answer(rows, settings),
        one_by_one,
        part=8,
    )
    opened.pair.close()


# Arithmetic


def arithmetic() -> None:
    files = located()
    for name, sampling in (("greedy", GREEDY), ("sampled", files.entry.sampling)):
        settings = GenerationSettings(BlendSettings(gamma=0.4), sampling, TOKENS)
        rows = rows_of(settings, 32)
        found = {}
        for parallel in (1, TOGETHER):
            opened = Opened(files, parallel)
            results, _ = opened.answer(rows, settings)
            found[parallel] = {result["id"]: result["text"] for result in results}
            if parallel == 1 and sampling is GREEDY:
                again, _ = opened.answer(rows[::-1], settings)
                equal = {result["id"]: result["text"] for result in again} == found[1]
                print(f"{name}: one at a time, in the reverse order: {'equal' if equal else 'DIFFERENT'}")
            opened.pair.close()
            gc.collect()
        parted = [
            common(found[1][id], found[TOGETHER][id])
            for id in found[1]
            if found[1][id] != found[TOGETHER][id]
        ]
        print(
            f"{name}: {TOGETHER} at once: {len(parted)} of {len(rows)} answers differ from those written "
            f"alone; they part after {median(parted or [0]):.0%} of the text (median)"
        )


def common(one: str, other: str) -> float:
    """The share of a text that another begins with too."""
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return length / max(1, len(one))


# Memory


def memory() -> None:
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (100, 10_000):
            source, target = Path(folder) / f"{count}.jsonl", Path(folder) / f"{count}.out.jsonl"
            with source.open("w") as stream:
                for n in range(count):
                    stream.write(json.dumps({"id": f"row {n}", "prompt": f"Say {n}."}) + "\n")
            code = (
                "import sys, resource; from blendin_local.cli import main\n"
                "try: main(sys.argv[1:])\n"
                "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
            )
            command = ["generate", "-i", str(source), "-o", str(target), "-n", "1", "-q", "--n-ctx", "256"]
            command += ["--method", "base", "--threads", "1"]
            done = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, check=True)
            peaks[count] = int(done.stdout) / 1024
            print(f"{count} rows: peak {peaks[count]:.0f} MiB")
    print(f"10 000 rows / 100 rows: {peaks[10_000] / peaks[100]:.3f}")


if __name__ == "__main__":
    main()
