"""Files with changed headers: whatever llama.cpp makes of them, the program ends with a code of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.nightly import some_of
from support.tiny_gguf import Kind, write_tiny

from blendin_local.llamacpp.gguf_reader import GgufFile
from blendin_local.llamacpp.trial import TRUST_VARIABLE

CEILING_S = 120
KINDS: tuple[Kind, ...] = ("spm", "bpe", "spm-prefix")


def mutated(source: Path, seed: int) -> bytes:
    """Change a few bytes or numbers of a header, as damage and careless tools do."""
    dice = random.Random(seed)
    data = bytearray(source.read_bytes())
    with GgufFile(source) as file:
        end = file.data_offset
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(24, end - 8)
        kind = dice.randrange(4)
        if kind == 0:
            data[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[place : place + 4] = dice.choice((0, 1, 2**31 - 1, 2**32 - 1, 7)).to_bytes(4, "little")
        elif kind == 2:
            data[place] = dice.randrange(256)
        else:
            other = dice.randrange(24, end - 8)
            data[place : place + 8] = data[other : other + 8]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", some_of(range(8), range(300)))
def test_a_changed_header_never_ends_the_program(tmp_path: Path, seed: int) -> None:
    good = write_tiny(tmp_path / "good.gguf", vocabulary=KINDS[seed % len(KINDS)])
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(mutated(good, seed))
    roles = (
        ["--base", str(bad), "--guide", str(good)] if seed % 2 else ["--base", str(good), "--guide", str(bad)]
    )
    environment = {name: value for name, value in os.environ.items() if name != TRUST_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "blendin_local", "generate", *roles, "-n", "3", "é hi"],
        capture_output=True,
        check=False,
        timeout=CEILING_S,
        env=environment | {"GGML_NO_BACKTRACE": "1"},
    )
    assert done.returncode in (0, 2), done.stderr
    assert b"Traceback" not in done.stderr
    if done.returncode == 2:
        assert done.stdout == b"" and done.stderr.count(b"\n") == 1
