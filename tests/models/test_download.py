"""Pulls from URLs and paths, with everything that can go wrong on the way, and what is remembered of them."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.fake_server import FakeServer, ServedFile, serving
from support.pulling import CONTENT, MB, SHA256, Reports, names, refusal

from blendin_local.errors import CatalogueError
from blendin_local.files import models_dir
from blendin_local.models.download import pull, pull_warning, transfer
from blendin_local.models.download.store import entry_folder, find_pulled, remove
from blendin_local.models.entries import ModelEntry


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(transfer, "_RETRY_DELAY_S", 0.0)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


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
    assert "closed the connection" in refusal(entry)
    served.cuts = [0] * 20
    assert "pull again to resume at 1.0 MB" in refusal(entry)
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
    assert f"has the sha256 {SHA256} instead of {'0' * 64}" in refusal(entry)
    assert names(entry_folder(entry)) == set()


def test_wrong_size_is_noticed_before_the_download(server: FakeServer, served: ServedFile) -> None:
    reports = Reports()
    assert "has a file of 3,145,732 bytes instead of 17" in refusal(
        url_entry(server, size=17), progress=reports
    )
    assert reports == []


@pytest.mark.parametrize(
    ("status", "what"),
    [(404, "has no such file (404)"), (403, "denies access to the file (403"), (500, "error (500")],
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


@pytest.mark.parametrize("length", ["many", "-5", "12.5", "1e9", "９", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(server: FakeServer, served: ServedFile, length: str) -> None:
    served.headers = {"Content-Length": length.encode("utf-8").decode("latin-1")}
    said = refusal(url_entry(server, sha256=SHA256))
    assert "127.0.0.1" in said


@pytest.mark.parametrize("header", ["bytes", "bytes x-y/z", "bytes " + "9" * 5000 + "-", "bytes 7-9/9"])
def test_another_part_than_was_asked_for_is_not_used(
    server: FakeServer, served: ServedFile, header: str
) -> None:
    entry = url_entry(server, sha256=SHA256)
    with pytest.raises(KeyboardInterrupt):
        pull(entry, progress=Reports(stop_after=MB // 2))
    served.headers = {"Content-Range": header}
    assert pull(entry).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address",
    [
        "ftp://127.0.0.1/model.gguf",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:port/x",
        "http://exa mple/x",
        "gopher://x",
        "http://" + "a" * 300 + "/x",
        "//",
    ],
)
def test_a_redirect_to_nowhere_is_one_sentence(server: FakeServer, served: ServedFile, address: str) -> None:
    served.redirect = address
    assert refusal(url_entry(server, sha256=SHA256)).startswith("web")


def test_a_redirect_in_a_circle_is_one_sentence(server: FakeServer, served: ServedFile) -> None:
    served.redirect = f"{server.url}/some/model%20a.gguf?x=1"
    assert refusal(url_entry(server, sha256=SHA256)).startswith("web: 127.0.0.1")


@pytest.mark.parametrize("address", ["http://127.0.0.1/x", "ftp://127.0.0.1/x", "HTTP://127.0.0.1/x"])
def test_https_never_leads_to_less(address: str) -> None:
    request = urllib.request.Request("https://127.0.0.1/model.gguf")
    with pytest.raises(transfer._Refused, match="redirects to an address that is not used"):
        transfer._Redirects().redirect_request(request, None, 302, "Found", {}, address)


def test_a_page_instead_of_a_model_is_refused_at_its_first_bytes(
    server: FakeServer, served: ServedFile
) -> None:
    served.content = b"<!DOCTYPE html>" + bytes(3 * MB)
    reports = Reports()
    said = refusal(url_entry(server), progress=reports)
    assert "begins with b'<!DOCTYPE ht' instead of GGUF" in said
    assert max(done for done, *_ in reports) == 0


def test_a_file_that_changed_is_not_joined_to_the_old_half(server: FakeServer, served: ServedFile) -> None:
    served.cuts = [MB]
    with pytest.raises(KeyboardInterrupt):
        pull(url_entry(server), progress=Reports(stop_after=MB // 2))
    # The server sends the rest of another file, although it was asked for that of the first one only.
    served.content = b"GGUF" + bytes(3 * MB)
    served.ignores_if_range, served.cuts = True, []
    assert pull(url_entry(server)).read_bytes() == served.content


def test_more_bytes_than_the_file_has_are_refused(server: FakeServer, served: ServedFile) -> None:
    # Without a length, the file ends with the connection.
    served.content, served.headers = CONTENT + bytes(MB), {"Content-Length": "", "Connection": "close"}
    assert f"sends more than {len(CONTENT):,} bytes" in refusal(url_entry(server, size=len(CONTENT)))


@pytest.mark.parametrize("name", ["a%00b.gguf", "a%5C..%5Cb.gguf", "%0a.gguf", "a" * 300])
def test_names_that_no_folder_of_ours_has_are_refused(server: FakeServer, name: str) -> None:
    entry = ModelEntry("odd", (f"url:{server.url}/some/{name}",))
    assert "does not end in a file name" in refusal(entry)


def test_plain_http_without_a_checksum_is_warned_about(server: FakeServer) -> None:
    assert "without a checksum" in pull_warning(url_entry(server))
    assert pull_warning(url_entry(server, sha256=SHA256)) == ""
    assert pull_warning(ModelEntry("web", ("url:https://example.org/a.gguf",))) == ""


@pytest.mark.parametrize("url", ["http://[::1/a.gguf", "url:http://host:x/a.gguf", "url:http:///a.gguf"])
def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    assert "odd" in refusal(ModelEntry("odd", (url,)))


def test_server_that_is_not_there(server: FakeServer) -> None:
    gone = ModelEntry("web", ("http://127.0.0.1:9/model.gguf",))
    assert "127.0.0.1:9 cannot be reached (Connection refused)" in refusal(gone)
    assert "is not an http or https URL" in refusal(ModelEntry("web", ("url:ftp://a/b.gguf",)))
    assert "does not end in a file name" in refusal(ModelEntry("web", (f"{server.url}/",)))


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
    assert "where 0.0 GB are free: free some space" in refusal(url_entry(server))


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
    for damaged in ("{broken", "[" * 99_999):
        (entry_folder(entry) / "pulled.json").write_text(damaged)
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


def test_notes_hold_no_more_than_they_need(server: FakeServer, served: ServedFile) -> None:
    entry = url_entry(server)
    pull(entry)
    note = json.loads((entry_folder(entry) / "pulled.json").read_text())
    assert set(note) == {"name", "sources", "files"}
    assert note["files"][0]["sha256"] == SHA256
