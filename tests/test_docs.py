"""Documentation that is made from the code, or must agree with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blendin_local.methods import METHODS

ROOT = Path(__file__).parent.parent


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


def test_every_file_of_the_architecture_page_exists() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = page.split("## One round")[0]
    for cell in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE):
        for name in re.findall(r"`([\w./]+)`", cell):
            assert (ROOT / "blendin_local" / name).exists(), name


def test_every_local_link_in_the_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "models/README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
