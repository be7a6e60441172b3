"""Runs and whole results of offline generation, made without a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blendin_local.batch.run_manifest import DECIDING_OPTIONS, RunManifest
from blendin_local.inputs.streams import lines_of, open_input
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

Result = dict[str, Any]


def run_of(*, output_format: str = "jsonl", **blend: Any) -> RunManifest:
    options = asdict(ModelOptions())
    settings = asdict(GenerationSettings(BlendSettings(**blend))) | {
        "system": "",
        "options": {name: options[name] for name in DECIDING_OPTIONS},
        "output": {"format": output_format, "steps": False, "candidates": 0},
        "versions": {"blendin_local": "0.1.0"},
    }
    model = {"sha256": "0" * 64, "format": {"name": "chat", "sha256": "1" * 12}, "calibration": None}
    models = {role: {"name": role, **model} for role in ("base", "guide")}
    return RunManifest(json.loads(json.dumps(settings)), models)


RUN = run_of()


def answer_of(number: int, text: str = "The tide.", run: RunManifest = RUN, id: str | None = None) -> Result:
    usage = {"prompt_tokens": 12, "generated_tokens": 20, "decoded_tokens": 31}
    return {
        "id": f"row-{number}" if id is None else id,
        "index": number - 1,
        "text": text,
        "finish_reason": "stop",
        "usage": {"base": usage, "guide": usage},
        "summary": {"steps": 20, "mean_reliability": 0.8, "calibrated": False},
        "settings": run.settings,
        "models": run.models,
        "run": run.run_id,
        "row": f"{number:016x}",
        "error": None,
    }


def failure_of(number: int, kind: str = "bad row", run: RunManifest = RUN, id: str | None = None) -> Result:
    error = {"kind": kind, "message": "This row has no prompt.", "where": f"line {number}"}
    return answer_of(number, run=run, id=id) | {
        "text": None,
        "finish_reason": None,
        "row": None,
        "error": error,
    }


def lines_in(path: Path | str) -> list[bytes]:
    """The lines of an output, which must all be whole."""
    with open_input(str(path)) as stream:
        lines = [line or b"" for line in lines_of(stream, None)]
    assert all(line.endswith(b"\n") for line in lines)
    return lines


def documents_in(path: Path | str) -> list[Any]:
    return [json.loads(line) for line in lines_in(path)]


def ids_in(path: Path | str) -> list[str]:
    return [document["id"] for document in documents_in(path)]


def written(path: Path, results: Iterable[Result], run: RunManifest = RUN) -> Path:
    """An output that holds these, by a run that ended."""
    from blendin_local.batch.output import open_output

    with open_output(str(path), run) as output:
        for result in results:
            assert output.write(result)
    return path
