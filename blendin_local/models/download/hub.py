"""Models from the Hugging Face hub: `hf:OWNER/REPO:FILE`, where FILE may be a pattern such as `*Q4_K_M.gguf`.

huggingface_hub finds the file, its checksum and the user's token. The bytes are fetched here, because
that package throws a download away when it is broken off. A file that its cache already holds is used
where it lies.
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
from blendin_local.files import hub_cache_dir
from blendin_local.models.download.store import Pulled, checked
from blendin_local.models.download.transfer import Progress, Remote, download

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry

_SOURCE = re.compile(r"hf:(?P<repo>[^/:@\s]+/[^/:@\s]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<file>.+))?")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Source(NamedTuple):
    """A file, or a pattern of file names, in a repository of the hub; `file` is "" where none is given."""

    repo: str
    revision: str
    file: str


def parse(source: str) -> Source:
    """Take an `hf:` source apart. Raises CatalogueError if it is none."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise CatalogueError(f"{source} is no source on the hub: write hf:OWNER/REPO:FILE.gguf.")
    return Source(match["repo"], match["revision"] or "main", match["file"] or "")


def fetch(entry: ModelEntry, folder: Path, progress: Progress, force: bool) -> list[Pulled]:
    """Bring the file of an `hf:` source here, or all files if it is the first part of a split model."""
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
        if not force and (cached := hub.cached(name)):
            pulled.append(checked(cached, entry, progress))
            continue
        remote = hub.locate(name, entry)
        target = folder / (entry.file if entry.file and len(files) == 1 else Path(name).name)
        pulled.append(Pulled(target, download(remote, target, progress)))
    return pulled


def _is_plain(file: str) -> bool:
    """Whether it names one file, so that the hub need not be asked what there is."""
    return bool(file) and not set("*?[") & set(file) and not _PART.fullmatch(file)


class _Hub:
    """One repository of the hub."""

    def __init__(self, package: Any, source: Source) -> None:
        self._package = package
        self._source = source
        # Asked here, because the package reads it only once, when it is imported.
        self._endpoint = (os.environ.get("HF_ENDPOINT") or package.constants.ENDPOINT).rstrip("/")

    def matching_files(self) -> list[str]:
        """The one file that the source's pattern matches; of a split model, all its parts in order."""
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

    def cached(self, name: str) -> Path | None:
        """The file in the cache of the hub's own tools."""
        try:
            path = self._package.try_to_load_from_cache(
                self._source.repo, name, cache_dir=str(hub_cache_dir()), revision=self._source.revision
            )
        except ValueError:
            # The repository's name breaks the hub's rules; asking the hub for the file gives the reason.
            return None
        return Path(path) if isinstance(path, str) and Path(path).is_file() else None

    def locate(self, name: str, entry: ModelEntry) -> Remote:
        """Where the file can be fetched, and what it must be."""
        with self._errors(name):
            url = self._package.hf_hub_url(
                self._source.repo, name, revision=self._source.revision, endpoint=self._endpoint
            )
            metadata = self._package.get_hf_file_metadata(url, endpoint=self._endpoint)
            headers = self._package.utils.build_hf_headers()
        token = headers.get("authorization")
        tag = metadata.etag or ""
        # The tag of a large file is its checksum.
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
        """Turn whatever the package raises into one sentence."""
        errors, repo = self._package.errors, self._source.repo
        try:
            yield
        except errors.GatedRepoError as error:
            raise CatalogueError(
                f"The licence of {repo} must be accepted first, on {self._endpoint}/{repo}; then log in with "
                "`hf auth login`, or set HF_TOKEN, and pull again."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise CatalogueError(
                f"The hub has no model {repo} that you may see: check the name, or log in (`hf auth login`)."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise CatalogueError(f"{repo} has no revision {self._source.revision} on the hub.") from error
        except errors.EntryNotFoundError as error:
            raise CatalogueError(self._no_such_file(name, self._list())) from error
        except errors.OfflineModeIsEnabled as error:
            raise CatalogueError(
                f"{repo} is not here yet, and HF_HUB_OFFLINE forbids to ask for it."
            ) from error
        except errors.HFValidationError as error:
            raise CatalogueError(
                f"{repo} is no name of a model on the hub (it must be OWNER/REPO)."
            ) from error
        except errors.HfHubHTTPError as error:
            code = getattr(error.response, "status_code", "?")
            raise CatalogueError(
                f"{self._endpoint} answers with error {code} for {repo}: try later."
            ) from error
        # The package's HTTP library, and so its errors, differ from version to version.
        except Exception as error:
            raise CatalogueError(
                f"{self._endpoint} cannot be reached ({type(error).__name__}): check your connection, then "
                f"pull {repo} again."
            ) from error

    def _no_such_file(self, name: str, names: list[str]) -> str:
        close = (
            get_close_matches(name, names, n=3, cutoff=0.3)
            or [each for each in names if each.endswith(".gguf")][:3]
        )
        has = f"; it has {', '.join(close)}" if close else ""
        return f"hf:{self._source.repo} has no file {name}{has}."
