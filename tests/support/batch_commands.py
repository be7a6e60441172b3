"""What tests of `blendin generate --input` share: a tiny pair, inputs, and what stands in outputs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

from support.batch_lines import documents_in
from support.tiny_gguf import never_ending, write_tiny

EXACT = ["--threads", "1", "--kv-type", "f32", "--flash-attention", "off", "--n-ctx", "256"]
"""What differs between one row and many is then far below any choice."""

WORDS = "the of and to in is it that was for on are with as his they be at one have this from".split()  # noqa: SIM905


def pair_in(folder: Path, **changes: Any) -> list[str]:
    """Options that name a pair with different vocabularies, opened exactly."""
    return [*models_in(folder, **changes), *EXACT]


def models_in(folder: Path, *, endless: bool = False, **changes: Any) -> list[str]:
    """endless: neither ends a reply by itself."""
    folder.mkdir(exist_ok=True)
    bias = [never_ending("spm"), never_ending("bpe")] if endless else [None, None]
    base = write_tiny(folder / "base.gguf", vocabulary="spm", seed=1, bias=bias[0], **changes)
    guide = write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2, bias=bias[1], **changes)
    return ["--base", str(base), "--guide", str(guide)]


def prompts(n: int) -> list[dict[str, Any]]:
    """Rows with ids of their own; neighbours begin alike."""
    count = len(WORDS)
    return [
        {"id": f"id {i}", "prompt": f"{WORDS[i // 8 % count]} of the {WORDS[i % count]} {i}"}
        for i in range(n)
    ]


def packed(data: bytes, name: str) -> bytes:
    """The bytes as a file of that name holds them."""
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zstandard.compress(data) if name.endswith(".zst") else data


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_bytes(packed(as_lines(rows), path.name))
    return path


def as_lines(rows: Iterable[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def results_in(path: Path) -> dict[str, dict[str, Any]]:
    """By id, each of which stands there once."""
    found = documents_in(path)
    by_id = {result["id"]: result for result in found}
    assert len(by_id) == len(found), "a row stands there twice"
    return by_id


def texts_in(path: Path) -> dict[str, Any]:
    """What was answered, by id."""
    return {id: (r["text"], r["finish_reason"], r["error"]) for id, r in results_in(path).items()}


def one_sentence(stderr: str, *words: str) -> None:
    """The last line of stderr is a single sentence that says all these, and nothing was printed below it."""
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("Error: ") and stderr.endswith((".\n", "?\n")), stderr
    for word in words:
        assert word in stderr, (word, stderr)
