"""Files known by their bytes: read through once, and again when anything about them has changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blendin_local.errors import ModelError
from blendin_local.files import cache_dir
from blendin_local.models import checksums as fingerprints
from blendin_local.models.checksums import file_digest, model_files


def read_through(path: Path) -> tuple[str, list[int]]:
    """A file's digest, and how many bytes were read for it, as they were told."""
    told: list[int] = []
    return file_digest(path, lambda path, done, size: told.append(done)), told


def kept() -> Path:
    return cache_dir() / "fingerprints.json"


def test_files_are_known_by_their_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    first.write_bytes(b"x" * 1000)
    second.write_bytes(b"x" * 1000)
    assert file_digest(first) == file_digest(second) == hashlib.sha256(b"x" * 1000).hexdigest()
    status = second.stat()
    second.write_bytes(b"x" * 999 + b"y")
    os.utime(second, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert file_digest(first) != file_digest(second)


def test_a_file_is_read_through_once(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x" * 1000)
    found, told = read_through(path)
    assert told == [1000]
    assert read_through(path) == (found, [])
    (tmp_path / "link.gguf").symlink_to(path)
    assert read_through(tmp_path / "link.gguf") == (found, [])


def test_a_file_that_took_another_ones_place_is_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    path.write_bytes(b"x" * 1000)
    other.write_bytes(b"y" * 1000)
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = file_digest(path)
    other.replace(path)
    assert file_digest(path) != before


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x" * 1000)
    status = path.stat()

    def change(path: Path, done: int, size: int) -> None:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))

    file_digest(path, change)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_through(path)[1] == [1000]


def test_a_split_model_is_all_of_its_parts(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert model_files(parts[0]) == parts
    assert model_files(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]
    for part in parts:
        part.write_bytes(part.name.encode())
    before = file_digest(parts[0])
    parts[1].write_bytes(b"another second part")
    assert file_digest(parts[0]) != before


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.gguf cannot be read: No such file"):
        file_digest(tmp_path / "none.gguf")
    with pytest.raises(ModelError, match=r"cannot be read: Is a directory"):
        file_digest(tmp_path)


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": 1}', b'{"a": ["b"]}', b"null", b"[" * 99_999]
)
def test_a_damaged_memory_only_costs_time(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x" * 1000)
    found = file_digest(path)
    kept().write_bytes(damaged)
    assert read_through(path) == (found, [1000])
    assert read_through(path) == (found, [])


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x" * 1000)
    cache_dir().write_text("a file where the folder should be")
    assert read_through(path) == read_through(path)


def test_only_the_latest_files_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_MOST", 2)
    paths = [tmp_path / f"{name}.gguf" for name in "abc"]
    for path in paths:
        path.write_text(path.name)
        file_digest(path)
    assert list(json.loads(kept().read_text())) == [str(path) for path in paths[1:]]


def test_a_name_that_is_no_text_is_remembered_too(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
    try:
        path.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    assert read_through(path)[1] == [1]
    assert read_through(path)[1] == []


_READER = """
import sys
from pathlib import Path
from blendin_local.models.checksums import file_digest
for number in range(30):
    path = Path(sys.argv[1]) / f"{sys.argv[2]} {number}"
    path.write_text(path.name)
    file_digest(path)
"""


@pytest.mark.slow
def test_two_programs_remember_at_once(tmp_path: Path) -> None:
    """One may forget what the other has just learnt, but what is kept can always be read."""
    readers = [subprocess.Popen([sys.executable, "-c", _READER, tmp_path, name]) for name in ("a", "b")]
    assert [reader.wait() for reader in readers] == [0, 0]
    remembered = json.loads(kept().read_text())
    assert len(remembered) >= 30
    assert all(known == hashlib.sha256(Path(path).read_bytes()).hexdigest()
               for path, (_, known) in remembered.items())  # fmt: skip
    assert [path.name for path in cache_dir().iterdir()] == ["fingerprints.json"]
