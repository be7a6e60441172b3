"""Records: selected, joined, saved and read again; and files that are none."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.records import assert_same, made

from blendin_local.errors import EvaluationError
from blendin_local.tune.record import (
    Record,
    empty_record,
    join_records,
    load_noted_record,
    load_record,
    save_record,
)

lengths = st.lists(st.integers(1, 4), max_size=6)
records = st.builds(made, lengths, st.integers(0, 9))


def test_selected_by_hand() -> None:
    record = made([2, 1, 3])
    chosen = record.select([0, 2])
    assert chosen.ids == ("0-0", "0-2") and chosen.examples == 2
    assert chosen.example.tolist() == [0, 0, 1, 1, 1]
    assert chosen.p_base.tolist() == record.p_base[[0, 1, 3, 4, 5]].tolist()
    assert chosen.guide_bits.tolist() == record.guide_bits[[0, 2]].tolist()
    assert len(chosen) == 5 and len(record.select([])) == 0


@given(st.lists(records, max_size=4))
def test_joined_and_selected_again(parts: list[Record]) -> None:
    whole = join_records(parts)
    assert (len(whole), whole.examples) == (sum(map(len, parts)), sum(part.examples for part in parts))
    assert np.all(np.diff(whole.example) >= 0)
    start = 0
    for part in parts:
        assert_same(whole.select(range(start, start + part.examples)), part)
        start += part.examples
    assert_same(whole.select(range(whole.examples)), whole)
    assert_same(join_records([whole, empty_record()]), whole)


@examples(25)
@given(
    lengths,
    st.integers(0, 9),
    st.text(max_size=20),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=5), min_size=6
    ),
)
def test_saved_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int, notes: str, names: list[str]
) -> None:
    record = made(lengths, seed, names[: len(lengths)])
    path = tmp_path_factory.mktemp("saved") / "folder" / "it.npz"
    save_record(record, path, notes)
    found, said = load_noted_record(path)
    assert_same(found, record)
    assert said == notes.encode("utf-8", "replace").decode()
    assert [each.name for each in path.parent.iterdir()] == ["it.npz"]


def test_a_name_with_a_line_break_is_still_one_name(tmp_path: Path) -> None:
    save_record(made([1, 1], names=["a\nb", "\ud800"]), tmp_path / "it.npz")
    assert load_record(tmp_path / "it.npz").ids == ("a b", "?")


def test_what_was_there_stays_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "it.npz"
    save_record(made([2]), path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_record(made([3]), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


# Files that are none


def refused(path: Path) -> str:
    with pytest.raises(EvaluationError) as caught:
        load_record(path)
    said = str(caught.value)
    assert str(path) in said and said.endswith(".") and "\n" not in said
    return said


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_record(made([2, 1, 3]), tmp_path / "it.npz", "notes")
    return tmp_path / "it.npz"


def test_no_file_and_no_permission(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(tmp_path / "none.npz")
    assert "cannot be read: Is a directory" in refused(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"not a record", b"\x93NUMPY\x01\x00", b"\x80\x04K\x01.", b"PK\x03\x04" * 9]
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    assert "is not a record of `blendin tune`, or is damaged" in refused(path)


def test_arrays_of_others(tmp_path: Path) -> None:
    path = tmp_path / "others.npz"
    np.savez(path, weights=np.zeros(3))
    assert "is not a record" in refused(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "is not a record" in refused(tmp_path / "one.npy")
    np.savez(path, format=np.array([object()]))
    assert "is not a record" in refused(path)


def test_another_version(saved: Path) -> None:
    np.savez(saved, **{**arrays_of(saved), "format": np.int64(99)})
    assert refused(saved) == f"{saved} is a record of another version: run `blendin tune` again."


@pytest.mark.parametrize(
    "change",
    [
        {"p_base": np.zeros(5, np.float32)},
        {"p_base": np.zeros((6, 1), np.float32)},
        {"p_base": np.full(6, np.nan, np.float32)},
        {"p_guide": np.full(6, -0.5, np.float32)},
        {"guide_bits": np.full(3, np.inf)},
        {"bytes": np.zeros(2, np.int32)},
        {"example": np.array([0, 0, 1, 2, 2, 3], np.int32)},
        {"example": np.array([0, 0, 1, 2, 1, 2], np.int32)},
        {"example": np.array([-1, 0, 1, 2, 2, 2], np.int32)},
        {"example": np.int32(0)},
        {"ids": np.frombuffer(b"a\nb", np.uint8)},
        {"ids": np.array(["a", "b", "c"])},
    ],
    ids=lambda change: "-".join(f"{name} {array.dtype} {array.shape}" for name, array in change.items()),
)
def test_arrays_that_do_not_fit(saved: Path, change: dict[str, Any]) -> None:
    np.savez(saved, **{**arrays_of(saved), **change})
    assert "is not a record of `blendin tune`, or is damaged" in refused(saved)


@pytest.mark.parametrize("name", ["format", "ids", "notes", "p_base", "guide_tokens"])
def test_arrays_that_are_missing(saved: Path, name: str) -> None:
    arrays = arrays_of(saved)
    arrays.pop(name)
    np.savez(saved, **arrays)
    assert "is not a record" in refused(saved)


def test_a_header_that_asks_for_all_memory(saved: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            data = source.read(name)
            if name == "p_base.npy":
                data = data.replace(b"(6,), }" + b" " * 12, b"(9999999999999,), }")
                assert b"(9999999999999,)" in data
            changed.writestr(name, data)
    saved.write_bytes(target.getvalue())
    assert "is not a record" in refused(saved)


@examples(60)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_bits_are_seen_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    """Archives check their contents; what reads them raises a dozen kinds of errors."""
    path = tmp_path_factory.mktemp("flipped") / "it.npz"
    record = made([2, 1, 3])
    save_record(record, path, "notes")
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        found = load_record(path)
    except EvaluationError:
        refused(path)
    else:
        assert_same(found, record)


def test_cut_anywhere(saved: Path) -> None:
    data = saved.read_bytes()
    for size in range(0, len(data), 97):
        saved.write_bytes(data[:size])
        refused(saved)
