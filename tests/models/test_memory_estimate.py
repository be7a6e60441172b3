"""Memory estimates: by hand on made-up headers, and against llama.cpp's own allocations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_gguf
from support.nightly import first_of

from blendin_local.llamacpp.devices import Device
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models import inspection, memory_estimate
from blendin_local.models.compatibility import check_memory
from blendin_local.models.inspection import inspect_files
from blendin_local.models.memory_estimate import (
    MemoryEstimate,
    MemoryPart,
    describe,
    estimate,
    free_memory,
    warning,
)
from blendin_local.settings import KV_TYPES, ModelOptions

# Four layers, three of them with a window of 512; two heads of 64 for keys and of 32 for values.
HEADER = GgufHeader(
    path=Path("made-up.gguf"),
    size_bytes=1_000_000,
    split_count=1,
    architecture="gemma3",
    name="",
    quantization="Q8_0",
    n_params=1_000_000,
    n_ctx_train=8192,
    n_layer=4,
    n_embd=256,
    n_ff=1024,
    n_head=4,
    n_head_kv=(2, 2, 2, 2),
    key_length=64,
    value_length=32,
    sliding_window=512,
    windowed=(True, True, True, False),
    recurrent_size=0,
    n_vocab=1000,
    tokenizer_model="llama",
    tokenizer_pre="default",
    chat_template=None,
    fingerprint="",
    unusable="",
)
CELL = 2 * (64 + 32) * 2
"""Bytes of keys and values of one token in one layer, as float16."""


def kv_cache(header: GgufHeader = HEADER, **options: object) -> int:
    return estimate(header, ModelOptions(**options)).kv_cache  # type: ignore[arg-type]


def test_kv_cache_is_one_cell_for_each_layer_and_token() -> None:
    assert kv_cache(n_ctx=4096) == 4 * 4096 * CELL
    assert kv_cache(n_ctx=4096, n_seq=3) == 3 * 4 * 4096 * CELL
    # llama.cpp rounds up to 256 tokens; 0 is the length that the model was trained on.
    assert kv_cache(n_ctx=4097) == 4 * 4352 * CELL
    assert kv_cache(n_ctx=0) == 4 * 8192 * CELL


def test_windowed_layers_keep_the_window_and_a_batch_only() -> None:
    assert kv_cache(n_ctx=4096, swa_full=False, n_batch=512) == (3 * 1024 + 4096) * CELL
    assert kv_cache(n_ctx=4096, swa_full=False, n_batch=100) == (3 * 768 + 4096) * CELL
    assert kv_cache(n_ctx=512, swa_full=False, n_batch=512) == 4 * 512 * CELL


@pytest.mark.parametrize(
    ("kv_type", "share"),
    [("f32", 2.0), ("bf16", 1.0), ("q8_0", 34 / 64), ("q5_1", 24 / 64), ("q4_0", 18 / 64)],
)
def test_kv_types_take_their_blocks(kv_type: str, share: float) -> None:
    assert kv_cache(n_ctx=4096, kv_type=kv_type) == 4 * 4096 * CELL * share


def test_every_kv_type_is_known() -> None:
    assert all(kv_cache(kv_type=kv_type) > 0 for kv_type in KV_TYPES)


def test_layers_without_keys_and_recurrent_state() -> None:
    hybrid = replace(HEADER, n_head_kv=(2, 0, 0, 2), windowed=(False,) * 4, recurrent_size=100)
    assert kv_cache(hybrid, n_ctx=256, n_seq=2) == 2 * (2 * 256 * CELL + 400)


def test_buffers_grow_with_batch_outputs_and_without_flash_attention() -> None:
    def buffers(**options: object) -> int:
        return estimate(HEADER, ModelOptions(**options)).buffers  # type: ignore[arg-type]

    assert buffers(n_batch=64) < buffers(n_batch=512)
    assert buffers(n_outputs=512) > buffers(n_outputs=1)
    without = buffers(flash_attention="off", n_ctx=4096, n_batch=512)
    assert without - buffers(n_ctx=4096, n_batch=512) == 4 * 512 * 4 * 4096


def test_total_and_sentences() -> None:
    one, other = (
        MemoryEstimate(250_000_000, 60_000_000, 30_000_000),
        MemoryEstimate(100_000_000, 60_000_000, 20_000_000),
    )
    assert one.total == 340_000_000
    assert (
        describe(one, other, free=22_100_000_000)
        == "Needs about 0.5 GB (files 0.35, KV caches 0.12, buffers 0.05); 22.1 GB are free."
    )
    assert describe(one).endswith("are free.")
    assert warning(one, other, free=520_000_000) == ""
    assert warning(one, other, free=519_999_999).startswith("Not enough memory: about 0.5 GB are needed")
    assert "shorter context" in warning(one, other, free=450_000_000)
    assert "smaller models" in warning(one, other, free=100_000_000)


# In RAM and on each device

GB = 10**9
TWO = (Device("CUDA0", "A card", 12 * GB, 16 * GB), Device("CUDA1", "A card", 4 * GB, 8 * GB))
LAYERS = replace(
    HEADER, size_bytes=1_000_000, layer_bytes=(100_000, 110_000, 120_000, 130_000), output_bytes=40_000
)
"""The rest of the file, 500 000 bytes, is the input's."""


def on_devices(
    header: GgufHeader = LAYERS, devices: Sequence[Device] = TWO, **options: object
) -> dict[str, tuple[int, int]]:
    """Weights and KV cache by device, "" for RAM."""
    found = estimate(header, ModelOptions(n_ctx=256, **options), devices)  # type: ignore[arg-type]
    parts = [found.ram, *found.on_devices]
    assert found.total == sum(part.total for part in parts)
    return {part.device: (part.file, part.kv_cache // (256 * CELL)) for part in parts}


def test_without_a_device_or_a_layer_all_is_in_ram() -> None:
    whole = {"": (1_000_000, 4)}
    assert on_devices(devices=()) == whole
    assert on_devices(n_gpu_layers=0) == on_devices(device="none") == whole
    assert on_devices(main_gpu=2) == on_devices(device="ROCm0") == whole


def test_the_last_layers_are_offloaded_and_the_output_first_of_all() -> None:
    one = TWO[:1]
    assert on_devices(devices=one, n_gpu_layers=1) == {"": (960_000, 4), "CUDA0": (40_000, 0)}
    assert on_devices(devices=one, n_gpu_layers=3) == {"": (710_000, 2), "CUDA0": (290_000, 2)}
    everything = {"": (500_000, 0), "CUDA0": (500_000, 4)}
    assert on_devices(devices=one) == on_devices(devices=one, n_gpu_layers=99) == everything


def test_layers_are_split_by_free_memory_by_shares_or_not_at_all() -> None:
    # Of five places three quarters: places 0 to 3.
    assert on_devices() == {"": (500_000, 0), "CUDA0": (460_000, 4), "CUDA1": (40_000, 0)}
    assert on_devices(tensor_split="2,3") == {
        "": (500_000, 0), "CUDA0": (210_000, 2), "CUDA1": (290_000, 2),
    }  # fmt: skip
    assert on_devices(tensor_split="0,1") == {"": (500_000, 0), "CUDA1": (500_000, 4)}
    assert on_devices(tensor_split="1") == {"": (500_000, 0), "CUDA0": (500_000, 4)}
    assert on_devices(tensor_split="0,0") == on_devices()
    assert on_devices(main_gpu=1, tensor_split="1,1") == {"": (500_000, 0), "CUDA1": (500_000, 4)}
    assert on_devices(device="CUDA1") == {"": (500_000, 0), "CUDA1": (500_000, 4)}


def test_an_output_that_is_the_input_is_copied_to_the_device() -> None:
    tied = replace(LAYERS, output_bytes=540_000, shared_output=True)
    found = estimate(tied, ModelOptions(), TWO[:1])
    assert (found.file, found.ram.file) == (1_540_000, 540_000)
    assert estimate(tied, ModelOptions(n_gpu_layers=0), TWO[:1]).file == 1_000_000


def test_a_device_that_holds_layers_has_a_buffer() -> None:
    alone = estimate(LAYERS, ModelOptions(), ())
    part = estimate(LAYERS, ModelOptions(n_gpu_layers=2), TWO[:1])
    whole = estimate(LAYERS, ModelOptions(), TWO[:1])
    assert part.ram.buffers == alone.buffers
    assert 0 < whole.ram.buffers < alone.buffers
    assert part.on_devices[0].buffers == whole.on_devices[0].buffers > 0


def test_the_layers_of_a_file_are_measured(tmp_path: Path) -> None:
    header = read_header(tiny_gguf.write_tiny(tmp_path / "a.gguf", n_layer=3))
    assert len(header.layer_bytes) == 3 and len(set(header.layer_bytes)) == 1
    inputs = header.size_bytes - sum(header.layer_bytes)
    assert 0 < header.output_bytes < inputs or header.shared_output


def test_each_place_has_its_sentence() -> None:
    on_card = MemoryPart(300_000_000, 100_000_000, 100_000_000, "CUDA0")
    both = [MemoryEstimate(400_000_000, 100_000_000, 200_000_000, (on_card,))] * 2
    one = [Device("CUDA0", "A card", 2 * GB, 2 * GB)]
    assert describe(*both, free=8 * GB, devices=one) == (
        "Needs about 0.4 GB of RAM (files 0.20, KV caches 0.00, buffers 0.20); 8.0 GB are free; "
        "about 1.0 GB on CUDA0, where 2.0 GB are free."
    )
    assert describe(*both, free=8 * GB, devices=[]).endswith("8.0 GB are free; about 1.0 GB on CUDA0.")
    assert warning(*both, free=400_000_000, devices=one) == ""
    assert warning(*both, free=300_000_000, devices=one).startswith("Not enough memory: about 0.4 GB")
    small = [replace(one[0], free=900_000_000)]
    assert warning(*both, free=8 * GB, devices=small) == (
        "Not enough memory on CUDA0: about 1.0 GB are needed and 0.9 GB are free, so offload fewer layers "
        "(--gpu-layers) or choose smaller models."
    )
    # What an integrated device holds is in RAM.
    assert "1.4 GB are needed" in warning(*both, free=GB, devices=[replace(one[0], shared=True)])


def test_a_loaded_pair_frees_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = estimate(LAYERS, ModelOptions(), TWO[:1]).on_devices[0].total
    for free, verdict in ((needed, "beside"), (needed - 1, "unloaded first")):
        devices = (replace(TWO[0], free=free),)
        monkeypatch.setattr(memory_estimate, "offload_devices", lambda devices=devices: devices)
        assert verdict in check_memory([LAYERS], ModelOptions(), [LAYERS], 8 * GB).verdict
    assert "Not enough memory on CUDA0" in check_memory([LAYERS], ModelOptions(), (), 8 * GB).verdict


def test_inspection_tells_the_places_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "a.gguf")
    assert "RAM" not in dict(inspect_files([path]).rows())
    monkeypatch.setattr(inspection, "offload_devices", lambda: TWO)
    found = inspect_files([path, path], ModelOptions(n_ctx=64, base_options={"n_gpu_layers": 0}))
    rows = {title: values for title, *values in found.rows()}
    assert rows["RAM"][0].startswith("0.00 GB: weights")
    assert rows["CUDA0"][0] == "nothing"
    assert rows["CUDA0"][1].startswith("0.00 GB: weights")
    assert "on CUDA0, where 12.0 GB are free" in [*found.sentences()][-1]
    base, guide = (model["memory"] for model in found.as_json()["models"])
    assert base["on_devices"] == [] and base["ram"]["total"] == base["total"]
    assert {part["device"] for part in guide["on_devices"]} == {"CUDA0"}
    assert guide["ram"]["total"] + sum(part["total"] for part in guide["on_devices"]) == guide["total"]
    assert [device["name"] for device in found.as_json()["devices"]] == ["CUDA0", "CUDA1"]


def test_free_memory_is_plausible() -> None:
    assert 10_000_000 < free_memory() < 1 << 50


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba"])
def test_tiny_models_have_an_estimate(tmp_path: Path, architecture: tiny_gguf.Architecture) -> None:
    header = read_header(tiny_gguf.write_tiny(tmp_path / "a.gguf", arch=architecture))
    needs = estimate(header, ModelOptions(n_ctx=512))
    # Two small layers: little, but never nothing, whatever keeps the state.
    assert 1_000 < needs.kv_cache < 1_000_000
    assert needs.file == header.size_bytes


def compute_buffer(header: GgufHeader, options: ModelOptions) -> int:
    """The working buffer that llama.cpp reports for a context with such options."""
    from blendin_local.llamacpp.library import api, captured_log

    model = api.llama_model_load_from_file(str(header.path).encode(), api.llama_model_default_params())
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = options.n_ctx, options.n_batch, options.n_batch
    params.n_outputs_max = options.n_outputs or options.n_seq
    params.swa_full = options.swa_full
    try:
        with captured_log() as log:
            context = api.llama_init_from_model(model, params)
        api.llama_free(context)
    finally:
        api.llama_model_free(model)
    sizes = [re.search(r"compute buffer size = +([\d.]+) MiB", text) for _, text in log.lines]
    return round(sum(float(size[1]) for size in sizes if size) * (1 << 20))


@pytest.mark.real
@pytest.mark.parametrize("options", first_of([ModelOptions(), ModelOptions(n_ctx=8192, n_batch=1024)]))
def test_buffers_are_those_that_llama_cpp_takes(demo_files, options: ModelOptions) -> None:  # type: ignore[no-untyped-def]
    for header in (demo_files.base, demo_files.guide):
        vocabulary = replace(header, n_ff=0, n_embd=0, windowed=())
        constant = estimate(vocabulary, options).buffers - 2 * options.n_batch * options.n_ctx
        estimated = estimate(header, options).buffers - constant
        assert estimated == pytest.approx(compute_buffer(header, options), rel=0.15)
