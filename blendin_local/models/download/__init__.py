"""Download a model's file from the sources of its catalogue entry.

A file appears under its final name only when it is complete and its checksum is right. An interrupted pull is
resumed by the next one. Progress goes to a callback; nothing is printed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from blendin_local.errors import BlendinError, CatalogueError, ModelError
from blendin_local.files import local_path
from blendin_local.llamacpp.header import read_header
from blendin_local.llamacpp.trial import vouch_for
from blendin_local.models.download import hub, pypi, web
from blendin_local.models.download.store import (
    Pulled,
    check_file,
    entry_folder,
    find_pulled,
    lock_entry,
    write_record,
)
from blendin_local.models.download.transfer import Progress, no_progress, reason_of

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry

__all__ = ["Progress", "pull", "pull_warning"]


def pull(entry: ModelEntry, *, progress: Progress = no_progress, force: bool = False) -> Path:
    """Download a model's file, unless it is present, and return its path.

    force: download it again even if it is present. Raises CatalogueError; after a KeyboardInterrupt the next
    pull resumes.
    """
    if not force and (path := find_pulled(entry)):
        return path
    kind = _kind(entry)
    try:
        if kind == "path":
            return write_record(entry, [_local_file(entry, progress)])
        with lock_entry(entry, progress):
            # Another process may have pulled it while this one waited.
            if not force and ((path := find_pulled(entry)) or (path := _adopt(entry, progress))):
                return path
            fetch = {"pypi": pypi.fetch, "hf": hub.fetch, "url": web.fetch}[kind]
            path = write_record(entry, fetch(entry, entry_folder(entry), progress, force))
            if entry.sha256:
                with suppress(ModelError):  # loading it tells what is wrong
                    vouch_for(read_header(path))
            return path
    except BlendinError:
        raise
    except OSError as error:
        where = error.filename or entry_folder(entry)
        raise CatalogueError(f"{entry.name} cannot be pulled: {reason_of(error)} ({where}).") from error
    except Exception as error:  # whatever a server, an archive or a package of theirs makes of it
        raise CatalogueError(f"{entry.name} cannot be pulled: {reason_of(error)}.") from error


def pull_warning(entry: ModelEntry) -> str:
    """Return a warning if anybody on the way could exchange the file, else ""."""
    plain = any(source.removeprefix("url:").startswith("http://") for source in entry.sources)
    if not plain or entry.sha256:
        return ""
    return (
        f"{entry.name} is downloaded over http, without a checksum: nothing proves that the file is the one "
        "that was meant. Use https, or give the entry a sha256."
    )


def _kind(entry: ModelEntry) -> str:
    """Return the kind of an entry's sources: "pypi", "hf", "url" or "path"."""
    kinds = {_source_kind(source) for source in entry.sources}
    if len(entry.sources) > 1 and kinds != {"pypi"}:
        raise CatalogueError(f"{entry.name} has several sources, which only pypi: sources may be.")
    return kinds.pop()


def _source_kind(source: str) -> str:
    if source.startswith(("https://", "http://")):
        return "url"
    scheme = source.partition(":")[0]
    return scheme if scheme in ("pypi", "hf", "url") else "path"


def _local_file(entry: ModelEntry, progress: Progress) -> Pulled:
    path = local_path(entry.sources[0])
    if not path.is_absolute() and entry.origin is not None:
        path = entry.origin.parent / path
    if not path.is_file():
        raise CatalogueError(f"The file of {entry.name}, {path}, does not exist.")
    return check_file(path, entry, progress)


def _adopt(entry: ModelEntry, progress: Progress) -> Path | None:
    """Accept a complete file without a record under the final name, such as one copied there by hand."""
    path = entry_folder(entry) / entry.file
    known = bool(entry.sha256) or entry.size is not None
    if not entry.file or not known or not path.is_file():
        return None
    try:
        return write_record(entry, [check_file(path, entry, progress)])
    except CatalogueError:
        # Another file: the download replaces it.
        return None
