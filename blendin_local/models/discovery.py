"""Find GGUF files that other programs keep on this machine, and suggest pairs of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendin_local.errors import ModelError
from blendin_local.files import hub_cache_dir, local_path, models_dir, read_json, real_path
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models.compatibility import same_vocabulary
from blendin_local.models.families import family_of

__all__ = ["LocalModel", "PairSuggestion", "scan", "suggest_pairs"]

_LATER_PART = re.compile(r".+-(?!00001)\d{5}-of-\d{5}\.gguf")
_INSTRUCT = re.compile(r"(?i)(?:^|[^a-z])(instruct|chat|it|sft|dpo|rlhf|assistant|hermes|tulu)(?:[^a-z]|$)")
_PRETRAINED = re.compile(r"(?i)(?:^|[^a-z])(base|pt|pretrained)(?:[^a-z]|$)")
# A guide that is nearly as large as the base costs nearly as much.
_LARGEST_GUIDE = 0.8


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One model file on this machine.

    name: its name in the program that keeps it. place: that program, or the folder. header: None if the file
    cannot be read. problem: why the model cannot be used, or "".
    """

    name: str
    path: Path
    place: str
    size_bytes: int
    header: GgufHeader | None = None
    problem: str = ""

    @property
    def instruct(self) -> bool:
        """Whether the model seems to be instruction-tuned, by its names and chat template."""
        names = f"{self.name} {self.path.name} {self.header.name if self.header else ''}"
        if _INSTRUCT.search(names):
            return True
        # Pretrained models of some families carry a chat template too.
        return bool(self.header and self.header.chat_template) and not _PRETRAINED.search(names)

    @property
    def family(self) -> str:
        """The family of the model, such as "llama"; "" where the file cannot be read."""
        return family_of(self.header, self.name) if self.header else ""


@dataclass(frozen=True, slots=True)
class PairSuggestion:
    """A suggested pair. reasons: short phrases."""

    base: LocalModel
    guide: LocalModel
    reasons: tuple[str, ...]
    same_vocabulary: bool


def scan(
    folders: Iterable[str | os.PathLike[str]] = (), *, progress: Callable[[Path], None] | None = None
) -> Iterator[LocalModel]:
    """Yield the GGUF models in the folders of known programs and in `folders`, each as it is read.

    A file shared by several programs appears once, a split model as its first part. progress: called with
    each file before it is read. Raises ModelError for a folder that does not exist.
    """
    seen: set[Path] = set()
    for place, name, path in _candidates([local_path(folder) for folder in folders]):
        try:
            real, size = real_path(path), path.stat().st_size
        except OSError:
            continue
        if real in seen:
            continue
        seen.add(real)
        if progress:
            progress(path)
        yield _read(place, name, path, size)


def suggest_pairs(found: Iterable[LocalModel], limit: int = 5) -> list[PairSuggestion]:
    """Suggest pairs of a larger base and a smaller instruction-tuned guide, the best first."""
    usable = [(each, each.header) for each in found if each.header is not None and not each.problem]
    rated = []
    for base, base_header in usable:
        for guide, guide_header in usable:
            if guide.instruct and 0 < guide_header.n_params <= _LARGEST_GUIDE * base_header.n_params:
                rated.append(_rate(base, base_header, guide, guide_header))
    rated.sort(key=lambda pair: pair[0], reverse=True)
    best: dict[object, PairSuggestion] = {}
    for _, each in rated:
        # Further quantizations of the same two models are redundant.
        best.setdefault((_model(each.base), _model(each.guide)), each)
    return list(best.values())[:limit]


def _model(found: LocalModel) -> object:
    return found.header and (found.family, found.header.n_params, found.header.fingerprint)


def _rate(
    base: LocalModel, base_header: GgufHeader, guide: LocalModel, guide_header: GgufHeader
) -> tuple[tuple[int, int], PairSuggestion]:
    same = same_vocabulary(base_header, guide_header)
    family = base.family == guide.family
    share = guide_header.n_params / base_header.n_params
    reasons = (
        "same vocabulary" if same else "vocabularies are mapped by bytes",
        f"both {base.family}" if family else f"{base.family} and {guide.family}",
        "the base is instruction-tuned too" if base.instruct else "the base is only pretrained",
        f"the guide has {share:.0%} of its parameters",
    )
    points = 4 * same + 2 * family + 2 * (not base.instruct) + (share <= 0.5)
    return (points, base_header.n_params), PairSuggestion(base, guide, reasons, same)


def _read(place: str, name: str, path: Path, size: int) -> LocalModel:
    if "mmproj" in name.lower():
        return LocalModel(name, path, place, size, problem="a projector for images or sound")
    try:
        header = read_header(path)
    except ModelError as error:
        return LocalModel(name, path, place, size, problem=str(error).replace(f"{path} ", "").rstrip("."))
    return LocalModel(name, path, place, header.size_bytes, header, header.unusable)


_Candidate = tuple[str, str, Path]
"""(place, name, file), before the file is read."""


def _candidates(folders: list[Path]) -> Iterator[_Candidate]:
    for folder in folders:
        if not os.path.isdir(folder):
            what = "is no folder" if os.path.lexists(folder) else "does not exist"
            raise ModelError(f"The folder {folder} {what}.")
    for place, folder in [
        ("blendin", models_dir()),
        ("Hugging Face cache", hub_cache_dir()),
        *(("LM Studio", folder) for folder in _lm_studio_folders()),
        *(("llama.cpp", folder) for folder in _llama_cpp_folders()),
    ]:
        yield from ((place, path.stem, path) for path in _ggufs(folder))
    for folder in _ollama_folders():
        yield from _ollama_models(folder)
    for folder in folders:
        yield from ((str(folder), path.stem, path) for path in _ggufs(folder))


def _ggufs(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".gguf") and not name.startswith(".") and not _LATER_PART.fullmatch(name):
                yield Path(root, name)


def _lm_studio_folders() -> list[Path]:
    home = Path.home()
    return [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]


def _llama_cpp_folders() -> list[Path]:
    if folder := os.environ.get("LLAMA_CACHE"):
        return [local_path(folder)]
    if sys.platform == "darwin":
        return [Path.home() / "Library" / "Caches" / "llama.cpp"]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [local_path(cache) / "llama.cpp"]


def _ollama_folders() -> list[Path]:
    if folder := os.environ.get("OLLAMA_MODELS"):
        return [local_path(folder)]
    return [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def _ollama_models(folder: Path) -> Iterator[_Candidate]:
    """Ollama names files by their checksums, and lists them in manifests named after the models."""
    manifests = folder / "manifests"
    for root, folders, names in os.walk(manifests):
        folders.sort()
        for tag in sorted(names):
            manifest = Path(root, tag)
            for kind, blob in _ollama_layers(manifest, folder / "blobs"):
                name = _ollama_name(manifest.relative_to(manifests).parts)
                yield "Ollama", f"{name} (mmproj)" if kind == "projector" else name, blob


def _ollama_layers(manifest: Path, blobs: Path) -> Iterator[tuple[str, Path]]:
    try:
        layers: list[dict[str, Any]] = read_json(manifest)["layers"]
        for layer in layers:
            kind = layer["mediaType"].rpartition(".")[2]
            if kind in ("model", "projector"):
                yield kind, blobs / layer["digest"].replace(":", "-")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # A foreign file, or a manifest of a newer format.
        return


def _ollama_name(parts: tuple[str, ...]) -> str:
    """Return a manifest's path as a model name: ("registry", "library", "llama3.2", "1b") is llama3.2:1b."""
    *place, model, tag = parts
    shown = place[1:] if place and place[0].startswith("registry.") else place
    if shown == ["library"]:
        shown = []
    return f"{'/'.join([*shown, model])}:{tag}"
