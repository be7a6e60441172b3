"""Options of one model: what is given where, what wins, and what reaches llama.cpp."""

from __future__ import annotations

import json
import pickle
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.tiny_gguf import write_tiny

import blendin_local
from blendin_local.batch.planning import parallel_options
from blendin_local.batch.ray_resources import plan_workers
from blendin_local.cli import main
from blendin_local.cli.complete_names import complete_model_option
from blendin_local.compare.arms import ArmSpec, make_arms
from blendin_local.compare.loading import load_models
from blendin_local.compare.writing import model_identities
from blendin_local.errors import CatalogueError, ModelError, SettingError
from blendin_local.llamacpp import devices
from blendin_local.llamacpp import model as module
from blendin_local.llamacpp.model import open_model
from blendin_local.models.catalogue import load_catalogue, user_catalogue_file
from blendin_local.models.catalogue_writer import save_pair
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import load_pair, locate_pair, name_pair
from blendin_local.settings import (
    ModelOptions,
    check_model_options,
    format_model_options,
    model_option_specs,
    parse_model_options,
)
from blendin_local.tune.passes import pass_key, speed_key

CATALOGUE = """
[pairs.mine]
base = {base!r}
guide = {guide!r}

[pairs.mine.base_options]
n_ctx = 256
n_gpu_layers = 3

[pairs.mine.guide_options]
kv_type = "f32"
"""


@dataclass
class Seen:
    """What llama.cpp was given, one entry for each model in the order in which they were loaded."""

    models: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[dict[str, Any]] = field(default_factory=list)


def placement(params: Any) -> dict[str, Any]:
    """What llama_model_params say of the devices."""
    split = params.tensor_split
    return {
        "layers": params.n_gpu_layers,
        "split_mode": params.split_mode,
        "main_gpu": params.main_gpu,
        "split": [split[place] for place in range(3)] if split else [],
        "devices": bool(params.devices),
    }


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found, load, make = Seen(), module.load_file, module.api.llama_init_from_model

    def load_file(path: Path, params: Any) -> Any:
        found.models.append(placement(params))
        return load(path, params)

    def init(model: Any, params: Any) -> Any:
        found.contexts.append(
            {
                "n_ctx": params.n_ctx,
                "n_batch": params.n_batch,
                "threads": params.n_threads,
                "kv": params.type_k,
                "flash": params.flash_attn_type,
            }
        )
        return make(model, params)

    monkeypatch.setattr(module, "load_file", load_file)
    monkeypatch.setattr(module.api, "llama_init_from_model", init)
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    base = write_tiny(tmp_path / "base.gguf", vocabulary="spm", seed=1)
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", seed=2)
    return str(base), str(guide)


@pytest.fixture
def mine(files: tuple[str, str]) -> None:
    path = user_catalogue_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CATALOGUE.format(base=files[0], guide=files[1]), "utf-8")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def values(found: list[dict[str, Any]], name: str) -> list[Any]:
    return [each[name] for each in found]


# The values


def test_each_model_has_its_own_and_shares_the_rest() -> None:
    options = ModelOptions(n_ctx=512, n_threads=2, base_options={"n_ctx": 64}, guide_options={"mmap": False})
    assert options.of("base") == ModelOptions(n_ctx=64, n_threads=2)
    assert options.of("guide") == ModelOptions(n_ctx=512, n_threads=2, mmap=False)
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(replace(options))


def test_what_the_user_gave_wins_over_what_a_pair_recommends() -> None:
    recommended = {"n_ctx": 64, "n_threads": 3}, {"n_ctx": 128}
    given = ModelOptions(n_ctx=256, base_options={"n_threads": 1}, explicit=frozenset({"n_ctx"}))
    both = given.recommended(*recommended)
    assert (both.of("base").n_ctx, both.of("base").n_threads) == (256, 1)
    assert both.of("guide").n_ctx == 256
    # The preferences are no more than defaults to a pair.
    usual = ModelOptions(n_ctx=256).recommended(*recommended)
    assert (usual.of("base").n_ctx, usual.of("guide").n_ctx) == (64, 128)
    assert ModelOptions().recommended({}, {}) == ModelOptions()


def test_pinned_options_hold_for_both_models() -> None:
    options = ModelOptions(base_options={"n_ctx": 64, "n_threads": 2}).pinned(n_ctx=1024)
    options = options.recommended({"n_ctx": 8}, {"n_ctx": 8})
    assert (options.of("base").n_ctx, options.of("guide").n_ctx) == (1024, 1024)
    assert options.of("base").n_threads == 2


def test_a_batch_of_one_model_holds_a_token_of_every_sequence() -> None:
    options = parallel_options(ModelOptions(guide_options={"n_batch": 4}), 16)
    assert options.of("guide").n_batch == 16


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nctx=1", "there is no option 'nctx': there are n_ctx, n_batch,"),
        ("n_seq=2", "there is no option 'n_seq'"),
        ("=2", "there is no option ''"),
        ("n_ctx", "n_ctx has no value: write n_ctx=4096."),
        ("n_ctx=many", "n_ctx must be a whole number, not 'many'."),
        ("n_ctx=", "n_ctx must be a whole number, not ''."),
        ("n_ctx=-1", "n_ctx must be between 0 and 16777216, not -1."),
        ("mmap=perhaps", "mmap must be true or false, not 'perhaps'."),
        ("kv_type=q2", "kv_type must be one of f32, f16"),
        ("tensor_split=3;1", "tensor_split must be numbers separated by commas, such as 3,1, not '3;1'."),
        ("tensor_split=-1,2", "tensor_split must be numbers"),
    ],
)
def test_wrong_options_are_one_sentence_everywhere(files: tuple[str, str], text: str, problem: str) -> None:
    with pytest.raises(SettingError, match="^" + problem.replace("(", r"\(")):
        parse_model_options([text])
    for flag in ("--base-set", "--guide-set"):
        result = run("generate", "--base", files[0], "--guide", files[1], flag, text, "hello")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {flag}: {problem}")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["generate", "chat", "tune", "compare", "bench", "web"])
def test_every_command_that_loads_a_pair_takes_them(command: str) -> None:
    result = run(command, "--base-set", "foo=1")
    assert result.exit_code == 2
    assert "--base-set: there is no option 'foo'" in result.stderr


def test_texts_are_read_as_they_are_written() -> None:
    options = {"n_ctx": 7, "mmap": False, "tensor_split": "3,1", "kv_type": "q8_0"}
    assert parse_model_options(format_model_options(options).split()) == options
    assert parse_model_options(["n_ctx=1", "n_ctx=2"]) == {"n_ctx": 2}


def test_names_and_values_are_completed() -> None:
    def offered(incomplete: str) -> list[str]:
        return [item.value for item in complete_model_option(None, None, incomplete)]  # type: ignore[arg-type]

    assert offered("") == [f"{name}=" for name in model_option_specs()]
    assert offered("n_g") == ["n_gpu_layers="]
    assert offered("kv_type=q5") == ["kv_type=q5_1", "kv_type=q5_0"]
    assert offered("mmap=") == ["mmap=true", "mmap=false"]
    assert offered("foo=") == []


# llama.cpp


def test_llama_cpp_gets_what_was_given_for_each_model(files: tuple[str, str], seen: Seen) -> None:
    common = ("--base", files[0], "--guide", files[1], "-n", "4", "--n-ctx", "512", "--threads", "1")
    guide = ("n_ctx=256", "n_threads=2", "n_batch=32", "kv_type=f32", "flash_attention=off")
    own = [word for each in guide for word in ("--guide-set", each)]
    placed = ("--guide-set", "tensor_split=3,1.5", "--base-set", "n_gpu_layers=7")
    result = run("generate", *common, *own, *placed, "hello")
    assert result.exit_code == 0, result.output
    assert values(seen.models, "layers") == [7, -1]
    assert values(seen.models, "split") == [[], [3, 1.5, 0]]
    assert values(seen.models, "split_mode") == [module.api.LLAMA_SPLIT_MODE_LAYER] * 2
    assert values(seen.contexts, "n_ctx") == [512, 256]
    assert values(seen.contexts, "threads") == [1, 2]
    assert values(seen.contexts, "n_batch") == [512, 32]
    assert values(seen.contexts, "kv") == [1, 0]
    assert values(seen.contexts, "flash") == [-1, 0]


@pytest.mark.parametrize(
    ("offload", "mode", "number"),
    [(True, module.api.LLAMA_SPLIT_MODE_NONE, 1), (False, module.api.LLAMA_SPLIT_MODE_LAYER, 0)],
)
def test_a_main_device_takes_the_whole_model_where_there_are_devices(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, offload: bool, mode: int, number: int
) -> None:
    def refuse(path: Path, params: Any) -> Any:
        raise ModelError(json.dumps(placement(params)))

    monkeypatch.setattr(module.api, "llama_supports_gpu_offload", lambda: offload)
    monkeypatch.setattr(module, "load_file", refuse)
    with pytest.raises(ModelError) as caught:
        open_model(files[0], ModelOptions(main_gpu=1))
    given = json.loads(str(caught.value))
    assert (given["split_mode"], given["main_gpu"]) == (mode, number)


def test_devices_are_named_as_llama_cpp_names_them(
    files: tuple[str, str], seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_model(files[0], ModelOptions(device="none", n_ctx=64))):
        assert seen.models[0]["devices"]
    with closing(open_model(files[0], ModelOptions(n_ctx=64))):
        assert not seen.models[1]["devices"]
    with pytest.raises(ModelError, match="has no device called CUDA9 here: it has none but the CPU"):
        open_model(files[0], ModelOptions(device="CUDA9"))
    monkeypatch.setattr(devices, "_functions", lambda: FakeBackends())
    assert devices.devices() == (
        devices.Device("CUDA0", "A card", 5, 8),
        devices.Device("CUDA1", "A card", 6, 8),
    )
    assert list(devices.device_list("CUDA1, iGPU")) == [3, 4, None]
    with pytest.raises(ModelError, match="has no device called CUDA9 here: it has CUDA0, CUDA1, iGPU"):
        devices.device_list("CUDA0,CUDA9")


class FakeBackends:
    """ggml's functions on a machine with a CPU, two cards and an integrated one; handles count from 1."""

    kinds = (0, 1, 1, 2)
    names = (b"CPU", b"CUDA0", b"CUDA1", b"iGPU")

    def ggml_backend_dev_count(self) -> int:
        return len(self.kinds)

    def ggml_backend_dev_get(self, place: int) -> int:
        return place + 1

    def ggml_backend_dev_type(self, handle: int) -> int:
        return self.kinds[handle - 1]

    def ggml_backend_dev_name(self, handle: int) -> bytes:
        return self.names[handle - 1]

    def ggml_backend_dev_description(self, handle: int) -> bytes:
        return b"A card"

    def ggml_backend_dev_memory(self, handle: int, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = 3 + handle, 8


# Where they come from


def test_the_catalogue_recommends_them_and_the_command_line_wins(mine: None, seen: Seen) -> None:
    usual = ("generate", "-p", "mine", "-n", "2", "--threads", "1", "hello")
    assert run(*usual).exit_code == 0
    assert values(seen.contexts, "n_ctx") == [256, 512]
    assert values(seen.contexts, "kv") == [1, 0]
    assert values(seen.models, "layers") == [3, -1]
    seen.models.clear()
    # An option of both models wins over the catalogue, and one of a single model over both.
    given = ("--gpu-layers", "2", "--guide-set", "n_gpu_layers=1", "--base-set", "n_ctx=512")
    assert run(*usual, *given).exit_code == 0
    assert values(seen.models, "layers") == [2, 1]
    assert values(seen.contexts, "n_ctx")[2:] == [512, 512]


def test_a_replaced_model_takes_its_options_along(mine: None, files: tuple[str, str]) -> None:
    entry = name_pair(load_catalogue(), "mine", None, files[0])
    assert (entry.base_options, entry.guide_options) == ({"n_ctx": 256, "n_gpu_layers": 3}, {})


def test_wrong_options_of_the_catalogue_are_named() -> None:
    path = user_catalogue_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    for line, problem in (
        ("n_cxt = 1", r"\[pairs.x.base_options\]: the key n_cxt is unknown \(did you mean n_ctx"),
        ("n_ctx = -1", r"\[pairs.x.base_options\]: n_ctx must be between 0 and"),
        ("n_seq = 2", "the key n_seq is unknown"),
    ):
        path.write_text(f'[pairs.x]\nbase = "a"\nguide = "b"\n[pairs.x.base_options]\n{line}\n', "utf-8")
        with pytest.raises(CatalogueError, match=problem):
            load_catalogue()


def test_the_catalogue_keeps_them_when_a_pair_is_saved(mine: None) -> None:
    entry = load_catalogue().pair("mine")
    save_pair(replace(entry, description="tuned"))
    text = user_catalogue_file().read_text("utf-8")
    assert load_catalogue().pair("mine") == replace(entry, description="tuned")
    assert text.count("n_gpu_layers = 3") == 1
    save_pair(PairEntry("plain", "a", "b"))
    assert "options" not in user_catalogue_file().read_text("utf-8").partition("[pairs.plain]")[2]


def test_the_python_interface_takes_them(mine: None, seen: Seen) -> None:
    with blendin_local.load("mine", guide_options={"n_threads": 2}, n_threads=1) as pair:
        base, guide = pair.models.pair.base, pair.models.pair.guide
        assert (base.n_ctx, guide.n_ctx) == (256, 512)
        assert values(seen.contexts, "threads") == [1, 2]
        assert pair.reply("hello", max_tokens=2).text is not None
    with blendin_local.load("mine", n_ctx=300) as pair:
        assert pair.models.pair.base.n_ctx == 300
    with pytest.raises(SettingError, match=r"^base_options: there is no option 'foo'"):
        blendin_local.load("mine", base_options={"foo": 1})


# Records


def test_records_of_pairs_without_them_stay_valid(files: tuple[str, str]) -> None:
    usual = {
        "n_ctx": 4096, "n_seq": 1, "n_batch": 512, "n_threads": 0, "n_gpu_layers": -1, "kv_type": "f16",
        "flash_attention": "auto", "swa_full": True, "mmap": True, "mlock": False, "n_outputs": 0,
        "shared_cache": False, "n_contexts": 1,
    }  # fmt: skip
    assert ModelOptions().to_dict() == usual
    assert ModelOptions(explicit=frozenset({"n_ctx"})).to_dict() == usual
    own = ModelOptions(base_options={"n_ctx": 8}, tensor_split="1,1").to_dict()
    assert own == usual | {"base_options": {"n_ctx": 8}, "tensor_split": "1,1"}


def test_a_pass_of_tune_is_told_apart_by_what_changes_its_figures() -> None:
    def key(**options: Any) -> str:
        return pass_key(["a", "b"], [], [], "1", ModelOptions(**options))

    # The key of an earlier version of the program.
    assert speed_key(ModelOptions()) == '{"n_threads": 0, "n_gpu_layers": -1, "kv_type": "f16"}'
    assert key() == key(base_options={"n_threads": 3}) == key(guide_options={"n_ctx": 4096})
    assert key(n_ctx=8) == key(base_options={"n_ctx": 8}, guide_options={"n_ctx": 8})
    different = [key(base_options={"n_ctx": 8}), key(guide_options={"n_ctx": 8}), key(main_gpu=1), key()]
    assert len(set(different)) == 4
    assert speed_key(ModelOptions(guide_options={"n_threads": 3})) != speed_key(ModelOptions())


def test_arms_of_compare_have_them_and_their_answers_are_told_apart(mine: None, seen: Seen) -> None:
    catalogue = load_catalogue()
    arms = make_arms([ArmSpec(pair="mine")], catalogue, lambda path: path.name)
    pair = next(arm for arm in arms if arm.is_pair)
    assert pair.base and pair.guide
    assert dict(pair.base.options) == {"n_ctx": 256, "n_gpu_layers": 3}
    assert [each.get("options") for each in model_identities(pair.models)] == [
        {"n_ctx": 256, "n_gpu_layers": 3},
        {"kv_type": "f32"},
    ]
    given = ModelOptions(n_gpu_layers=0, guide_options={"n_ctx": 128}, explicit=frozenset({"n_gpu_layers"}))
    arms = make_arms([ArmSpec(pair="mine")], catalogue, lambda path: path.name, given)
    guide = next(arm.guide for arm in arms if arm.kind == "guide")
    assert guide and dict(guide.options) == {"n_ctx": 128, "kv_type": "f32"}
    with closing(load_models((guide,), ModelOptions(n_threads=1))):
        assert seen.contexts[0]["kv"] == 0
    plain = replace(guide, options=())
    assert "options" not in model_identities([plain])[0]


def test_workers_of_a_cluster_ask_for_what_their_models_need() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}]
    on_cpu = ModelOptions(n_gpu_layers=0)
    assert plan_workers(nodes, None, on_cpu)[0] == 2
    assert plan_workers(nodes, None, replace(on_cpu, guide_options={"n_gpu_layers": 5}))[0] == 1
    threads = ModelOptions(n_gpu_layers=0, n_threads=2, base_options={"n_threads": 4})
    assert plan_workers(nodes, None, threads)[1].cpus == 4


def test_a_loaded_pair_knows_its_recommendation(mine: None, seen: Seen) -> None:
    catalogue = load_catalogue()
    files = locate_pair(catalogue, catalogue.pair("mine"))
    with closing(load_pair(files, ModelOptions(n_threads=1))):
        assert values(seen.models, "layers") == [3, -1]
    base, guide = files.estimates(ModelOptions())
    assert base.kv_cache < guide.kv_cache
    assert check_model_options({"n_ctx": 3}) == {"n_ctx": 3}
