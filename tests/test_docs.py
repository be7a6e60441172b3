"""Documentation that is made from the code, or must agree with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.import_graph import LAYERS, own_imports, package_files
from support.paths import ROOT

from blendin_local.methods import METHODS


@pytest.mark.parametrize("name", ["cli", "chat", "method"])
def test_pages_that_are_made_from_the_code_are_fresh(name: str) -> None:
    """`make docs` writes them."""
    code = f"import sys; sys.path.insert(0, 'docs'); import make_{name}; sys.stdout.write(make_{name}.page())"
    environment = os.environ | {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert (ROOT / f"docs/{name}.md").read_text("utf-8") == done.stdout.decode("utf-8"), "run `make docs`"


def test_every_method_stands_in_the_method_table() -> None:
    page = (ROOT / "docs/method.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(METHODS)


def architecture(heading: str) -> list[str]:
    """The files named in the first column of the table under a heading of docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = page.split(f"# {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w./]+)`", cell)]


def test_the_architecture_page_lists_the_layers_in_their_order() -> None:
    named = [Path(name).stem for name in architecture("Architecture")]
    assert named == [name for name in LAYERS if name != "__main__"]


def test_the_walk_to_llama_decode_follows_the_imports() -> None:
    """Each file imports the next; behind the protocol `LanguageModel` its implementation imports it."""
    walk = architecture("From the command line to llama_decode, and back")
    protocol = walk.index("engine/language_model.py")
    graph = own_imports(package_files())
    modules = ["blendin_local." + name.removesuffix(".py").replace("/", ".") for name in walk]
    for place, (here, there) in enumerate(pairwise(modules)):
        importer, imported = (there, here) if place == protocol else (here, there)
        assert imported in graph[importer], f"{importer} does not import {imported}"
    assert "llama_decode(" in (ROOT / "blendin_local" / walk[-2]).read_text("utf-8")


def test_every_local_link_in_the_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "models/README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
