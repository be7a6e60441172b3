"""Rows written until a disk or a reader fails."""

from __future__ import annotations

import random

import pytest

from blendin_local.batch.output import Output
from blendin_local.errors import BatchError
from support.batch_lines import answer_of


def text_of(number: int) -> str:
    """Long, and hardly to be compressed."""
    return random.Random(number).randbytes(600).hex()


def fill(output: Output, most: int = 10_000) -> int:
    """Write until it fails; how many rows were written before, by this run or an earlier one."""
    with pytest.raises(BatchError) as caught:
        for number in range(1, most):
            if output.answered_ids.digest_of(f"row-{number}") is None:
                output.write(answer_of(number, text_of(number)))
    with pytest.raises(BatchError) as again:
        output.write(answer_of(most))
    assert again.value is caught.value
    fill.sentence = str(caught.value)  # type: ignore[attr-defined]
    return output.kept + output.written
