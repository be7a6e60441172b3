"""Results of rows as plain data: the lines of an output.

Keys of a result: id, index (position in the input, from 0), text, finish_reason, usage (per model: prompt,
generated and decoded tokens), summary (the metrics of `Summary.as_dict`, and calibrated), timings,
tokens_per_second, settings (of the run), row_settings (the row's own, if any), models (name, SHA-256 and
prompt format of each), run (id of the run), row (digest of the request), raw (true if text was continued
without a prompt format), loop (a repetition at the end of the text, or None), steps (if requested), error
(None, or kind and message; text is then empty or missing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from blendin_local.batch.loops import find_loop
from blendin_local.engine.steps import Step
from blendin_local.presentation.reply_json import figures_as_dict, step_as_dict

if TYPE_CHECKING:
    from blendin_local.batch.rows import BadRow, Row
    from blendin_local.batch.run_manifest import RunManifest
    from blendin_local.engine.response import Response

__all__ = ["ErrorKind", "Result", "RowResult", "answered", "failed"]

Result = dict[str, Any]

ErrorKind = Literal["bad row", "duplicate id", "too long", "model", "worker lost"]


@dataclass(frozen=True, slots=True)
class RowResult:
    """Typed access to a result. document: the line of the output."""

    document: Result

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def index(self) -> int:
        """Position of the row in the input, from 0."""
        return int(self.document["index"])

    @property
    def text(self) -> str | None:
        """The answer; None if the row failed."""
        return self.document["text"]  # type: ignore[no-any-return]

    @property
    def finish_reason(self) -> str | None:
        return self.document["finish_reason"]  # type: ignore[no-any-return]

    @property
    def error(self) -> str | None:
        """The error message of a failed row, one sentence; None if it was answered."""
        error = self.document["error"]
        return None if error is None else str(error["message"])

    @property
    def summary(self) -> Mapping[str, Any]:
        """The reliability figures of the answer; empty if the row failed."""
        return self.document.get("summary") or {}

    def to_dict(self) -> Result:
        """The line that `blendin generate --input` writes."""
        return self.document


def answered(row: Row, response: Response, run: RunManifest, steps: Sequence[Step] | None = None) -> Result:
    """Return the result of a finished response, with a record of each of the `steps`, if given."""
    loop = find_loop(response.text)
    result = {
        **_beginning(row),
        "text": response.text,
        **({"reasoning": response.reasoning.strip()} if response.summary.thinking else {}),
        "finish_reason": response.finish_reason,
        **figures_as_dict(response.request.prompt_tokens, response.summary, run.calibrated),
        **_shared(run),
        "row": row.digest,
        "loop": asdict(loop) if loop else None,
        "error": None,
    }
    if row.own:
        result["row_settings"] = dict(row.own)
    if steps is not None:
        result["steps"] = [step_as_dict(step) for step in steps]
    return result


def failed(row: Row | BadRow, kind: ErrorKind, message: str, run: RunManifest) -> Result:
    """Return the result of a row without an answer. message: one sentence."""
    digest = getattr(row, "digest", None)
    return {
        **_beginning(row),
        "text": None,
        "finish_reason": None,
        **_shared(run),
        "row": digest,
        "error": {"kind": kind, "message": message, "where": row.where},
    }


def _beginning(row: Row | BadRow) -> Result:
    # Every output line begins with the id, by which the file is recognized.
    return {"id": row.id, "index": row.index} | ({"raw": True} if getattr(row, "raw", False) else {})


def _shared(run: RunManifest) -> Result:
    return {"settings": run.settings, "models": run.models, "run": run.run_id}
