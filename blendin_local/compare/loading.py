"""Loading what an arm needs: one model alone, or a base and a guide."""

from __future__ import annotations

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

__all__ = ["load_models", "offloads"]


class _Absent:
    """Stands at the guide's place where a model runs alone: it has a vocabulary, and is never decoded."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def advance(self, work: Any) -> Any:
        raise ModelError(f"{self._model.name} runs alone: there is no guide to ask.")

    def watch(self, cancellation: Any) -> None:
        # The model is watched once, as the base; letting go of it here would let go of that.
        pass

    def close(self) -> None:
        pass


def load_models(
    models: tuple[ArmModel, ...], options: ModelOptions, progress: LoadProgress | None = None
) -> Pair:
    """A loaded pair of these models; one model alone is its base. Confidences stay as they are.

    Raises ModelError, or `LoadCancelled` where `progress` asked to stop; nothing stays loaded then.
    """
    if len(models) == 1:
        header = models[0].header
        alone = open_model(
            header.path, options, progress=progress and (lambda share: progress("base", share))
        )
        try:
            return pair_models(alone, _Absent(alone), cache=cache_dir() / "vocabulary-maps")
        except BaseException:
            alone.close()
            raise
    base, guide = models
    # Without the catalogue's calibration: it says how far to trust a reply, and changes none.
    entry = PairEntry(name="", base=base.name, guide=guide.name)
    return load_pair(PairFiles(entry, base.header, guide.header), options, progress=progress)


def offloads(options: ModelOptions) -> bool:
    """Whether parts of the models may lie in a GPU's memory, which the process's own does not show."""
    from blendin_local.llamacpp.library import api

    return options.n_gpu_layers != 0 and bool(api.llama_supports_gpu_offload())
