"""Download models from plain URLs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from blendin_local.errors import CatalogueError
from blendin_local.files import is_file_name
from blendin_local.models.download.store import Pulled
from blendin_local.models.download.transfer import Progress, Remote, download

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry


def fetch(entry: ModelEntry, folder: Path, progress: Progress, force: bool) -> list[Pulled]:
    """Download the file of an entry whose source is `url:https://...` or a bare URL."""
    url = entry.sources[0].removeprefix("url:")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CatalogueError(f"The source of {entry.name} is not a URL ({error}): {url}.") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise CatalogueError(f"The source of {entry.name} is not an http or https URL ({url}).")
    name = entry.file or unquote(parts.path).rpartition("/")[2]
    if not is_file_name(name):
        raise CatalogueError(f"The URL of {entry.name} does not end in a file name: give one as `file`.")
    target = folder / name
    remote = Remote(url, what=entry.name, size=entry.size, sha256=entry.sha256)
    return [Pulled(target, download(remote, target, progress))]
