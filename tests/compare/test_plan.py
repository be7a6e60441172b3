"""Plan files: what they say, and one sentence for what they cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from blendin_local.compare.arms import ArmSpec
from blendin_local.compare.plan import Plan, read_plan
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.errors import EvaluationError
from blendin_local.formats import Formats
from blendin_local.settings import BlendSettings, SamplingSettings, setting_names


def plan_of(folder: Path, text: str, formats: Formats | None = None) -> Plan:
    path = folder / "plan.toml"
    path.write_text(text, "utf-8")
    return read_plan(path, formats)


WHOLE = """
[run]
limit = 20
seed = 3
text = "wiki.txt"
reference = "first"
system = ""
options = false

[[tasks]]
name = "gsm8k"
data = "data/gsm8k.jsonl"
limit = 0
shots = 4

[[tasks]]
name = "mmlu"
datasets = true
max_tokens = 8

[[tasks]]
name = "arc_challenge"
data = "hub:validation"

[[arms]]
name = "mine"
pair = "demo"
method = "fixed"
alpha = 0.25
gamma = 1
temperature = 0.5

[[arms]]
base = "a.gguf"
guide = "b.gguf"
method = ["nudge", "blendin"]
gamma = [0.3, 0.4]
guide_stop = false
base_format = "raw"
paper = true
stop = ["\\n"]

[[arms]]
model = "c.gguf"
"""


def test_a_whole_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, WHOLE, Formats(guide="chat"))
    first, second, third = plan.arms
    assert first == ArmSpec(
        pair="demo",
        name="mine",
        blend={"method": ("fixed",), "gamma": (1.0,), "alpha": (0.25,)},
        sampling={"temperature": (0.5,)},
        formats=Formats(guide="chat"),
        where=f"In {tmp_path / 'plan.toml'}, [arms 1]: ",
    )
    assert second.blend == {"method": ("nudge", "blendin"), "gamma": (0.3, 0.4), "guide_stop": (False,)}
    assert (second.base, second.guide, second.paper, second.stop) == ("a.gguf", "b.gguf", True, ("\n",))
    assert second.formats == Formats("raw", "chat")
    assert (third.model, third.blend) == ("c.gguf", {})
    assert plan.tasks == (
        TaskSpec("gsm8k", str(tmp_path / "data/gsm8k.jsonl"), limit=0, shots=4),
        TaskSpec("mmlu", "hub:", max_tokens=8),
        TaskSpec("arc_challenge", "hub:validation"),
    )
    assert RunSettings(**plan.run) == RunSettings(
        limit=20, seed=3, text=tmp_path / "wiki.txt", reference="first", system="", options=False
    )


@pytest.mark.parametrize("cls", [BlendSettings, SamplingSettings])
def test_every_setting_can_be_planned(tmp_path: Path, cls: type) -> None:
    for name in setting_names(cls):
        value = getattr(cls(), name)
        written = f'"{value}"' if isinstance(value, str) else str(value).lower()
        (arm,) = plan_of(tmp_path, f'[[arms]]\npair = "demo"\n{name} = {written}').arms
        assert (arm.blend if cls is BlendSettings else arm.sampling) == {name: (value,)}


def test_an_empty_plan_asks_for_nothing(tmp_path: Path) -> None:
    assert plan_of(tmp_path, "") == Plan()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[arms]\n", "cannot be read"),
        ("[[arm]]\n", "the key arm is unknown (did you mean arms?)"),
        ("[arms]\npair = 'demo'\n", "[arms]: write [[arms]] with two brackets"),
        ("[[arms]]\npairs = 'demo'\n", "[arms 1]: the key pairs is unknown (did you mean pair?)"),
        ("[[arms]]\npair = 'demo'\ngama = 0.4\n", "[arms 1]: the key gama is unknown (did you mean gamma?)"),
        ("[[arms]]\npair = 'demo'\nzzz = 1\n", "[arms 1]: the key zzz is unknown: known are name, pair"),
        ("[[arms]]\nname = 'x'\n", "[arms 1]: an arm needs a pair, or base and guide, or a model"),
        ("[[arms]]\nbase = 'x'\n", "[arms 1]: an arm needs a pair"),
        ("[[arms]]\nmodel = 'x'\nbase = 'y'\n", "[arms 1]: model is one alone"),
        ("[[arms]]\nmodel = ''\n", "[arms 1]: model is empty: name one"),
        ("[[arms]]\npair = ''\n", "[arms 1]: pair is empty: name one"),
        ("[[arms]]\nbase = 'x'\nguide = ''\n", "[arms 1]: guide is empty: name one"),
        ("[[arms]]\npair = 'x'\nguide = 'y'\n", "[arms 1]: pair names base and guide already"),
        ("[[arms]]\nmodel = 'x'\ngamma = 0.3\n", "[arms 1]: gamma belongs to a pair"),
        ("[[arms]]\npair = 3\n", "[arms 1]: pair must be a text, not 3"),
        ("[[arms]]\npair = 'demo'\ngamma = 'low'\n", "[arms 1]: gamma must be a number, not 'low'"),
        ("[[arms]]\npair = 'demo'\ngamma = []\n", "[arms 1]: gamma is an empty list"),
        ("[[arms]]\npair = 'demo'\ngamma = [0.3, true]\n", "[arms 1]: gamma must be a number, not True"),
        ("[[arms]]\npair = 'demo'\ntop_k = 1.5\n", "[arms 1]: top_k must be a whole number, not 1.5"),
        ("[[arms]]\npair = 'demo'\nstop = 'x'\n", "[arms 1]: stop must be a list of texts"),
        ("[[arms]]\npair = 'demo'\npaper = 1\n", "[arms 1]: paper must be true or false"),
        ("[[tasks]]\ndata = 'x'\n", "[tasks 1]: a task needs a name"),
        ("[[tasks]]\nname = 'x'\n", "[tasks 1]: a task needs data = FILE, or datasets = true"),
        ("[[tasks]]\nname = 'x'\ndata = 'y'\ndatasets = true\n", "[tasks 1]: a task needs data = FILE, or"),
        ("[[tasks]]\nname = 'x'\nshot = 1\n", "[tasks 1]: the key shot is unknown (did you mean shots?)"),
        ("[[tasks]]\nname = 'x'\ndata = 'y'\nlimit = -1\n", "[tasks 1]: limit must be at least 0, not -1"),
        ("[run]\nlimits = 1\n", "[run]: the key limits is unknown (did you mean limit?)"),
        ("[run]\nmax_tokens = 0\n", "[run]: max_tokens must be at least 1, not 0"),
        ("[run]\nseed = true\n", "[run]: seed must be a whole number, not True"),
        ("run = 3\n", "[run]: it must be a table"),
        ("tasks = [1]\n", "[tasks]: write [[tasks]]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        plan_of(tmp_path, text)
    assert sentence in str(caught.value)
    assert "plan.toml" in str(caught.value)
    assert str(caught.value).count("\n") == 0 and str(caught.value).endswith(".")


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"none\.toml cannot be read: No such file"):
        read_plan(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(EvaluationError, match=r"latin\.toml cannot be read"):
        read_plan(tmp_path / "latin.toml")
