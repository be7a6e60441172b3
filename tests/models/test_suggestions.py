"""Pairs for a machine: what fits where, what is best, and what there is to say where nothing fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import write_tiny

from blendin_local.cli import main
from blendin_local.llamacpp.devices import Device
from blendin_local.llamacpp.header import read_header
from blendin_local.models import catalogue as catalogue_module
from blendin_local.models import memory_estimate, suggestions
from blendin_local.models.catalogue import Catalogue, load_catalogue, user_catalogue_file
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.models.memory_estimate import estimate
from blendin_local.models.suggestions import Machine, Suggestions, suggest, this_machine
from blendin_local.settings import ModelOptions

GB = 10**9
MODELS = {
    "huge": ModelEntry("huge", ("hf:o/r:huge.gguf",), size=40 * GB),
    "large": ModelEntry("large", ("hf:o/r:large.gguf",), size=5 * GB),
    "middle": ModelEntry("middle", ("hf:o/r:middle.gguf",), approximate_size=2 * GB),
    "small": ModelEntry("small", ("hf:o/r:small.gguf",), size=GB, thinking=True),
    "odd": ModelEntry("odd", ("hf:o/r:odd.gguf",)),
}
PAIRS = [
    PairEntry("middle", "middle", "small", "good for tests"),
    PairEntry("large", "large", "small"),
    PairEntry("huge", "huge", "small"),
    PairEntry("odd", "odd", "small"),
    PairEntry("gone", "/gone/x.gguf", "small"),
]
CATALOGUE = Catalogue(MODELS, {pair.name: pair for pair in PAIRS})


def names(found: Suggestions) -> list[str]:
    return [pair.entry.name for pair in found.fitting]


def test_what_fits_comes_with_the_largest_base_first() -> None:
    assert names(suggest(CATALOGUE, Machine(100 * GB))) == ["huge", "large", "middle"]
    assert names(suggest(CATALOGUE, Machine(16 * GB))) == ["large", "middle"]
    found = suggest(CATALOGUE, Machine(8 * GB))
    (pair,) = found.fitting
    assert (pair.download, pair.place, pair.thinking) == (3 * GB, "RAM", True)
    # Files, a tenth of them, and half a GB for each.
    assert pair.memory == 43 * GB // 10
    assert pair.command == "blendin models pull middle"
    assert found.unknown == ("odd",)
    assert found.smallest is None


def test_room_is_left() -> None:
    needed = suggest(CATALOGUE, Machine(100 * GB)).fitting[-1].memory
    assert names(suggest(CATALOGUE, Machine(needed * 5 // 4 + 1))) == ["middle"]
    found = suggest(CATALOGUE, Machine(needed * 5 // 4 - 10))
    assert names(found) == []
    assert found.smallest and found.smallest.entry.name == "middle"
    assert Machine(2 * GB).usable_ram == GB
    assert Machine(GB // 2).usable_ram == 0


def test_a_longer_context_takes_more() -> None:
    usual, longer = (suggest(CATALOGUE, Machine(99 * GB), ModelOptions(n_ctx=n)) for n in (4096, 8192))
    assert longer.fitting[0].memory > usual.fitting[0].memory


@pytest.mark.parametrize(
    ("ram", "device", "place"),
    [(4, 6, "device"), (16, 6, "device"), (16, 3, "split"), (3, 3, "split"), (8, 0, "RAM")],
)
def test_devices_count_beside_the_ram(ram: int, device: int, place: str) -> None:
    machine = Machine(ram * GB, device * GB, ("CUDA0",) if device else ())
    assert (
        next(pair.place for pair in suggest(CATALOGUE, machine).fitting if pair.entry.name == "middle")
        == place
    )


def test_this_machine_has_ram_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Device("CUDA0", "A card", 5 * GB, 8 * GB)
    monkeypatch.setattr(
        memory_estimate, "offload_devices", lambda: (card, replace(card, name="iGPU", shared=True))
    )
    machine = this_machine()
    assert machine.ram > 10**8
    assert (machine.device_memory, machine.devices) == (8 * GB, ("CUDA0",))


def test_models_that_are_here_are_measured(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.gguf")
    pair = PairEntry("here", str(path), str(path), guide_options={"n_ctx": 64})
    found = suggest(Catalogue({}, {"here": pair}), Machine(8 * GB))
    header = read_header(path)
    both = [estimate(header, ModelOptions(n_ctx=n), ()).total for n in (4096, 64)]
    assert found.fitting[0].memory == sum(both)
    assert (found.fitting[0].measured, found.fitting[0].download) == (True, 0)
    assert found.fitting[0].command == "blendin chat --pair here"


# The command


@pytest.fixture(autouse=True)
def only_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of one pair of the user's own."""
    shipped = tmp_path / "shipped.toml"
    shipped.write_text("")
    monkeypatch.setattr(catalogue_module, "_shipped_file", lambda: shipped)
    path = user_catalogue_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        """
[models.one]
sources = ["hf:o/r:one.gguf"]
approximate_size = 3_000_000_000
thinking = true
checked = "In the index."
[models.odd]
sources = ["hf:o/r:odd.gguf"]
[pairs.mine]
base = "one"
guide = "one"
description = "Good for [tests]"
[pairs.odd]
base = "one"
guide = "odd"
""",
        "utf-8",
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", "suggest", *arguments])


def test_the_table_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "this_machine", lambda: Machine(16 * GB, GB, ("CUDA0",)))
    result = run()
    assert result.exit_code == 0, result.output
    assert "fit into 16.00 GB of RAM, 1.00 GB on CUDA0, at a context of 4096 tokens:" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("mine"))
    # One model in both roles is pulled once.
    assert row.split("  ")[1:] and "3.00 GB" in row and "about 7.60 GB" in row
    assert "in RAM, part on CUDA0 (--gpu-layers)" in row
    assert "Good for [tests] (thinks before it answers)" in row
    assert "blendin models pull mine" in result.stdout
    assert "size of a model is not known: odd." in result.stdout


def test_json_has_all_of_it() -> None:
    document = json.loads(run("--memory", "16GB", "--json").stdout)
    assert (document["memory"], document["usable_memory"], document["devices"]) == (
        16 * GB,
        12_800_000_000,
        [],
    )
    (pair,) = document["pairs"]
    assert pair == {
        "name": "mine", "base": "one", "guide": "one", "description": "Good for [tests]", "thinking": True,
        "pulled": False, "missing": ["one"], "download": 3 * GB, "memory": 7_600_000_000, "place": "RAM",
        "command": "blendin models pull mine",
    }  # fmt: skip
    assert document["unknown_size"] == ["odd"]


def test_where_nothing_fits_the_smallest_is_named() -> None:
    result = run("--memory", "4 GB")
    assert result.exit_code == 0
    assert (
        "No pair of the catalogue fits into 4.00 GB, of which 3.00 GB can be used: the smallest, mine, takes "
        "about 7.60 GB." in result.stdout
    )
    assert json.loads(run("--memory", "4GB", "--json").stdout)["pairs"] == []
    user_catalogue_file().write_text("")
    assert (
        "No pair of the catalogue fits into 4.00 GB, of which 3.00 GB can be used."
        in run("--memory", "4GB").stdout
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * GB),
        ("8 gb", 8 * GB),
        ("8g", 8 * GB),
        ("1.5GiB", 3 * 2**29),
        ("900MB", 9 * 10**8),
        ("1T", 10**12),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert json.loads(run("--memory", text, "--json").stdout)["memory"] == size


@pytest.mark.parametrize(
    "text", ["", "8", "GB", "-8GB", "8XB", "0GB", "8GBB", "nanGB", "1e3GB", "9999999999999GB"]
)
def test_wrong_sizes_are_one_sentence(text: str) -> None:
    result = run(f"--memory={text}")
    assert result.exit_code == 2
    assert result.stderr == f"Error: --memory must be a size such as 8GB, not {text!r}.\n"


def test_keys_of_the_catalogue_for_it() -> None:
    entry = load_catalogue().models["one"]
    assert (entry.approximate_size, entry.thinking, entry.checked) == (3 * GB, True, "In the index.")
    path = user_catalogue_file()
    for line, problem in (
        ("approximate_size = 0", "approximate_size must be a number of bytes"),
        ("thinking = 1", "thinking must be true or false"),
    ):
        path.write_text(f'[models.x]\nsources = ["a.gguf"]\n{line}\n')
        assert problem in run().stderr
