"""Models alone on a text: perplexity, bits per byte, speed, memory, and fidelity to a reference.

The figures that people know from llama.cpp's perplexity tool (`blendin_local.compare.fidelity`), kept
by content like answers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

from blendin_local.bench import PROMPTS
from blendin_local.compare.answers import Answers, digest
from blendin_local.compare.arms import ALONE, Arm, ArmModel
from blendin_local.compare.fidelity import (
    N_CTX,
    Stretch,
    measure_fidelity,
    measure_perplexity,
    measure_stretches,
    scoring_options,
    stretches_of,
)
from blendin_local.compare.result import FidelityRow
from blendin_local.compare.writing import Load, described, versions
from blendin_local.engine.conversation import begin_reply
from blendin_local.engine.language_model import LanguageModel, ScoringModel
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Message
from blendin_local.errors import EvaluationError
from blendin_local.models.peak_memory import PeakMemory
from blendin_local.settings import GenerationSettings, ModelOptions

__all__ = ["SPEED_TOKENS", "compare_quantizations", "reference_of", "singles"]

_FORMAT = 2
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
) -> tuple[FidelityRow, ...]:
    """A row of figures for each model, in their order. A model of another vocabulary than the reference has
    no divergence, and is compared by its bits per byte of the same bytes.

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
    reading = _Reading(reference, text, load, options, n_ctx, chunks, progress)
    found = []
    for model in models:
        speed = _kept(
            answers,
            common | {"what": "speed", "models": described([model])},
            _SPEED,
            partial(_speed, model, load, options, tell_peak),
        )
        names = [reference.sha256, model.sha256]
        # Both models, the reference alone, or a model of another vocabulary in the reference's chunks.
        if model is reference:
            content, measure = {"models": names[:1]}, reading.alone
        elif model.header.fingerprint == reference.header.fingerprint:
            content, measure = {"models": names}, reading.beside
        else:
            content, measure = {"models": names[1:], "cut_by": names[:1]}, reading.apart
        expected = (*_ALONE, *_NOTHING) if len(content["models"]) > 1 else _ALONE
        figures = _kept(answers, read | content, expected, partial(measure, model))
        about = {"model": model.name, "reference": reference.name, "size_bytes": model.header.size_bytes}
        found.append(FidelityRow(**{**about, **speed, **_NOTHING, **figures}))
    return tuple(found)


_SPEED = ("tokens_per_second", "peak_memory")
_ALONE = (
    "perplexity", "perplexity_se", "bits_per_byte", "bits_per_byte_se",
    "positions", "bytes", "chunks", "n_ctx",
)  # fmt: skip
_NOTHING = dict.fromkeys(
    (
        "ppl_ratio", "ppl_ratio_se", "ppl_difference", "ppl_difference_se", "reference_perplexity",
        "reference_perplexity_se", "correlation", "kld", "delta_p", "same_top", "same_top_se",
    )
)  # fmt: skip


def _kept(
    answers: Answers,
    content: dict[str, Any],
    names: Collection[str],
    measure: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """What was measured before, if it has the figures of these names; else measured now."""
    key = digest(content)
    found = answers.measurement(key)
    if found is None or not _has_shape(found, names):
        found = measure()
        answers.keep_measurement(key, found)
    return found


def _has_shape(found: dict[str, Any], names: Collection[str]) -> bool:
    plain = all(
        isinstance(value, dict if name in ("kld", "delta_p") else int | float | None)
        for name, value in found.items()
    )
    return plain and found.keys() == set(names)


class _Reading:
    """Reads one text with one model after another, in the chunks of the reference."""

    def __init__(
        self,
        reference: ArmModel,
        text: bytes,
        load: Load,
        options: ModelOptions,
        n_ctx: int,
        chunks: int | None,
        progress: Progress | None,
    ) -> None:
        self._reference = reference
        self._text = text
        self._load = load
        self._options = options
        self._n_ctx = n_ctx
        self._chunks = chunks
        self._progress = progress
        self._stretches: list[Stretch] = []

    def alone(self, model: ArmModel) -> dict[str, Any]:
        with self._opened((model,), self._n_ctx) as pair:
            return measure_perplexity(
                pair.base, self._text, n_ctx=self._n_ctx, chunks=self._chunks, progress=self._told(model)  # type: ignore[arg-type]
            ).as_dict()  # fmt: skip

    def beside(self, model: ArmModel) -> dict[str, Any]:
        """Both at once."""
        with self._opened((self._reference, model), self._n_ctx) as pair:
            first: ScoringModel = pair.base  # type: ignore[assignment]
            second: ScoringModel = pair.guide  # type: ignore[assignment]
            return measure_fidelity(
                first, second, self._text, n_ctx=self._n_ctx, chunks=self._chunks, progress=self._told(model)
            ).as_dict()

    def apart(self, model: ArmModel) -> dict[str, Any]:
        """In its own tokens, the bytes that the reference's chunks have."""
        if not self._stretches:
            with self._opened((self._reference,), self._n_ctx) as pair:
                self._stretches = stretches_of(
                    pair.base, self._text, n_ctx=self._n_ctx, chunks=self._chunks  # type: ignore[arg-type]
                )  # fmt: skip
        # Its tokens may be shorter, but not much: half of a chunk is only there to be known.
        longest = max(self._n_ctx, min(2 * self._n_ctx, model.header.n_ctx_train))
        with self._opened((model,), longest) as pair:
            base: ScoringModel = pair.base  # type: ignore[assignment]
            return measure_stretches(
                base, self._stretches, n_ctx=self._n_ctx, progress=self._told(model)
            ).as_dict()

    def _opened(self, models: tuple[ArmModel, ...], n_ctx: int) -> closing[Pair]:
        return closing(
            self._load(models, scoring_options(models[0].header.n_vocab, self._options, n_ctx=n_ctx))
        )

    def _told(self, model: ArmModel) -> Callable[[int, int], None]:
        def told(done: int, total: int) -> None:
            if self._progress:
                self._progress(model.name, done, total)

        return told


def _speed(model: ArmModel, load: Load, options: ModelOptions, tell_peak: bool) -> dict[str, Any]:
    """Tokens/s while writing, and the peak memory of the process with this model alone loaded."""
    peak = PeakMemory()
    with closing(load((model,), options)) as pair:
        opened: LanguageModel = pair.base
        settings = GenerationSettings(ALONE, max_tokens=min(SPEED_TOKENS, max(1, opened.n_ctx // 4)))
        rates = []
        for prompt in PROMPTS[:2]:
            reply = begin_reply(pair, {"base": model.format}, [Message("user", prompt)], settings)
            for _ in reply:
                pass
            if reply.summary.tokens_per_second:
                rates.append(reply.summary.tokens_per_second)
    return {
        "tokens_per_second": median(rates) if rates else None,
        "peak_memory": peak.read() if tell_peak else None,
    }
