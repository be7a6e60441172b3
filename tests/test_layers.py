"""Who may import whom, read from the sources themselves (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "blendin_local"
PURE = (
    "blending",
    "sampling",
    "vocabulary",
    "text",
    "model",
    "retokenizer",
    "prompts",
    "steps",
    "responses",
    "writing",
    "explanation",
    "attribution",
    "sanitize",
    "engine",
    "pair",
)
LOWER = (*PURE, "settings", "errors", "conversation", "preferences", "preference_keys", "preference_editor")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_only_the_model_layer_imports_llama_cpp() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if any(name.split(".")[0] == "llama_cpp" for name in imports(path))
    }
    assert users
    assert all(name.startswith("llamacpp/") for name in users), users


@pytest.mark.parametrize("name", LOWER)
def test_computation_knows_neither_llama_cpp_nor_a_front_end(name: str) -> None:
    forbidden = (
        "blendin_local.llamacpp",
        "blendin_local.cli",
        "blendin_local.tui",
        "textual",
        "click",
        "rich",
    )
    found = [used for used in imports(PACKAGE / f"{name}.py") if used.startswith(forbidden)]
    assert not found


def test_nothing_imports_a_front_end() -> None:
    for path in modules():
        place = path.relative_to(PACKAGE).parts[0]
        for used in imports(path):
            if used.startswith("blendin_local.tui") and place != "tui":
                assert place == "cli", path
            if used.startswith("blendin_local.cli"):
                assert place in ("cli", "__main__.py"), path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["generate", "--help"], ["chat", "--help"], ["models", "--help"]]
)
def test_help_loads_neither_llama_cpp_nor_textual(arguments: list[str]) -> None:
    """Help must appear at once; llama.cpp and Textual each take longer to import than all else together."""
    code = (
        "import sys\n"
        "from blendin_local.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "loaded = [name for name in ('llama_cpp', 'textual', 'rich', 'jinja2') if name in sys.modules]\n"
        "print('LOADED', loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, blendin_local; print([n for n in ('numpy', 'llama_cpp', 'textual') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
