"""Who may import whom (docs/architecture.md)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.import_graph import LAYERS, PACKAGE, circle, imports, layer, own_imports, package_files, upward
from support.paths import ROOT

MOST_TOP_LEVEL_MODULES = 12


def test_every_module_belongs_to_a_layer() -> None:
    names = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert names - {"__init__", "__pycache__"} == set(LAYERS)


def test_few_modules_stand_beside_the_packages() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_TOP_LEVEL_MODULES


def test_no_import_points_upward() -> None:
    assert upward(own_imports(package_files())) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(own_imports(package_files())) == []


@pytest.mark.parametrize(
    "line",
    [
        "from blendin_local.cli import main",
        "from blendin_local import api",
        "import blendin_local.tui.app",
        "def later():\n    from blendin_local.engine.decoder import decode",
    ],
)
def test_an_upward_import_is_found_wherever_it_is_planted(line: str, tmp_path: Path) -> None:
    """The check itself is checked: in the lowest file of the package, each of these must be reported."""
    planted = tmp_path / "settings.py"
    planted.write_text((PACKAGE / "settings.py").read_text("utf-8") + f"\n\n{line}\n")
    files = package_files() | {"blendin_local.settings": planted}
    found = upward(own_imports(files))
    assert [each.partition(" -> ")[0] for each in found] == ["blendin_local.settings"]


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_tests_import_no_other_test_file() -> None:
    """Nor does a script that a test starts; what tests share stands in tests/support."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    own = {path.stem for path in paths if path.stem.startswith("test_")}
    for path in paths:
        in_scripts = re.findall(r"^(?:from|import) (\S+)", path.read_text("utf-8"), re.MULTILINE)
        named = {name for name in (*imports(path), *in_scripts) if own & set(name.split("."))}
        assert named == set(), path


def test_only_the_model_layer_imports_llama_cpp() -> None:
    users = {layer(name) for name, path in package_files().items() if _uses(path, "llama_cpp")}
    assert users == {"llamacpp"}


@pytest.mark.parametrize("library", ["textual", "click"])
def test_user_interface_libraries_stay_in_user_interfaces(library: str) -> None:
    users = {layer(name) for name, path in package_files().items() if _uses(path, library)}
    assert users <= {"tui", "cli", "__main__"}


def _uses(path: Path, library: str) -> bool:
    return any(name.split(".")[0] == library for name in imports(path))


def test_help_loads_neither_llama_cpp_nor_textual() -> None:
    """Help must appear at once; llama.cpp and Textual each take longer to import than all else together."""
    code = """
import sys
from blendin_local.cli import main
for command in ([], ["generate"], ["chat"], ["models"]):
    main([*command, "--help"], standalone_mode=False)
    loaded = [name for name in ("llama_cpp", "textual", "rich", "jinja2") if name in sys.modules]
    print("LOADED", loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("LOADED")] == ["LOADED []"] * 4


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, blendin_local; print([n for n in ('numpy', 'llama_cpp', 'textual') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
