"""Describe the settings and models that all rows of a run share, and compare them with an earlier run.

Every line of an output contains both as plain data, so that a resumed job can verify that it matches. Speed
settings (parallel sequences, threads, batch size) and file locations are not part of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from blendin_local import __version__
from blendin_local.engine.prompts import PromptFormat
from blendin_local.models.checksums import HashProgress, file_digest
from blendin_local.safe_text import sanitize

if TYPE_CHECKING:
    from blendin_local.formats import Formats
    from blendin_local.llamacpp.header import GgufHeader
    from blendin_local.models.entries import Curve
    from blendin_local.models.loading import PairFiles
    from blendin_local.settings import GenerationSettings, ModelOptions

__all__ = ["DECIDING_OPTIONS", "RunManifest", "describe_run"]

DECIDING_OPTIONS = ("kv_type", "flash_attention", "swa_full")
"""Fields of `ModelOptions` that may change an answer by more than rounding.

Not n_ctx: a longer context changes no answer that fitted, and lets over-long rows be retried.
"""

_FILE, _FORMAT, _CURVE = _PARTS = (("sha256",), ("format", "sha256"), ("calibration",))
"""Key paths of a model's data that determine answers: not its name, nor the format's."""

_LONGEST = 40
_ABSENT = object()


@dataclass(frozen=True)
class RunManifest:
    """Settings and models of a run as plain data that survives JSON unchanged.

    settings: blend, sampling, max_tokens, seed and stop as in `GenerationSettings`; system; options, the
    `DECIDING_OPTIONS`; base_options and guide_options, those that one model has otherwise, if any; output,
    with format, steps (whether they are recorded) and candidates; versions of the programs; date, only if a
    prompt format shows it. models: for "base" and "guide" name, sha256 of the file, format (name and sha256
    of the prompt format) and calibration (digest of its curve, or None).
    """

    settings: dict[str, Any]
    models: dict[str, dict[str, Any]]

    @property
    def calibrated(self) -> bool:
        return all(model["calibration"] for model in self.models.values())

    @property
    def date(self) -> datetime | None:
        """The date shown in prompts; None if they show none."""
        return _read_date(self.settings)

    @property
    def versions(self) -> dict[str, str]:
        return dict(self.settings["versions"])

    @property
    def with_steps(self) -> bool:
        return bool(self.settings["output"]["steps"])

    @property
    def candidates(self) -> int:
        return int(self.settings["output"]["candidates"])

    @property
    def output_format(self) -> str:
        """ "jsonl", or "openai" for lines of OpenAI's batch format."""
        return str(self.settings["output"]["format"])

    @cached_property
    def run_id(self) -> str:
        """Sixteen hexadecimal digits, equal for two runs only if these give the same answers."""
        models = {role: [_at(model, *part) for part in _PARTS] for role, model in self.models.items()}
        return _digest([sorted(_leaves(self.settings).items()), models])[:16]

    def differences(self, earlier: Mapping[str, Any]) -> list[str]:
        """Describe the differences to the run that wrote a line, each like "--gamma is 0.6 and was 0.4"."""
        written = earlier.get("settings")
        now, was = _leaves(self.settings), _leaves(written if isinstance(written, Mapping) else {})
        found = [
            f"{_name_setting(path)} is {_format_value(path, now)} and was {_format_value(path, was)}"
            for path in {**now, **was}
            if now.get(path, _ABSENT) != was.get(path, _ABSENT)
        ]
        for role, model in self.models.items():
            found += _model_differences(role, model, _at(earlier.get("models"), role))
        return found or ["its lines were written by another version of this program"]


def describe_run(
    settings: GenerationSettings,
    files: PairFiles,
    formats: Formats,
    options: ModelOptions,
    *,
    system: str = "",
    with_steps: bool = False,
    candidates: int = 0,
    output_format: str = "jsonl",
    earlier: Mapping[str, Any] | None = None,
    progress: HashProgress | None = None,
) -> RunManifest:
    """Build the manifest of a run.

    earlier: a result of the run to be continued, whose date is kept. Model files are hashed if their
    checksums are not cached, with `progress`. Raises ModelError for an unreadable file, PromptError for a
    format that does not fit a model.
    """
    from blendin_local.llamacpp.library import version

    curves = files.entry.calibration or {}

    forms = files.prompt_formats(formats)
    shared = settings.to_dict(thinks=any(form.marks for form in forms.values())) | {
        "system": system,
        **_deciding_options(files.options(options)),
        "output": {"format": output_format, "steps": with_steps, "candidates": candidates},
        "versions": {"blendin_local": __version__, "llama_cpp_python": version},
    }
    if any(form.shows_date for form in forms.values()):
        date = _read_date(earlier.get("settings") if earlier else None) or datetime.now().replace(
            microsecond=0
        )
        shared["date"] = date.isoformat()
    models: dict[str, dict[str, Any]] = {
        role: _model(header, form, curves.get(role), progress)
        for (role, form), header in zip(forms.items(), (files.base, files.guide), strict=True)
    }
    # Through JSON, as in a line that was read: lists instead of tuples.
    return RunManifest(json.loads(json.dumps(shared)), models)


def _deciding_options(options: ModelOptions) -> dict[str, dict[str, Any]]:
    """Return the deciding options of both models, and by role those that one model has instead."""
    both, base, guide = (
        {name: getattr(each, name) for name in DECIDING_OPTIONS}
        for each in (options, options.of("base"), options.of("guide"))
    )
    if base == guide:
        return {"options": base}
    own = {
        f"{role}_options": {name: value for name, value in opened.items() if value != both[name]}
        for role, opened in (("base", base), ("guide", guide))
    }
    return {"options": both} | {key: values for key, values in own.items() if values}


def _model(
    header: GgufHeader, form: PromptFormat, curve: Curve | None, progress: HashProgress | None
) -> dict[str, Any]:
    form_parts = [form.template, form.stops, form.bare, *filter(None, [form.additions])]
    return {
        "name": header.label,
        "sha256": file_digest(header.path, progress),
        "format": {"name": form.name, "sha256": _digest(form_parts)[:12]},
        "calibration": _digest(curve)[:12] if curve else None,
    }


def _read_date(settings: object) -> datetime | None:
    with suppress(TypeError, ValueError):
        return datetime.fromisoformat(_at(settings, "date"))
    return None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


Keys = tuple[str, ...]


def _leaves(content: object, path: Keys = ()) -> dict[Keys, Any]:
    """Flatten nested mappings to values by key path."""
    if isinstance(content, Mapping):
        below = (_leaves(value, (*path, str(key))) for key, value in content.items())
        return {path: value for leaves in below for path, value in leaves.items()}
    # 1.0 and 1 are the same value of a setting.
    whole = isinstance(content, float) and content.is_integer()
    return {path: int(content) if whole else content}  # type: ignore[call-overload]


def _at(content: object, *path: str) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _name_setting(path: Keys) -> str:
    """Return the flag of a setting, or a phrase for data without one."""
    match path:
        case ("versions", program):
            return f"the version of {sanitize(program)}"
        case ("base_options" | "guide_options" as group, option):
            return f"--{group.removesuffix('_options')}-set {sanitize(option)}"
        case ("output", "format"):
            return "the format of the output"
        case ("date",):
            return "the date in its prompts"
    return "--" + sanitize(path[-1]).replace("_", "-")


def _format_value(path: Keys, values: Mapping[Keys, Any]) -> str:
    value = values.get(path, _ABSENT)
    if value is _ABSENT:
        return "not set" if path[0] in ("base_options", "guide_options") else "not known"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ("", []):
        return "not set"
    if path[-1:] == ("system",):
        value = [value]
    text = sanitize(", ".join(map(repr, value)) if isinstance(value, list) else str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _model_differences(role: str, now: object, was: object) -> list[str]:
    changed = [part for part in _PARTS if _at(now, *part) != _at(was, *part)]
    if _FILE in changed:
        # Another file has its own template and curve, so those need no mention.
        return [f"the {role} is another file: {_file(now)}, and was {_file(was)}"]
    found = []
    if _FORMAT in changed:
        names = [sanitize(str(_at(model, "format", "name"))) for model in (now, was)]
        found.append(
            f"the template of --{role}-format {names[0]} is another one"
            if names[0] == names[1]
            else f"--{role}-format is {names[0]} and was {names[1]}"
        )
    if _CURVE in changed:
        found.append(f"the calibration of the {role} is another one, because the pair was tuned in between")
    return found


def _file(model: object) -> str:
    name, sha256 = (sanitize(str(_at(model, key) or "not known")) for key in ("name", "sha256"))
    return f"{name} (SHA-256 {sha256[:12]})"
