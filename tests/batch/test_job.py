"""What of an input is answered, and that nothing which was read goes unanswered when the input ends badly."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.batch_commands import pair_in

from blendin_local.batch.id_index import IdIndex
from blendin_local.batch.job import Pending, UntilDamaged, check_unchanged, peek, write_answers
from blendin_local.batch.output import Output
from blendin_local.batch.read_ahead import read_ahead
from blendin_local.batch.reading import InputOptions, RowSource
from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row
from blendin_local.cli import main
from blendin_local.engine.prompts import Message
from blendin_local.errors import BatchError, InputError, ModelError
from blendin_local.inputs.streams import open_input
from blendin_local.settings import GenerationSettings

RUN = GenerationSettings()


def row(id: str, prompt: str = "Hi") -> Row:
    return Row(id, 0, "line 1", (Message("user", prompt),), RUN, {})


def damaged(rows: Iterable[Row]) -> Iterator[Row]:
    yield from rows
    raise InputError("The input is cut off.")


class SlowToAnswer:
    """Holds every row until there is no other."""

    active = 0

    def answer(self, rows: Iterable[Row | BadRow | None]) -> Iterator[Result]:
        under_way = [row for row in rows if row]
        yield from ({"id": row.id} for row in under_way)


@dataclass
class Written:
    """An output in memory."""

    ids: list[str] = field(default_factory=list)

    def write(self, result: Result) -> bool:
        self.ids.append(result["id"])
        return True


def answered(rows: Iterable[Row | BadRow | None]) -> list[str]:
    output = Written()
    first, rows = peek(rows, 3)
    list(write_answers(rows, SlowToAnswer(), cast(Output, output)))
    assert output.ids[:1] == [each.id for each in first[:1]]
    return output.ids


def noted(answers: dict[str, Row | BadRow | None]) -> IdIndex:
    """A index of an output that answers these rows; None: whatever they are, without a digest."""
    index = IdIndex()
    for id, asked in answers.items():
        index.add_answer(id, asked.digest if isinstance(asked, Row) else None)
    return index


@pytest.mark.parametrize("wait", [False, True], ids=["file", "pipe"])
def test_rows_before_a_damaged_place_are_answered_before_it_is_told(wait: bool) -> None:
    source: Iterable[Row | None] = damaged(row(id) for id in "abcde")
    with closing(IdIndex()) as index:
        pending = UntilDamaged(Pending(read_ahead(source) if wait else source, index, "out.jsonl"))
        assert pending.damage is None
        assert answered(pending) == [*"abcde"]
    assert str(pending.damage) == "The input is cut off."


def test_rows_before_a_row_that_was_changed_are_answered_before_it_is_told() -> None:
    with closing(noted({"c": row("c", "Hello")})) as index:
        pending = UntilDamaged(Pending([row(id) for id in "abcde"], index, "out.jsonl"))
        assert answered(pending) == ["a", "b"]
    assert "'c' (line 1) is a different request from the one that out.jsonl answers" in str(pending.damage)


def test_a_file_that_is_cut_off_has_all_its_rows_answered(tmp_path: Path) -> None:
    path = os.path.join(tmp_path, "in.jsonl.gz")
    lines = [json.dumps({"id": str(n), "prompt": os.urandom(20).hex()}) + "\n" for n in range(500)]
    with open(path, "wb") as file:
        file.write(gzip.compress("".join(lines).encode())[:-2000])
    with open_input(path) as stream, closing(IdIndex()) as index:
        rows = RowSource(stream, InputOptions(path)).rows(RUN, "")
        pending = UntilDamaged(Pending(rows, index, "out.jsonl"))
        ids = answered(pending)
    assert ids == [str(n) for n in range(len(ids))] and len(ids) > 300
    assert "cut off" in str(pending.damage)


@pytest.mark.slow
def test_a_job_answers_all_that_it_could_read_and_then_says_why_it_ends(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "prompt": os.urandom(60).hex()}) + "\n" for n in range(40)]
    whole = gzip.compress("".join(lines).encode())
    source, output = tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl"
    source.write_bytes(whole[:-400])
    command = ["generate", *pair_in(tmp_path), "-n", "2", "-i", str(source), "-o", str(output)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and "it was cut off" in result.stderr, result.output
    ids = {json.loads(line)["id"] for line in output.read_text().splitlines()}
    assert 20 < len(ids) < 40 and ids == set(map(str, range(len(ids))))
    # Again, with nothing new to read; and with all of it.
    assert CliRunner().invoke(main, command).exit_code == 2
    source.write_bytes(whole)
    assert CliRunner().invoke(main, command).exit_code == 0
    assert len(output.read_text().splitlines()) == 40


def test_nothing_but_damage_ends_the_rows_quietly() -> None:
    def failing() -> Iterator[Row]:
        yield row("a")
        raise ModelError("The model is gone.")

    rows = UntilDamaged(failing())
    with pytest.raises(ModelError):
        list(rows)
    assert rows.damage is None
    whole = UntilDamaged([row("a"), None])
    assert [each and each.id for each in whole] == ["a", None] and whole.damage is None


# Rows that were changed


def test_a_row_that_asks_something_else_is_found_before_anything_is_answered() -> None:
    rows = [row("a"), row("b", "changed"), row("c")]
    with closing(noted({"a": row("a"), "b": row("b")})) as index:
        with pytest.raises(BatchError) as raised:
            check_unchanged(rows, index, "out.jsonl")
        pending = UntilDamaged(Pending(rows, index, "out.jsonl"))
        assert list(pending) == [], "no id counts as met by the check"
    assert str(raised.value) == str(pending.damage)


def test_what_is_no_answer_to_a_row_is_not_compared() -> None:
    """Duplicates, rows that could not be read, and new ones."""
    bad = BadRow("bad", 1, "line 2", "It has no prompt.")
    rows = [row("a"), row("a", "again"), bad, row("mended"), row("new")]
    with closing(noted({"a": row("a"), "bad": row("bad"), "mended": None})) as index:
        check_unchanged(rows, index, "out.jsonl")
        assert [(each.id, getattr(each, "kind", None)) for each in Pending(rows, index, "out") if each] == [
            ("a", "duplicate id"),
            ("new", None),
        ]


def test_what_cannot_be_read_on_is_told_later() -> None:
    with closing(noted({"a": row("a")})) as index:
        check_unchanged(damaged([row("a"), row("b")]), index, "out.jsonl")
        with pytest.raises(BatchError, match="is a different request"):
            check_unchanged(damaged([row("a", "changed")]), index, "out.jsonl")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"])), max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y"])),
)
def test_the_check_finds_what_the_job_would_find(asked: list[tuple[str, str]], was: dict[str, str]) -> None:
    rows = [row(id, prompt) for id, prompt in asked]
    with closing(noted({id: row(id, prompt) for id, prompt in was.items()})) as index:
        found = None
        try:
            check_unchanged(rows, index, "out.jsonl")
        except BatchError as error:
            found = str(error)
        pending = UntilDamaged(Pending(rows, index, "out.jsonl"))
        list(pending)
    assert found == (str(pending.damage) if pending.damage else None)


def test_a_setting_that_is_written_another_way_is_the_same() -> None:
    def digest(settings: str) -> str:
        data = b'{"id": "a", "prompt": "Hi", "settings": %b}' % settings.encode()
        (row,) = RowSource(io.BytesIO(data), InputOptions("in.jsonl")).rows(RUN, "")
        assert isinstance(row, Row), row
        return row.digest

    assert digest('{"gamma": 1}') == digest('{"gamma": 1.0}') == digest('{"gamma": 10e-1}')
    assert digest('{"max_tokens": 64}') == digest('{"max_tokens": 64.0}')
    assert digest('{"stop": "a"}') == digest('{"stop": ["a"]}')
    assert digest('{"gamma": null}') == digest("{}")
    different = [
        "{}",
        '{"gamma": 0.4}',
        '{"gamma": 1}',
        '{"guide_stop": true}',
        '{"seed": 1}',
        '{"top_p": 1}',
    ]
    assert len({digest(each) for each in different}) == len(different)
