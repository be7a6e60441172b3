"""Adding a method takes one function and one entry; adding a setting takes one declaration.

Both are added to a copy of the package, with no other edit; a process that imports the copy then reports what
each front end shows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

METHOD = """

def alpha_made(evidence: Evidence, *, boost: float) -> Real:
    return np.clip(np.multiply(boost, evidence.c_g), 0.0, 1.0)


METHODS["made"] = Method("uncertain", alpha_made, "a made-up weight", "clip(β·c_g, 0, 1)", "#123456")
"""
SETTING = '    boost: float = setting(0.25, "Strength of the made-up weight.", low=0, high=2, symbol="β")\n'
BEFORE = "    tau: float = setting("

TELL = """
import asyncio, json, sys
from dataclasses import asdict, replace
from pathlib import Path
sys.path.insert(0, "docs")

import make_config, make_method
from click.testing import CliRunner
from textual.app import App

from blendin_local.batch.rows import own_settings
from blendin_local.cli import main
from blendin_local.compare.arms import ArmSpec, _combine_settings
from blendin_local.compare.plan import read_plan
from blendin_local.engine.steps import Source, Step
from blendin_local.errors import SettingError
from blendin_local.models.catalogue import Catalogue, _read
from blendin_local.preferences.preferences import key_named
from blendin_local.presentation.explanation import explain_alpha
from blendin_local.presentation.plot import colour_of
from blendin_local.presentation.setting_label import setting_flags, setting_label
from blendin_local.settings import BlendSettings, GenerationSettings
from blendin_local.tui.app import ChatApp
from blendin_local.tui.commands import parse
from blendin_local.tui.screens.settings import Chosen, SettingsScreen
from blendin_local.tui.setting_fields import FIELDS


def help_of(*command):
    return " ".join(CliRunner().invoke(main, [*command, "--help"], terminal_width=200).output.split())


class Host(App):
    CSS_PATH = ChatApp.CSS_PATH
    get_theme_variable_defaults = ChatApp.get_theme_variable_defaults


async def screen():
    app = Host()
    async with app.run_test() as pilot:
        app.push_screen(SettingsScreen(Chosen(GenerationSettings()), GenerationSettings()))
        await pilot.pause()
        rows = {row.name: row for row in app.screen.query("SettingRow")}
        rows["method"].text = "made"
        return [str(prompt) for prompt, _ in rows["method"].query_one("Select")._options], rows["boost"].text


blend = BlendSettings(method="made", boost=0.5)
step = Step(index=0, data=b"x", text="x", source=Source.GUIDE, c_b=0.27, c_g=0.4, agreement=0.1, guide_rank=0,
            alpha=0.2, consulted=True, intervened=True)
spec = ArmSpec(pair="p", blend={"method": ("made", "blendin"), "boost": (0.1, 0.2)})
plan = Path("plan.toml")
plan.write_text('[[arms]]\\npair = "p"\\nmethod = "made"\\nboost = [0.1, 1]\\n')
catalogue = Path("catalogue.toml")
catalogue.write_text('[pairs.p]\\nbase = "a"\\nguide = "b"\\nblend = {method = "made", boost = 1}\\n')
try:
    BlendSettings(boost=3)
except SettingError as error:
    refused = str(error)
choices, typed = asyncio.run(screen())
print(json.dumps({
    "generate": help_of("generate"),
    "compare": help_of("compare"),
    "method page": make_method.page(),
    "config page": make_config.page(),
    "screen": choices,
    "screen boost": typed,
    "idle": FIELDS["boost"].idle(GenerationSettings()),
    "command": parse("/set boost 0.75", GenerationSettings(blend)).settings.blend.boost,
    "arms": [(each.blend.method, each.blend.boost) for each in _combine_settings(spec, BlendSettings())],
    "plan": read_plan(plan).arms[0].blend,
    "row": own_settings(GenerationSettings(), {"method": "made", "boost": 1}, "id").blend.boost,
    "catalogue": _read(catalogue)[1]["p"].blend.boost,
    "preference": key_named("generation.boost").parse("0.5"),
    "explanation": explain_alpha(step, blend),
    "label": setting_label(blend),
    "flags": setting_flags(blend),
    "colour": colour_of("made"),
    "refused": refused,
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the front ends of the changed copy show."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "blendin_local"
    shutil.copytree(ROOT / "blendin_local", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("pictures"))
    with (package / "methods.py").open("a", encoding="utf-8") as methods:
        methods.write(METHOD)
    _insert(package / "settings.py", SETTING, BEFORE)
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", TELL], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _insert(file: Path, line: str, before: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, line + before), "utf-8")


def test_help_lists_the_method_and_the_option(told: dict[str, Any]) -> None:
    assert "|made]" in told["generate"]
    for command in ("generate", "compare"):
        assert "--boost" in told[command]
        assert "Strength of the made-up weight (method made)." in told[command]


def test_the_pages_list_them(told: dict[str, Any]) -> None:
    row = "| `made` | `c_b < γ` | `clip(β·c_g, 0, 1)`; `β` = `--boost` | a made-up weight |"
    assert row in told["method page"]
    assert (
        "| `boost` | the pair's | Strength of the made-up weight (method made). (0 to 2) |"
        in told["config page"]
    )


def test_the_chat_offers_them(told: dict[str, Any]) -> None:
    assert any(choice.startswith("made") and "a made-up weight" in choice for choice in told["screen"])
    assert told["screen boost"] == "0.25"
    assert told["idle"] == "only for made"
    assert told["command"] == 0.75


def test_a_comparison_tries_the_setting_under_its_method_alone(told: dict[str, Any]) -> None:
    assert told["arms"] == [["made", 0.1], ["made", 0.2], ["blendin", 0.1]]
    assert told["plan"] == {"method": ["made"], "boost": [0.1, 1.0]}


def test_rows_catalogue_and_preferences_take_the_setting(told: dict[str, Any]) -> None:
    assert (told["row"], told["catalogue"], told["preference"]) == (1.0, 1.0, 0.5)
    assert told["refused"] == "boost must be between 0 and 2, not 3."


def test_a_step_is_explained_by_the_formula(told: dict[str, Any]) -> None:
    assert told["explanation"] == [
        "c_b 0.27 < γ 0.40: the base was unsure, so the guide was asked",
        "α = clip(β·c_g, 0, 1) = clip(0.50·0.40, 0, 1) = 0.20",
    ]


def test_labels_and_plots_know_them(told: dict[str, Any]) -> None:
    assert told["label"] == "made β 0.50, γ 0.40"
    assert told["flags"] == "--method made --gamma 0.4 --boost 0.5"
    assert told["colour"] == "#123456"
