"""Download models from the Hugging Face hub: `hf:OWNER/REPO:FILE`; FILE may be a pattern like `*Q4_K_M.gguf`.

huggingface_hub resolves the file, its checksum and the user's token. The transfer is our own, because that
package (2.4 too) deletes an interrupted download. A file in its cache is used in place.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from blendin_local.errors import CatalogueError
from blendin_local.files import hub_cache_dir, is_file_name
from blendin_local.models.download.store import Pulled, check_file
from blendin_local.models.download.transfer import Progress, Remote, download

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry

_SOURCE = re.compile(r"hf:(?P<repo>[^/:@\s]+/[^/:@\s]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<file>.+))?")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Source(NamedTuple):
    """A repository of the hub, with a file name or pattern in it, or ""."""

    repo: str
    revision: str
    file: str


def parse(source: str) -> Source:
    """Parse an `hf:` source. Raises CatalogueError if it is malformed."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise CatalogueError(f"{source} is not a source on the hub: write hf:OWNER/REPO:FILE.gguf.")
    return Source(match["repo"], match["revision"] or "main", match["file"] or "")


def fetch(entry: ModelEntry, folder: Path, progress: Progress, force: bool) -> list[Pulled]:
    """Download the file of an `hf:` source, or all files of a split model."""
    source = parse(entry.sources[0])
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise CatalogueError(
            f'{entry.name} comes from the Hugging Face hub: run `pip install "blendin-local[hf]"` first.'
        ) from error
    hub = _Hub(huggingface_hub, source)
    files = [source.file] if _is_plain(source.file) else hub.matching_files()
    pulled = []
    for name in files:
        if not force and (cached := hub.find_cached(name)):
            pulled.append(check_file(cached, entry, progress))
            continue
        remote = hub.locate(name, entry)
        target = folder / (entry.file if entry.file and len(files) == 1 else name.rpartition("/")[2])
        if not is_file_name(target.name):
            raise CatalogueError(f"hf:{source.repo} has a file whose name cannot be used here: {name!r}.")
        pulled.append(Pulled(target, download(remote, target, progress)))
    return pulled


def _is_plain(file: str) -> bool:
    """Return whether a name is of one file, so that the repository need not be listed."""
    return bool(file) and not set("*?[") & set(file) and not _PART.fullmatch(file)


class _Hub:
    """One repository of the hub."""

    def __init__(self, package: Any, source: Source) -> None:
        self._package = package
        self._source = source
        # Read here, because the package reads it only once, on import.
        self._endpoint = (os.environ.get("HF_ENDPOINT") or package.constants.ENDPOINT).rstrip("/")

    def matching_files(self) -> list[str]:
        """Return the file that matches the source's pattern, or all parts of a split model in order."""
        ggufs = [
            name for name in self._list() if name.lower().endswith(".gguf") and "mmproj" not in name.lower()
        ]
        pattern = self._source.file or "*"
        found = [name for name in ggufs if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
        models = {(match[1], match[3]) if (match := _PART.fullmatch(name)) else name for name in found}
        if len(models) == 1:
            model = models.pop()
            if isinstance(model, str):
                return found
            return [f"{model[0]}-{i:05d}-of-{model[1]}.gguf" for i in range(1, int(model[1]) + 1)]
        if found:
            raise CatalogueError(
                f"hf:{self._source.repo} has {len(models)} files that match {pattern}: name one, such as "
                f"hf:{self._source.repo}:{sorted(found)[0]}."
            )
        raise CatalogueError(self._no_such_file(pattern, ggufs))

    def find_cached(self, name: str) -> Path | None:
        """Return the file in huggingface_hub's cache."""
        try:
            path = self._package.try_to_load_from_cache(
                self._source.repo, name, cache_dir=str(hub_cache_dir()), revision=self._source.revision
            )
        except ValueError:
            # An invalid repository name; the request for the file reports the reason.
            return None
        return Path(path) if isinstance(path, str) and Path(path).is_file() else None

    def locate(self, name: str, entry: ModelEntry) -> Remote:
        """URL, size and checksum of the file."""
        with self._errors(name):
            url = self._package.hf_hub_url(
                self._source.repo, name, revision=self._source.revision, endpoint=self._endpoint
            )
            metadata = self._package.get_hf_file_metadata(url, endpoint=self._endpoint)
            headers = self._package.utils.build_hf_headers()
        token = headers.get("authorization")
        tag = metadata.etag or ""
        # A large file's etag is its SHA-256.
        sha256 = entry.sha256 or (tag if _SHA256.fullmatch(tag) else "")
        return Remote(
            url=url,
            what=f"hf:{self._source.repo}:{name}",
            identity=tag or metadata.commit_hash or "",
            size=metadata.size or entry.size,
            sha256=sha256,
            headers={"Authorization": token} if token else {},
        )

    def _list(self) -> list[str]:
        with self._errors(self._source.file):
            api = self._package.HfApi(endpoint=self._endpoint)
            names: list[str] = api.list_repo_files(self._source.repo, revision=self._source.revision)
        return names

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Convert all errors of the package to CatalogueError."""
        try:
            yield
        # The package's HTTP library, and its errors, differ between versions.
        except Exception as error:
            raise CatalogueError(self._sentence(error, name)) from error

    def _sentence(self, error: Exception, name: str) -> str:
        errors, repo, hub = self._package.errors, self._source.repo, self._endpoint
        match error:
            case errors.GatedRepoError():
                return (
                    f"The licence of {repo} must be accepted first, on {hub}/{repo}; then log in with "
                    "`hf auth login`, or set HF_TOKEN, and pull again."
                )
            case errors.RepositoryNotFoundError():
                return (
                    f"The hub has no model {repo} that you may access: check the name, or log in "
                    "(`hf auth login`)."
                )
            case errors.RevisionNotFoundError():
                return f"{repo} has no revision {self._source.revision} on the hub."
            case errors.EntryNotFoundError():
                return self._no_such_file(name, self._list())
            case errors.OfflineModeIsEnabled():
                return f"{repo} is not on this machine, and HF_HUB_OFFLINE forbids downloading it."
            case errors.HFValidationError():
                return f"{repo} is not a valid repository name (it must be OWNER/REPO)."
            case errors.HfHubHTTPError():
                code = getattr(error.response, "status_code", "?")
                return f"{hub} answers with error {code} for {repo}: try later."
        kind = type(error).__name__
        return f"{hub} cannot be reached ({kind}): check your connection, then pull {repo} again."

    def _no_such_file(self, name: str, names: list[str]) -> str:
        close = (
            get_close_matches(name, names, n=3, cutoff=0.3)
            or [each for each in names if each.endswith(".gguf")][:3]
        )
        has = f"; it has {', '.join(close)}" if close else ""
        return f"hf:{self._source.repo} has no file {name}{has}."
