"""Rows of every input format, the malformed ones of every kind among them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.nightly import some_of

from blendin_local.batch.reading import InputOptions, RowSource, count_rows, open_rows
from blendin_local.batch.rows import BadRow, Row, own_settings, seed_of
from blendin_local.engine.prompts import Message
from blendin_local.errors import InputError, SettingError
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

RUN = GenerationSettings(BlendSettings(gamma=0.3), SamplingSettings(temperature=0.5), max_tokens=77, seed=5)
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
REQUEST = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
           "body": {"messages": [{"role": "user", "content": "Hi"}]}}  # fmt: skip


def source_of(data: bytes, **options: Any) -> RowSource:
    return RowSource(io.BytesIO(data), InputOptions(**{"path": "in.jsonl", **options}))


def rows_of(data: bytes, system: str = "", **options: Any) -> list[Row | BadRow]:
    rows = list(source_of(data, **options).rows(RUN, system))
    assert source_of(data, **options).count() == len(rows)
    for index, row in enumerate(rows):
        assert row.index == index
        json.dumps(asdict(row), ensure_ascii=False, default=str).encode()
    return rows


def file_rows(options: InputOptions) -> Iterator[Row | BadRow]:
    with open_rows(options) as source:
        yield from source.rows(RUN, "")


def good_rows(data: bytes, system: str = "", **options: Any) -> list[Row]:
    rows = rows_of(data, system, **options)
    assert all(isinstance(row, Row) for row in rows), rows
    return [row for row in rows if isinstance(row, Row)]


def prompts_of(data: bytes, **options: Any) -> list[str]:
    rows = good_rows(data, **options)
    assert all(len(row.messages) == 1 and row.messages[0].role == "user" for row in rows)
    return [row.messages[0].content for row in rows]


def bad_row(data: bytes, **options: Any) -> BadRow:
    """What becomes of `data` between two rows that are well."""
    rows = rows_of(b'{"prompt": "before"}\n' + data + b'\n{"prompt": "after"}\n', **options)
    assert len(rows) == 3, rows
    before, bad, after = rows
    assert isinstance(before, Row) and isinstance(after, Row)
    assert isinstance(bad, BadRow), bad
    assert bad.where == "line 2"
    assert bad.error.endswith((".", "?")) and bad.error.isprintable() and len(bad.error) < 300
    return bad


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


# JSON lines


def test_rows_of_json_lines() -> None:
    first, second, third = good_rows(
        lines(
            {"id": "a", "prompt": "Hi", "system": "Be kind.", "settings": {"gamma": 0.9, "stop": "x"}},
            {"id": 7, "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Yes"}]},
            "bare text",
        ),
        system="Be brief.",
    )
    assert (first.id, first.where) == ("a", "line 1")
    assert first.messages == (Message("system", "Be kind."), Message("user", "Hi"))
    assert first.own == {"gamma": 0.9, "stop": ["x"]}
    assert (first.settings.blend.gamma, first.settings.stop) == (0.9, ("x",))
    assert first.settings.seed == seed_of(5, "a")
    assert (second.id, second.messages) == ("7", (Message("system", "S"), Message("user", "Yes")))
    assert second.settings == own_settings(RUN, {}, "7")
    assert (third.id, third.where) == ("row-3", "line 3")
    assert third.messages == (Message("system", "Be brief."), Message("user", "bare text"))


def test_a_conversation_is_kept_in_its_order() -> None:
    said = [("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c"), ("user", "d")]
    messages = [{"role": role, "content": content, "name": "ignored"} for role, content in said]
    (row,) = good_rows(lines({"messages": messages}))
    assert [(message.role, message.content) for message in row.messages] == said


def test_a_system_message_wins_over_all_and_an_empty_system_prompt_over_the_command_line() -> None:
    own, empty, null = good_rows(
        lines(
            {
                "messages": [{"role": "system", "content": "1"}, {"role": "user", "content": "a"}],
                "system": "2",
            },
            {"prompt": "a", "system": ""},
            {"prompt": "a", "system": None},
        ),
        system="3",
    )
    assert [message.content for message in own.messages] == ["1", "a"]
    assert [message.content for message in empty.messages] == ["a"]
    assert [message.content for message in null.messages] == ["3", "a"]


def test_other_keys_are_ignored_even_where_they_are_called_like_settings() -> None:
    (row,) = good_rows(
        b'{"prompt": "a", "temperature": "hot", "max_tokens": 3, "score": NaN, "x": [Infinity, "\\ud800"]}'
    )
    assert row.own == {} and row.settings.max_tokens == 77


def test_null_is_as_good_as_absent() -> None:
    (row,) = good_rows(
        lines({"prompt": "a", "id": None, "messages": None, "settings": {"gamma": None, "stop": None}})
    )
    assert (row.id, row.own) == ("row-1", {})
    (row,) = good_rows(lines({"prompt": "a", "settings": None}))
    assert row.own == {}
    (row,) = good_rows(lines({"prompt": None, "messages": [{"role": "user", "content": "b"}]}))
    assert row.messages[0].content == "b"


def test_a_prompt_wins_over_the_whole_conversation_that_data_sets_have_beside_it() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prompts_of(lines({"prompt": "a", "prompt_id": "x", "messages": messages})) == ["a"]


def test_a_prompt_may_be_messages() -> None:
    assert prompts_of(lines({"prompt": [{"role": "user", "content": "a"}]})) == ["a"]


def test_ids() -> None:
    rows = good_rows(
        lines({"prompt": "a", "id": 10**30}, {"prompt": "a", "id": 0}, {"prompt": "a", "id": " "})
    )
    assert [row.id for row in rows] == ["1" + "0" * 30, "0", " "]


def test_blank_lines_count_as_lines_only() -> None:
    rows = good_rows(b'\n  \n{"prompt": "a"}\r\n\r\n\t\n{"prompt": "b"}\n\n')
    assert [(row.id, row.index, row.where) for row in rows] == [
        ("row-1", 0, "line 3"),
        ("row-2", 1, "line 6"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks(end: bytes, last: bool, bom: bytes) -> None:
    data = bom + end.join([b'{"prompt": "a"}', bom + b'{"prompt": "b"}']) + (end if last else b"")
    assert prompts_of(data) == ["a", "b"]
    text = bom + end.join([b"one line", b" two "]) + (end if last else b"")
    assert prompts_of(text, path="in.txt") == ["one line", " two "]


@pytest.mark.parametrize("path", ["in.jsonl", "in.txt", "in.csv", "in", "-"])
@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\r\n"])
def test_an_empty_input_has_no_rows(path: str, data: bytes) -> None:
    assert rows_of(data, path=path) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"not json", "is not JSON (expecting value, character 1)"),
        (b'{"prompt": "a"', "is not JSON"),
        (b'{"prompt": "a"} {"prompt": "b"}', "extra data"),
        (b"{'prompt': 'a'}", "is not JSON"),
        (b'{"prompt": "a\tb\x00"}', "is not JSON"),
        (b'\x00{"prompt": "a"}', "is not JSON"),
        (b'{"prompt": "\xff"}', "is not UTF-8 text (byte 13 of it)"),
        (b'{"prompt": "\xed\xa0\x80"}', "is not UTF-8"),
        (b"5", "must be a JSON object or a text, not a number"),
        (b"true", "not true"),
        (b"null", "not null"),
        (b"NaN", "not a number"),
        (b"[1]", "not a list"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "a", "x": ' + b'{"x":' * 50_000 + b"1" + b"}" * 50_001, "nested too deeply"),
        (b'{"prompt": "a", "x": ' + b"9" * 5000 + b"}", "too many digits"),
        (b"{}", "has no `prompt`."),
        (b'{"question": "a", "id": 3}', "has no `prompt` (it has: question, id)"),
        (b'{"\\ud800\\n": "a"}', r"it has: '\ud800\n'"),
        (b'{"prompt": ""}', "The prompt is empty"),
        (b'{"prompt": " \\n\\t"}', "The prompt is empty"),
        (b'"  "', "The prompt is empty"),
        (b'{"prompt": 5}', "`prompt` must be text, not a number"),
        (b'{"prompt": false}', "not false"),
        (b'{"prompt": {"text": "a"}}', "not an object"),
        (b'{"prompt": "\\ud800"}', "`prompt` contains a lone surrogate"),
        (b'"\\udfff"', "surrogate"),
        (b'{"prompt": "a\\u0000b"}', "`prompt` contains a NUL character"),
        (b'{"prompt": "a", "system": 3}', "`system` must be text, not a number"),
        (b'{"prompt": "a", "system": "\\udc00"}', "surrogate"),
        (b'{"prompt": "a", "id": true}', "`id` must be text or a whole number, not true"),
        (b'{"prompt": "a", "id": 1.5}', "not a number"),
        (b'{"prompt": "a", "id": NaN}', "not a number"),
        (b'{"prompt": "a", "id": ["a"]}', "not a list"),
        (b'{"prompt": "a", "id": {}}', "not an object"),
        (b'{"prompt": "a", "id": ""}', "`id` is empty"),
        (b'{"prompt": "a", "id": "\\ud800"}', "surrogate"),
        (b'{"messages": []}', "`messages` is empty"),
        (b'{"messages": "a"}', "`messages` must be a list of messages, not text"),
        (b'{"messages": {"role": "user"}}', "`messages` must be a list of messages, not an"),
        (b'{"messages": [{"from": "human", "value": "a"}]}', "Message 1 of `messages` must be an object"),
        (b'{"messages": [{"role": "assistant", "content": "a"}]}', "end with a message of the user, not of"),
        (b'{"messages": [{"role": "\\ud800", "content": "a"}]}', "Message 1 of `messages` has the role"),
        (b'{"messages": [{"role": "user", "content": 1}]}', "`content` of message 1 of `messages` must be"),
        (b'{"prompt": "a", "settings": []}', "`settings` must be an object, not a list"),
        (b'{"prompt": "a", "settings": "gamma=1"}', "not text"),
        (b'{"prompt": "a", "settings": {"temprature": 1}}', "did you mean temperature?"),
        (b'{"prompt": "a", "settings": {"zzz": 1}}', "There is no setting 'zzz': leave it out"),
        (b'{"prompt": "a", "settings": {"blend": {"gamma": 1}}}', "There is no setting 'blend'"),
        (b'{"prompt": "a", "settings": {"sampling": {}}}', "There is no setting 'sampling'"),
        (b'{"prompt": "a", "settings": {"n_ctx": 4}}', "There is no setting 'n_ctx'"),
        (b'{"prompt": "a", "settings": {"url": "x"}}', "There is no setting 'url'"),
        (b'{"prompt": "a", "settings": {"\\ud800": 1}}', "There is no setting"),
        (b'{"prompt": "a", "settings": {"temperature": "0.5"}}', "temperature must be a number"),
        (b'{"prompt": "a", "settings": {"temperature": true}}', "temperature must be a number"),
        (b'{"prompt": "a", "settings": {"temperature": NaN}}', "between 0 and 100, not nan"),
        (b'{"prompt": "a", "settings": {"temperature": Infinity}}', "between 0 and 100, not inf"),
        (b'{"prompt": "a", "settings": {"gamma": ' + b"9" * 4000 + b"}}", "between 0 and 1, not a number"),
        (b'{"prompt": "a", "settings": {"gamma": 1.5}}', "gamma must be between 0 and 1, not 1.5"),
        (b'{"prompt": "a", "settings": {"max_tokens": true}}', "max_tokens must be a whole number"),
        (b'{"prompt": "a", "settings": {"max_tokens": 1.5}}', "max_tokens must be a whole number"),
        (b'{"prompt": "a", "settings": {"max_tokens": NaN}}', "max_tokens must be a whole number"),
        (b'{"prompt": "a", "settings": {"max_tokens": "9"}}', "max_tokens must be a whole number"),
        (b'{"prompt": "a", "settings": {"max_tokens": 0}}', "max_tokens must be between 1"),
        (b'{"prompt": "a", "settings": {"seed": -1}}', "seed must be between 0"),
        (b'{"prompt": "a", "settings": {"guide_stop": 1}}', "guide_stop must be true or false"),
        (b'{"prompt": "a", "settings": {"guide_stop": "yes"}}', "guide_stop must be true or false"),
        (b'{"prompt": "a", "settings": {"method": "magic"}}', "method must be one of"),
        (b'{"prompt": "a", "settings": {"method": ["base"]}}', "method must be one of base,"),
        (b'{"prompt": "a", "settings": {"unit": false}}', "unit must be one of token, word"),
        (b'{"prompt": "a", "settings": {"stop": 3}}', "stop must be text or a list of texts, not a number"),
        (b'{"prompt": "a", "settings": {"stop": ["a", 3]}}', "A stop string must be text, not a number"),
        (b'{"prompt": "a", "settings": {"stop": ""}}', "texts that are not empty"),
        (b'{"prompt": "a", "settings": {"stop": ["\\ud83d"]}}', "surrogate"),
    ],
)  # fmt: skip
def test_malformed_json_lines(line: bytes, words: str) -> None:
    assert words in bad_row(line).error


def test_a_bad_row_keeps_its_id() -> None:
    assert bad_row(b'{"id": "mine"}').id == "mine"
    assert bad_row(b'{"id": 5, "prompt": 5}').id == "5"
    assert bad_row(b'{"id": [], "prompt": "a"}').id == "row-2"
    assert bad_row(b"{").id == "row-2"


def test_a_huge_line_is_a_bad_row() -> None:
    line = b'{"prompt": "' + b"x" * (65 << 20) + b'"}'
    assert "longer than 64 MiB" in bad_row(line).error
    (row,) = good_rows(b'{"prompt": "' + b"x" * (5 << 20) + b'"}')
    assert len(row.messages[0].content) == 5 << 20


@given(st.binary(max_size=60))
def test_no_bytes_end_a_run(data: bytes) -> None:
    for path in ("in.jsonl", "in.txt"):
        rows = list(source_of(b'{"prompt": "first"}\n' + data, path=path).rows(RUN, ""))
        assert all(isinstance(row, Row) or row.error for row in rows)
    for row in source_of(b"id,prompt\n" + data, path="in.csv").rows(RUN, ""):
        assert isinstance(row, Row) or row.error


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    str.strip
)
JSON_ROWS = st.fixed_dictionaries(
    {"prompt": TEXTS},
    optional={
        "id": TEXTS | st.integers(),
        "system": TEXTS,
        "settings": st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 100),
                "max_tokens": st.integers(1, 1000),
                "stop": st.lists(TEXTS, min_size=1, max_size=3),
                "guide_stop": st.booleans(),
                "seed": st.integers(0, (1 << 63) - 1),
            },
        ),
    },
)


@pytest.mark.parametrize("ascii", [True, False])
@given(st.lists(JSON_ROWS, max_size=6), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_come_back_as_they_were_written(
    ascii: bool, documents: list[dict[str, Any]], end: str
) -> None:
    data = end.join(json.dumps(each, ensure_ascii=ascii) for each in documents).encode()
    rows = good_rows(data)
    assert len(rows) == len(documents)
    for n, (row, document) in enumerate(zip(rows, documents, strict=True), 1):
        system = [Message("system", document["system"])] if "system" in document else []
        assert row.messages == (*system, Message("user", document["prompt"]))
        assert row.id == str(document.get("id", f"row-{n}"))
        settings = document.get("settings", {})
        assert row.own == settings
        assert row.settings.max_tokens == settings.get("max_tokens", 77)
        assert row.settings.sampling.temperature == settings.get("temperature", 0.5)
        assert row.settings.stop == tuple(settings.get("stop", ()))
        assert row.settings.seed == settings.get("seed", seed_of(5, row.id))


# Settings of a row


def test_every_setting_takes_its_default() -> None:
    defaults = GenerationSettings()
    own = asdict(defaults.blend) | asdict(defaults.sampling) | {"max_tokens": 512, "seed": 0, "stop": []}
    assert own_settings(RUN, json.loads(json.dumps(own)), "a") == defaults


def test_numbers_become_what_the_setting_is() -> None:
    settings = own_settings(RUN, {"temperature": 1, "max_tokens": 64.0, "top_k": 3}, "a")
    assert repr(settings.sampling.temperature) == "1.0"
    assert repr(settings.max_tokens) == "64"
    with pytest.raises(SettingError, match="top_k must be a whole number"):
        own_settings(RUN, {"top_k": True}, "a")


def test_a_rows_seed_follows_from_the_runs_and_its_id() -> None:
    seeds = {own_settings(RUN, {}, id).seed for id in ("a", "b", "a")}
    assert seeds == {seed_of(5, "a"), seed_of(5, "b")}
    assert own_settings(RUN, {"seed": 3}, "a").seed == own_settings(RUN, {"seed": 3}, "b").seed == 3


# A data set with the prompts elsewhere


def test_a_key_can_be_named() -> None:
    data = lines({"question": "a", "answer": "b"}, {"question": [{"role": "user", "content": "c"}]}, "d")
    assert prompts_of(data, column="question") == ["a", "c", "d"]
    rows = rows_of(data + lines({"prompt": "a"}), column="question")
    assert isinstance(rows[3], BadRow) and "has no `question` (it has: prompt)" in rows[3].error


def test_ids_and_system_prompts_can_be_elsewhere() -> None:
    (row,) = good_rows(
        lines({"prompt": "a", "key": 3, "role": "S", "id": [], "system": 5}),
        id_column="key",
        system_column="role",
    )
    assert (row.id, row.messages[0]) == ("3", Message("system", "S"))


def test_a_data_set_without_prompts_is_refused_before_anything_runs() -> None:
    for data in (lines({"question": "a", "answer": "b"}), lines({"text": "a"})):
        with pytest.raises(
            InputError, match=r"its first row has no `prompt` \(there are: .*--column"
        ) as raised:
            source_of(data)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"has no `query` \(there are: question\)"):
        source_of(lines({"question": "a"}), column="query")
    many = {f"column {n}": "a" for n in range(1000)}
    with pytest.raises(InputError, match=r"column 11, \.\.\.\)"):
        source_of(lines(many))


def test_a_first_row_that_is_only_incomplete_is_a_bad_row() -> None:
    for document in ({}, {"id": "a"}, {"id": "a", "system": "b", "settings": {}}, {"n": 5}):
        (row,) = rows_of(lines(document))
        assert isinstance(row, BadRow)


# Formats


@pytest.mark.parametrize(
    ("path", "data", "format"),
    [
        ("in.jsonl", b'{"prompt": "a"}', "jsonl"),
        ("in.jsonl", b"not json", "jsonl"),
        ("in.ndjson", b'"a"', "jsonl"),
        ("IN.JSON", b'{"prompt": "a"}', "jsonl"),
        ("in.jsonl.gz", b'{"prompt": "a"}', "jsonl"),
        ("in.jsonl", lines(REQUEST), "openai"),
        ("in.jsonl", b"\n" + lines(REQUEST), "openai"),
        ("-", lines(REQUEST), "openai"),
        ("in.txt", lines(REQUEST), "text"),
        ("in.txt.zst", b'{"prompt": "a"}', "text"),
        ("in.csv", b"id,prompt\n", "csv"),
        ("in.tsv.gz", b"id\tprompt\n", "csv"),
        ("-", b'{"prompt": "a"}', "jsonl"),
        ("-", b'"a text"', "jsonl"),
        ("-", b'{"prompt": torn', "jsonl"),
        ("-", b"Why is the sky blue?", "text"),
        ("-", b"42", "text"),
        ("-", b"null", "text"),
        ("-", b"{name} is a template", "text"),
        ("-", b"[1] is a reference", "text"),
        ("questions", b"Why?", "text"),
        ("questions.gz", b'{"prompt": "a"}', "jsonl"),
        ("dir.csv/questions", b"Why?", "text"),
    ],
)
def test_formats_are_told_by_name_and_first_line(path: str, data: bytes, format: str) -> None:
    assert source_of(data, path=path).format == format


@pytest.mark.parametrize("path", ["in.jsonl", "-"])
@pytest.mark.parametrize(
    "torn", [b'{"custom_id": "a", "bo', b'{"a": 1,}\n\n{"b"', b'{"x": \xff}', b'\n{"\n{"']
)
def test_a_format_is_told_by_the_first_line_that_can_be_read(path: str, torn: bytes) -> None:
    *bad, first, second = rows_of(torn + b"\n" + lines(REQUEST, REQUEST | {"custom_id": "b"}), path=path)
    assert source_of(torn + b"\n" + lines(REQUEST), path=path).format == "openai"
    assert bad and all(isinstance(row, BadRow) and "The line is not" in row.error for row in bad)
    assert isinstance(first, Row) and isinstance(second, Row) and (first.id, second.id) == ("a", "b")
    assert (
        rows_of(torn + b"\n" + lines({"prompt": "a"}, REQUEST), path=path)[len(bad)].id
        == f"row-{len(bad) + 1}"
    )
    with pytest.raises(InputError, match="its first row has no `prompt`"):
        source_of(torn + b"\n" + lines({"question": "a"}), path=path)


def test_lines_of_json_files_that_are_not_json_do_not_tell_the_format() -> None:
    assert source_of(b"WARNING: slow\n5\n[1]\n" + lines(REQUEST)).format == "openai"
    # Who pipes text in waits for no other line.
    assert source_of(b"WARNING: slow\n" + lines(REQUEST), path="-").format == "text"


@pytest.mark.parametrize(
    "torn", [b"torn\n" * 100, (b"{torn" + b" " * 99_999 + b"\n") * 12], ids=["lines", "bytes"]
)
def test_the_format_is_looked_for_in_a_few_lines_only(torn: bytes) -> None:
    read = 0

    class Counting(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            line = super().readline(size)
            read += len(line)
            return line

    source = RowSource(Counting(torn + lines(REQUEST)), InputOptions("in.jsonl"))
    assert source.format == "jsonl"
    assert read <= min(len(torn), 1_150_000)
    assert sum(isinstance(row, BadRow) for row in source.rows(RUN, "")) == torn.count(b"\n") + 1


def test_damage_among_the_lines_that_are_looked_at_comes_after_them() -> None:
    class Damaged(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if line := super().readline(size):
                return line
            raise OSError(5, "Input/output error")

    for path in ("in.jsonl", "in.txt"):
        rows = RowSource(Damaged(b"torn\n{torn\n"), InputOptions(path)).rows(RUN, "")
        assert [next(rows).where, next(rows).where] == ["line 1", "line 2"]
        with pytest.raises(InputError, match="cannot be read any further"):
            next(rows)
    with pytest.raises(InputError, match="cannot be read any further"):
        RowSource(Damaged(b"\n"), InputOptions("in.jsonl"))


@pytest.mark.parametrize("data", [b"Why?\n", lines(REQUEST)], ids=["text", "openai"])
@pytest.mark.parametrize(
    "columns",
    [{"column": "q"}, {"id_column": "key"}, {"system_column": "role"}, {"column": "q", "id_column": "key"}],
    ids=" ".join,
)
def test_columns_of_what_has_none_are_refused(data: bytes, columns: dict[str, str]) -> None:
    with pytest.raises(InputError, match="has no columns: leave out") as raised:
        source_of(data, path="-", **columns)
    for name in ("column", "id_column", "system_column"):
        flag = f"--{name.replace('_', '-')}"
        assert (f" {flag}" in str(raised.value)) == (name in columns)
    assert rows_of(data, path="-", column="prompt")


def test_a_format_that_is_named_is_believed() -> None:
    assert prompts_of(b'{"prompt": "a"}', path="in.jsonl", format="text") == ['{"prompt": "a"}']
    assert prompts_of(b"prompt\na\n", path="in.txt", format="csv") == ["a"]
    assert prompts_of(b'{"prompt": "a"}\n', path="in.csv", format="jsonl") == ["a"]
    (row,) = rows_of(b'{"prompt": "a"}\n', path="-", format="openai")
    assert isinstance(row, BadRow) and "no `custom_id`" in row.error


def test_requests_of_openai() -> None:
    data = lines(REQUEST) + b"torn\n" + lines(REQUEST | {"custom_id": "b"}) + b"5\n"
    first, torn, second, number = rows_of(data, system="S")
    assert isinstance(first, Row) and (first.id, first.where) == ("a", "line 1")
    assert first.messages == (Message("system", "S"), Message("user", "Hi"))
    assert isinstance(torn, BadRow) and (torn.id, torn.where) == ("row-2", "line 2")
    assert (second.id, second.index) == ("b", 2)
    assert isinstance(number, BadRow) and "must be a JSON object" in number.error


@pytest.mark.parametrize(
    "data",
    [
        b'[{"prompt": "a"}]',
        b"[\n",
        b'  [ {"prompt": "a"},\n',
        b"[\r\n",
        b'["a", "b"]',
        b"[[1]]",
        b"{\n",
        b" {\n",
    ],
)
@pytest.mark.parametrize("path", ["in.json", "-"])
def test_one_json_document_is_refused(path: str, data: bytes) -> None:
    with pytest.raises(InputError, match="make JSON lines of it"):
        source_of(data + b' "prompt": "a"\n}\n', path=path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"prompt": "a"}\n'.encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b"\xfe\xff\0a", "UTF-16"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04\x14", "a ZIP archive"),
        (b"GGUF\x03\0\0\0", "a model file"),
    ],
)
@pytest.mark.parametrize("path", ["in.jsonl", "in.csv", "in.txt", "in.parquet"])
def test_files_of_another_kind_are_refused(path: str, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=f"^{path} is {words}"):
        source_of(data, path=path)


# Text


def test_lines_of_text() -> None:
    rows = rows_of(b"one\n\n  two\t\n\xff\na\0b\n\xc2\xa0\n", system="S", path="in.txt")
    assert [row.where for row in rows] == [f"line {n}" for n in (1, 3, 4, 5, 6)]
    assert isinstance(rows[1], Row) and rows[1].id == "row-2"
    assert rows[1].messages == (Message("system", "S"), Message("user", "  two\t"))
    errors = [row.error for row in rows if isinstance(row, BadRow)]
    assert ["UTF-8" in errors[0], "NUL" in errors[1], "empty" in errors[2]] == [True] * 3


@given(
    st.lists(TEXTS.filter(lambda text: "\n" not in text and not text.endswith("\r") and text.strip(" \t")))
)
def test_lines_of_text_come_back_as_they_were_written(texts: list[str]) -> None:
    texts = [f"> {text}" for text in texts]
    assert prompts_of("\n".join(texts).encode(), path="in.txt") == texts


# CSV


def test_rows_of_csv() -> None:
    data = b'id,prompt,system,note\n1,"one, or\r\n""two""",,x\n,three,S,\n\n , \n'
    with_note = data.replace(b" , \n", b" , , ,\n")
    first, second = good_rows(with_note, path="in.csv", system="T")
    assert (first.id, first.where) == ("1", "line 2")
    assert first.messages == (Message("system", "T"), Message("user", 'one, or\r\n"two"'))
    assert (second.id, second.where, second.index) == ("row-2", "line 4", 1)
    assert second.messages == (Message("system", "S"), Message("user", "three"))


def test_a_column_can_be_named_and_tabs_separate() -> None:
    data = b" question \tid\nWhat, then?\ta\n"
    (row,) = good_rows(data, path="in.tsv", column="question")
    assert (row.id, row.messages[0].content) == ("a", "What, then?")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"1", "The row has no `prompt` (it has: id)."),
        (b"1,a,b,c", "The row has 4 fields where the header names 3"),
        (b'1,"a"b,c', "is not valid CSV"),
        (b'1,"never closed,c', None),
        (b"1,\xff,c", "is not UTF-8"),
        (b"1,a\0b,c", "NUL"),
        (b"1,,c", "The prompt is empty"),
        (b"1, \t,c", "The prompt is empty"),
        (b"1,a\rb,c", "is not valid CSV"),
        (b"\xe9,a,c", "is not UTF-8"),
        (b"1,a,\xe9", "is not UTF-8"),
    ],
)
def test_malformed_records(record: bytes, words: str | None) -> None:
    data = b"id,prompt,system\n0,before,\n" + record + b"\n2,after,\n"
    rows = rows_of(data, path="in.csv")
    bad = rows[1]
    assert isinstance(bad, BadRow) and bad.where == "line 3" and bad.error.isprintable()
    if words is None:  # an open quote takes in all that follows
        assert len(rows) == 2 and "unexpected end of data" in bad.error
    else:
        assert words in bad.error
        assert isinstance(rows[2], Row) and (rows[2].id, rows[2].where) == ("2", "line 4")


def test_what_columns_hold_that_nobody_reads_does_not_matter() -> None:
    assert prompts_of(b"prompt,note\na,\xff\n", path="in.csv") == ["a"]


def test_a_long_field_is_read_and_a_longer_one_is_a_bad_row() -> None:
    long = b"x" * 1_000_000
    assert prompts_of(b"prompt\n" + long + b"\nb\n", path="in.csv") == [long.decode(), "b"]
    bad, good = rows_of(b"prompt\n" + b"x" * (9 << 20) + b"\nb\n", path="in.csv")
    assert isinstance(bad, BadRow) and "field larger than field limit" in bad.error
    assert isinstance(good, Row)


def test_a_huge_line_of_csv_is_a_bad_row() -> None:
    bad, good = rows_of(b"prompt,b\n" + b"x," * (33 << 20) + b"\nb,c\n", path="in.csv")
    assert isinstance(bad, BadRow) and bad.error == "A line is too long: shorten it."
    assert isinstance(good, Row) and good.where == "line 3"


@pytest.mark.slow
def test_an_open_quote_does_not_fill_memory() -> None:
    """And becomes no prompts: what follows belongs to the field, up to the next quote."""
    data = b'prompt\n"never closed\n' + (b"x" * 999 + b"\n") * 20_000 + b'end"\nnext\n'
    tracemalloc.start()
    rows = list(source_of(data, path="in.csv").rows(RUN, ""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(row) for row in rows] == [BadRow, Row]
    assert isinstance(rows[1], Row) and rows[1].messages[-1].content == "next"
    assert peak < 128 << 20
    (bad,) = rows_of(data.replace(b'end"', b"end"), path="in.csv")
    assert isinstance(bad, BadRow)


@pytest.mark.parametrize(
    "data",
    [
        b'id;prompt\n1;Hello, world\n2;"Two; three"\n',
        b'\xef\xbb\xbfid;prompt\n1;Hello, world\n2;"Two; three"\n',
        b'sep=;\nid;prompt\n1;Hello, world\n2;"Two; three"\n',
        b'"sep=;"\r\nid;prompt\r\n1;Hello, world\r\n2;"Two; three"\r\n',
        b"id\tprompt\n1\tHello, world\n2\tTwo; three\n",
        b"id|prompt\n1|Hello, world\n2|Two; three\n",
        b'sep=,\nid,prompt\n1,"Hello, world"\n2,Two; three\n',
    ],
)
def test_the_delimiter_is_the_one_of_the_header(data: bytes) -> None:
    assert prompts_of(data, path="in.csv") == ["Hello, world", "Two; three"]


@pytest.mark.parametrize("stated", [b'sep="', b"sep=\r", b"sep= ", b"sep=", b"sep=;;"])
def test_a_delimiter_that_cannot_be_one_is_a_header_without_a_prompt(stated: bytes) -> None:
    with pytest.raises(InputError, match=r"no column `prompt`|header of in\.csv cannot be read"):
        source_of(stated + b"\nid,prompt\n1,a\n", path="in.csv")


def test_rows_may_leave_out_trailing_columns() -> None:
    data = b'id,prompt,system,note\n1,Hello,Be brief,x\n2,World\n3,"a, b",\n4\n'
    first, second, third, bad = rows_of(data, path="in.csv")
    for row, said in ((first, "Hello"), (second, "World"), (third, "a, b")):
        assert isinstance(row, Row) and row.messages[-1].content == said
    assert isinstance(bad, BadRow)


@pytest.mark.parametrize(
    ("data", "column", "words"),
    [
        (b"id,question,answer\n1,a,b\n", None, r"no column `prompt` \(there are: id, question, answer\)"),
        (b"id,prompt\n", "question", r"no column `question` \(there are: id, prompt\)"),
        (b"prompt,prompt\na,b\n", None, "several columns `prompt`"),
        (b"id,prompt,id\na,b,c\n", None, "several columns `id`"),
        (b'"prompt\n', None, "The header of in.csv cannot be read: .*unexpected end"),
        (b"x" * (65 << 20), None, "The header of in.csv cannot be read: A line is too long"),
        (b"\xff,b\n", None, "there is no column"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_used_are_refused(data: bytes, column: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        source_of(data, path="in.csv", column=column)
    assert str(raised.value).isprintable()


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.mark.parametrize("path", ["in.csv", "in.tsv"])
@given(st.lists(st.tuples(CELLS, TEXTS, CELLS), max_size=5), st.sampled_from(["\r\n", "\n"]), st.booleans())
def test_csv_comes_back_as_it_was_written(
    path: str, records: list[tuple[str, str, str]], end: str, quoted: bool
) -> None:
    file = io.StringIO(newline="")
    # Older versions of the library write a lone carriage return without quotes.
    quoted = quoted or any("\r" in cell for record in records for cell in record)
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(
        file, delimiter="," if path == "in.csv" else "\t", lineterminator=end, quoting=quoting
    )
    writer.writerow(["id", "prompt", "system"])
    writer.writerows(records)
    rows = good_rows(file.getvalue().encode(), path=path)
    assert len(rows) == len(records)
    for n, (row, (id, prompt, system)) in enumerate(zip(rows, records, strict=True), 1):
        assert row.id == (id or f"row-{n}")
        assert row.messages[-1] == Message("user", prompt)
        assert row.messages[:-1] == ((Message("system", system),) if system else ())


# Files, pipes and standard input


@pytest.mark.parametrize("extension", SQUEEZE)
@pytest.mark.parametrize("name", ["in.jsonl", "in.txt", "in.csv"])
def test_files_are_read_and_counted(tmp_path: Path, name: str, extension: str) -> None:
    text = {"in.jsonl": lines("a", "b", "c"), "in.txt": b"a\n\nb\nc", "in.csv": b"prompt\na\nb\n\nc\n"}
    path = tmp_path / f"{name}{extension}"
    path.write_bytes(SQUEEZE[extension](text[name]))
    options = InputOptions(str(path))
    rows = [row for row in file_rows(options) if isinstance(row, Row)]
    assert [row.messages[0].content for row in rows] == ["a", "b", "c"]
    assert count_rows(options) == count_rows(options, 5) == 3
    assert count_rows(options, 2) == 2


def test_what_cannot_be_read_twice_or_to_its_end_is_not_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(os.urandom(1000))[:-20])
    (tmp_path / "in.csv").write_bytes(b"a,b\n")
    for path in ("-", str(tmp_path / "pipe"), *map(str, tmp_path.glob("in.*")), str(tmp_path / "missing")):
        assert count_rows(InputOptions(path)) is None


def test_a_cut_off_file_gives_its_rows_and_then_says_so(tmp_path: Path) -> None:
    data = gzip.compress(lines(*(os.urandom(9).hex() for _ in range(1000))))
    (tmp_path / "in.jsonl.gz").write_bytes(data[:-100])
    rows = file_rows(InputOptions(str(tmp_path / "in.jsonl.gz")))
    found = []
    with pytest.raises(InputError, match="ends in the middle of its gzip data"):
        for row in rows:
            found.append(row)
    assert len(found) > 900 and all(isinstance(row, Row) for row in found)


def test_rows_are_not_counted_past_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*(os.urandom(9).hex() for _ in range(1000))))[:-100])
    assert count_rows(InputOptions(str(path)), 10) == 10
    assert count_rows(InputOptions(str(path)), 1001) is None


def test_a_pipe_is_looked_at_and_then_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = lines(REQUEST, REQUEST) * 5000
    writer = threading.Thread(target=lambda: path.write_bytes(data))
    writer.start()
    with open_rows(InputOptions(str(path))) as source:
        assert source.format == "openai"
        assert sum(isinstance(row, Row) for row in source.rows(RUN, "")) == 10_000
    writer.join()


def test_a_row_is_given_before_the_next_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as buffer, open(writing, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", type("Fake", (), {"buffer": buffer}))
        writer.write(b"Why?\n")
        with open_rows(InputOptions("-")) as source:
            rows = source.rows(RUN, "")
            assert next(rows).id == "row-1"
            writer.write(b"How?\n")
            assert next(rows).id == "row-2"
            writer.close()
            assert list(rows) == []


@pytest.mark.slow
@pytest.mark.parametrize("extension", SQUEEZE)
def test_standard_input_of_a_program(extension: str) -> None:
    code = (
        "from blendin_local.batch.reading import *\n"
        "from blendin_local.settings import GenerationSettings\n"
        "with open_rows(InputOptions('-')) as source:\n"
        "    rows = list(source.rows(GenerationSettings(), ''))\n"
        "    print(source.format, len(rows), rows[-1].messages[0].content)\n"
    )
    data = SQUEEZE[extension](lines(*({"prompt": f"n {n}"} for n in range(20_000))))
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.split(maxsplit=2) == [b"jsonl", b"20000", b"n 19999\n"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "few", "many"),
    some_of(
        [("in.jsonl.zst", 5_000, 15_000), ("in.csv", 2_000, 8_000)],
        [("in.jsonl.zst", 20_000, 200_000), ("in.csv", 20_000, 200_000)],
    ),
)
def test_memory_does_not_grow_with_rows(tmp_path: Path, name: str, few: int, many: int) -> None:
    peaks = []
    for n in (few, many):
        path = tmp_path / str(n) / name
        path.parent.mkdir()
        extension = path.suffix if path.suffix in SQUEEZE else ""
        text = '%d,"question\n"\n' if name == "in.csv" else '{"prompt": "question %d"}\n'
        data = "".join(text % number for number in range(n))
        path.write_bytes(SQUEEZE[extension](("id,prompt\n" * name.endswith("csv") + data).encode()))
        del data
        tracemalloc.start()
        assert sum(isinstance(row, Row) for row in file_rows(InputOptions(str(path)))) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.05 + (64 << 10), peaks
