"""The model layer on tiny models: what it computes is llama.cpp's own answer, and nothing takes it down.

Wherever logits are compared, the other side is `Raw`: bare llama.cpp calls on a context of its own.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from gguf import GGUFWriter, TokenType
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_gguf
from support.awkward import AWKWARD
from support.bare_llama import Raw
from support.examples import examples
from support.nightly import first_of
from support.tiny_gguf import (
    WINDOW,
    Architecture,
    Array,
    Kind,
    empty,
    flipped,
    tiny_vocabulary,
    truncated,
    write_tiny,
    wrong_magic,
)

from blendin_local.engine.language_model import Cancellation, Status, reuse
from blendin_local.engine.vocabulary import TokenKind
from blendin_local.errors import BlendinError, ModelError
from blendin_local.llamacpp.header import read_header
from blendin_local.llamacpp.library import LoadCancelled, api
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.llamacpp.tokenizer import open_tokenizer
from blendin_local.settings import FLASH_ATTENTION, ModelOptions

KINDS: tuple[Kind, ...] = get_args(Kind)
WRITERS: tuple[Architecture, ...] = ("llama", "gemma3", "mamba")

# As exact as llama.cpp gets: flash attention and caches of half precision round.
EXACT = ModelOptions(n_ctx=512, kv_type="f32", flash_attention="off", n_threads=1, n_gpu_layers=0)
# Batches of other shapes round differently; a token too few or too many shifts logits by 0.1 and more.
TOLERANCE = 0.01

# A batch that leaves the sliding window's cache at its smallest, 256 tokens.
SMALL_WINDOW: dict[str, Any] = {"swa_full": False, "n_batch": 64}
MEMORIES: dict[str, tuple[Architecture, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "gemma3, whole cache": ("gemma3", {}),
    "gemma3, window only": ("gemma3", SMALL_WINDOW),
    "mamba": ("mamba", {}),
}

Write = Callable[..., Path]
Open = Callable[..., GgufModel]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """`write_tiny` without the path; the same arguments give the same file."""
    folder = tmp_path_factory.mktemp("tiny")

    @cache
    def write(**settings: Any) -> Path:
        name = " ".join(map(str, settings.values())) or "default"
        return write_tiny(folder / f"{name}.gguf", **settings)

    return write


@pytest.fixture
def opened() -> Iterator[Open]:
    """`open_model` with exact options, except for those given; closed at the end of the test."""
    models: list[GgufModel] = []

    def open_exact(path: Path, **changes: Any) -> GgufModel:
        models.append(open_model(path, replace(EXACT, **changes)))
        return models[-1]

    yield open_exact
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Open]:
    """The same for models that many examples share."""
    models: dict[tuple[Any, ...], GgufModel] = {}

    def open_once(path: Path, **changes: Any) -> GgufModel:
        key = (path, *changes.items())
        if key not in models:
            models[key] = open_model(path, replace(EXACT, **changes))
        return models[key]

    yield open_once
    for model in models.values():
        model.close()


@contextmanager
def watched_decodes(before: Callable[[int], int | None] = lambda call: None) -> Iterator[list[int]]:
    """The size of every batch for llama.cpp; `before` is told its number, and may answer in its place."""
    sizes: list[int] = []
    decode = api.llama_decode

    def spy(context: Any, batch: Any) -> int:
        sizes.append(batch.n_tokens)
        code = before(len(sizes))
        return int(decode(context, batch)) if code is None else code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "llama_decode", spy)
        yield sizes


def some_tokens(n: int, seed: int = 0) -> list[int]:
    """Tokens of text in each of the tiny vocabularies."""
    return list(map(int, np.random.default_rng(seed).integers(300, 500, n)))


def fresh(path: Path, tokens: Sequence[int]) -> Array:
    """Logits after the tokens, by bare llama.cpp calls on a new context."""
    with Raw(path, swa_full=True) as raw:
        return raw.decode(tokens)


def assert_logits(model: GgufModel, seq: int, path: Path) -> None:
    """The last logits of a sequence are those of a fresh context that decoded what it claims to hold."""
    np.testing.assert_allclose(model.logits(seq), fresh(path, model.cached(seq)), atol=TOLERANCE)


def one_line(error: BaseException, path: Path) -> str:
    """The message of an error about a file: a sentence that names it."""
    message = str(error)
    assert path.name in message
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "\n" not in message
    return message


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path, replace(EXACT, n_ctx=64)).close()
    return one_line(caught.value, path)


# What it computes


@pytest.mark.parametrize("arch", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_that_of_a_plain_loop(
    tiny: Write, opened: Open, arch: Architecture, kind: Kind
) -> None:
    path = tiny(arch=arch, vocabulary=kind)
    model = opened(path)
    prompt = model.tokenize(b"The people of the world")
    with Raw(path) as raw:
        expected, _ = raw.greedy(prompt, 60)
    written: list[int] = []
    assert model.advance({0: prompt}) is Status.DONE
    while len(written) < 60:
        written.append(int(model.logits(0).argmax()))
        assert model.advance({0: written[-1:]}) is Status.DONE
    assert written == expected
    assert model.cached(0) == prompt + written
    assert_logits(model, 0, path)


@pytest.mark.parametrize("memory", MEMORIES)
def test_sequences_side_by_side_equal_one_by_one(tiny: Write, opened: Open, memory: str) -> None:
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    model = opened(path, n_seq=4, **changes)
    texts = [some_tokens(n, seed) for seed, n in enumerate((70, 25, 40, 120))]
    rounds: list[dict[int, list[int]]] = [
        {0: texts[0][:40], 2: texts[2][:39]},
        {1: texts[1][:24], 2: texts[2][39:], 3: texts[3][:90]},
        {3: texts[3][90:], 0: texts[0][40:], 1: texts[1][24:]},
        {seq: [310 + seq] for seq in range(4)},
    ]
    for work in rounds:
        assert model.advance(work) is Status.DONE
        for seq in work:
            assert_logits(model, seq, path)
    assert [list(model.cached(seq)) for seq in range(4)] == [[*text, 310 + i] for i, text in enumerate(texts)]


@pytest.mark.parametrize("memory", MEMORIES)
def test_rewinding_a_sequence_leaves_the_others_alone(tiny: Write, opened: Open, memory: str) -> None:
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    model = opened(path, n_seq=3, **changes)
    model.advance({seq: some_tokens(300, seq) for seq in range(3)})
    model.rewind(1, 20)
    rest = reuse(model, 1, [*some_tokens(20, 1), 333])
    assert model.advance({0: [444], 1: rest, 2: [445]}) is Status.DONE
    assert model.cached(1) == [*some_tokens(20, 1), 333]
    for seq in range(3):
        assert_logits(model, seq, path)


@examples(15)
@given(lengths=st.lists(st.integers(1, 120), min_size=1, max_size=4), n_batch=st.integers(4, 70))
def test_batches_are_as_few_and_small_as_asked(tiny: Write, lengths: list[int], n_batch: int) -> None:
    """llama.cpp aborts the process where a batch is larger than n_batch."""
    path, work = tiny(), {seq: some_tokens(n, seq) for seq, n in enumerate(lengths)}
    with (
        closing(open_model(path, replace(EXACT, n_seq=4, n_batch=n_batch))) as model,
        watched_decodes() as sizes,
    ):
        assert model.advance(work) is Status.DONE
        assert max(sizes) <= n_batch
        assert len(sizes) == math.ceil(sum(lengths) / n_batch)
        for seq, tokens in work.items():
            assert model.cached(seq) == tokens
            assert_logits(model, seq, path)


@pytest.mark.parametrize("memory", MEMORIES)
def test_one_long_batch_equals_small_steps(tiny: Write, opened: Open, memory: str) -> None:
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    work = {0: some_tokens(333), 1: some_tokens(50, 1), 2: [420]}
    at_once = opened(path, n_seq=3, **changes)
    in_batches = opened(path, n_seq=3, **{**changes, "n_batch": 7})
    assert at_once.advance(work) is in_batches.advance(work) is Status.DONE
    for seq in work:
        np.testing.assert_allclose(at_once.logits(seq), in_batches.logits(seq), atol=TOLERANCE)
        assert_logits(in_batches, seq, path)


def test_logits_are_a_view_until_the_next_advance(tiny: Write, opened: Open) -> None:
    path = tiny()
    model = opened(path, n_seq=2)
    model.advance({0: [310, 311], 1: [312]})
    first, second = model.logits(0), model.logits(1)
    assert first.dtype == np.float32
    assert first.shape == (len(model.vocabulary),)
    assert np.shares_memory(first, model.logits(0)), "no copy of 262 144 floats"
    assert not np.shares_memory(first, second)
    kept = first.copy()
    model.advance({1: [313]})
    with pytest.raises(KeyError):
        model.logits(0)
    np.testing.assert_allclose(kept, fresh(path, [310, 311]), atol=TOLERANCE)
    model.rewind(1, 1)
    with pytest.raises(KeyError):
        model.logits(1)


# Reuse of what is cached


@pytest.mark.parametrize("memory", MEMORIES)
@examples(12)
@given(
    start=st.integers(450, 500),
    edits=st.lists(st.tuples(st.integers(0, 511), st.integers(0, 60)), min_size=1, max_size=3),
)
def test_reuse_equals_a_fresh_cache(
    tiny: Write, shared: Open, memory: str, start: int, edits: list[tuple[int, int]]
) -> None:
    """After any edits (kept tokens, new ones behind) the logits are those of a context that knows no past."""
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    model = shared(path, **changes)
    model.rewind(0, 0)
    tokens = some_tokens(start)
    for seed, (kept, added) in enumerate([(start, 0), *edits]):
        tokens = ([*tokens[:kept], *some_tokens(added, seed)] or [300])[:512]
        rest = reuse(model, 0, tokens)
        assert rest, "the logits of the last token may be gone"
        assert [*model.cached(0), *rest] == tokens
        assert model.advance({0: rest}) is Status.DONE
        assert_logits(model, 0, path)


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_reuse_decodes_only_what_differs(tiny: Write, opened: Open, arch: Architecture) -> None:
    model, tokens = opened(tiny(arch=arch)), some_tokens(100)
    assert reuse(model, 0, tokens) == tokens
    model.advance({0: tokens})
    assert reuse(model, 0, [*tokens, 400]) == [400]
    assert model.cached(0) == tokens
    assert reuse(model, 0, [*tokens[:60], 400, 401]) == [400, 401]
    assert model.cached(0) == tokens[:60]
    assert reuse(model, 0, tokens[:60]) == tokens[59:60]
    assert reuse(model, 0, tokens[:1]) == tokens[:1]
    assert model.cached(0) == []


def test_rewinding_over_the_sliding_window_starts_anew(tiny: Write, opened: Open) -> None:
    """`llama_memory_seq_rm` says True on a sliding window whose older tokens are gone.

    The logits afterwards were off by 1.7 on Gemma 3, whose window had moved on: a rewind has to look at
    what the memory still holds, and keep nothing where that is not enough.
    """
    path, tokens = tiny(arch="gemma3"), some_tokens(450)
    model = opened(path, **SMALL_WINDOW)
    model.advance({0: tokens})
    oldest = api.llama_memory_seq_pos_min(model._memory, 0)
    assert oldest > 149 - WINDOW, "the trap is set"
    assert model.rewind(0, 149) == 0
    assert model.cached(0) == []
    assert model.advance({0: tokens[:150]}) is Status.DONE
    assert_logits(model, 0, path)


@pytest.mark.parametrize("back", [1, 40, 450 - 256 + WINDOW])
def test_rewinding_inside_the_sliding_window_keeps_it(tiny: Write, opened: Open, back: int) -> None:
    path, tokens = tiny(arch="gemma3"), some_tokens(450)
    model = opened(path, **SMALL_WINDOW)
    model.advance({0: tokens})
    assert model.rewind(0, 450 - back) == 450 - back
    assert model.advance({0: [400, 401]}) is Status.DONE
    assert model.cached(0) == [*tokens[: 450 - back], 400, 401]
    assert_logits(model, 0, path)


def test_a_recurrent_state_starts_anew(tiny: Write, opened: Open) -> None:
    """`llama_memory_seq_rm` refuses a part of a recurrent state: the whole of it has to go."""
    path, tokens = tiny(arch="mamba"), some_tokens(60)
    model = opened(path)
    model.advance({0: tokens})
    assert reuse(model, 0, [*tokens, 400]) == [400], "to go on it need not go back"
    assert reuse(model, 0, tokens[:59]) == tokens[:59]
    assert model.cached(0) == []
    assert model.advance({0: tokens[:59]}) is Status.DONE
    assert_logits(model, 0, path)


# Many rows of one decode, and sequences that share a cache

SHARED: dict[str, Any] = {"n_seq": 4, "n_outputs": 32, "shared_cache": True}


def assert_row(model: GgufModel, seq: int, place: int, path: Path, tokens: Sequence[int]) -> None:
    np.testing.assert_allclose(model.row(seq, place), fresh(path, tokens), atol=TOLERANCE)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("shared_cache", [False, True])
def test_rows_are_those_of_single_decodes(tiny: Write, opened: Open, memory: str, shared_cache: bool) -> None:
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    model = opened(path, **{**SHARED, **changes, "shared_cache": shared_cache})
    held = {0: some_tokens(70), 1: some_tokens(9, 1)}
    model.advance(held)
    work = {1: some_tokens(13, 2), 0: some_tokens(20, 3), 2: [400]}
    wanted: dict[int, Sequence[int]] = {0: range(0, 20, 3), 1: [12, 0, 5]}
    assert model.advance_rows(work, wanted) is Status.DONE
    for seq, places in wanted.items():
        for place in places:
            assert_row(model, seq, place, path, [*held[seq], *work[seq][: place + 1]])
    assert [list(model.cached(seq)) for seq in range(3)] == [
        [*held[0], *work[0]],
        [*held[1], *work[1]],
        [400],
    ]
    # And one decode goes on from another.
    assert model.advance_rows({2: [401]}, {2: [0]}) is Status.DONE
    assert_row(model, 2, 0, path, [400, 401])
    assert model.advance({0: [402]}) is Status.DONE
    assert_logits(model, 0, path)


def test_a_whole_batch_of_rows(tiny: Write, opened: Open) -> None:
    path, tokens = tiny(), some_tokens(32)
    model = opened(path, n_batch=32, n_outputs=32)
    with watched_decodes() as sizes:
        assert model.advance_rows({0: tokens}, {0: range(32)}) is Status.DONE
    assert sizes == [32]
    for place in (0, 17, 31):
        assert_row(model, 0, place, path, tokens[: place + 1])
    assert model.advance_rows({0: [400]}, {}) is Status.DONE, "no row at all"
    assert model.advance({0: [401]}) is Status.DONE
    assert_logits(model, 0, path)


def test_rows_are_views_until_the_next_decode(tiny: Write, opened: Open) -> None:
    model = opened(tiny(), n_seq=2, n_outputs=8)
    model.advance({1: [300]})
    model.advance_rows({0: [310, 311, 312]}, {0: [0, 2]})
    row = model.row(0, 2)
    assert (row.dtype, row.shape) == (np.float32, (len(model.vocabulary),))
    assert np.shares_memory(row, model.row(0, 2)) and not np.shares_memory(row, model.row(0, 0))
    for seq, place in ((0, 1), (1, 0), (0, 3)):
        with pytest.raises(KeyError):
            model.row(seq, place)
    for seq in (0, 1):
        with pytest.raises(KeyError):
            model.logits(seq)
    for decode in (lambda: model.advance({1: [301]}), lambda: model.advance_rows({1: [301]}, {1: [0]})):
        model.advance_rows({0: [313]}, {0: [0]})
        decode()
        with pytest.raises(KeyError):
            model.row(0, 0)


@pytest.mark.parametrize(
    ("work", "wanted"),
    [
        ({0: [400] * 17}, {}),
        ({0: [400] * 9, 1: [400] * 8}, {0: [0]}),
        ({0: [400] * 10}, {0: range(9)}),
        ({0: [400] * 5, 1: [400] * 5}, {0: range(4), 1: range(5)}),
        ({0: [400] * 3}, {0: [3]}),
        ({0: [400] * 3, 1: [401] * 3}, {1: [-1]}),
        ({0: [400]}, {1: [0]}),
        ({0: [400], 1: []}, {0: [0]}),
        ({3: [400]}, {}),
    ],
)
def test_more_than_one_decode_can_have_is_an_error(
    tiny: Write, opened: Open, work: dict[int, list[int]], wanted: dict[int, Sequence[int]]
) -> None:
    """llama.cpp aborts the process where a batch asks for more than was agreed."""
    path = tiny()
    model = opened(path, n_seq=3, n_batch=16, n_outputs=8)
    model.advance({0: [300], 1: [301]})
    with watched_decodes() as sizes, pytest.raises(ValueError):
        model.advance_rows(work, wanted)
    assert sizes == []
    assert [list(model.cached(seq)) for seq in range(3)] == [[300], [301], []]
    assert model.advance_rows({0: [302]}, {0: [0]}) is Status.DONE
    assert_row(model, 0, 0, path, [300, 302])


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("code", "status"), [(1, Status.CONTEXT_FULL), (2, Status.CANCELLED)])
def test_rows_of_a_decode_that_failed_are_undone(
    tiny: Write, opened: Open, memory: str, code: int, status: Status
) -> None:
    arch, changes = MEMORIES[memory]
    path, held = tiny(arch=arch), some_tokens(40)
    model = opened(path, **{**SHARED, **changes})
    model.advance({0: held})
    with watched_decodes(lambda call: code):
        assert model.advance_rows({0: [400, 401], 1: [402]}, {0: [0], 1: [0]}) is status
    assert model.cached(1) == [] and model.cached(0) in (held, [])
    with pytest.raises(KeyError):
        model.row(0, 0)
    rest = reuse(model, 0, [*held, 403])
    assert model.advance_rows({0: rest}, {0: [len(rest) - 1]}) is Status.DONE
    assert_row(model, 0, len(rest) - 1, path, [*held, 403])


def test_rows_cancelled_by_what_is_watched(tiny: Write, opened: Open) -> None:
    path, model, cancellation = tiny(), opened(tiny(), **SHARED), Cancellation()
    model.advance({0: some_tokens(20)})
    cancellation.cancel()
    model.watch(cancellation)
    assert model.advance_rows({0: some_tokens(30, 1)}, {0: range(30)}) is Status.CANCELLED
    model.watch(None)
    assert model.cached(0) == some_tokens(20)
    assert model.advance_rows({0: [400]}, {0: [0]}) is Status.DONE
    assert_row(model, 0, 0, path, [*some_tokens(20), 400])


@pytest.mark.parametrize("memory", [memory for memory in MEMORIES if memory != "mamba"])
def test_branches_of_a_trunk(tiny: Write, opened: Open, memory: str) -> None:
    """Nothing of the trunk is decoded for them, and neither disturbs the other, whatever is rewound."""
    arch, changes = MEMORIES[memory]
    path, trunk = tiny(arch=arch), some_tokens(60)
    model = opened(path, **{**SHARED, **changes})
    assert model.forks
    model.advance({0: trunk})
    with watched_decodes() as sizes:
        assert [model.fork(0, seq, length) for seq, length in ((1, 40), (2, 60), (3, 1))] == [40, 60, 1]
    assert sizes == []
    tails = {1: some_tokens(5, 1), 2: [401], 3: some_tokens(2, 2)}
    assert model.advance_rows(tails, {1: [0, 4], 2: [0], 3: [1]}) is Status.DONE
    for seq, place in ((1, 0), (1, 4), (2, 0), (3, 1)):
        length = len(model.cached(seq)) - len(tails[seq]) + place + 1
        assert_row(model, seq, place, path, model.cached(seq)[:length])
    # A branch goes, and the trunk and the other branches stay as they were.
    model.rewind(1, 0)
    model.rewind(2, 55)
    assert model.advance({0: [402], 2: [403], 3: [404]}) is Status.DONE
    for seq in (0, 2, 3):
        assert_logits(model, seq, path)
    # The trunk goes, and is overwritten; the branches still hold its beginning.
    model.fork(0, 1, 50)
    model.rewind(0, 10)
    assert model.advance({0: some_tokens(80, 7)}) is Status.DONE
    assert model.advance({1: [405], 2: [406]}) is Status.DONE
    assert model.cached(1) == [*trunk[:50], 405]
    for seq in (1, 2):
        assert_logits(model, seq, path)
    model.rewind(0, 0)
    assert model.advance({0: [407], 1: [408]}) is Status.DONE
    for seq in (0, 1):
        assert_logits(model, seq, path)


@pytest.mark.parametrize("memory", MEMORIES)
@examples(8)
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(("advance", "rewind", "fork")),
            st.permutations(range(3)),
            st.integers(0, 90),
        ),
        min_size=4,
        max_size=10,
    )
)
def test_anything_done_to_sequences_of_one_cache(
    tiny: Write, shared: Open, memory: str, acts: list[tuple[str, list[int], int]]
) -> None:
    """What each sequence says it holds is what it goes on from: nothing of the others."""
    arch, changes = MEMORIES[memory]
    path = tiny(arch=arch)
    model = shared(path, **{**SHARED, **changes})
    model.forget()
    model.advance({0: some_tokens(100)})
    for seed, (act, (seq, other, _), number) in enumerate(acts):
        if act == "advance" and len(model.cached(seq)) + number < 150:
            assert model.advance({seq: some_tokens(number + 1, seed)}) is Status.DONE
        elif act == "rewind":
            kept = model.rewind(seq, min(number, len(model.cached(seq))))
            assert kept == len(model.cached(seq))
        elif act == "fork" and 0 < number <= len(model.cached(seq)):
            expected = list(model.cached(seq)[:number])
            kept = model.fork(seq, other, number)
            assert (kept, model.cached(other)) in ((number, expected), (0, []))
    for seq in range(3):
        assert model.advance({seq: [400 + seq]}) is Status.DONE
        assert_logits(model, seq, path)


def test_a_recurrent_state_has_no_branches(tiny: Write, opened: Open) -> None:
    path = tiny(arch="mamba")
    model = opened(path, **SHARED)
    model.advance({0: some_tokens(30), 1: some_tokens(5, 1)})
    assert not model.forks
    assert model.fork(0, 1, 20) == 0
    assert (model.cached(1), model.cached(0)) == ([], some_tokens(30))
    assert model.advance({0: [400], 1: [401]}) is Status.DONE
    assert_logits(model, 0, path)
    assert_logits(model, 1, path)


def test_no_branch_where_the_sliding_window_has_moved_on(tiny: Write, opened: Open) -> None:
    path, tokens = tiny(arch="gemma3"), some_tokens(450)
    model = opened(path, **{**SHARED, **SMALL_WINDOW})
    model.advance({0: tokens})
    oldest = api.llama_memory_seq_pos_min(model._memory, 0)
    assert oldest > 149 - WINDOW, "the trap is set"
    model.advance({1: [300]})
    assert model.fork(0, 1, 149) == 0 and model.cached(1) == []
    # One inside the window keeps llama.cpp from using its cells again: there may be too few others.
    assert model.fork(0, 1, 440) == 440
    status = model.advance({0: [400], 1: [401]})
    assert status in (Status.DONE, Status.CONTEXT_FULL)
    if status is Status.CONTEXT_FULL:
        assert model.cached(0) == tokens
        model.rewind(1, 0)
        assert model.advance({0: [400], 1: [401]}) is Status.DONE
    assert_logits(model, 0, path)
    assert_logits(model, 1, path)


def test_all_sequences_of_a_shared_cache_have_one_context(tiny: Write, opened: Open) -> None:
    path = tiny()
    model = opened(path, **{**SHARED, "n_ctx": 256})
    held = some_tokens(200)
    assert model.n_ctx == 256
    assert model.advance({0: held}) is Status.DONE
    assert model.advance({1: some_tokens(60, 1)}) is Status.CONTEXT_FULL
    assert model.advance_rows({1: some_tokens(60, 1)}, {1: [3]}) is Status.CONTEXT_FULL
    assert (model.cached(0), model.cached(1)) == (held, [])
    # Branches take no room but for their own tails, and give it back.
    for _ in range(8):
        assert [model.fork(0, seq, 190) for seq in (1, 2, 3)] == [190] * 3
        tails = {seq: some_tokens(17, seq) for seq in (1, 2, 3)}
        assert model.advance_rows(tails, {seq: [16] for seq in tails}) is Status.DONE
    for seq in (1, 2, 3):
        assert_row(model, seq, 16, path, model.cached(seq))
    model.rewind(0, 0)
    assert model.advance({0: some_tokens(60, 5)}) is Status.CONTEXT_FULL, "branches hold what the trunk left"
    for seq in (1, 2, 3):
        model.rewind(seq, 0)
    assert model.advance({0: some_tokens(256, 5)}) is Status.DONE
    assert_logits(model, 0, path)


@pytest.mark.parametrize(
    ("source", "target", "length"), [(0, 0, 5), (0, 1, 0), (0, 1, 11), (1, 0, 1), (0, 1, -2)]
)
def test_what_cannot_be_copied(tiny: Write, opened: Open, source: int, target: int, length: int) -> None:
    model = opened(tiny(), **SHARED)
    model.advance({0: some_tokens(10)})
    with pytest.raises(ValueError, match=f"sequence {source} has no {length} tokens to copy to {target}"):
        model.fork(source, target, length)
    assert model.cached(0) == some_tokens(10)


def test_sequences_of_their_own_caches_are_not_copied(tiny: Write, opened: Open) -> None:
    model = opened(tiny(), n_seq=2)
    model.advance({0: some_tokens(10)})
    assert not model.forks
    with pytest.raises(ValueError, match="only in a context with shared_cache"):
        model.fork(0, 1, 5)


# A full context, and calls that cannot go well


@pytest.mark.parametrize("arch", WRITERS)
def test_a_full_context_is_a_value_and_changes_nothing(tiny: Write, opened: Open, arch: Architecture) -> None:
    path = tiny(arch=arch)
    model = opened(path, n_ctx=100, n_seq=2)
    held, other = some_tokens(97), some_tokens(30, 1)
    assert model.advance({0: held, 1: other}) is Status.DONE
    assert model.advance({1: [400], 0: [401, 402, 403, 404]}) is Status.CONTEXT_FULL
    assert (model.cached(0), model.cached(1)) == (held, other)
    # To the brim it still fits.
    assert model.advance({0: [401, 402, 403], 1: [400]}) is Status.DONE
    assert_logits(model, 0, path)
    assert_logits(model, 1, path)
    assert model.advance({0: [404]}) is Status.CONTEXT_FULL
    rest = reuse(model, 0, [*held[:50], 405])
    assert model.advance({0: rest}) is Status.DONE
    assert model.cached(0) == [*held[:50], 405]
    assert_logits(model, 0, path)


@pytest.mark.parametrize("n_seq", [1, 4])
def test_every_sequence_has_the_whole_context(tiny: Write, opened: Open, n_seq: int) -> None:
    model = opened(tiny(), n_ctx=300, n_seq=n_seq)
    assert (model.n_ctx, model.n_seq) == (300, n_seq)
    assert model.advance({seq: some_tokens(300, seq) for seq in range(n_seq)}) is Status.DONE
    assert model.advance({n_seq - 1: [400]}) is Status.CONTEXT_FULL


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("code", "status"), [(1, Status.CONTEXT_FULL), (2, Status.CANCELLED)])
def test_a_decode_that_stops_half_way_is_undone(
    tiny: Write, opened: Open, memory: str, code: int, status: Status
) -> None:
    """llama.cpp keeps the batches before the one that failed: what is claimed and what is held must agree."""
    arch, changes = MEMORIES[memory]
    path, held = tiny(arch=arch), some_tokens(40)
    model = opened(path, **{**changes, "n_batch": 32})
    model.advance({0: held})
    with watched_decodes(lambda call: code if call == 3 else None):
        assert model.advance({0: some_tokens(200, 1)}) is status
    # A recurrent state and a window that has moved on cannot go back: they may hold nothing, never a lie.
    assert model.cached(0) == held or (arch != "llama" and model.cached(0) == [])
    rest = reuse(model, 0, [*held, 400])
    assert model.advance({0: rest}) is Status.DONE
    assert_logits(model, 0, path)


@pytest.mark.parametrize(
    "work",
    [{0: [400, 99_999]}, {0: [-1]}, {1: [400], 0: [99_999]}, {0: [*some_tokens(40), 99_999]}],
    ids=["unknown token", "negative token", "beside a good sequence", "in the second batch"],
)
def test_a_failed_decode_claims_nothing(tiny: Write, opened: Open, work: Mapping[int, list[int]]) -> None:
    """After llama.cpp refused a batch, its tokens stood among the cached ones all the same.

    The next message of a chat then reused tokens that the context had never seen.
    """
    path, held = tiny(), some_tokens(20)
    model = opened(path, n_seq=2, n_batch=32)
    model.advance({0: held})
    with pytest.raises(ModelError) as caught:
        model.advance(work)
    assert model.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert model.cached(0) in (held, [])
    assert model.cached(1) == []
    assert model.advance({0: reuse(model, 0, [*held, 400]), 1: [401]}) is Status.DONE
    assert_logits(model, 0, path)
    assert_logits(model, 1, path)


@pytest.mark.parametrize(
    ("n_seq", "n_batch", "seqs"), [(1, 512, [1]), (1, 512, [0, 1]), (8, 4, range(8)), (2, 512, [-1])]
)
def test_sequences_beyond_the_limits_are_an_error(
    tiny: Write, opened: Open, n_seq: int, n_batch: int, seqs: Sequence[int]
) -> None:
    """llama.cpp aborts the process where a batch holds more tokens, or asks for more logits, than agreed."""
    path = tiny()
    model = opened(path, n_seq=n_seq, n_batch=n_batch)
    model.advance({seq: [300] for seq in range(min(n_seq, n_batch))})
    with watched_decodes() as sizes, pytest.raises((ValueError, IndexError, ModelError)):
        model.advance({seq: [301] for seq in seqs})
    assert max(sizes, default=0) <= n_batch
    assert all(len(model.cached(seq)) <= 1 for seq in range(n_seq)), "a negative sequence is none"
    assert model.advance({0: [302]}) is Status.DONE
    assert_logits(model, 0, path)


@pytest.mark.parametrize("work", [{0: []}, {0: [301], 1: []}])
def test_every_sequence_must_be_given_a_token(
    tiny: Write, opened: Open, work: Mapping[int, Sequence[int]]
) -> None:
    model = opened(tiny(), n_seq=2)
    model.advance({0: [300], 1: [300]})
    with pytest.raises(ValueError, match="at least one token"):
        model.advance(work)
    assert [model.cached(seq) for seq in (0, 1)] == [[300], [300]]


# Cancellation


@pytest.fixture(scope="module")
def slow_file(tiny: Write) -> Path:
    """2000 tokens of it take seconds in one decode."""
    return tiny(n_layer=16, n_ctx_train=4096)


def test_cancelled_beforehand(tiny: Write, opened: Open) -> None:
    path = tiny()
    model, cancellation = opened(path), Cancellation()
    model.advance({0: some_tokens(10)})
    model.watch(cancellation)
    assert model.advance({0: [400]}) is Status.DONE
    cancellation.cancel()
    assert cancellation.requested
    assert model.advance({0: some_tokens(50, 1)}) is Status.CANCELLED
    assert model.cached(0) == [*some_tokens(10), 400]
    assert model.advance({0: [401]}) is Status.CANCELLED, "until something else is watched"
    model.watch(None)
    assert model.advance({0: [401]}) is Status.DONE
    assert_logits(model, 0, path)


def test_cancelled_inside_one_decode_by_another_thread(slow_file: Path, opened: Open) -> None:
    model = opened(slow_file, n_ctx=2048, n_batch=2048)
    held = some_tokens(30)
    model.advance({0: held})
    cancellation, running = Cancellation(), threading.Event()

    def cancel() -> None:
        running.wait()
        # llama.cpp is at work by now, and a thread that sleeps needs nothing from it to go on.
        threading.Event().wait(0.05)
        cancellation.cancel()

    model.watch(cancellation)
    thread = threading.Thread(target=cancel)
    with watched_decodes(lambda call: running.set()) as sizes:
        thread.start()
        assert model.advance({0: some_tokens(2000, 1)}) is Status.CANCELLED
    thread.join()
    assert sizes == [2000], "one decode, stopped in its midst"
    assert model.cached(0) == held
    model.watch(None)
    assert model.advance({0: [400, 401]}) is Status.DONE
    assert_logits(model, 0, slow_file)


@pytest.mark.parametrize("memory", MEMORIES)
def test_cancelled_between_two_batches(tiny: Write, opened: Open, memory: str) -> None:
    arch, changes = MEMORIES[memory]
    path, held = tiny(arch=arch), some_tokens(40)
    model, cancellation = opened(path, **{**changes, "n_batch": 32}), Cancellation()
    model.advance({0: held})
    model.watch(cancellation)
    with watched_decodes(lambda call: cancellation.cancel() if call == 3 else None) as sizes:
        assert model.advance({0: some_tokens(400, 1)}) is Status.CANCELLED
    assert len(sizes) == 3
    assert model.cached(0) == held or (arch != "llama" and model.cached(0) == [])
    model.watch(Cancellation())
    assert model.advance({0: reuse(model, 0, [*held, 400])}) is Status.DONE
    assert_logits(model, 0, path)


def test_no_python_runs_while_llama_cpp_asks_whether_to_go_on(
    tiny: Write, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The abort callback is asked after every operation of the graph: it must not need Python's lock."""
    model, cancellation = opened(tiny()), Cancellation()
    seen: list[tuple[int | None, Any]] = []

    def spy(_context: Any, callback: Any, data: Any) -> None:
        seen.append((ctypes.cast(callback, ctypes.c_void_p).value, data))

    with monkeypatch.context() as patch:
        patch.setattr(api, "llama_set_abort_callback", spy)
        model.watch(cancellation)
        model.watch(None)
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    strlen = ctypes.cast(libc.strlen, ctypes.c_void_p).value
    assert seen == [(strlen, ctypes.addressof(cancellation.buffer)), (None, None)]


# Options


def test_closing_twice(tiny: Write) -> None:
    model = open_model(tiny(), EXACT)
    model.advance({0: [300]})
    model.close()
    model.close()
    model.watch(None)
    model.watch(Cancellation())
    assert len(model.vocabulary) == len(tiny_vocabulary()), "what was read stays"


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.advance({0: [301]}),
        lambda model: model.advance_rows({0: [301]}, {0: [0]}),
        lambda model: model.fork(0, 1, 1),
        lambda model: model.logits(0),
        lambda model: model.rewind(0, 0),
        lambda model: model.forget(),
        lambda model: model.tokenize(b"a"),
        lambda model: model.tokenize_special(b"a"),
    ],
    ids=["advance", "rows", "fork", "logits", "rewind", "forget", "tokenize", "tokenize_special"],
)
def test_a_closed_model_says_so(tiny: Write, use: Callable[[GgufModel], object]) -> None:
    """llama.cpp follows a pointer to nothing, and the process is gone."""
    model = open_model(tiny(), EXACT)
    model.advance({0: [300]})
    model.close()
    with pytest.raises(ModelError, match=f"^{re.escape(model.name)} has been closed.$"):
        use(model)


@pytest.mark.parametrize(("asked", "given"), [(0, 512), (100, 100), (512, 512), (1 << 24, 512)])
def test_the_context_is_no_longer_than_the_model_was_trained_for(
    tiny: Write, opened: Open, asked: int, given: int
) -> None:
    assert opened(tiny(), n_ctx=asked).n_ctx == given


@pytest.mark.parametrize("flash_attention", FLASH_ATTENTION)
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16"])
def test_number_formats_of_the_cache(tiny: Write, opened: Open, kv_type: str, flash_attention: str) -> None:
    path = tiny()
    model = opened(path, kv_type=kv_type, flash_attention=flash_attention)
    assert model.advance({0: some_tokens(200)}) is Status.DONE
    np.testing.assert_allclose(model.logits(0), fresh(path, some_tokens(200)), atol=0.3)


@pytest.mark.parametrize("kv_type", ["q8_0", "q5_1", "q4_0"])
def test_quantized_caches_need_flash_attention(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, kv_type: str
) -> None:
    # One head of 32 numbers: they are quantized in blocks of as many.
    monkeypatch.setattr(tiny_gguf, "_HEADS", 1)
    path = write_tiny(tmp_path / "one head.gguf", cached=False)
    for flash_attention in ("auto", "on"):
        model = opened(path, kv_type=kv_type, flash_attention=flash_attention)
        assert model.advance({0: some_tokens(200)}) is Status.DONE
        assert np.corrcoef(model.logits(0), fresh(path, some_tokens(200)))[0, 1] > 0.9
    with pytest.raises(ModelError, match="flash_attn") as caught:
        opened(path, kv_type=kv_type, flash_attention="off")
    one_line(caught.value, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_threads": 2},
        {"n_batch": 1},
        {"n_batch": 7},
        {"n_batch": 4096},
        {"n_outputs": 40},
        {"n_seq": 256, "n_ctx": 210},
        {"mmap": False},
        {"mlock": True},
        {"mmap": False, "mlock": True},
    ],
    ids=str,
)
def test_options_that_change_no_number(tiny: Write, opened: Open, changes: dict[str, Any]) -> None:
    path = tiny()
    model = opened(path, **changes)
    assert model.advance({model.n_seq - 1: some_tokens(200)}) is Status.DONE
    assert_logits(model, model.n_seq - 1, path)


def test_default_options(tiny: Write) -> None:
    with closing(open_model(tiny())) as model:
        assert model.advance({0: some_tokens(10)}) is Status.DONE
        assert np.isfinite(model.logits(0)).all()


def test_progress_is_told_and_may_stop_the_load(tiny: Write) -> None:
    shares: list[float] = []

    def note(share: float) -> bool:
        shares.append(share)
        return True

    with closing(open_model(tiny(), EXACT, progress=note)):
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
    with pytest.raises(LoadCancelled) as caught:
        open_model(tiny(), EXACT, progress=lambda share: False)
    one_line(caught.value, tiny())


# Text and tokens


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_is_what_the_file_says(tiny: Write, opened: Open, kind: Kind) -> None:
    written = tiny_vocabulary(kind)
    model = opened(tiny(vocabulary=kind))
    vocabulary = model.vocabulary
    assert len(vocabulary) == len(written)
    assert [vocabulary.token_bytes(token) for token in range(len(vocabulary))] == written.pieces
    ends = {
        "spm": {"<eos>", "<end_of_turn>"},
        "spm-prefix": {"</s>"},
        "bpe": {"<|endoftext|>", "<|im_end|>"},
    }[kind]
    kinds = {
        TokenType.NORMAL: TokenKind.TEXT,
        TokenType.USER_DEFINED: TokenKind.TEXT,
        TokenType.BYTE: TokenKind.BYTE,
    }
    expected = [
        TokenKind.END if name in ends else kinds.get(TokenType(written_kind), TokenKind.CONTROL)
        for name, written_kind in written.tokens.items()
    ]
    assert vocabulary.kinds.tolist() == expected
    assert vocabulary.end_tokens.tolist() == sorted(map(written.id, ends))
    special = {i: name for i, name in enumerate(written.tokens) if expected[i] >= TokenKind.CONTROL}
    assert vocabulary.specials == {name: token for token, name in special.items()}
    assert vocabulary.special_tokens == special.keys()
    assert vocabulary.bos == written.id(written.bos)
    assert vocabulary.adds_bos == written.adds_bos
    assert not vocabulary.joins_words
    assert vocabulary.decode(model.tokenize("Paris 日本\n".encode())) == "Paris 日本\n".encode()


def test_fingerprints_tell_vocabularies_apart(tiny: Write, opened: Open) -> None:
    prints = [opened(tiny(vocabulary=kind)).vocabulary.fingerprint for kind in KINDS]
    assert len(set(prints)) == 3
    assert opened(tiny(arch="mamba", seed=3)).vocabulary.fingerprint == prints[0]


def as_spelled(text: str, kind: Kind) -> bytes:
    """What the tokens of a text spell: SentencePiece's own sign for a space becomes one."""
    return (text if kind == "bpe" else text.replace("▁", " ")).encode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_texts_come_back_byte_for_byte(tiny: Write, shared: Open, kind: Kind, text: str) -> None:
    model = shared(tiny(vocabulary=kind))
    expected = as_spelled(text, kind)
    going_on = model.tokenize(text.encode())
    beginning = model.tokenize(text.encode(), continuation=False)
    assert model.vocabulary.special_tokens.isdisjoint(going_on + beginning)
    assert model.vocabulary.decode(going_on) == expected
    # The tokenizer's own way to begin a text.
    space = b" " if kind == "spm-prefix" and text else b""
    assert model.vocabulary.decode(beginning) == space + expected


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
def test_any_text_comes_back_byte_for_byte(tiny: Write, shared: Open, kind: Kind, text: str) -> None:
    model = shared(tiny(vocabulary=kind))
    assert model.vocabulary.decode(model.tokenize(text.encode())) == as_spelled(text, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_alone_answers_as_the_model_does(tiny: Write, shared: Open, kind: Kind) -> None:
    model = shared(tiny(vocabulary=kind))
    with open_tokenizer(model.header) as tokenizer:
        assert tokenizer.vocabulary.fingerprint == model.vocabulary.fingerprint
        for text in (text.encode() for text in AWKWARD):
            for continuation in (True, False):
                tokens = tokenizer.tokenize(text, continuation=continuation)
                assert tokens == model.tokenize(text, continuation=continuation)


def test_a_tokenizer_of_no_text_model_is_refused(tiny: Write) -> None:
    bert = read_header(tiny(arch="bert"))
    with pytest.raises(ModelError, match="an embedding model"), open_tokenizer(bert):
        pass


@pytest.mark.parametrize("text", ["Paris", " Paris", "ing", "\n", "\n\nOn", "日本", "▁"])
def test_text_that_goes_on_is_given_no_space(tiny: Write, opened: Open, text: str) -> None:
    """Llama 2's tokenizer puts a space before a text; the middle of a word must not get one."""
    model = opened(tiny(vocabulary="spm-prefix"))
    before = model.tokenize(b"\nword\n", continuation=False)
    with Raw(tiny(vocabulary="spm-prefix")) as raw:
        assert before + model.tokenize(text.encode()) == raw.tokenize(f"\nword\n{text}")


@pytest.mark.parametrize("text", ["\n", "\nOn", "\n\n", "\n\nQuestion:", "Paris"])
def test_no_space_is_invented_where_line_breaks_are_joined(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A line break is put before a text to keep the tokenizer from inventing a space there.

    It was joined with the text's own line break into one token, and the space was invented after all.
    """
    add = GGUFWriter.add_add_space_prefix
    monkeypatch.setattr(GGUFWriter, "add_add_space_prefix", lambda writer, _: add(writer, True))
    model = opened(write_tiny(tmp_path / "spaced.gguf", vocabulary="spm", cached=False))
    assert "\n\n" in tiny_vocabulary("spm").tokens
    assert model.vocabulary.decode(model.tokenize(b"a", continuation=False)) == b" a"
    assert model.vocabulary.decode(model.tokenize(text.encode())) == text.encode()


def typed(names: Sequence[str]) -> list[str]:
    """Texts of a user who tries to type special tokens."""
    nested = [a[:k] + b + a[k:] for a in names for b in names for k in (1, len(a) - 1)]
    return [*names, "".join(names), " ".join(names), *(f"a{name}b{name}\n{name}" for name in names), *nested]


EVERY_NAME = [
    name
    for kind in KINDS
    for name, written in tiny_vocabulary(kind).tokens.items()
    if written not in (TokenType.NORMAL, TokenType.BYTE, TokenType.USER_DEFINED)
]


@pytest.mark.parametrize("continuation", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_typed_special_tokens_are_text(tiny: Write, opened: Open, kind: Kind, continuation: bool) -> None:
    model = opened(tiny(vocabulary=kind))
    for text in typed(EVERY_NAME):
        tokens = model.tokenize(text.encode(), continuation=continuation)
        assert model.vocabulary.special_tokens.isdisjoint(tokens), text
        space = b" " if kind == "spm-prefix" and not continuation else b""
        assert model.vocabulary.decode(tokens) == space + text.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_declared_as_user_defined_are_special_all_the_same(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """Some files declare special tokens as user-defined ones, which llama.cpp parses in any text.

    A typed "<|im_start|>" or "<s>" became the very token: the beginning of a text is special whatever the
    file calls it. The same for an end token with a name that llama.cpp does not know.
    """
    declare(monkeypatch, {"</s>": "<fin>", "<|im_end|>": "<|fin|>", "<eos>": "<fin>"})
    model = opened(write_tiny(tmp_path / "declared.gguf", vocabulary=kind))
    written = tiny_vocabulary(kind)
    special = {written.id(written.bos), written.id(written.eos)}
    names = [written.bos, "<|fin|>" if kind == "bpe" else "<fin>"]
    for text in typed(names):
        assert special.isdisjoint(model.tokenize(text.encode())), text
        assert special.isdisjoint(model.tokenize(text.encode(), continuation=False)), text


@pytest.mark.parametrize("kind", KINDS)
def test_texts_cut_inside_special_names_keep_their_bytes(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """To keep a user-defined end token out, the text was cut inside its name, and every part began anew.

    Llama 2's tokenizer then invented a space at each cut: "a<fin>b" became " a< fin>b".
    """
    declare(monkeypatch, {"</s>": "<fin>", "<|im_end|>": "<|fin|>", "<eos>": "<fin>"})
    model = opened(write_tiny(tmp_path / "declared.gguf", vocabulary=kind))
    for text in typed(["<|fin|>" if kind == "bpe" else "<fin>"]):
        assert model.vocabulary.decode(model.tokenize(text.encode())) == text.encode()


def declare(monkeypatch: pytest.MonkeyPatch, names: Mapping[str, str]) -> None:
    """Write control tokens as user-defined ones, some under other names."""
    add_list, add_types = GGUFWriter.add_token_list, GGUFWriter.add_token_types

    def renamed(writer: GGUFWriter, tokens: Sequence[str]) -> None:
        add_list(writer, [names.get(token, token) for token in tokens])

    def retyped(writer: GGUFWriter, types: Sequence[TokenType]) -> None:
        swap = {TokenType.CONTROL: TokenType.USER_DEFINED}
        add_types(writer, [swap.get(kind, kind) for kind in types])

    monkeypatch.setattr(GGUFWriter, "add_token_list", renamed)
    monkeypatch.setattr(GGUFWriter, "add_token_types", retyped)


# Files that cannot be used


def damaged(kind: str, good: Path, folder: Path) -> Path:
    """A file, or what stands in its place, that no model can be loaded from."""
    bad = folder / f"{kind}.gguf"
    match kind:
        case "missing":
            pass
        case "empty":
            empty(bad)
        case "folder":
            bad.mkdir()
        case "wrong magic":
            wrong_magic(good, bad)
        case "only magic":
            truncated(good, bad, 4)
        case "pipe":
            os.mkfifo(bad)
        case "unknown architecture":
            bad.write_bytes(good.read_bytes().replace(b"llama", b"mllam"))
        case "cut":
            truncated(good, bad, -1)
        case "text":
            bad.write_text("<html>404</html>")
        case _:
            raise AssertionError(kind)
    return bad


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "does not exist"),
        ("empty", "is empty"),
        ("folder", "is a folder"),
        ("wrong magic", "not a GGUF file"),
        ("only magic", "damaged or incomplete"),
        pytest.param(
            "pipe",
            "not a regular file",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no named pipes"),
        ),
        ("unknown architecture", "unknown model architecture"),
        ("cut", "cut off"),
        ("text", "a web page"),
    ],
)
def test_bad_files_are_refused(tiny: Write, tmp_path: Path, kind: str, reason: str) -> None:
    assert reason in refusal(damaged(kind, tiny(), tmp_path))


def test_files_cut_anywhere_are_refused(tiny: Write, tmp_path: Path) -> None:
    size = tiny().stat().st_size
    for cut in [*range(1, 64, 3), *range(64, size, size // 60), size - 64, size - 1]:
        refusal(truncated(tiny(), tmp_path / f"cut at {cut}.gguf", cut))


def test_a_file_without_permission(tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.gguf"
    path.write_bytes(tiny().read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        # The superuser may read everything: refuse in the system's place.
        def refuse(self: Path, *_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    assert "permission" in refusal(path)


def test_an_embedding_model_is_refused(tiny: Write) -> None:
    """It loads, and even "decodes": only its memory and its logits are missing."""
    assert "an embedding model" in refusal(tiny(arch="bert"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_a_file_name_that_is_not_unicode(tiny: Write, tmp_path: Path) -> None:
    """File names are bytes: one from an old disk ended in a UnicodeEncodeError."""
    path = tmp_path / os.fsdecode(b"mod\xe8le.gguf")
    path.write_bytes(tiny().read_bytes())
    with closing(open_model(path, EXACT)) as model:
        assert model.advance({0: [300]}) is Status.DONE


def test_the_reason_of_a_damaged_header_is_told(tiny: Write, tmp_path: Path) -> None:
    """ggml's library was opened a second time, from a copy of the file that llama.cpp had loaded.

    The copy knew nothing of the log's capture: its messages went to the terminal, not into the error.
    """
    data = tiny().read_bytes()
    # The highest byte of the length of a key.
    bad = flipped(tiny(), tmp_path / "bad.gguf", data.index(b"tokenizer.ggml.token_type") - 1)
    assert "length" in refusal(bad)


def test_nothing_reaches_the_terminal(tiny: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A line of llama.cpp's log in the midst of a full-screen interface wrecks it."""
    path, data = tiny(), tiny().read_bytes()
    with closing(open_model(path)) as model:
        model.advance({0: some_tokens(10)})
        with pytest.raises(ModelError):
            model.advance({0: [99_999]})
    for kind in ("empty", "wrong magic", "only magic", "unknown architecture", "cut"):
        refusal(damaged(kind, path, tmp_path))
    for place in (8, 16, data.index(b"tokenizer.ggml.token_type") - 1, data.index(b"token_embd") - 1):
        refusal(flipped(path, tmp_path / f"{place}.gguf", place, 6))
    assert capfd.readouterr() == ("", "")


def test_each_of_two_loads_finds_its_own_reason(tiny: Write, tmp_path: Path) -> None:
    length = tiny().read_bytes().index(b"llama.feed_forward_length")
    paths = [
        damaged("unknown architecture", tiny(), tmp_path),
        flipped(tiny(), tmp_path / "misnamed.gguf", length),
    ]
    alone = [refusal(path) for path in paths]
    assert "unknown model architecture" in alone[0]
    assert "check_tensor_dims" in alone[1] or "feed_forward_length" in alone[1]
    found: dict[int, set[str]] = {0: set(), 1: set()}

    def load(which: int) -> None:
        for _ in range(25):
            found[which].add(refusal(paths[which]))

    threads = [threading.Thread(target=load, args=(which,)) for which in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {which: {reason} for which, reason in enumerate(alone)}


# Damage that llama.cpp answers by aborting: every file is tried in a process of its own kind.

EVERY_CHARACTER = "".join(map(chr, range(0x250))).encode() + "😀日本\U0010ffff".encode()
Outcome = str


def try_file(data: bytes, path: Path) -> Outcome:
    """Load a file and use it; "" where that went well or was refused as it should be, else what happened."""
    path.write_bytes(data)
    try:
        with closing(open_model(path, replace(EXACT, n_ctx=64, n_batch=32))) as model:
            model.advance({0: [5, 6, 7]})
            model.logits(0).sum()
            for continuation in (True, False):
                model.tokenize(EVERY_CHARACTER, continuation=continuation)
    except BlendinError as error:
        message = str(error)
        well = isinstance(error, ModelError) and "\n" not in message and path.stem in message
        return "" if well else f"{type(error).__name__}: {message!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Elsewhere:
    """A process for what may end it; another one when it has. Starting one takes most of a second."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def assert_refused_or_usable(self, files: Mapping[str, bytes], folder: Path, *, most: int = 10) -> None:
        """Try every file; tell up to `most` with which something went wrong, and what."""
        wrong: list[str] = []
        for name, data in files.items():
            if outcome := self._outcome(data, folder / "tried.gguf"):
                wrong.append(f"{name}: {outcome}")
            if len(wrong) == most:
                break
        assert not wrong, "\n".join(wrong)

    def _outcome(self, data: bytes, path: Path) -> Outcome:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self._pool.submit(try_file, data, path).result()
        except BrokenProcessPool:
            self.close()
            return "the process was aborted"

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with pytest.MonkeyPatch.context() as patch, closing(Elsewhere()) as process:
        # Without this, ggml starts a debugger to print where it aborted.
        patch.setenv("GGML_NO_BACKTRACE", "1")
        yield process


def with_value(good: Path, key: bytes, value: bytes) -> bytes:
    """A file with other bytes as the value of a key that holds a number."""
    data = bytearray(good.read_bytes())
    start = data.index(key) + len(key) + 4
    data[start : start + len(value)] = value
    return bytes(data)


def as_listed(text: str) -> bytes:
    """A text as a list in a GGUF file holds it."""
    return len(text.encode()).to_bytes(8, "little") + text.encode()


def test_damage_that_llama_cpp_asserts_against(tiny: Write, elsewhere: Elsewhere, tmp_path: Path) -> None:
    """llama.cpp checks these by assertions, which end the process, or throws where nobody catches.

    The byte tokens of a SentencePiece vocabulary are missed only when a text needs one: an emoji in a
    chat would end it.
    """
    spm, bpe = tiny(), tiny(vocabulary="bpe")
    files = {
        "no layers": with_value(spm, b"llama.block_count", bytes(4)),
        "negative epsilon": with_value(spm, b"llama.attention.layer_norm_rms_epsilon", b"\xbd\x37\x86\xb5"),
        "epsilon not a number": with_value(spm, b"llama.attention.layer_norm_rms_epsilon", b"\0\0\xc0\x7f"),
        "the same token twice": bpe.read_bytes().replace(as_listed("Ġthat"), as_listed("Ġwith")),
        "the same byte twice": spm.read_bytes().replace(b"<0x41>", b"<0x42>"),
        "a byte missing": spm.read_bytes().replace(b"<0xC3>", b"<0xGG>"),
        "no unknown token": with_value(spm, b"tokenizer.ggml.unknown_token_id", b"\xff\xff\xff\x7f"),
        "no beginning": with_value(bpe, b"tokenizer.ggml.bos_token_id", b"\xff\xff\xff\x7f"),
        "no heads": with_value(spm, b"llama.attention.head_count", bytes(4)),
        "no width": with_value(spm, b"llama.embedding_length", bytes(4)),
    }
    elsewhere.assert_refused_or_usable(files, tmp_path)


@pytest.mark.parametrize(
    ("arch", "kind"), first_of([("gemma3", "bpe"), ("llama", "spm"), ("mamba", "spm-prefix")])
)
def test_flipped_bits_are_refused_or_harmless(
    tiny: Write, elsewhere: Elsewhere, tmp_path: Path, arch: Architecture, kind: Kind
) -> None:
    """One bit in a header of thousands: an abort here would take a chat down with all it held."""
    good = tiny(arch=arch, vocabulary=kind).read_bytes()
    chance = random.Random(arch)
    tensors = good.index(b"token_embd.weight")
    numbers = [match.end() for match in re.finditer(rb"[a-z]\.[a-z_.]+[a-z]", good[tensors - 900 : tensors])]
    places = [
        *range(24),
        *chance.sample(range(24, tensors), 100),
        *(tensors - 900 + end + byte for end in numbers for byte in range(8)),
        *chance.sample(range(tensors, tensors + 1200), 60),
    ]
    files: dict[str, bytes] = {}
    for place in places:
        bit = chance.randrange(8)
        files[f"bit {bit} of byte {place}"] = (
            good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
        )
    elsewhere.assert_refused_or_usable(files, tmp_path, most=5)


def test_a_negative_context_length_is_not_asked_for(
    tiny: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The highest bit of the training length made it negative, so it was the smaller of it and the asked one.

    llama.cpp took 25 seconds to find that it cannot have a context of 2 147 484 160 tokens.
    """
    path = tmp_path / "endless.gguf"
    path.write_bytes(with_value(tiny(), b"llama.context_length", b"\x00\x02\x00\x80"))
    asked: list[int] = []
    make = api.llama_init_from_model

    def spy(model: Any, params: Any) -> Any:
        asked.append(params.n_ctx)
        return make(model, params) if params.n_ctx < 1 << 20 else None

    monkeypatch.setattr(api, "llama_init_from_model", spy)
    try:
        open_model(path, replace(EXACT, n_ctx=64)).close()
    except ModelError as error:
        one_line(error, path)
    assert all(n_ctx <= 64 for n_ctx in asked)
