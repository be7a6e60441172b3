"""OpenAI's batch format: requests in, output lines out, and every result whole again from its line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.batch.openai import CHAT, COMPLETIONS, batch_line, is_request, request_row, result_of
from blendin_local.batch.rows import BadRow, Row, seed_of
from blendin_local.engine.prompts import Message
from blendin_local.errors import BatchError
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

RUN = GenerationSettings(
    BlendSettings(gamma=0.3), SamplingSettings(temperature=0.5), max_tokens=77, seed=5, stop=("END",)
)
MESSAGES = [{"role": "user", "content": "Hi"}]


def request(body: Any = None, **line: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": MESSAGES} if body is None else body
    return {"custom_id": "request-1", "method": "POST", "url": CHAT, "body": body} | line


def row_of(document: Any, system: str = "") -> Row:
    row = request_row(document, 4, "line 9", RUN, system)
    assert isinstance(row, Row), row
    return row


def error_of(document: Any) -> str:
    row = request_row(document, 4, "line 9", RUN, "")
    assert isinstance(row, BadRow), row
    assert (row.index, row.where) == (4, "line 9")
    assert row.error.endswith((".", "?")) and "\n" not in row.error
    row.error.encode()
    row.id.encode()
    return row.error


def chat(**body: Any) -> dict[str, Any]:
    return request({"model": "m", "messages": MESSAGES} | body)


# Requests


def test_the_example_of_openais_guide() -> None:
    line = (
        '{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
        '"gpt-3.5-turbo-0125", "messages": [{"role": "system", "content": "You are a helpful assistant."},'
        '{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}'
    )
    document = json.loads(line)
    assert is_request(document)
    row = row_of(document, system="Be brief.")
    assert row.id == "request-1" and row.index == 4 and row.where == "line 9"
    assert row.messages == (
        Message("system", "You are a helpful assistant."),
        Message("user", "Hello world!"),
    )
    assert row.own == {"max_tokens": 1000}
    assert row.settings == replace(RUN, max_tokens=1000, seed=seed_of(5, "request-1"))


def test_the_systems_prompt_of_the_command_line_comes_first_where_there_is_none() -> None:
    assert row_of(request(), system="Be brief.").messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
    )


def test_all_settings_of_a_body() -> None:
    settings = {
        "temperature": 1,
        "top_p": 0.9,
        "max_tokens": 5,
        "seed": 3,
        "stop": "\n",
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
    }
    row = row_of(chat(**settings))
    assert row.own == settings | {"stop": ["\n"]}
    assert (row.settings.seed, row.settings.max_tokens, row.settings.stop) == (3, 5, ("\n",))
    sampling = row.settings.sampling
    assert (sampling.temperature, sampling.top_p) == (1.0, 0.9)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, 0.25)
    assert row.settings.blend == RUN.blend


def test_names_of_other_servers_and_our_own_are_taken_too() -> None:
    row = row_of(chat(top_k=40, min_p=0.05, repetition_penalty=1.1, gamma=0.6, method="base"))
    assert (row.settings.sampling.top_k, row.settings.sampling.min_p) == (40, 0.05)
    assert (row.settings.blend.gamma, row.settings.blend.method) == (0.6, "base")


def test_the_newer_name_of_the_length_wins() -> None:
    assert row_of(chat(max_tokens=5, max_completion_tokens=9)).settings.max_tokens == 9
    assert row_of(chat(max_tokens=5, max_completion_tokens=None)).settings.max_tokens == 5
    assert "max_tokens must be a whole number" in error_of(chat(max_completion_tokens=True))


def test_null_is_as_good_as_absent() -> None:
    names = ["temperature", "stop", "seed", "n", "tools", "logprobs", "stream_options", "anything", "user"]
    row = row_of(chat(**dict.fromkeys(names)))
    assert row.own == {} and row.settings == replace(RUN, seed=seed_of(5, "request-1"))


def test_what_changes_nothing_is_passed_over() -> None:
    row = row_of(
        chat(
            user="me", metadata={"a": "b"}, store=True, service_tier="flex", n=1, stream=False,
            logprobs=False, tools=[], tool_choice="none", response_format={"type": "text"},
            logit_bias={}, top_logprobs=0,
            parallel_tool_calls=True, modalities=["text"],
        )
    )  # fmt: skip
    assert row.own == {}


@pytest.mark.parametrize(
    "body",
    [
        {"n": 2},
        {"n": True},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"stream": True},
        {"stream": 0},
        {"stream_options": {"include_usage": True}},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"logprobs": 5},
        {"top_logprobs": 3},
        {"logit_bias": {"50256": -100}},
        {"modalities": ["text", "audio"]},
        {"audio": {}},
        {"functions": [{}]},
        {"best_of": 3},
        {"nonsense\n\ud800": 1},
        {"url": COMPLETIONS},
    ],
)
def test_what_cannot_be_had_is_one_sentence(body: dict[str, Any]) -> None:
    error = error_of(chat(**body))
    assert "leave it out" in error
    assert error.isascii()


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": "0.7"},
        {"temperature": True},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 10**4000},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": 1.5},
        {"max_tokens": "5"},
        {"seed": -1},
        {"seed": 1 << 63},
        {"seed": 10**400},
        {"stop": 5},
        {"stop": ["a", None]},
        {"stop": [""]},
        {"stop": "\ud800"},
        {"presence_penalty": -2},
        {"method": 3},
        {"method": "nonsense"},
        {"guide_stop": 1},
        {"unit": ["word"]},
    ],
)
def test_settings_of_a_wrong_kind_or_range_are_one_sentence(body: dict[str, Any]) -> None:
    assert len(error_of(chat(**body))) < 200


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "must be a JSON object"),
        ("text", "must be a JSON object"),
        (None, "not null"),
        ({}, "no `custom_id`"),
        (request(custom_id=None), "no `custom_id`"),
        (request(custom_id=""), "`custom_id` is empty"),
        (request(custom_id=1.5), "`custom_id` must be text"),
        (request(custom_id=["a"]), "`custom_id` must be text"),
        (request(custom_id="\ud800"), "surrogate"),
        ({"custom_id": "a"}, "`body` must be an object, not null"),
        (request(body=[]), "`body` must be an object, not a list"),
        (request(method="GET"), "`method` must be POST"),
        (request(url="/v1/embeddings"), "`url` must be"),
        (request(url=5), "`url` must be"),
        (request(url=[]), "`url` must be"),
        (request({}), "`messages` must be a list of messages, not null"),
        (request({"messages": "Hi"}), "`messages` must be a list of messages, not text"),
        (request({"messages": []}), "`messages` is empty"),
        (request({"messages": ["Hi"]}), "Message 1 of `messages` must be an object"),
        (request({"messages": [{"role": "tool", "content": "Hi"}]}), "has the role 'tool'"),
        (request({"messages": [{"role": [], "content": "Hi"}]}), "has the role a list"),
        (request({"messages": [{"role": "user"}]}), "`role` and `content`"),
        (request({"messages": [{"role": "user", "content": None}]}), "must be text, not null"),
        (request({"messages": [{"role": "user", "content": "\udfff"}]}), "surrogate"),
        (request({"messages": [{"role": "user", "content": " \n"}]}), "The prompt is empty"),
        (request({"messages": [*MESSAGES, {"role": "assistant", "content": "Yes"}]}), "end with a message"),
        (request({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "not text"),
        (request({"messages": [{"role": "user", "content": [{"type": "text"}]}]}), "must be text"),
        (request({"messages": [{"role": "user", "content": ["text"]}]}), "not text"),
        (request({"prompt": "Hi", "messages": None}, url=COMPLETIONS + "/"), "`url` must be"),
        (request({"prompt": ["a", "b"]}, url=COMPLETIONS), "must be one text"),
        (request({"prompt": [1, 2]}, url=COMPLETIONS), "must be one text"),
        (request({"prompt": None}, url=COMPLETIONS), "`prompt` must be text"),
        (request({"prompt": ""}, url=COMPLETIONS), "The prompt is empty"),
        (request({"prompt": "a", "suffix": "b"}, url=COMPLETIONS), "suffix is not supported"),
    ],
)
def test_malformed_requests_are_one_sentence(document: Any, words: str) -> None:
    assert words in error_of(document)


def test_a_bad_request_keeps_its_id() -> None:
    row = request_row(request({}), 4, "line 9", RUN, "")
    assert row.id == "request-1"
    assert request_row({}, 4, "line 9", RUN, "").id == "row-5"


def test_parts_of_a_message_are_joined_and_developers_are_the_system() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    row = row_of(request({"messages": messages}), system="never")
    assert row.messages == (Message("system", "Be brief."), Message("user", "one two"))


def test_completions_go_on_from_raw_text() -> None:
    """Without a system prompt, and without an end of an answer to ask the guide about."""
    for prompt in ("Once", ["Once"]):
        row = row_of(request({"prompt": prompt, "max_tokens": 3}, url=COMPLETIONS), system="Be brief.")
        assert row.raw and row.messages == (Message("user", "Once"),)
        assert row.own == {"max_tokens": 3}
        assert row.settings.max_tokens == 3 and not row.settings.blend.guide_stop
    asked = row_of(request({"prompt": "Once", "guide_stop": True}, url=COMPLETIONS))
    assert asked.settings.blend.guide_stop
    chatted = row_of(request({"messages": [{"role": "user", "content": "Once"}], "max_tokens": 3}))
    assert not chatted.raw and chatted.settings.blend.guide_stop
    assert chatted.digest != row.digest


def test_the_url_may_be_missing() -> None:
    chat_line, completion = request(), request({"prompt": "Once"})
    for line in (chat_line, completion):
        del line["url"], line["method"]
    assert row_of(chat_line).messages == (Message("user", "Hi"),)
    assert row_of(completion).raw and not row_of(chat_line).raw


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "custom_id",
                        "body",
                        "messages",
                        "prompt",
                        "role",
                        "content",
                        "stop",
                        "n",
                        "url",
                        "method",
                    ]
                ),
                each,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_no_document_ends_a_run(document: Any) -> None:
    row = request_row(document, 0, "line 1", RUN, "")
    assert isinstance(row, Row) or row.error


# Output lines


def result(**changes: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 12, "generated_tokens": 3, "decoded_tokens": 15}
    return {
        "id": "request-1",
        "index": 4,
        "text": "Hello there.",
        "finish_reason": "stop",
        "usage": {"base": usage, "guide": usage | {"prompt_tokens": 20}},
        "summary": {"steps": 3, "mean_reliability": 0.5, "calibrated": True},
        "timings": {"base_s": 0.1},
        "tokens_per_second": 3.5,
        "settings": {"max_tokens": 77},
        "models": {"base": {"name": "Big", "sha256": "0"}, "guide": {"name": "Small", "sha256": "1"}},
        "run": "0123456789abcdef",
        "row": "fedcba9876543210",
        "error": None,
    } | changes


def failure(**changes: Any) -> dict[str, Any]:
    error = {"kind": "bad row", "message": "The prompt is empty.", "where": "line 9"}
    kept = {name: value for name, value in result().items() if name not in ("usage", "summary", "timings")}
    return kept | {"text": None, "finish_reason": None, "row": None, "error": error} | changes


def test_an_answer_in_openais_shape() -> None:
    line = batch_line(result())
    response = line["response"]
    body = response["body"]
    assert set(line) == {"id", "custom_id", "response", "error", "blendin"}
    assert line["id"].startswith("batch_req_") and line["custom_id"] == "request-1" and line["error"] is None
    assert response["status_code"] == 200 and response["request_id"]
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    assert body["created"] > 1_600_000_000 and isinstance(body["created"], int)
    assert body["model"] == "Big + Small"
    message = {"role": "assistant", "content": "Hello there.", "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


def test_a_text_completion_in_openais_shape() -> None:
    body = batch_line(result(raw=True))["response"]["body"]
    assert body["object"] == "text_completion" and body["id"].startswith("cmpl-")
    assert body["choices"] == [
        {"index": 0, "text": "Hello there.", "logprobs": None, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("stop", "stop"),
        ("stop string", "stop"),
        ("length", "length"),
        ("context", "length"),
        ("cancelled", "length"),
    ],
)
def test_finish_reasons(reason: str, wanted: str) -> None:
    line = batch_line(result(finish_reason=reason))
    assert line["response"]["body"]["choices"][0]["finish_reason"] == wanted
    assert result_of(line)["finish_reason"] == reason


def test_a_failed_row_has_an_error_and_no_response() -> None:
    line = batch_line(failure())
    assert line["response"] is None and line["custom_id"] == "request-1"
    assert line["error"] == {"code": "bad_row", "message": "The prompt is empty."}


def test_a_guide_alone_counts_its_own_tokens() -> None:
    none = {"prompt_tokens": 0, "generated_tokens": 0, "decoded_tokens": 0}
    usage = {"base": none, "guide": {"prompt_tokens": 7, "generated_tokens": 2, "decoded_tokens": 9}}
    body = batch_line(result(usage=usage))["response"]["body"]
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_ids_follow_from_the_result() -> None:
    ids = [batch_line(each)["id"] for each in (result(), result(), result(id="b"), result(run="x"))]
    assert ids[0] == ids[1] and len(set(ids)) == 3


def test_rows_that_have_one_id_have_lines_of_their_own_ids() -> None:
    kind = {"kind": "duplicate id", "message": "The id was met before.", "where": "line 9"}
    lines = [
        batch_line(each) for each in (result(), failure(index=5, error=kind), failure(index=6, error=kind))
    ]
    assert len({line["id"] for line in lines}) == 3
    assert {line["custom_id"] for line in lines} == {"request-1"}


FIGURES = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.none() | st.text()
EXTRAS = st.dictionaries(
    st.sampled_from(["steps", "row_settings", "summary", "timings", "worker"]),
    st.dictionaries(st.text(), FIGURES, max_size=3),
)


@given(st.text(), st.text(), EXTRAS, st.sampled_from(["stop", "stop string", "length", "context"]))
def test_an_answer_is_whole_again_from_its_line(
    id: str, text: str, extras: dict[str, Any], finish_reason: str
) -> None:
    whole = result(id=id, text=text, finish_reason=finish_reason, **extras)
    assert result_of(json.loads(json.dumps(batch_line(whole)))) == json.loads(json.dumps(whole))


@given(st.text(), st.none() | st.text(), EXTRAS, st.sampled_from(["bad row", "duplicate id", "too long"]))
def test_a_failure_is_whole_again_from_its_line(
    id: str, text: str | None, extras: dict[str, Any], kind: str
) -> None:
    whole = failure(id=id, text=text, error={"kind": kind, "message": id, "where": "line 1"}, **extras)
    assert result_of(json.loads(json.dumps(batch_line(whole)))) == json.loads(json.dumps(whole))
    del whole["text"]
    assert result_of(batch_line(whole)) == whole


def test_a_text_completion_is_whole_again_from_its_line() -> None:
    whole = result(raw=True, row_settings={"max_tokens": 3})
    assert result_of(batch_line(whole)) == whole


@pytest.mark.parametrize(
    "line",
    [
        None,
        [],
        "text",
        5,
        {},
        {"custom_id": "a", "response": None},
        {"custom_id": "a", "blendin": None, "response": None},
        {"custom_id": "a", "blendin": [1], "response": None},
        {"custom_id": "a", "blendin": {}, "response": 5},
        {"custom_id": "a", "blendin": {}, "response": {"body": {"choices": []}}},
        {"custom_id": "a", "blendin": {}, "response": {"body": {"choices": [{}]}}},
        {"custom_id": "a", "blendin": {}, "response": {"body": {"choices": [{"message": "x"}]}}},
        {"custom_id": ["a"], "blendin": {}, "response": None},
    ],
)
def test_lines_of_others_are_refused(line: Any) -> None:
    with pytest.raises(BatchError, match="not a line that Blendin wrote"):
        result_of(line)
