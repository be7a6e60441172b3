"""Memory estimates: by hand on made-up headers, and against llama.cpp's own allocations."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_gguf
from support.nightly import first_of

from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.memory_estimate import MemoryEstimate, describe, estimate, free_memory, warning
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
