"""A web server for tests, on loopback: plain files, and as much of the Hugging Face hub's API as pulls use.

Files can be cut off mid-way, refused, or changed between two requests, as real ones are.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class ServedFile:
    """cuts: how many bytes to send before the connection breaks, for each of the next requests. headers:
    others, or instead of its own. ignores_if_range: sends a part also of a file that has changed.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    ranges: bool = True
    etag: bool = True
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    ignores_if_range: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class FakeServer(ThreadingHTTPServer):
    """files: by path, as "/model.gguf", or "/OWNER/REPO/resolve/main/FILE" for the hub's.

    gated: repositories that want `token`. requests: (method, path, headers in lower case) of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, ServedFile] = {}
        self.gated: set[str] = set()
        self.token = "hf_secret"
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add_hub_file(self, repo: str, name: str, content: bytes, **options: Any) -> ServedFile:
        served = self.files[f"/{repo}/resolve/main/{name}"] = ServedFile(content, **options)
        return served

    def asked(self, method: str, ending: str) -> list[dict[str, str]]:
        """Headers of the requests for paths that end so."""
        return [headers for verb, path, headers in self.requests if verb == method and path.endswith(ending)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is none of the tests' business."""


@contextmanager
def serving() -> Iterator[FakeServer]:
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, path, headers))
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        if repo in self.server.gated and headers.get("authorization") != f"Bearer {self.server.token}":
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif path.startswith("/api/models/"):
            self._list(repo)
        else:
            self._file(path, repo)

    def _list(self, repo: str) -> None:
        start = f"/{repo}/resolve/main/"
        names = [path.removeprefix(start) for path in self.server.files if path.startswith(start)]
        if not names:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in self.path:
            size = {name: len(self.server.files[start + name].content) for name in names}
            tree = [{"type": "file", "path": name, "size": size[name], "oid": "0" * 40} for name in names]
            self._send(200, json.dumps(tree).encode())
        else:
            info = {
                "id": repo,
                "modelId": repo,
                "sha": "c" * 40,
                "siblings": [{"rfilename": n} for n in names],
            }
            self._send(200, json.dumps(info).encode())

    def _file(self, path: str, repo: str) -> None:
        served = self.server.files.get(path)
        if served is None:
            known = any(each.startswith(f"/{repo}/resolve/") for each in self.server.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            self._send(404, b"", {"X-Error-Code": code} if "/resolve/" in path else {})
            return
        if served.redirect:
            self._send(302, b"", {"Location": served.redirect})
            return
        headers = {"X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"}
        if served.etag:
            headers |= {"ETag": f'"{served.sha256}"', "X-Linked-Size": str(len(served.content))}
        content, status = served.content, served.status
        wanted = self.headers.get("Range")
        condition = None if served.ignores_if_range else self.headers.get("If-Range")
        if wanted and served.ranges and condition in (None, headers.get("ETag")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._send(416, b"", {})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self._send(status, content, headers | served.headers, served.cuts)

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        cuts: list[int] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cuts:
            content = content[: cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)
