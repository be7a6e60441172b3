"""Reference answers: the formats they come in, what is refused, and the ones that come with the package."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blendin_local.engine.prompts import Message
from blendin_local.errors import EvaluationError, InputError
from blendin_local.tasks.base import Item
from blendin_local.tune.examples import Example, built_in_examples, examples_of, read_examples, shuffled

ASKED = (Message("user", "Why?"),)


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return path


def test_prompts_and_conversations(tmp_path: Path) -> None:
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Why?"},
    ]
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "Why?", "response": "So."},
        "",
        {"id": "b", "system": "Be brief.", "prompt": "Why?", "response": " So.\n"},
        {"messages": talk, "response": "日本 “so”"},
    )
    assert read_examples(path) == [
        Example("1", ASKED, "So."),
        Example("b", (Message("system", "Be brief."), *ASKED), "So."),
        Example(read_examples(path)[2].id, tuple(Message(**each) for each in talk), "日本 “so”"),
    ]
    assert len({example.id for example in read_examples(path)}) == 3


def test_other_formats(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "response": "So."}
    expected = [Example("1", ASKED, "So.")]
    document = tmp_path / "a.json"
    document.write_text(json.dumps([row]), "utf-8")
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(row).encode()))
    table = tmp_path / "a.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([row.keys(), row.values()])
    for path in (document, packed, table):
        assert read_examples(path) == expected


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: the line is not JSON"),
        ("[1]", "line 2: a question must be a JSON object, not a list"),
        ({"prompt": "Why?"}, "line 2: this row has no field `response` (it has: prompt)"),
        (
            {"prompt": "Why?", "answer": "So."},
            "line 2: a reference answer is called `response`; the questions",
        ),
        ({"response": "So."}, "line 2: this row has no field `prompt` or `messages`"),
        ({"prompt": "Why?", "response": " \n"}, "line 2: `response` is empty"),
        ({"prompt": "Why?", "response": ["So."]}, "line 2: `response` must be text, not a list"),
        ({"messages": [], "response": "So."}, "line 2: `messages` is empty"),
        ({"messages": [{"role": "user"}], "response": "So."}, "line 2: "),
        (
            {"messages": [{"role": "assistant", "content": "x"}], "response": "So."},
            "must end with a message of the user",
        ),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: Any, said: str) -> None:
    path = lines(tmp_path / "bad.jsonl", {"prompt": "Why?", "response": "So."}, row)
    with pytest.raises((EvaluationError, InputError)) as caught:
        read_examples(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ") and said in message
    assert message.endswith(".") and "\n" not in message


def test_files_without_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no "):
        read_examples(lines(tmp_path / "empty.jsonl", ""))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"prompt": "Wé", "response": "x"}'.encode("latin-1"))
    with pytest.raises(InputError, match="line 1: this is not UTF-8"):
        read_examples(latin)


def test_the_answers_that_come_with_the_package() -> None:
    examples = built_in_examples()
    assert len(examples) == len({example.id for example in examples}) == 80
    assert len({example.messages[-1].content for example in examples}) == 80
    for example in examples:
        assert example.response.strip() == example.response != ""
        assert [message.role for message in example.messages] == ["user"]
    assert any("日" in example.response or "é" in example.response for example in examples)


def test_worked_answers_of_a_task() -> None:
    items = [
        Item("worked", ASKED, reference="Because.", options=("a", "b"), gold=1),
        Item("chosen", ASKED, options=("first", "second"), gold=1),
        Item("blank", ASKED, reference="  "),
        Item("open", ASKED, answer="no"),
    ]
    assert examples_of(items, "made") == [
        Example("worked", ASKED, "Because."),
        Example("chosen", ASKED, "second"),
    ]
    with pytest.raises(
        EvaluationError, match=r"The task made has no worked answers to learn from: use .*\.$"
    ):
        examples_of(items[2:], "made")


def test_the_seed_decides_the_order() -> None:
    examples = [Example(str(n), ASKED, "So.") for n in range(20)]
    first = shuffled(examples, 0)
    assert first == shuffled(examples, 0) != shuffled(examples, 1)
    assert sorted(first, key=lambda example: int(example.id)) == examples != first
