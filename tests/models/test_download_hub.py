"""Pulls from the Hugging Face hub, as a server on loopback plays it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_server import FakeServer, ServedFile, serving
from support.pulling import CONTENT, MB, SHA256, Reports, refusal

from blendin_local.models.download import hub, pull, transfer
from blendin_local.models.download.store import entry_folder, pulled_files, remove
from blendin_local.models.entries import ModelEntry

REPO = "me/tiny-GGUF"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(transfer, "_RETRY_DELAY_S", 0.0)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


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
        assert ": it was deleted" in refusal(hub_entry())
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
    assert "is not a valid repository name" in refusal(ModelEntry("x", ("hf:me/..x--y:a.gguf",)))


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
