"""Measure how fast a pair generates, and the overhead of the engine over bare llama.cpp calls.

Each method writes greedy replies to fixed prompts until the wanted number of tokens, with every decode
recorded. Right after, the same decodes run again as bare calls in the same process. Both are repeated in
turn, and each step and decode counts with its median over the rounds, so that a short disturbance by other
programs affects one round only.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from blendin_local.engine.conversation import Reply
from blendin_local.engine.pair import Pair
from blendin_local.errors import SettingError
from blendin_local.llamacpp.bare_decode import Decode, Recorder, replay
from blendin_local.llamacpp.library import version
from blendin_local.llamacpp.model import GgufModel
from blendin_local.models.loading import PairFiles, open_pair, start_conversation
from blendin_local.models.peak_memory import high_water_mark
from blendin_local.progress import Progress, Watcher
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

PROMPTS = (
    "Tell me how a sailing ship finds its way across the open sea at night.",
    "A shop sells pens at 3 dollars each and books at 12 dollars each. Explain how to find the price of five "
    "pens and two books.",
    "Write a short letter to a friend about a walk in the mountains.",
    "Why do leaves change their colour in autumn?",
)

RoundProgress = Callable[[int, int], None]
"""Called with the number of a round and the tokens written so far in it."""


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What to measure: `tokens` tokens with each method, `rounds` times."""

    files: PairFiles
    options: ModelOptions
    methods: tuple[BlendSettings, ...]
    tokens: int = 256
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """Figures of one method.

    overhead: engine time / bare time for the same decodes. guide_decode_ratio: guide tokens decoded /
    (prompt and response tokens in the guide's tokenization); 0 where the guide is never decoded.
    engine_s, bare_s: sums of the medians of all steps, or decodes. first_token_s: median over prompts.
    """

    overhead: float
    tokens_per_second: float
    first_token_s: float
    guide_decode_ratio: float
    intervention_rate: float
    tokens: int
    engine_s: float
    bare_s: float


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Bytes: the process's peak, both files, both KV caches, and the rest of the peak."""

    peak: int
    files: int
    kv_caches: int
    above: int


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Figures of all methods by name, and the conditions of the measurement."""

    methods: Mapping[str, MethodFigures]
    memory: MemoryFigures
    gamma: float
    rounds: int
    machine: Mapping[str, str]
    llama_cpp_python: str

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `blendin bench --json` prints."""
        return asdict(self)


def run_bench(request: BenchRequest, watcher: Watcher) -> BenchResult:
    """Load the pair and measure every method. Raises ModelError, SettingError, or KeyboardInterrupt."""
    figures = {}
    with closing(open_pair(request.files, request.options, watcher)) as pair:
        for blend in request.methods:
            work = f"measuring {blend.method}, round {{}} of {request.rounds}"
            figures[blend.method] = bench_method(
                request.files,
                pair,
                blend,
                tokens=request.tokens,
                rounds=request.rounds,
                progress=lambda number, done, work=work: watcher.progress(  # type: ignore[misc]
                    Progress(work.format(number + 1), done, request.tokens, "tokens")
                ),
            )
        held = memory_figures(request.files, request.options)
    machine = {"platform": platform.platform(), "processor": platform.processor() or platform.machine()}
    return BenchResult(figures, held, request.methods[0].gamma, request.rounds, machine, version)


def bench_method(
    files: PairFiles,
    pair: Pair,
    blend: BlendSettings,
    *,
    tokens: int,
    rounds: int = 3,
    progress: RoundProgress | None = None,
) -> MethodFigures:
    """Measure one method on `tokens` tokens, each `rounds` times. Both models must be `GgufModel`s.

    Raises SettingError if the tokens do not fit into both contexts.
    """
    models: list[GgufModel] = [pair.base, pair.guide]  # type: ignore[list-item]
    room = min(model.n_ctx for model in models)
    if tokens >= room:
        raise SettingError(f"tokens must be fewer than the {room} that the context holds, not {tokens}.")
    first_s: list[float] = []
    later_s = bare_s = 0.0
    steps = decoded = needed = interventions = 0
    while steps < tokens:
        prompt = PROMPTS[len(first_s) % len(PROMPTS)]
        settings = GenerationSettings(blend, max_tokens=tokens - steps)
        reply, typical, decode_s = _measure_reply(
            files, pair, models, settings, prompt, rounds, steps, progress
        )
        first_s.append(typical[0])
        later_s += sum(typical[1:])
        bare_s += decode_s
        steps += len(typical)
        interventions += reply.summary.interventions
        if reply.summary.guide_decoded:
            decoded += reply.summary.guide_decoded
            needed += reply.prompt_tokens["guide"] + len(pair.guide.tokenize(reply.text.encode()))
    _clear_contexts(models)
    engine_s = sum(first_s) + later_s
    return MethodFigures(
        overhead=engine_s / bare_s,
        tokens_per_second=(steps - len(first_s)) / later_s if later_s else 0.0,
        first_token_s=median(first_s),
        guide_decode_ratio=decoded / needed if needed else 0.0,
        intervention_rate=interventions / steps,
        tokens=steps,
        engine_s=engine_s,
        bare_s=bare_s,
    )


def _measure_reply(
    files: PairFiles,
    pair: Pair,
    models: list[GgufModel],
    settings: GenerationSettings,
    prompt: str,
    rounds: int,
    done: int,
    progress: RoundProgress | None,
) -> tuple[Reply, list[float], float]:
    """Generate a reply in every round; return it, the median seconds of its steps, those of bare decodes.

    done: tokens of earlier replies, for progress.
    """
    step_times, decode_times = [], []
    for number in range(rounds):
        reply, log, times = _record_reply(files, pair, models, settings, prompt)
        step_times.append(times)
        _clear_contexts(models)
        decode_times.append(replay(log))
        if progress:
            progress(number, done + len(times))
    return reply, _medians(step_times), sum(_medians(decode_times))


def _medians(rounds: list[list[float]]) -> list[float]:
    """Return the median of every step over the rounds that reached it; rounding may shorten a round."""
    return [median(time for time in place if time is not None) for place in zip_longest(*rounds)]


def _record_reply(
    files: PairFiles, pair: Pair, models: list[GgufModel], settings: GenerationSettings, prompt: str
) -> tuple[Reply, list[Decode], list[float]]:
    """Generate a reply from empty contexts; return it, its decodes, and the seconds of each step."""
    _clear_contexts(models)
    log: list[Decode] = []
    recorded = replace(pair, base=Recorder(models[0], log), guide=Recorder(models[1], log))
    reply = start_conversation(files, recorded, settings).send(prompt)
    times = [perf_counter()]
    for _ in reply:
        times.append(perf_counter())
    return reply, log, np.diff(times).tolist()


def _clear_contexts(models: list[GgufModel]) -> None:
    for model in models:
        model.forget()


def memory_figures(files: PairFiles, options: ModelOptions) -> MemoryFigures:
    """Measure the peak memory of this process, and its part beyond model files and KV caches."""
    estimates = files.estimates(options)
    peak = high_water_mark() or 0
    file_bytes = sum(estimate.file for estimate in estimates)
    kv_caches = sum(estimate.kv_cache for estimate in estimates)
    return MemoryFigures(peak, file_bytes, kv_caches, peak - file_bytes - kv_caches)
