"""Write a conversation as a JSON document and read it back, without loss.

    {"format": "blendin conversation", "version": 1,
     "title": "...", "setup": {...}, "leaf": "id of the last turn of the current path, or null",
     "turns": [{"id", "parent", "role", "text", "created"}, ...]}

A reply also has: setup, finish_reason, error, forked_from, fork, dropped, models, calibrated (see `Turn`),
summary and timings (as in `blendin generate --json`, with the numbers of decoded tokens, and "kept", the
number of steps taken over from another reply), and steps (as with `--steps`). Bytes are written as text.
Bytes that are not UTF-8 are also written under "data_base64" of a step or "text_base64" of a candidate;
reading ignores their text, and all metrics that follow from the steps.
"""

from __future__ import annotations

import base64
import re
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from blendin_local.engine.steps import Candidate, Candidates, Step, Summary, Timings
from blendin_local.errors import HistoryError
from blendin_local.files import parse_json
from blendin_local.history.records import summarize
from blendin_local.history.tree import REPLY_FIELDS, Setup, StepsOf, Tree, Turn, ids_in_cycles
from blendin_local.history.validation import BASE64, InvalidValue, read, read_fields
from blendin_local.presentation.plain_data import to_json
from blendin_local.presentation.reply_json import step_as_dict
from blendin_local.safe_text import sanitize

__all__ = ["FORMAT", "VERSION", "as_json", "read_json"]

FORMAT = "blendin conversation"
VERSION = 1

_MESSAGE = ("id", "parent", "role", "text", "created")
_COUNTS = ("kept", "base_decoded", "guide_decoded")
"""Fields of a summary that do not follow from the steps."""
_SHARES = ("c_b", "c_g", "agreement", "alpha", "probability", "stop_mass")
_ROLES = ("base", "guide", "blend")
_SURROGATES = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which JSON can escape but UTF-8 cannot encode."""


# Writing


def as_json(title: str, setup: Setup, tree: Tree, steps_of: StepsOf = attrgetter("steps")) -> str:
    """Return the document of a conversation."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "setup": asdict(setup),
        "leaf": tree.leaf,
        "turns": [_turn_record(turn, steps_of) for turn in tree.turns.values()],
    }
    return _SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", to_json(document))


def _turn_record(turn: Turn, steps_of: StepsOf) -> dict[str, Any]:
    record = {name: getattr(turn, name) for name in _MESSAGE}
    if not turn.is_reply:
        return record
    summary = turn.summary
    return record | {
        "setup": turn.setup and asdict(turn.setup),
        **{name: getattr(turn, name) for name in REPLY_FIELDS},
        "summary": summary.as_dict() | {name: getattr(summary, name) for name in _COUNTS},
        "timings": asdict(summary.timings),
        "steps": [_step_record(step) for step in steps_of(turn)],
    }


def _step_record(step: Step) -> dict[str, Any]:
    record = step_as_dict(step)
    _keep_bytes(record, "data", step.data)
    for role in _ROLES if step.candidates else ():
        listed: tuple[Candidate, ...] = getattr(step.candidates, role)
        for each, candidate in zip(record["candidates"][role], listed, strict=True):
            each["outcome"] = candidate.outcome
            _keep_bytes(each, "text", candidate.data)
    return record


def _keep_bytes(record: dict[str, Any], name: str, data: bytes) -> None:
    if record[name].encode() != data:
        record[name + BASE64] = base64.b64encode(data).decode()


# Reading


def read_json(document: str, name: str = "This file") -> tuple[str, Setup, Tree]:
    """Return title, setup and tree of a document; unknown keys are ignored.

    name: the document's name in messages. Raises HistoryError for a foreign, newer or damaged document.
    """
    try:
        content = parse_json(document)
    except ValueError as error:
        raise HistoryError(f"{name} is not JSON: blendin reads conversations that it exported.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise HistoryError(f'{name} is not a conversation of blendin: it lacks "format": "{FORMAT}".')
    if content.get("version") != VERSION:
        version = sanitize(str(content.get("version")))[:20]
        raise HistoryError(f"{name} has version {version} of the format, not {VERSION}: update blendin.")
    try:
        title = read(str, content.get("title"), "title")
        setup = read(Setup, content.get("setup"), "setup")
        records = read(list[dict[str, Any]], content.get("turns"), "turns")
        turns = [_turn(record, f"turns[{i}]") for i, record in enumerate(records)]
        return title, setup, _tree(turns, read(str | None, content.get("leaf"), "leaf"))
    except InvalidValue as error:
        raise HistoryError(f"{name} is damaged: {sanitize(str(error))[:300]}.") from error


def _turn(record: dict[str, Any], where: str) -> Turn:
    turn = Turn(**read_fields(Turn, record, where, skipped=("summary", "steps")))
    if turn.is_reply:
        steps = read(list[dict[str, Any]], record.get("steps"), f"{where}.steps")
        turn.steps = [_step(step, f"{where}.steps[{i}]") for i, step in enumerate(steps)]
        turn.summary = _summary(turn, record, where)
    return turn


def _step(record: dict[str, Any], where: str) -> Step:
    found = read_fields(Step, record, where, skipped=("candidates",))
    for name in _SHARES:
        if (share := found.get(name)) is not None and not 0 <= share <= 1.001:
            raise InvalidValue(f"{where}.{name} is not between 0 and 1")
    lists = read(dict[str, list[dict[str, Any]]] | None, record.get("candidates"), f"{where}.candidates")
    if lists is not None:
        found["candidates"] = Candidates(
            *(_candidates(lists.get(role, []), f"{where}.candidates.{role}") for role in _ROLES)
        )
    return Step(**found)


def _candidates(records: list[dict[str, Any]], where: str) -> tuple[Candidate, ...]:
    keys = {"data": "text"}
    return tuple(
        Candidate(**read_fields(Candidate, record, f"{where}[{i}]", keys)) for i, record in enumerate(records)
    )


def _summary(turn: Turn, record: dict[str, Any], where: str) -> Summary:
    """Rebuild the summary from the steps, and the rest of it from the record."""
    counts = read(dict[str, Any], record.get("summary"), f"{where}.summary")
    kept, *decoded = (read(int, counts.get(name), f"{where}.summary.{name}") for name in _COUNTS)
    summary = summarize(turn.steps, kept)
    summary.base_decoded, summary.guide_decoded = decoded
    summary.finish_reason = turn.finish_reason
    summary.timings = read(Timings, record.get("timings"), f"{where}.timings")
    return summary


def _tree(turns: list[Turn], leaf: str | None) -> Tree:
    parents = {turn.id: turn.parent for turn in turns}
    if len(parents) < len(turns):
        raise InvalidValue("two turns have the same id")
    if any(id is not None and id not in parents for id in (*parents.values(), leaf)):
        raise InvalidValue("a turn refers to one that does not exist")
    if any(ids_in_cycles(parents)):
        raise InvalidValue("turns form a cycle")
    return Tree(turns, leaf)
