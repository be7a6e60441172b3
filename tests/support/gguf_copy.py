"""Copies of model files with other keys, or with tokens at other ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter


def copy_with(
    source: Path,
    target: Path,
    *,
    without: Collection[str] = (),
    texts: Mapping[str, str] | None = None,
    numbers: Mapping[str, int] | None = None,
    moved: Mapping[str, int] | None = None,
) -> Path:
    """Copy a model without some keys, with other texts and numbers in place of theirs, and with tokens moved.

    moved: new ids of tokens; those that had them take their places.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    order = np.arange(len(tokens))
    for text, wanted in (moved or {}).items():
        found = tokens.index(text)
        order[[found, wanted]] = order[[wanted, found]]
    given: dict[str, tuple[Any, GGUFValueType]] = {
        **{name: (text, GGUFValueType.STRING) for name, text in (texts or {}).items()},
        **{name: (number, GGUFValueType.UINT32) for name, number in (numbers or {}).items()},
    }
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", *without, *given):
            continue
        value: Any = field.contents()
        if name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            value = [value[index] for index in order]
        writer.add_key_value(name, value, field.types[0], field.types[1] if len(field.types) > 1 else None)
    for name, (value, kind) in given.items():
        writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        data = tensor.data[order] if tensor.name in ("token_embd.weight", "output.weight") else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
