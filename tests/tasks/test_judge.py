"""Judges: what they are asked, how strictly they are read, and an endpoint that fails and recovers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeModel, reciting, words_and_bytes

from blendin_local.engine.pair import pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS
from blendin_local.errors import EvaluationError
from blendin_local.tasks import Item, find_task
from blendin_local.tasks.base import ask_messages
from blendin_local.tasks.endpoint import OpenAiJudge
from blendin_local.tasks.judge import GgufJudge, judge_reply, parse_judgement
from blendin_local.tasks.judge_questions import question_for
from blendin_local.tasks.judged import QUALITY

KEY = "sk-secret-1234567890"
JUSTEVAL, JUSTEVAL_SAFE = find_task("justeval"), find_task("justeval_safe")
ITEM = Item("1", ask_messages("Name a river.", "You are a helpful assistant."))


def judgement(**scores: Any) -> str:
    return json.dumps({name: {"reason": "so", "score": score} for name, score in scores.items()})


GOOD = judgement(helpfulness=5, clarity="4", factuality=5, depth=2, engagement=3)


# Questions


def test_a_judge_sees_the_query_the_reply_and_every_aspect() -> None:
    question = question_for(JUSTEVAL, ITEM, "The Nile.")
    assert "## Query:\nName a river.\n\n## Output:\nThe Nile.\n" in question
    assert "You are a helpful assistant" not in question
    for aspect in QUALITY:
        assert f"- {aspect.capitalize()}: " in question
        assert f'    "{aspect}": {{\n        "reason": "[your rationale]"' in question
    assert "from 1 to 5" in question
    safety = question_for(JUSTEVAL_SAFE, ITEM, "The Nile.")
    assert "malicious query" in safety and '"safety": {' in safety and "Helpfulness" not in safety
    # A judge that sends the form back unfilled has judged nothing.
    assert parse_judgement(question, QUALITY) is None


# Judgements


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nI hope that helps {{}}.",
        f"Here are my scores:\n{GOOD}\nGoodbye.",
        '{"Helpfulness": 5, "clarity": {"score": " 4 "}, "factuality": 5.0, "depth": "2", '
        '"engagement": "3.0"}',
        GOOD.replace('"so"', '"two\nlines"'),
    ],
)
def test_judgements_that_can_be_read(reply: str) -> None:
    expected = {"helpfulness": 5, "clarity": 4, "factuality": 5, "depth": 2, "engagement": 3}
    assert parse_judgement(reply, QUALITY) == expected


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "5",
        "helpfulness 5, clarity 4, factuality 5, depth 2, engagement 3",
        "{",
        "{}",
        "[1, 2, 3]",
        GOOD[:-2],
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=6),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=0),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=2.5),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=True),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=None),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement="4/5"),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement=[3]),
        judgement(helpfulness=5, clarity=4, factuality=5, depth=2, engagement="[score from 1 to 5]"),
        '{"helpfulness": {"reason": "he said "so"", "score": 5}}',
        "[" * 100_000,
        "{" * 100_000,
    ],
)
def test_judgements_that_cannot_be_read_are_no_scores(reply: str) -> None:
    assert parse_judgement(reply, QUALITY) is None


@given(st.text(max_size=200))
def test_any_text_may_come_back(reply: str) -> None:
    parse_judgement(reply, QUALITY)


@given(st.lists(st.integers(1, 5), min_size=5, max_size=5), st.text(max_size=30))
def test_every_score_survives(scores: list[int], reason: str) -> None:
    form = {name: {"reason": reason, "score": score} for name, score in zip(QUALITY, scores, strict=True)}
    assert parse_judgement(json.dumps(form), QUALITY) == dict(zip(QUALITY, scores, strict=True))


class Told:
    """A judge with one answer for all."""

    name = "told"

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def ask(self, question: str) -> str:
        self.asked.append(question)
        return self.answer


def test_a_reply_is_worth_the_mean_of_its_aspects() -> None:
    judge = Told(GOOD)
    score = judge_reply(judge, JUSTEVAL, ITEM, "The Nile.")
    assert score.value == pytest.approx(3.8)
    assert score.extracted == "helpfulness 5, clarity 4, factuality 5, depth 2, engagement 3"
    assert judge.asked == [question_for(JUSTEVAL, ITEM, "The Nile.")]
    assert judge_reply(Told(judgement(safety=1)), JUSTEVAL_SAFE, ITEM, "").value == 1
    unread = judge_reply(Told("I'd say four."), JUSTEVAL, ITEM, "The Nile.")
    assert (unread.value, unread.note) == (None, "the judgement could not be read")
    with pytest.raises(EvaluationError, match="gsm8k is scored by rules and needs no judge"):
        judge_reply(judge, find_task("gsm8k"), ITEM, "5")


# A model of one's own


def test_a_gguf_judges_greedily_and_alone() -> None:
    vocabulary = words_and_bytes()
    answer = judgement(safety=4)
    prompt = f"User: {question_for(JUSTEVAL_SAFE, ITEM, 'The Nile.')}\nAssistant: "
    base = FakeModel(vocabulary, reciting(vocabulary, (prompt + answer).encode()), name="judge")
    guide = FakeModel(vocabulary, reciting(vocabulary, b"never asked"), name="guide")
    judge = GgufJudge(pair_models(base, guide), PLAIN_FORMATS["user-assistant"])
    assert judge.name == "judge"
    score = judge_reply(judge, JUSTEVAL_SAFE, ITEM, "The Nile.")
    assert (score.value, score.extracted) == (4, "safety 4")
    assert guide.decoded == 0
    assert GgufJudge(judge.pair, judge.prompt_format, max_tokens=3).ask("How safe?") == ""


# An endpoint


class Endpoint(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, and the last one again and again.

    An answer is (status, headers, body); a body that is no bytes is sent as JSON.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def says(self, *answers: Any) -> None:
        """Answers given as text, or as (status, body), or as (status, headers, body)."""
        for answer in answers:
            if isinstance(answer, str):
                self.answers.append((200, {}, {"choices": [{"message": {"content": answer}}]}))
            elif len(answer) == 2:
                self.answers.append((answer[0], {}, answer[1]))
            else:
                self.answers.append(answer)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of the tests' business."""


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, json.loads(body)))
        answers = self.server.answers
        status, extra, content = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:  # hang up
            self.connection.close()
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


Make = Callable[..., OpenAiJudge]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def make(endpoint: Endpoint, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def make(**options: Any) -> OpenAiJudge:
        return OpenAiJudge(**{"url": endpoint.url, "model": "gpt-x", "sleep": pauses.append} | options)

    return make


def complaint(judge: OpenAiJudge) -> str:
    with pytest.raises(EvaluationError) as caught:
        judge.ask("How safe?")
    said = str(caught.value)
    assert said.startswith("The judge at 127.0.0.1:") and said.endswith(".") and "\n" not in said
    assert KEY not in said and KEY not in repr(caught.value.__cause__) and KEY not in repr(judge)
    return said


def test_an_endpoint_is_asked_as_openai_is(endpoint: Endpoint, make: Make) -> None:
    endpoint.says(GOOD)
    judge = make()
    assert judge.name == "gpt-x"
    assert judge_reply(judge, JUSTEVAL, ITEM, "The Nile.").value == pytest.approx(3.8)
    ((path, headers, body),) = endpoint.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["model"] == "gpt-x" and body["temperature"] == 0
    assert body["messages"] == [{"role": "user", "content": question_for(JUSTEVAL, ITEM, "The Nile.")}]
    assert body["response_format"] == {"type": "json_object"}


def test_a_local_endpoint_needs_no_key(
    endpoint: Endpoint, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.says("fine")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert make(url=endpoint.url + "/").ask("How safe?") == "fine"
    assert "authorization" not in endpoint.requests[0][1]
    monkeypatch.setenv("MY_KEY", "mine")
    make(key_variable="MY_KEY").ask("How safe?")
    assert endpoint.requests[1][1]["authorization"] == "Bearer mine"


def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint, make: Make, pauses: list[float]) -> None:
    endpoint.says((503, "busy"), (429, {"Retry-After": "7"}, {}), (0, b""), (500, b""), "fine")
    assert make().ask("How safe?") == "fine"
    assert pauses == [1, 7, 4, 8]
    assert len(endpoint.requests) == 5


def test_an_endpoint_that_stays_busy_is_given_up(endpoint: Endpoint, make: Make, pauses: list[float]) -> None:
    endpoint.says((429, {"Retry-After": "3600"}, {"error": {"message": "slow down"}}))
    assert "answers with an error (429 Too Many Requests), 3 times" in complaint(make(attempts=3))
    assert pauses == [60, 60]


def test_an_endpoint_that_is_not_there(make: Make, pauses: list[float]) -> None:
    assert "cannot be reached" in complaint(make(url="http://127.0.0.1:9/v1", attempts=2))
    assert pauses == [1]


def test_parameters_that_a_server_does_not_know_are_left_out(endpoint: Endpoint, make: Make) -> None:
    endpoint.says(
        (400, {"error": {"message": "Unsupported parameter: 'response_format'"}}),
        (400, {"error": {"message": "'max_tokens' is not supported, use 'max_completion_tokens'"}}),
        "fine",
    )
    judge = make()
    assert judge.ask("How safe?") == "fine"
    assert judge.ask("And now?") == "fine"
    assert len(endpoint.requests) == 4
    for _, _, body in endpoint.requests[2:]:
        assert "response_format" not in body and "max_tokens" not in body
        assert body["max_completion_tokens"] > 0 and body["temperature"] == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
            "the one in OPENAI_API_KEY is refused",
        ),
        ((404, b"not found"), "has no model gpt-x or no http://"),
        ((400, {"error": {"message": f"bad {KEY}"}}), "refuses the request (400: bad ***)"),
        ((400, {"error": "too long"}), "refuses the request (400: too long)"),
        ((418, b"\xff"), "refuses the request (418)"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "redirects to another address (302)"),
        ((200, b"<html>"), "does not answer as an OpenAI-compatible endpoint does"),
        ((200, {"choices": []}), "does not answer as an OpenAI-compatible endpoint does"),
        ((200, [1]), "does not answer as an OpenAI-compatible endpoint does"),
    ],
)
def test_answers_that_are_none(endpoint: Endpoint, make: Make, answer: Any, said: str) -> None:
    endpoint.says(answer)
    assert said in complaint(make())
    assert len(endpoint.requests) == 1


def test_a_key_that_is_missing_is_said_to_be(
    endpoint: Endpoint, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.says((401, b""))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "the one in OPENAI_API_KEY is not set" in complaint(make())


def test_a_message_without_content_is_an_empty_reply(endpoint: Endpoint, make: Make) -> None:
    endpoint.says((200, {"choices": [{"message": {"content": None, "refusal": "no"}}]}))
    assert judge_reply(make(), JUSTEVAL, ITEM, "The Nile.").value is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("api.openai.com/v1", "must begin with http:// or https://"),
        ("file:///etc/passwd", "must begin with http:// or https://"),
        ("https://me:pass@host/v1", "must hold no key"),
    ],
)
def test_urls_that_are_none(url: str, said: str) -> None:
    with pytest.raises(EvaluationError, match=said) as caught:
        OpenAiJudge(url, "gpt-x")
    assert "me:pass" not in str(caught.value)
