"""Compare single models on a text: perplexity, bits per byte, speed, memory, and fidelity to a reference.

The figures are those of llama.cpp's perplexity tool (`blendin_local.compare.fidelity`), and cached like
answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from blendin_local.bench import PROMPTS
from blendin_local.compare.answers import Answers, digest
from blendin_local.compare.arms import ALONE, Arm, ArmModel
from blendin_local.compare.fidelity import (
    N_CTX,
    TextChunk,
    measure_fidelity,
    measure_perplexity,
    measure_text_chunks,
    scoring_options,
    text_chunks,
)
from blendin_local.compare.result import FidelityRow
from blendin_local.compare.writing import Load, model_identities, versions
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
"""Tokens that each model writes to each of two prompts to measure its speed."""

Progress = Callable[[str, int, int], None]
"""Called with a model's name, the number of predictions scored so far, and their total."""


def singles(arms: Sequence[Arm]) -> list[ArmModel]:
    """Return the models of a comparison, each once, those of single-model arms first."""
    order = sorted(arms, key=lambda arm: arm.kind != "model")
    return list({model.sha256: model for arm in order for model in arm.models}.values())


def reference_of(models: Sequence[ArmModel], named: str) -> ArmModel:
    """Find the reference model by name or file; the first model if `named` is "".

    Raises EvaluationError for an unknown name.
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
    """Measure each model, in their order. A model whose vocabulary differs from the reference's has no
    divergence; its bits per byte are over the same bytes.

    Raises EvaluationError for a text that is too short, ModelError if a model fails, KeyboardInterrupt.
    """
    common = {
        "format": _FORMAT,
        "versions": versions(),
        "options": options.to_dict(),
    }
    read = common | {
        "what": "fidelity",
        "text": hashlib.sha256(text).hexdigest(),
        "n_ctx": n_ctx,
        "chunks": chunks,
    }
    reading = _TextPass(reference, text, load, options, n_ctx, chunks, progress)
    found = []
    for model in models:
        speed = _measure_or_load(
            answers,
            common | {"what": "speed", "models": model_identities([model])},
            _SPEED,
            partial(_speed, model, load, options, tell_peak),
        )
        names = [_identity(reference), _identity(model)]
        # Both models, the reference alone, or a model of another vocabulary in the reference's chunks.
        if model is reference:
            content, measure = {"models": names[:1]}, reading.alone
        elif model.header.fingerprint == reference.header.fingerprint:
            content, measure = {"models": names}, reading.beside
        else:
            content, measure = {"models": names[1:], "cut_by": names[:1]}, reading.apart
        expected = (*_ALONE, *_NOTHING) if len(content["models"]) > 1 else _ALONE
        figures = _measure_or_load(answers, read | content, expected, partial(measure, model))
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


def _measure_or_load(
    answers: Answers,
    content: dict[str, Any],
    names: Collection[str],
    measure: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return the cached figures if they have these names; else measure and cache them."""
    key = digest(content)
    found = answers.measurement(key)
    if found is None or not _has_shape(found, names):
        found = measure()
        answers.save_measurement(key, found)
    return found


def _has_shape(found: dict[str, Any], names: Collection[str]) -> bool:
    plain = all(
        isinstance(value, dict if name in ("kld", "delta_p") else int | float | None)
        for name, value in found.items()
    )
    return plain and found.keys() == set(names)


class _TextPass:
    """Measures one model after another on a text, in the chunks of the reference."""

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
        self._text_chunks: list[TextChunk] = []

    def alone(self, model: ArmModel) -> dict[str, Any]:
        """Measure one model."""
        with self._open((model,), self._n_ctx) as pair:
            alone: ScoringModel = pair.base  # type: ignore[assignment]
            return measure_perplexity(
                alone, self._text, n_ctx=self._n_ctx, chunks=self._chunks, progress=self._progress_of(model)
            ).as_dict()

    def beside(self, model: ArmModel) -> dict[str, Any]:
        """Measure a model of the reference's vocabulary against it."""
        with self._open((self._reference, model), self._n_ctx) as pair:
            first: ScoringModel = pair.base  # type: ignore[assignment]
            second: ScoringModel = pair.guide  # type: ignore[assignment]
            return measure_fidelity(
                first,
                second,
                self._text,
                n_ctx=self._n_ctx,
                chunks=self._chunks,
                progress=self._progress_of(model),
            ).as_dict()

    def apart(self, model: ArmModel) -> dict[str, Any]:
        """Measure a model of another vocabulary on the bytes of the reference's chunks."""
        if not self._text_chunks:
            with self._open((self._reference,), self._n_ctx) as pair:
                self._text_chunks = text_chunks(
                    pair.base, self._text, n_ctx=self._n_ctx, chunks=self._chunks  # type: ignore[arg-type]
                )  # fmt: skip
        # Its tokens may be shorter; if there are still too many, the unscored half is truncated.
        longest = max(self._n_ctx, min(2 * self._n_ctx, model.header.n_ctx_train))
        with self._open((model,), longest) as pair:
            base: ScoringModel = pair.base  # type: ignore[assignment]
            return measure_text_chunks(
                base, self._text_chunks, n_ctx=self._n_ctx, progress=self._progress_of(model)
            ).as_dict()

    def _open(self, models: tuple[ArmModel, ...], n_ctx: int) -> closing[Pair]:
        # The context is one chunk, even if a model has its own n_ctx.
        models = tuple(replace(model, options=_reading_options(model)) for model in models)
        return closing(
            self._load(models, scoring_options(models[0].header.n_vocab, self._options, n_ctx=n_ctx))
        )

    def _progress_of(self, model: ArmModel) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            if self._progress:
                self._progress(model.name, done, total)

        return report


def _reading_options(model: ArmModel) -> tuple[tuple[str, Any], ...]:
    """Return a model's own options for measurements on a text."""
    return tuple(each for each in model.options if each[0] != "n_ctx")


def _identity(model: ArmModel) -> Any:
    options = _reading_options(model)
    return [model.sha256, dict(options)] if options else model.sha256


def _speed(model: ArmModel, load: Load, options: ModelOptions, tell_peak: bool) -> dict[str, Any]:
    """Measure tokens/s of writing, and the peak memory of the process with this model alone loaded."""
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
