"""The imports of the package as a graph, read from the sources themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "blendin_local"

LAYERS = (
    "errors",
    "files",
    "safe_text",
    "progress",
    "methods",
    "setting_spec",
    "settings",
    "formats",
    "templates",
    "engine",
    "llamacpp",
    "preferences",
    "models",
    "presentation",
    "statistics",
    "bench",
    "inputs",
    "tasks",
    "tune",
    "batch",
    "compare",
    "history",
    "api",
    "tui",
    "cli",
    "__main__",
)
"""Top-level modules and packages, lowest first: each may import those before it, and its own files."""


def package_files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {_dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports anywhere, also inside functions and under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def own_imports(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """For each module of the package, the modules of the package that it imports."""
    return {name: set(_modules(imports(path), files)) for name, path in files.items()}


def _modules(names: Iterable[str], files: Mapping[str, Path]) -> Iterable[str]:
    for name in names:
        module = name if name in files else name.rpartition(".")[0]
        # `from blendin_local import __version__` asks for nothing that could depend on the asker.
        if module in files and module != "blendin_local":
            yield module


def layer(module: str) -> str:
    return module.split(".")[1]


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Each import of a higher layer, as "importer -> imported"."""
    order = {name: height for height, name in enumerate(LAYERS)}
    return [
        f"{module} -> {used}"
        for module, targets in graph.items()
        if module != "blendin_local"
        for used in sorted(targets)
        if order[layer(used)] > order[layer(module)]
    ]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of an import circle between files, or an empty list."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []
