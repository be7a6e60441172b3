"""Load the models of an arm: a single model, or a base and a guide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from blendin_local.compare.arms import ArmModel
from blendin_local.engine.language_model import LanguageModel
from blendin_local.engine.pair import LoadProgress, Pair, pair_models
from blendin_local.errors import ModelError
from blendin_local.files import cache_dir
from blendin_local.llamacpp.model import open_model
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, load_pair
from blendin_local.settings import ModelOptions

__all__ = ["load_models", "offloads", "options_with"]


class _Absent:
    """Replaces the guide of a single model: it has a vocabulary, and is never decoded."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def advance(self, work: Any) -> Any:
        raise ModelError(f"{self._model.name} runs alone: there is no guide to ask.")

    def watch(self, cancellation: Any) -> None:
        # The model is watched as the base already; ending a second watch would end that one.
        pass

    def close(self) -> None:
        pass


def load_models(
    models: tuple[ArmModel, ...], options: ModelOptions, progress: LoadProgress | None = None
) -> Pair:
    """Load these models as a pair without calibration, each with its options; a single one becomes its base.

    Raises ModelError, or `LoadCancelled` if `progress` stopped the load; no model stays loaded then.
    """
    options = options_with(models, options)
    if len(models) == 1:
        header = models[0].header
        alone = open_model(
            header.path, options.of("base"), progress=progress and (lambda share: progress("base", share))
        )
        try:
            return pair_models(alone, _Absent(alone), cache=cache_dir() / "vocabulary-maps")
        except BaseException:
            alone.close()
            raise
    base, guide = models
    # Without the catalogue's calibration, which does not change replies.
    entry = PairEntry(name="", base=base.name, guide=guide.name)
    return load_pair(PairFiles(entry, base.header, guide.header), options, progress=progress)


def options_with(models: tuple[ArmModel, ...], options: ModelOptions) -> ModelOptions:
    """Return options for both models with those that each has of its own."""
    own = [dict(model.options) for model in models]
    return replace(options, base_options=own[0], guide_options=own[1] if len(own) > 1 else {})


def offloads(options: ModelOptions, models: Iterable[ArmModel] = ()) -> bool:
    """Return whether parts of the models may be in GPU memory, which the memory of the process leaves out."""
    from blendin_local.llamacpp.library import api

    layers = [dict(model.options).get("n_gpu_layers", options.n_gpu_layers) for model in models]
    return any(layers or [options.n_gpu_layers]) and bool(api.llama_supports_gpu_offload())
