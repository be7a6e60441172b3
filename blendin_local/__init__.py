"""Blend two quantized GGUF models token by token, and see which one to trust.

    import blendin_local as blendin

    with blendin.load("demo") as pair:
        for step in pair.reply("What is the capital of France?"):
            print(step.text, step.source, step.c_b, step.alpha)

docs/python.md is the guide. Importing the package loads neither llama.cpp nor NumPy nor Textual: each public
name is imported when it is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendin_local.api.batch import BatchResults
    from blendin_local.api.evaluation import compare, tune
    from blendin_local.api.pair import LoadedPair, load
    from blendin_local.api.reply import Chat, Reply
    from blendin_local.batch.results import RowResult
    from blendin_local.compare.request import CompareResult
    from blendin_local.engine.prompts import Message
    from blendin_local.engine.steps import Source, Step, Summary
    from blendin_local.errors import BlendinError
    from blendin_local.progress import Progress
    from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings
    from blendin_local.tune.run import TuneResult

__version__ = "0.1.0"

__all__ = [
    "BatchResults",
    "BlendSettings",
    "BlendinError",
    "Chat",
    "CompareResult",
    "GenerationSettings",
    "LoadedPair",
    "Message",
    "ModelOptions",
    "Progress",
    "Reply",
    "RowResult",
    "SamplingSettings",
    "Source",
    "Step",
    "Summary",
    "TuneResult",
    "__version__",
    "compare",
    "load",
    "tune",
]

_MODULES = {
    "BatchResults": "api.batch",
    "BlendSettings": "settings",
    "BlendinError": "errors",
    "Chat": "api.reply",
    "CompareResult": "compare.request",
    "GenerationSettings": "settings",
    "LoadedPair": "api.pair",
    "Message": "engine.prompts",
    "ModelOptions": "settings",
    "Progress": "progress",
    "Reply": "api.reply",
    "RowResult": "batch.results",
    "SamplingSettings": "settings",
    "Source": "engine.steps",
    "Step": "engine.steps",
    "Summary": "engine.steps",
    "TuneResult": "tune.run",
    "compare": "api.evaluation",
    "load": "api.pair",
    "tune": "api.evaluation",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _function(name: str) -> property:
    """A function whose name is also that of a subpackage.

    The import system would put the subpackage in its place, which it finds in `sys.modules` all the same.
    """
    return property(lambda self: __getattr__(name), lambda self, module: None)


class _Package(ModuleType):
    compare = _function("compare")
    tune = _function("tune")


sys.modules[__name__].__class__ = _Package
