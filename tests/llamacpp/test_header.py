"""Headers: what they say of good files, and one clear sentence for each kind of bad one."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from support import tiny_gguf

from blendin_local.errors import ModelError
from blendin_local.llamacpp.header import read_header


def write(path: Path, add: Callable[[GGUFWriter], None] = lambda writer: None, arch: str = "llama") -> Path:
    """A file with one small tensor and whatever keys `add` writes."""
    writer = GGUFWriter(path, arch)
    writer.add_block_count(2)
    add(writer)
    writer.add_tensor("a.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_header_of_a_llama_model(tmp_path: Path) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "a.gguf", vocabulary="bpe", chat_template="{{ x }}")
    header = read_header(path)
    assert header.path == path
    assert header.size_bytes == path.stat().st_size
    assert (header.architecture, header.name, header.split_count) == ("llama", "Tiny llama bpe 0", 1)
    assert (header.n_layer, header.n_embd, header.n_ctx_train, header.n_head) == (2, 32, 512, 2)
    # Without a key of its own, each head has as many keys and values as queries.
    assert header.n_head_kv == (2, 2)
    assert (header.key_length, header.value_length) == (16, 16)
    assert header.windowed == (False, False)
    assert header.n_vocab == len(tiny_gguf.tiny_vocabulary("bpe"))
    assert (header.tokenizer_model, header.tokenizer_pre) == ("gpt2", "smollm")
    assert header.chat_template == "{{ x }}"
    assert header.has_decoder
    # No name for its quantization: the commonest type of its weights.
    assert header.quantization == "F32"


def test_sliding_window_layers_by_key_by_list_and_by_architecture(tmp_path: Path) -> None:
    by_key = read_header(tiny_gguf.write_tiny(tmp_path / "a.gguf", arch="gemma3", n_layer=4))
    assert (by_key.sliding_window, by_key.windowed) == (16, (True, False, True, False))

    def by_list(writer: GGUFWriter) -> None:
        writer.add_sliding_window(8)
        writer.add_sliding_window_pattern([False, True])

    assert read_header(write(tmp_path / "b.gguf", by_list)).windowed == (False, True)

    def six_layers(writer: GGUFWriter) -> None:
        writer.add_sliding_window(8)
        writer.add_uint32("gemma3.block_count", 7)

    writer = GGUFWriter(tmp_path / "c.gguf", "gemma3")
    six_layers(writer)
    writer.add_tensor("a.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(tmp_path / "c.gguf").windowed == (True,) * 5 + (False, True)
    # An architecture that is not known to use its window gets the larger estimate.
    unknown = read_header(write(tmp_path / "d.gguf", lambda writer: writer.add_sliding_window(8)))
    assert unknown.windowed == (False, False)


def test_heads_per_layer_shared_layers_and_recurrent_state(tmp_path: Path) -> None:
    def hybrid(writer: GGUFWriter) -> None:
        writer.add_head_count(4)
        writer.add_head_count_kv([2, 0])
        writer.add_ssm_inner_size(64)
        writer.add_ssm_state_size(8)
        writer.add_ssm_conv_kernel(4)

    header = read_header(write(tmp_path / "a.gguf", hybrid))
    assert header.n_head_kv == (2, 0)
    assert header.recurrent_size == 64 * (8 + 3)

    def shared(writer: GGUFWriter) -> None:
        writer.add_head_count(4)
        writer.add_uint32("llama.attention.shared_kv_layers", 1)

    assert read_header(write(tmp_path / "b.gguf", shared)).n_head_kv == (4,)
    mamba = read_header(tiny_gguf.write_tiny(tmp_path / "c.gguf", arch="mamba"))
    assert mamba.n_head_kv == (0, 0)
    assert mamba.recurrent_size == 2 * 64 * (8 + 3)


@pytest.mark.parametrize(
    ("file_type", "name"),
    [
        (LlamaFileType.MOSTLY_Q4_K_M, "Q4_K_M"),
        (LlamaFileType.ALL_F32, "F32"),
        (1024 + 7, "Q8_0"),
        (999, "F32"),
    ],
)
def test_quantization_is_named_as_llama_cpp_does(tmp_path: Path, file_type: int, name: str) -> None:
    path = write(tmp_path / "a.gguf", lambda writer: writer.add_file_type(file_type))
    assert read_header(path).quantization == name


def test_parameters_are_counted_in_blocks(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("a.weight", np.zeros((3, 34), np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.add_tensor("b.weight", np.zeros(5, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(tmp_path / "a.gguf")
    assert header.n_params == 3 * 32 + 5
    assert header.quantization == "Q8_0"


def test_fingerprint_is_that_of_the_vocabulary_alone(tmp_path: Path) -> None:
    one = read_header(tiny_gguf.write_tiny(tmp_path / "a.gguf", vocabulary="spm", seed=1))
    other = read_header(tiny_gguf.write_tiny(tmp_path / "b.gguf", vocabulary="spm", seed=2, n_layer=3))
    third = read_header(tiny_gguf.write_tiny(tmp_path / "c.gguf", vocabulary="bpe"))
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 64
    assert one.fingerprint != third.fingerprint

    def tokens(texts: list[str], types: list[int]) -> Callable[[GGUFWriter], None]:
        def add(writer: GGUFWriter) -> None:
            writer.add_tokenizer_model("llama")
            writer.add_token_list(texts)
            writer.add_token_types(types)

        return add

    prints = {
        read_header(write(tmp_path / f"{i}.gguf", tokens(*given))).fingerprint
        for i, given in enumerate(
            [
                (["ab", "c"], [1, 1]),
                (["a", "bc"], [1, 1]),
                (["ab", "c"], [1, 3]),
                (["ab", "c", ""], [1, 1, 1]),
            ]
        )
    }
    assert len(prints) == 4
    assert read_header(write(tmp_path / "none.gguf")).fingerprint == ""


def test_models_that_give_no_next_token_say_what_they_are(tmp_path: Path) -> None:
    bert = read_header(tiny_gguf.write_tiny(tmp_path / "bert.gguf", arch="bert"))
    assert bert.unusable == "an embedding model"
    assert not bert.has_decoder
    pooled = write(tmp_path / "a.gguf", lambda writer: writer.add_uint32("llama.pooling_type", 3))
    assert read_header(pooled).unusable == "an embedding model"
    unpooled = write(tmp_path / "b.gguf", lambda writer: writer.add_uint32("llama.pooling_type", 0))
    assert read_header(unpooled).has_decoder
    for arch in ("nomic-bert", "jina-bert-v2", "gemma-embedding", "t5encoder"):
        assert read_header(write(tmp_path / f"{arch}.gguf", arch=arch)).unusable == "an embedding model"
    assert "projector" in read_header(write(tmp_path / "clip.gguf", arch="clip")).unusable
    assert "encoder-decoder" in read_header(write(tmp_path / "t5.gguf", arch="t5")).unusable
    adapter = write(tmp_path / "c.gguf", lambda writer: writer.add_type("adapter"))
    assert "LoRA" in read_header(adapter).unusable
    writer = GGUFWriter(tmp_path / "d.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert read_header(tmp_path / "d.gguf").unusable == "a vocabulary without a model"


def test_values_of_unexpected_types_count_as_missing(tmp_path: Path) -> None:
    def odd(writer: GGUFWriter) -> None:
        writer.add_string("llama.context_length", "many")
        writer.add_array("llama.embedding_length", [1, 2])
        writer.add_float32("llama.attention.head_count", 4.0)
        writer.add_array("llama.attention.head_count_kv", ["x"])
        writer.add_bool("general.name", True)
        writer.add_int64("llama.feed_forward_length", 77)
        writer.add_array("tokenizer.ggml.token_type", ["a"])
        writer.add_string("tokenizer.ggml.tokens", "no list")
        writer.add_array("tokenizer.chat_template", ["a"])

    header = read_header(write(tmp_path / "a.gguf", odd))
    assert (header.n_ctx_train, header.n_embd, header.n_head, header.name) == (0, 0, 0, "")
    assert (header.n_ff, header.n_vocab, header.fingerprint, header.chat_template) == (77, 0, "", None)
    assert header.label == "a"


# Split models ------------------------------------------------------------------------------------------


def split(folder: Path, count: int = 3) -> list[Path]:
    paths = []
    for number in range(count):

        def add(writer: GGUFWriter, number: int = number) -> None:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", count)

        paths.append(write(folder / f"big-{number + 1:05d}-of-{count:05d}.gguf", add))
    return paths


def test_split_model_counts_all_its_parts(tmp_path: Path) -> None:
    paths = split(tmp_path)
    header = read_header(paths[0])
    assert header.split_count == 3
    assert header.n_params == 3 * 128
    assert header.size_bytes == sum(path.stat().st_size for path in paths)


def test_split_model_wants_its_first_part_all_parts_and_its_names(tmp_path: Path) -> None:
    paths = split(tmp_path)
    with pytest.raises(
        ModelError, match=r"part 2 of 3 of a split model: give the first part, big-00001-of-00003"
    ):
        read_header(paths[1])
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(paths[0].read_bytes())
    with pytest.raises(ModelError, match="finds by their names"):
        read_header(renamed)
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"big-00003-of-00003.gguf is cut off"):
        read_header(paths[0])
    paths[2].unlink()
    with pytest.raises(ModelError, match=r"put big-00003-of-00003.gguf with it"):
        read_header(paths[0])


# Bad files ---------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text and text.endswith(".")
    return text


def test_missing_folder_empty_and_special_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.gguf")
    assert "is a folder" in refusal(tmp_path)
    assert "is empty" in refusal(tiny_gguf.empty(tmp_path / "empty.gguf"))
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not a regular file" in refusal(tmp_path / "pipe.gguf")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300 + ".gguf"))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be allowed everything, so the refusal is staged."""
    path = tiny_gguf.write_tiny(tmp_path / "a.gguf")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "permission" in refusal(path)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"GGML" + b"\x01" * 60, "47 47 4d 4c"),
        (b"PK\x03\x04" + b"\x00" * 60, "zip archive"),
        (b"\x1f\x8b\x08" + b"\x00" * 60, "gzip"),
        (struct.pack("<Q", 80) + b'{"__metadata__":{}', "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"tjgg" + b"\x00" * 60, "before GGUF"),
        (b"\x00" * 64, "zeros"),
        (b"Not Found", "text that begins with 'Not Found'"),
        (b"G", "text that begins with 'G'"),
        ("ä".encode(), "c3 a4"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, start: bytes, what: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(start)
    text = refusal(path)
    assert "is not a GGUF file" in text
    assert what in text


def test_cut_off_at_every_length(tmp_path: Path) -> None:
    """A file that lacks anything, if only the last byte of a weight, is refused before llama.cpp maps it."""
    source = write(tmp_path / "whole.gguf", lambda writer: writer.add_token_list(["a", "b"]))
    whole = source.stat().st_size
    read_header(source)
    for size in range(1, whole):
        text = refusal(tiny_gguf.truncated(source, tmp_path / "part.gguf", size))
        assert "cut off" in text or "damaged or incomplete" in text or "not a GGUF" in text
    assert f"{whole - 1:,} of {whole:,} bytes" in refusal(
        tiny_gguf.truncated(source, tmp_path / "part.gguf", -1)
    )


def test_damage_is_told_with_the_reason_of_llama_cpp(tmp_path: Path) -> None:
    source = write(tmp_path / "whole.gguf")
    data = source.read_bytes()
    place = data.index(b"a.weight") + len("a.weight") + 4 + 16
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(data[:place] + struct.pack("<I", 200) + data[place + 4 :])
    assert "invalid ggml type 200" in refusal(broken)
    broken.write_bytes(data[:4] + struct.pack("<I", 1) + data[8:])
    assert "version 1 of the GGUF format" in refusal(broken)
    broken.write_bytes(data[:4] + struct.pack("<I", 9) + data[8:])
    assert "version 9 of the GGUF format" in refusal(broken) and "update llama-cpp-python" in refusal(broken)
    broken.write_bytes(data[:4] + struct.pack(">I", 3) + data[8:])
    assert "written for big-endian machines" in refusal(broken)


def test_absurd_layer_count_is_refused_before_anything_is_made_of_it(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_uint32("llama.block_count", 4_000_000_000)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "4,000,000,000 layers" in refusal(tmp_path / "a.gguf")


def test_no_flipped_bit_ends_the_process(tmp_path: Path) -> None:
    """ggml ends the process on values of an unexpected type: a header is read, or refused in a sentence.

    In a process of its own, so that such an end is one failed test and not the end of all of them.
    """
    source = tiny_gguf.write_tiny(tmp_path / "whole.gguf", n_layer=1)
    header_size = 3000
    numbers = random.Random(1)
    flips = [(i, numbers.randrange(8)) for i in range(4, header_size, 3)]
    script = f"""
import sys
from pathlib import Path
from blendin_local.errors import ModelError
from blendin_local.llamacpp.header import read_header
data = Path({str(source)!r}).read_bytes()
target = Path({str(tmp_path / "flipped.gguf")!r})
read = refused = 0
for offset, bit in {flips!r}:
    flipped = bytearray(data)
    flipped[offset] ^= 1 << bit
    target.write_bytes(flipped)
    try:
        read_header(target)
        read += 1
    except ModelError:
        refused += 1
print(read, refused)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == len(flips)
    assert read > 100 and refused > 20


def test_nothing_reaches_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "a.gguf")
    refusal(tiny_gguf.truncated(source, tmp_path / "b.gguf", 40))
    assert capfd.readouterr() == ("", "")


def test_large_vocabulary_is_read_in_a_fraction_of_a_second(tmp_path: Path) -> None:
    """gguf.GGUFReader took 20 s on such a file."""

    def tokens(writer: GGUFWriter) -> None:
        writer.add_token_list([f"token {i}" for i in range(262_144)])
        writer.add_token_types([1] * 262_144)

    path = write(tmp_path / "a.gguf", tokens)
    started = time.perf_counter()
    header = read_header(path)
    seconds = time.perf_counter() - started
    assert header.n_vocab == 262_144
    # Ten times what it takes, for the sake of busy machines.
    assert seconds < 2.0
