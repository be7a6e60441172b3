"""Download one file over HTTP, resumably.

Bytes go into a `.part` file beside the target, with a record of the remote file. The next attempt requests
only the rest; the target appears once the file is complete and its checksum is right.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from blendin_local.errors import CatalogueError
from blendin_local.files import read_json, write_text

__all__ = [
    "Progress",
    "Remote",
    "check_is_model",
    "check_room",
    "download",
    "hash_file",
    "no_progress",
    "reason_of",
]

Progress = Callable[[int, int | None, str], None]
"""Called with bytes done, bytes in total (None if unknown), and a label of the activity."""

_CHUNK = 1 << 20
_TIMEOUT_S = 30
_MAX_ATTEMPTS = 5
_RETRY_DELAY_S = 1.0
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONNECTION_ERRORS = (ConnectionError, TimeoutError, http.client.HTTPException, ssl.SSLError)


def no_progress(done: int, total: int | None, label: str) -> None:
    """A callback that does nothing."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server.

    identity: a checksum or tag that changes with the file, "" if unknown before the request. size, sha256:
    expected values, if known. what: the file's name in messages.
    """

    url: str
    what: str
    identity: str = ""
    size: int | None = None
    sha256: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    """A server's refusal. temporary: whether a retry may succeed."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


def download(remote: Remote, target: Path, progress: Progress) -> str:
    """Download a file to `target`, resuming an earlier attempt, and return its SHA-256.

    Raises CatalogueError where the server cannot be reached or refuses, where the connection keeps failing,
    and for a wrong size or checksum.
    """
    part = _Part(target, remote)
    try:
        _receive_all(remote, part, progress)
    finally:
        part.close()
    return part.finish(progress)


def _receive_all(remote: Remote, part: _Part, progress: Progress) -> None:
    """Fill `part`, with retries."""
    first, failures = part.length, 0
    while True:
        before = part.length
        try:
            _receive(remote, part, progress)
            return
        except _Refused as refusal:
            reason, again = str(refusal), refusal.temporary
        except urllib.error.URLError as error:
            reason, again = f"cannot be reached ({reason_of(error.reason)})", part.length > first
        except _CONNECTION_ERRORS as error:
            reason, again = f"closed the connection ({reason_of(error)})", True
        failures = 1 if part.length > before else failures + 1
        if not again or failures >= _MAX_ATTEMPTS:
            kept = f"; pull again to resume at {part.length / 1e6:,.1f} MB" if part.length else ""
            raise CatalogueError(f"{remote.what}: {urlsplit(remote.url).netloc} {reason}{kept}.")
        time.sleep(_RETRY_DELAY_S * failures)


def _receive(remote: Remote, part: _Part, progress: Progress) -> None:
    """Request the missing rest once and append it to `part`."""
    request = urllib.request.Request(remote.url, headers={"Accept-Encoding": "identity"})
    request.add_header("User-Agent", "blendin-local")
    for name, value in remote.headers.items():
        request.add_header(name, value)
    if part.length:
        if part.length == remote.size:
            return
        request.add_header("Range", f"bytes={part.length}-")
        if part.tag:
            request.add_header("If-Range", part.tag)
    with _open(request, part) as response:
        start = _range_start(response) if response.status == 206 else 0
        if start and part.is_another_file(response):
            part.restart()
            raise _Refused("has a different file now", temporary=True)
        if start != part.length:
            part.restart()
            if start:
                raise _Refused("sent another part of the file than requested", temporary=True)
        rest = response.headers.get("Content-Length", "")
        if rest and not _LENGTH.fullmatch(rest):
            raise _Refused("does not say how long the file is", temporary=False)
        total = part.length + int(rest) if rest else remote.size
        if remote.size is not None and total != remote.size:
            raise _Refused(f"has a file of {total:,} bytes instead of {remote.size:,}", temporary=False)
        part.begin(response, total)
        progress(part.length, total, f"downloading {part.target.name}")
        while chunk := response.read(_CHUNK):
            part.append(chunk)
            progress(part.length, total, f"downloading {part.target.name}")
    if total is not None and part.length < total:
        raise ConnectionError(f"after {part.length:,} of {total:,} bytes")


def _open(request: urllib.request.Request, part: _Part) -> Any:
    """Return the response to a request. Raises _Refused, URLError or a connection error."""
    try:
        return _opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and part.length:
            part.restart()
            raise _Refused("has a different file now", temporary=True) from error
        raise _Refused(
            _describe_http_error(error), temporary=error.code in (408, 429) or error.code >= 500
        ) from error
    except (_Refused, urllib.error.URLError, *_CONNECTION_ERRORS):
        raise
    except Exception as error:  # addresses and headers of a server can be anything
        raise _Refused(
            f"gives an answer that cannot be used ({reason_of(error)})", temporary=False
        ) from error


class _Part:
    """A partial download on disk, with a record of the remote file it belongs to."""

    def __init__(self, target: Path, remote: Remote) -> None:
        self.target = target
        self.length = 0
        self.tag = ""
        self._remote = remote
        self._path = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        self._stream: IO[bytes] | None = None
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            note = read_json(self._note)
            self.tag = note["tag"]
            # Without an identity, the partial file may belong to another version.
            known = bool(remote.identity or self.tag or remote.sha256)
            if known and note["url"] == _strip_query(remote.url) and note["identity"] == remote.identity:
                self.length = self._path.stat().st_size
        except (OSError, ValueError, LookupError, TypeError):
            self.tag = ""

    def restart(self) -> None:
        self.length, self.tag = 0, ""
        self._note.unlink(missing_ok=True)

    def is_another_file(self, response: Any) -> bool:
        """Return whether a response belongs to another file than the bytes that are here."""
        return bool(self.tag) and self.tag != _tag(response)

    def begin(self, response: Any, total: int | None) -> None:
        """Open the file for the bytes of a response."""
        check_room(self.target.parent, (total or 0) - self.length, self._remote.what)
        if not self._remote.identity:
            self.tag = _tag(response)
        note = {"url": _strip_query(self._remote.url), "identity": self._remote.identity, "tag": self.tag}
        write_text(self._note, json.dumps(note))
        self.close()
        self._stream = self._path.open("ab")
        self._stream.truncate(self.length)

    def append(self, chunk: bytes) -> None:
        assert self._stream is not None
        if not self.length and not self._remote.sha256:
            check_is_model(chunk, self._remote.what)
        if self._remote.size is not None and self.length + len(chunk) > self._remote.size:
            raise _Refused(f"sends more than {self._remote.size:,} bytes", temporary=False)
        self._stream.write(chunk)
        self._stream.flush()
        self.length += len(chunk)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def finish(self, progress: Progress) -> str:
        """Check the complete file, rename it to the target, and return its SHA-256."""
        sha256 = hash_file(self._path, progress, f"checking {self.target.name}")
        self._note.unlink(missing_ok=True)
        if self._remote.sha256 not in ("", sha256):
            self._path.unlink()
            raise CatalogueError(
                f"{self._remote.what} has the sha256 {sha256} instead of {self._remote.sha256}: it was "
                "deleted."
            )
        self._path.replace(self.target)
        return sha256


def hash_file(path: Path, progress: Progress, label: str) -> str:
    """SHA-256 of a file in hexadecimal digits. Raises OSError."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done, size, label)
    return digest.hexdigest()


def check_is_model(start: bytes, what: str) -> None:
    """Raise CatalogueError unless a file that begins so can be a model."""
    if start[:4] != b"GGUF":
        raise CatalogueError(
            f"{what} is no model: its file begins with {start[:12]!r} instead of GGUF. Check where it comes "
            "from; a page of a web site, for example, has another address than its file."
        )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise CatalogueError if the disk of `folder` has fewer than `needed` free bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CatalogueError(
            f"{what} needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: free some "
            "space, or set BLENDIN_CACHE_DIR to a folder on another disk."
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects of http and https, never from https to less, and without sending the user's token to
    another server.
    """

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise _Refused(f"redirects to an address that is not used: {newurl[:100]!r}", temporary=False)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(new.full_url)[:2] != urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


_opener = urllib.request.build_opener(_Redirects)


def _range_start(response: Any) -> int:
    match = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _tag(response: Any) -> str:
    """Return what changes with the file on the server, as far as the response says."""
    strong = str(response.headers.get("ETag", ""))
    return strong if strong.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _describe_http_error(error: urllib.error.HTTPError) -> str:
    match error.code:
        case 401 | 403:
            return f"denies access to the file ({error.code} {reason_of(error.reason)})"
        case 404 | 410:
            return f"has no such file ({error.code})"
        case _:
            return f"answers with an error ({error.code} {reason_of(error.reason)})"


def reason_of(error: object) -> str:
    """Return why something failed, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _strip_query(url: str) -> str:
    """Return a URL without its query, which may hold a signature that changes over time."""
    return urlsplit(url)._replace(query="", fragment="").geturl()
