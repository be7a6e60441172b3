"""Try in a process of its own whether llama.cpp survives a model file that this machine has not seen before.

llama.cpp asserts what it expects of a file: a damaged or unusual one ends the process, or makes it grow for
ever. Such a file is loaded once in a child process, which also decodes and tokenizes a little. What comes of
it is kept by the file's content, so that a known file costs a look at the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import psutil

from blendin_local.errors import ModelError
from blendin_local.files import cache_dir, read_json, write_text
from blendin_local.llamacpp.gguf_reader import GgufFile
from blendin_local.llamacpp.header import GgufHeader, model_files
from blendin_local.llamacpp.library import LoadCancelled, version

__all__ = ["TRUST_VARIABLE", "try_file", "vouch_for"]

TRUST_VARIABLE = "BLENDIN_TRUST_FILES"
"""Environment variable that, set to 1, leaves out the trials."""

_PROGRAM = ("-m", "blendin_local.llamacpp.trial_load")
_LOOK_INTERVAL_S = 0.02
_SHORTEST_S, _BYTES_PER_S = 20.0, 50e6
_SPARE_MEMORY = 768 << 20
_CRASHES = {"SIGABRT": "an assertion fails", "SIGFPE": "a division by zero", "SIGSEGV": "a memory fault"}


def try_file(header: GgufHeader, wanted: Callable[[], bool] = lambda: True) -> None:
    """Try a file that is not known yet.

    Raises ModelError if llama.cpp does not survive it, LoadCancelled once `wanted` returns False.
    """
    if os.environ.get(TRUST_VARIABLE) == "1":
        return
    seen = _seen_file(header)
    verdict = _read(seen)
    if verdict is None:
        kept = _content_file(header)
        verdict = _read(kept)
        if verdict is None:
            verdict = _verdict(header, wanted)
            _keep(kept, verdict)
        _keep(seen, verdict)
    if verdict:
        raise ModelError(
            f"{header.path} cannot be used: llama.cpp does not survive loading it ({verdict}). The file "
            "is damaged, or this version of llama.cpp has a fault with it: get the model again, or another "
            "quantization of it."
        )


def vouch_for(header: GgufHeader) -> None:
    """Note that a file needs no trial, because its checksum is that of the catalogue."""
    _keep(_seen_file(header), "")


def _verdict(header: GgufHeader, wanted: Callable[[], bool]) -> str:
    """Return what kills a process that uses the file, or "". Raises ModelError if it takes too long."""
    child = subprocess.Popen(
        [sys.executable, "-P", *_PROGRAM, str(header.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    most_memory = header.size_bytes * 6 // 5 + _SPARE_MEMORY
    most_s = _SHORTEST_S + header.size_bytes / _BYTES_PER_S
    end = monotonic() + most_s
    try:
        while child.poll() is None:
            sleep(_LOOK_INTERVAL_S)
            if not wanted():
                raise LoadCancelled(f"Trying {header.path.name} was cancelled.")
            if _own_memory(child.pid) > most_memory:
                return "it takes more and more memory"
            if monotonic() > end:
                raise ModelError(
                    f"{header.path} did not load within {most_s:.0f} s: it is damaged, or this machine is "
                    f"busy. Try again, or set {TRUST_VARIABLE}=1 to load it without a trial."
                )
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode >= 0:
        return ""  # it was loaded, or llama.cpp has a reason, which loading it tells
    name = signal.Signals(-child.returncode).name
    return _CRASHES.get(name, name)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GGML_NO_BACKTRACE": "1", TRUST_VARIABLE: "1"}


def _own_memory(pid: int) -> int:
    """Return a process's memory in bytes, without the pages of files, which other processes share."""
    with suppress(psutil.Error):
        found = psutil.Process(pid).memory_info()
        return int(found.rss - getattr(found, "shared", 0))
    return 0


def _seen_file(header: GgufHeader) -> Path:
    parts: Iterator[object] = (
        (str(part.absolute()), status.st_size, status.st_mtime_ns, status.st_ino)
        for part in model_files(header.path)
        for status in [part.stat()]
    )
    return _file("seen", *parts)


def _content_file(header: GgufHeader) -> Path:
    """Return the file of a verdict by content: what llama.cpp does depends on the header and the sizes."""
    contents: list[object] = []
    for part in model_files(header.path):
        with GgufFile(part) as file, part.open("rb") as raw:
            contents += [file.size, hashlib.sha256(raw.read(file.data_offset)).hexdigest()]
    return _file("content", *contents)


def _file(kind: str, *parts: object) -> Path:
    key = hashlib.sha256(json.dumps([version, *parts]).encode()).hexdigest()
    return cache_dir() / "trials" / f"{kind}-{key[:32]}.json"


def _read(path: Path) -> str | None:
    """Return a kept verdict; None if there is none that can be read."""
    with suppress(OSError, ValueError):
        verdict = read_json(path)
        return verdict if isinstance(verdict, str) else None
    return None


def _keep(path: Path, verdict: str) -> None:
    with suppress(OSError):  # without it the trial is made again
        write_text(path, json.dumps(verdict))
