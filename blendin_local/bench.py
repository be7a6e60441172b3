"""How fast a pair generates, and what the engine costs beside bare llama.cpp calls.

Each method writes replies to fixed prompts, greedily, until the wanted tokens are out; every decode is
noted. Then the very same decodes run again as bare calls, in the same process, right after. The overhead
is the ratio of both times; with several rounds, the median of their ratios.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import median
from time import perf_counter

from blendin_local import memory
from blendin_local.llamacpp.model import GgufModel
from blendin_local.llamacpp.replay import Decode, Recorder, replay
from blendin_local.loading import PairFiles, start_conversation
from blendin_local.pair import Pair
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

PROMPTS = (
    "Tell me how a sailing ship finds its way across the open sea at night.",
    "A shop sells pens at 3 dollars each and books at 12 dollars each. Explain how to find the price of five "
    "pens and two books.",
    "Write a short letter to a friend about a walk in the mountains.",
    "Why do leaves change their colour in autumn?",
)

Progress = Callable[[str, int, int], None]
"""Called with the method, the round, and the tokens written so far in it."""


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """Figures of one method: medians over the rounds.

    overhead: engine time / bare time for the same decodes. guide_decode_ratio: guide tokens decoded /
    (prompt and response tokens in the guide's tokenization); 0 where the guide is never decoded.
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
    """Bytes: the process's peak, and what it holds beside both files and KV caches."""

    peak: int
    files: int
    kv_caches: int
    above: int


def bench_method(
    files: PairFiles,
    pair: Pair,
    blend: BlendSettings,
    *,
    tokens: int,
    rounds: int = 3,
    progress: Progress | None = None,
) -> MethodFigures:
    """Measure one method over `rounds` rounds of `tokens` tokens each. Both models must be `GgufModel`s."""
    results = [_round(files, pair, blend, tokens, number, progress) for number in range(rounds)]
    middle = {name: median(asdict(result)[name] for result in results) for name in asdict(results[0])}
    return replace(MethodFigures(**middle), tokens=results[0].tokens)


def _round(
    files: PairFiles, pair: Pair, blend: BlendSettings, tokens: int, number: int, progress: Progress | None
) -> MethodFigures:
    models: list[GgufModel] = [pair.base, pair.guide]  # type: ignore[list-item]
    log: list[Decode] = []
    recorded = replace(pair, base=Recorder(models[0], log), guide=Recorder(models[1], log))
    steps = decoded = needed = interventions = 0
    first_token_s, after_first_s, engine_s, bare_s = [], 0.0, 0.0, 0.0
    prompt = 0
    while steps < tokens:
        log.clear()
        for model in models:
            model.forget()
        settings = GenerationSettings(blend, max_tokens=tokens - steps)
        conversation = start_conversation(files, recorded, settings)
        reply = conversation.send(PROMPTS[prompt % len(PROMPTS)])
        prompt += 1
        begun = perf_counter()
        for _ in reply:
            pass
        engine_s += perf_counter() - begun

        summary = reply.summary
        steps += summary.steps
        interventions += summary.interventions
        first_token_s.append(summary.timings.first_token_s)
        after_first_s += summary.timings.total_s - summary.timings.first_token_s
        if summary.guide_decoded:
            decoded += summary.guide_decoded
            needed += reply.prompt_tokens["guide"] + len(pair.guide.tokenize(reply.text.encode()))
        for model in models:
            model.forget()
        bare_s += replay(log)
        if progress:
            progress(blend.method, number, steps)
    for model in models:
        model.forget()
    return MethodFigures(
        overhead=engine_s / bare_s,
        tokens_per_second=(steps - prompt) / after_first_s if after_first_s else 0.0,
        first_token_s=median(first_token_s),
        guide_decode_ratio=decoded / needed if needed else 0.0,
        intervention_rate=interventions / steps,
        tokens=steps,
        engine_s=engine_s,
        bare_s=bare_s,
    )


def memory_figures(files: PairFiles, options: ModelOptions) -> MemoryFigures:
    """What this process has held at most, beside the model files and the KV caches."""
    estimates = [memory.estimate(header, options) for header in (files.base, files.guide)]
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    file_bytes = sum(estimate.file for estimate in estimates)
    kv_caches = sum(estimate.kv_cache for estimate in estimates)
    return MemoryFigures(peak, file_bytes, kv_caches, peak - file_bytes - kv_caches)
