"""Models alone on a text: perplexity, bits per byte, speed, memory, and fidelity to a reference.

The figures that people know from llama.cpp's perplexity tool (`blendin_local.evaluation.fidelity`), kept
by content like answers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from typing import Any

from blendin_local.bench import PROMPTS
from blendin_local.compare.answers import Answers, digest
from blendin_local.compare.arms import ALONE, Arm, ArmModel
from blendin_local.compare.peak import PeakMemory
from blendin_local.compare.run import Load, described, versions
from blendin_local.conversation import Conversation
from blendin_local.errors import EvaluationError
from blendin_local.evaluation.fidelity import N_CTX, measure_fidelity, measure_perplexity, scoring_options
from blendin_local.model import LanguageModel, ScoringModel
from blendin_local.settings import GenerationSettings, ModelOptions

__all__ = ["SPEED_TOKENS", "compare_quantizations", "reference_of", "singles"]

_FORMAT = 1
SPEED_TOKENS = 64
"""Tokens that each model writes for its speed, to two prompts; enough where a token takes 10 ms or more."""

Progress = Callable[[str, int, int], None]
"""Called with a model's name, the predictions scored so far, and how many there are."""


def singles(arms: Sequence[Arm]) -> list[ArmModel]:
    """The models of a comparison, each once; those that were named for themselves come first."""
    order = sorted(arms, key=lambda arm: arm.kind != "model")
    return list({model.sha256: model for arm in order for model in arm.models}.values())


def reference_of(models: Sequence[ArmModel], named: str) -> ArmModel:
    """The model that the others are held against: the one of that name or file, or the first.

    Raises EvaluationError where no model is called so.
    """
    if not named:
        return models[0]
    for model in models:
        if named in (model.name, str(model.header.path), model.header.path.name):
            return model
    raise EvaluationError(
        f"The reference {named} is none of the models compared: {', '.join(model.name for model in models)}."
    )


def compare_quantizations(
    models: Sequence[ArmModel],
    reference: ArmModel,
    text: bytes,
    answers: Answers,
    load: Load,
    options: ModelOptions,
    *,
    n_ctx: int = N_CTX,
    chunks: int | None = None,
    progress: Progress | None = None,
    tell_peak: bool = True,
) -> list[dict[str, Any]]:
    """A row of figures for each model, in their order. A model of another vocabulary than the reference has
    no divergence, and is compared by its bits per byte.

    Raises EvaluationError for a text that is too short, ModelError if a model fails, KeyboardInterrupt.
    """
    common = {
        "format": _FORMAT,
        "versions": versions(),
        "options": asdict(options),
    }
    read = common | {
        "what": "fidelity",
        "text": hashlib.sha256(text).hexdigest(),
        "n_ctx": n_ctx,
        "chunks": chunks,
    }
    found = []
    for model in models:
        speed = _kept(
            answers,
            common | {"what": "speed", "models": described([model])},
            partial(_speed, model, load, options, tell_peak),
        )
        same = model.header.fingerprint == reference.header.fingerprint and model is not reference
        compared = (reference, model) if same else (model,)
        figures = _kept(
            answers,
            read | {"models": [each.sha256 for each in compared]},
            partial(_measured, compared, text, load, options, n_ctx, chunks, progress),
        )
        about = {"model": model.name, "reference": reference.name, "size_bytes": model.header.size_bytes}
        found.append({**about, **speed, **_NOTHING, **figures})
    return found


_NOTHING = dict.fromkeys(
    ("ppl_ratio", "ppl_ratio_se", "correlation", "kld", "delta_p", "same_top", "same_top_se")
)


def _kept(answers: Answers, content: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    key = digest(content)
    found = answers.measurement(key)
    if found is None:
        found = measure()
        answers.keep_measurement(key, found)
    return found


def _measured(
    compared: tuple[ArmModel, ...],
    text: bytes,
    load: Load,
    options: ModelOptions,
    n_ctx: int,
    chunks: int | None,
    progress: Progress | None,
) -> dict[str, Any]:
    def told(done: int, total: int) -> None:
        if progress:
            progress(compared[-1].name, done, total)

    opened = scoring_options(compared[0].header.n_vocab, options, n_ctx=n_ctx)
    with closing(load(compared, opened)) as pair:
        base: ScoringModel = pair.base  # type: ignore[assignment]
        if len(compared) == 1:
            return measure_perplexity(base, text, n_ctx=n_ctx, chunks=chunks, progress=told).as_dict()
        guide: ScoringModel = pair.guide  # type: ignore[assignment]
        return measure_fidelity(base, guide, text, n_ctx=n_ctx, chunks=chunks, progress=told).as_dict()


def _speed(model: ArmModel, load: Load, options: ModelOptions, tell_peak: bool) -> dict[str, Any]:
    """Tokens/s while writing, and the peak memory of the process with this model alone loaded."""
    peak = PeakMemory()
    with closing(load((model,), options)) as pair:
        opened: LanguageModel = pair.base
        settings = GenerationSettings(ALONE, max_tokens=min(SPEED_TOKENS, max(1, opened.n_ctx // 4)))
        rates = []
        for prompt in PROMPTS[:2]:
            conversation = Conversation(pair, model.format, model.format, replace(settings))
            reply = conversation.send(prompt)
            for _ in reply:
                pass
            if reply.summary.tokens_per_second:
                rates.append(reply.summary.tokens_per_second)
    return {
        "tokens_per_second": median(rates) if rates else None,
        "peak_memory": peak.read() if tell_peak else None,
    }
