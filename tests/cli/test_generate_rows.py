"""`blendin generate --input` on tiny models: formats, options, resuming, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.batch_commands import (
    EXACT,
    WORDS,
    as_lines,
    one_sentence,
    packed,
    pair_in,
    prompts,
    results_in,
    texts_in,
    write_rows,
)
from support.batch_lines import documents_in
from support.tiny_gguf import truncated, write_tiny

from blendin_local.batch import answering, planning
from blendin_local.batch.output import Output
from blendin_local.cli import main
from blendin_local.errors import ModelError
from blendin_local.models import loading, memory_estimate

pytestmark = pytest.mark.usefixtures("here")

SHORT = ["-n", "6"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return pair_in(tmp_path_factory.mktemp("models"))


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["generate", *arguments], input=stdin)


Command = Callable[..., Result]


@pytest.fixture
def command(pair: list[str]) -> Command:
    """`blendin generate PAIR -i in.jsonl -o out.jsonl` and more options; exit: the code it must end with."""

    def command(
        *options: str, i: str = "in.jsonl", o: str = "out.jsonl", exit: int = 0, stdin: bytes | None = None
    ) -> Result:
        result = run(*pair, *SHORT, "-i", i, "-o", o, *options, stdin=stdin)
        assert result.exit_code == exit, (result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return command


def answer(command: Command, rows: list[Any], *options: str, out: str = "out.jsonl", exit: int = 0) -> Any:
    """The results of these rows, by id."""
    write_rows(Path("in.jsonl"), rows)
    command(*options, o=out, exit=exit)
    return results_in(Path(out))


@pytest.fixture
def unloadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_arguments: object, **_options: object) -> None:
        raise AssertionError("models are loaded")

    monkeypatch.setattr(loading, "load_pair", load)


# In and out

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the world"}]
CSV = 'id,prompt,system\na,"the, water",\nb,"two\nlines",Be brief.\n'


def requests(count: int, **body: Any) -> list[dict[str, Any]]:
    given = {"model": "any", "messages": CHAT, "max_tokens": 5} | body
    return [
        {"custom_id": f"ask {i}", "method": "POST", "url": "/v1/chat/completions", "body": given}
        for i in range(count)
    ]


INPUTS: dict[str, tuple[str, bytes, list[str]]] = {
    "objects": ("in.jsonl", as_lines([{"id": "x", "prompt": "the"}, {"prompt": "a"}]), ["x", "row-2"]),
    "numbers as ids": ("in.ndjson", as_lines([{"id": 7, "prompt": "the"}]), ["7"]),
    "messages": ("in.jsonl", as_lines([{"messages": CHAT, "id": "x"}]), ["x"]),
    "bare texts": ("in.json", as_lines(["the", "world"]), ["row-1", "row-2"]),
    "lines": ("in.txt", b"the\r\n\r\nworld", ["row-1", "row-2"]),
    "csv": ("in.csv", CSV.encode(), ["a", "b"]),
    "tsv": ("in.tsv", CSV.replace(",", "\t").encode(), ["a", "b"]),
    "a name that says nothing": ("in.data", as_lines([{"id": "x", "prompt": "the"}]), ["x"]),
}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("case", INPUTS)
def test_rows_of_every_format_are_answered(command: Command, case: str, packing: str) -> None:
    name, data, ids = INPUTS[case]
    Path(name + packing).write_bytes(packed(data, name + packing))
    out = f"out.jsonl{packing}"
    result = command(i=name + packing, o=out)
    assert result.stdout == ""
    found = results_in(Path(out))
    assert sorted(found) == sorted(ids)
    for each in found.values():
        assert each["text"] and each["error"] is None and each["summary"]["steps"] == 6
        assert ids[each["index"]] == each["id"]
    assert f"{len(ids)} answered" in result.stderr and out in result.stderr


@pytest.mark.parametrize("case", INPUTS)
def test_standard_input_is_told_by_what_it_holds(command: Command, case: str) -> None:
    name, data, ids = INPUTS[case]
    form = ["--input-format", "csv"] if "," in CSV and name.endswith(".csv") else []
    if name.endswith(".tsv"):
        pytest.skip("only a name tells tabs from commas")
    command(*form, i="-", stdin=packed(data, "x.zst"))
    assert sorted(results_in(Path("out.jsonl"))) == sorted(ids)


def test_standard_output_holds_answers_only(command: Command) -> None:
    write_rows(Path("in.jsonl"), prompts(3))
    result = command(o="-")
    assert {json.loads(line)["id"] for line in result.stdout.splitlines()} == {"id 0", "id 1", "id 2"}
    assert "3 rows: 3 answered" in result.stderr
    # A pipe from one end to the other, and nothing else said.
    result = command("--quiet", i="-", o="-", stdin=as_lines(prompts(2)))
    assert len(result.stdout.splitlines()) == 2 and result.stderr == ""


def test_columns_are_named(command: Command) -> None:
    Path("in.csv").write_text("key,question,role\nfirst,the world,Be brief.\n", "utf-8")
    command("--column", "question", "--id-column", "key", "--system-column", "role", i="in.csv")
    command(o="plain.jsonl", i=str(write_rows(Path("x.jsonl"), [{"messages": CHAT, "id": "first"}])))
    assert texts_in(Path("out.jsonl")) == texts_in(Path("plain.jsonl"))
    write_rows(Path("in.jsonl"), [{"key": "first", "question": "the world", "role": "Be brief."}])
    command("--column", "question", "--id-column", "key", "--system-column", "role", o="json.jsonl")
    assert texts_in(Path("json.jsonl")) == texts_in(Path("plain.jsonl"))


def test_a_table_without_the_column_is_refused_with_those_it_has(command: Command) -> None:
    Path("in.csv").write_text("key,question\nfirst,the world\n", "utf-8")
    one_sentence(command(i="in.csv", exit=2).stderr, "question", "--column")
    assert not Path("out.jsonl").exists()


def test_batch_requests_have_batch_answers(command: Command) -> None:
    write_rows(Path("in.jsonl"), [*requests(2), *({**r, "custom_id": "n"} for r in requests(1, n=2))])
    command(exit=1)
    found = {line["custom_id"]: line for line in documents_in(Path("out.jsonl"))}
    assert found.keys() == {"ask 0", "ask 1", "n"}
    response = found["ask 0"]["response"]
    assert response["status_code"] == 200
    assert response["body"]["choices"][0]["message"]["content"]
    assert response["body"]["usage"]["completion_tokens"] >= 5
    assert found["ask 0"]["blendin"]["summary"]["steps"] == 5
    assert found["n"]["error"]["message"] and found["n"]["response"] is None
    # It goes on from there as well.
    write_rows(Path("in.jsonl"), [*requests(3), *({**r, "custom_id": "n"} for r in requests(1, n=2))])
    assert "3 of them kept" in command(exit=1).stderr
    assert len(documents_in(Path("out.jsonl"))) == 4


def test_the_format_of_the_output_can_be_chosen(command: Command) -> None:
    write_rows(Path("in.jsonl"), requests(1))
    command("--output-format", "jsonl")
    (plain,) = documents_in(Path("out.jsonl"))
    write_rows(Path("x.jsonl"), [{"id": "ask 0", "messages": CHAT, "settings": {"max_tokens": 5}}])
    command("--output-format", "openai", i="x.jsonl", o="batch.jsonl")
    (batch,) = documents_in(Path("batch.jsonl"))
    assert batch["response"]["body"]["choices"][0]["message"]["content"] == plain["text"]
    assert plain["id"] == batch["custom_id"] == "ask 0"


def test_text_can_be_called_what_it_is(command: Command) -> None:
    Path("in.jsonl").write_text('{"prompt": "the"}\n', "utf-8")
    command("--input-format", "text")
    command(o="json.jsonl")
    a, b = (documents_in(Path(name))[0]["usage"]["base"] for name in ("out.jsonl", "json.jsonl"))
    assert a["prompt_tokens"] > b["prompt_tokens"]


# What a run says


def test_figures_are_one_object(command: Command) -> None:
    write_rows(Path("in.jsonl"), [*prompts(4), {"id": "bad"}])
    result = command("--json", exit=1)
    figures = json.loads(result.stdout)
    found = results_in(Path("out.jsonl"))
    assert (figures["rows"], figures["answered"], figures["failed"]) == (5, 4, 1)
    assert (figures["kept"], figures["left"], figures["interrupted"]) == (0, 0, False)
    assert figures["errors"] == {"bad row": 1}
    assert figures["finish_reasons"] == {"length": 4}
    answered = [found[row["id"]]["summary"] for row in prompts(4)]
    assert figures["tokens"] == sum(each["tokens"] for each in answered)
    interventions = sum(each["interventions"] for each in answered)
    assert figures["intervention_rate"] == pytest.approx(interventions / 24)
    assert figures["seconds"] > 0
    assert figures["tokens_per_second"] == pytest.approx(figures["tokens"] / figures["seconds"])
    assert (figures["input"], figures["output"]) == ("in.jsonl", "out.jsonl")
    assert figures["models"].keys() == {"base", "guide"} and figures["settings"]["max_tokens"] == 6
    assert "bad" in {row["id"] for row in figures["worth_a_look"]}
    # The same of rows that were there, but for the speed.
    again = json.loads(command("--json", exit=1).stdout)
    assert again["kept"] == 5 and again["tokens_per_second"] is None and again["parallel"] is None
    for name in ("rows", "failed", "tokens", "intervention_rate", "reliability", "errors", "worth_a_look"):
        assert again[name] == figures[name]


def test_the_report_is_a_page(command: Command) -> None:
    write_rows(Path("in.jsonl"), [*prompts(3), {"id": "</script>", "prompt": 5}])
    command("--report", "report.html", "--quiet", exit=1)
    page = Path("report.html").read_text("utf-8")
    assert page.startswith("<!") and "id 1" in page
    assert page.count("</script>") == page.count("<script")


def test_a_failure_is_told_and_the_rest_goes_on(command: Command) -> None:
    rows: list[Any] = [{"id": f"bad {n}", "prompt": ""} for n in range(9)]
    write_rows(Path("in.jsonl"), [*prompts(2), *rows, {"id": "long", "prompt": "the " * 400}])
    stderr = command(exit=1).stderr
    assert "bad 0 (line 3): " in stderr and "bad 8 (" not in stderr
    assert "Further rows of this kind (bad row) are only counted." in stderr
    assert "long (line 12): " in stderr
    errors = {id: r["error"]["kind"] for id, r in results_in(Path("out.jsonl")).items() if r["error"]}
    assert errors == {f"bad {n}": "bad row" for n in range(9)} | {"long": "too long"}


def test_quiet_says_nothing(command: Command) -> None:
    write_rows(Path("in.jsonl"), [*prompts(2), {"id": "bad"}])
    assert command("--quiet", exit=1).output == ""


def test_steps_and_candidates_are_in_the_rows(command: Command) -> None:
    found = answer(command, prompts(2), "--steps", "--candidates", "3")
    for result in found.values():
        assert len(result["steps"]) == result["summary"]["steps"]
        assert "".join(step["text"] for step in result["steps"]) == result["text"]
        assert all(len(step["candidates"]["base"]) == 3 for step in result["steps"])
    assert "steps" not in next(iter(answer(command, prompts(2), out="plain.jsonl").values()))


# Rows


def test_a_row_has_settings_of_its_own(command: Command, pair: list[str]) -> None:
    own = [
        {"max_tokens": 3},
        {"temperature": 0, "gamma": 0.0},
        {"method": "guide"},
        {"seed": 5},
        {"stop": "e"},
        {"stop": ["o", "e"]},
    ]
    rows = [{"id": str(n), "prompt": "the world", "settings": each} for n, each in enumerate(own)]
    found = answer(command, rows, "--parallel", "3")
    for n, each in enumerate(own):
        kept = each | ({"stop": [each["stop"]]} if isinstance(each.get("stop"), str) else {})
        assert found[str(n)]["row_settings"] in (each, kept)
        assert found[str(n)]["settings"]["max_tokens"] == 6, "settings are those of the run"
    assert found["0"]["summary"]["steps"] == 3
    assert found["1"]["summary"]["interventions"] == 0
    assert found["2"]["usage"]["base"]["generated_tokens"] == 0
    assert "e" not in found["4"]["text"] and not {"o", "e"} & set(found["5"]["text"])
    # As the command line would have it: a row that sets its seed has exactly that.
    result = run(*pair, *SHORT, "--json", "--seed", "5", "the world")
    assert json.loads(result.stdout)["text"] == found["3"]["text"]


@pytest.mark.parametrize(
    ("own", "word"),
    [
        ({"gama": 0.5}, "gamma"),
        ({"gamma": 2}, "gamma"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"n_ctx": 9}, "n_ctx"),
        ([1], "settings"),
    ],
    ids=str,
)
def test_wrong_settings_fail_their_row_only(command: Command, own: Any, word: str) -> None:
    rows = [{"id": "bad", "prompt": "the", "settings": own}, {"id": "good", "prompt": "the"}]
    found = answer(command, rows, exit=1)
    assert found["good"]["text"]
    assert found["bad"]["error"]["kind"] == "bad row" and word in found["bad"]["error"]["message"]


def test_an_id_that_is_met_again_is_reported(command: Command) -> None:
    rows = [{"id": "a", "prompt": "the"}, {"id": "a", "prompt": "world"}, {"id": "b", "prompt": "it"}]
    write_rows(Path("in.jsonl"), rows)
    for _ in range(2):
        command(exit=1)
        found = documents_in(Path("out.jsonl"))
        assert sorted((r["id"], r["error"] and r["error"]["kind"]) for r in found if r["error"]) == [
            ("a", "duplicate id")
        ]
        assert len(found) == 3
    first = next(r for r in found if r["id"] == "a" and not r["error"])
    assert first["index"] == 0


@pytest.mark.parametrize("content", [b"", b"\n \n\n", b"\xef\xbb\xbf"])
def test_no_rows_are_no_fault(command: Command, unloadable: None, content: bytes) -> None:
    Path("in.jsonl").write_bytes(content)
    for _ in range(2):
        figures = json.loads(command("--json").stdout)
        assert (figures["rows"], figures["left"]) == (0, 0)
        assert Path("out.jsonl").read_bytes() == b""


@pytest.mark.parametrize("limit", [1, 3, 5, 9])
def test_a_limit_takes_the_first_rows(command: Command, limit: int) -> None:
    write_rows(Path("in.jsonl"), prompts(5))
    result = command("--limit", str(limit), "--json")
    assert results_in(Path("out.jsonl")).keys() == {row["id"] for row in prompts(5)[:limit]}
    assert json.loads(result.stdout)["left"] == 0
    # Without it the rest is answered as well.
    command()
    assert len(results_in(Path("out.jsonl"))) == 5


# Seeds


def test_one_at_a_time_an_answer_is_the_same_to_the_last_bit(command: Command) -> None:
    """Whatever the order: also with caches that round, and of prompts that begin alike."""
    coarse = ["--parallel", "1", "--kv-type", "f16", "--flash-attention", "auto", "--n-ctx", "512"]
    rows = prompts(12)
    rows += [{"id": str(n), "prompt": " ".join([*WORDS * 4, *WORDS[:n]])} for n in range(8)]
    expected = answer(command, rows, *coarse, out="a.jsonl")
    others = random.Random(1).sample(rows, 20)
    for id, result in answer(command, others, *coarse, out="b.jsonl").items():
        assert others[result["index"]]["id"] == id
        for name in ("text", "finish_reason", "row"):
            assert result[name] == expected[id][name]
        for name, figure in expected[id]["summary"].items():
            assert result["summary"][name] == figure


def test_an_answer_depends_on_its_id_and_the_settings_alone(command: Command) -> None:
    rows = prompts(12)
    answer(command, rows, "--parallel", "4", out="a.jsonl")
    texts = texts_in(Path("a.jsonl"))
    others = random.Random(1).sample(rows, 12)
    answer(command, others, "--parallel", "4", out="c.jsonl")
    assert texts_in(Path("c.jsonl")) == texts
    # Rows that are not there change nothing for those that are.
    answer(command, rows[5:], "--parallel", "4", out="d.jsonl")
    assert texts_in(Path("d.jsonl")) == {row["id"]: texts[row["id"]] for row in rows[5:]}
    answer(command, rows, "--parallel", "4", "--seed", "1", out="e.jsonl")
    assert texts_in(Path("e.jsonl")) != texts
    renamed = [{**row, "id": f"{row['id']}!"} for row in rows]
    assert {t for t, _, _ in texts.values()} != {
        r["text"] for r in answer(command, renamed, out="f").values()
    }


@pytest.mark.parametrize("parallel", ["auto", "1", "3", "200"])
def test_however_many_at_once(command: Command, parallel: str) -> None:
    write_rows(Path("in.jsonl"), prompts(9))
    result = command("--parallel", parallel, "--json")
    at_once = json.loads(result.stdout)["parallel"]
    assert at_once == {"1": 1, "3": 3, "200": 9}.get(parallel, at_once) and 1 <= at_once <= 9
    command("--parallel", "2", o="two.jsonl")
    assert texts_in(Path("out.jsonl")) == texts_in(Path("two.jsonl"))
    if parallel == "auto":
        assert "1 at once: " in result.stderr and "rows are written at once." in result.stderr


def test_auto_measures_what_it_has(command: Command) -> None:
    """Rows that cannot be answered are no measure, nor is one row."""
    rows = [{"id": "bad"}, {"id": "long", "prompt": "the " * 400}]
    assert len(answer(command, rows, "--parallel", "auto", exit=1)) == 2
    assert len(answer(command, prompts(1), "--parallel", "auto", out="one.jsonl")) == 1
    command("--parallel", "auto", i="-", o="piped.jsonl", stdin=as_lines(prompts(5)))
    assert len(results_in(Path("piped.jsonl"))) == 5


# Memory


def free_for(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A machine whose memory has room for so many rows at once."""

    def fitting(options: Any, wanted: int, files: Any) -> int:
        needs = [
            sum(memory_estimate.estimate(header, planning.parallel_options(options, n)).total
                for header in (files.base, files.guide))
            for n in (rows, rows + 1)
        ]  # fmt: skip
        monkeypatch.setattr(memory_estimate, "free_memory", lambda: sum(needs) // 2)
        return original(options, wanted, files)

    original = planning.fit_parallel
    monkeypatch.setattr(answering, "fit_parallel", fitting)


def test_memory_decides_how_many_rows_at_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(Path("in.jsonl"), prompts(9))
    free_for(monkeypatch, 3)
    result = command("--json")
    assert json.loads(result.stdout)["parallel"] == 3
    assert "3 rows are written at once: memory has no room for more." in result.stderr
    assert "Not enough memory" not in result.stderr
    # What is asked for is done, with a word of warning.
    result = command("--json", "--parallel", "7", o="seven.jsonl")
    assert json.loads(result.stdout)["parallel"] == 7
    assert "Memory may not suffice for 7 rows at once: try --parallel 3." in result.stderr
    assert texts_in(Path("seven.jsonl")) == texts_in(Path("out.jsonl"))
    # A warm-up tries no more than there is room for.
    result = command("--json", "--parallel", "auto", o="auto.jsonl")
    assert json.loads(result.stdout)["parallel"] <= 3 and "4 at once" not in result.stderr


def test_memory_for_nothing_is_told_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: 1000)
    write_rows(Path("in.jsonl"), prompts(3))
    result = command()
    assert "1 row is written at once: memory has no room for more." in result.stderr
    assert result.stderr.count("Not enough memory") == 1
    assert len(results_in(Path("out.jsonl"))) == 3


# Resuming


def test_the_same_command_again_does_nothing(command: Command, request: pytest.FixtureRequest) -> None:
    write_rows(Path("in.jsonl"), [*prompts(4), {"id": "bad"}, {"id": "id 0", "prompt": "twice"}])
    command(exit=1)
    before = Path("out.jsonl").read_bytes()
    request.getfixturevalue("unloadable")
    result = command(exit=1)
    assert Path("out.jsonl").read_bytes() == before
    assert "6 of them kept from before" in result.stderr
    # Nor if the rows come through a pipe, or in another order.
    rows = Path("in.jsonl").read_bytes()
    command(i="-", stdin=rows, exit=1)
    command(i="-", stdin=b"".join(rows.splitlines(keepends=True)[:5][::-1]), exit=1)
    assert Path("out.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
@pytest.mark.parametrize("cut", ["between lines", "within a line"])
def test_what_is_missing_is_answered_as_it_would_have_been(command: Command, name: str, cut: str) -> None:
    rows = prompts(10)
    whole = answer(command, rows, "--parallel", "1", out=name)
    lines = as_lines(documents_in(Path(name))[:4])
    kept = lines + (b'{"id": "id 4", "index' if cut == "within a line" else b"")
    Path(name).write_bytes(packed(kept, name))
    result = command("--parallel", "1", o=name)
    assert ("half a line" in result.stderr) == (cut == "within a line")
    assert "4 of them kept" in result.stderr
    again = results_in(Path(name))
    assert again.keys() == whole.keys()
    for id, each in again.items():
        assert (each["text"], each["summary"]) == (whole[id]["text"], whole[id]["summary"])
    assert documents_in(Path(name))[:4] == [json.loads(line) for line in lines.splitlines()]


CHANGES: dict[str, tuple[list[str], str]] = {
    "gamma": (["--gamma", "0.9"], "--gamma is 0.9 and was 0.4"),
    "method": (["--method", "nudge"], "--method is nudge and was blendin"),
    "seed": (["--seed", "3"], "--seed is 3 and was 0"),
    "length": (["-n", "7"], "--max-tokens is 7 and was 6"),
    "system": (["--system", "Be brief."], "--system"),
    "stop": (["--stop", "x"], "--stop is 'x' and was not set"),
    "format": (["--base-format", "user-assistant"], "--base-format is user-assistant and was"),
    "raw": (["--raw"], "--guide-format is raw"),
    "cache": (["--kv-type", "f16"], "--kv-type is f16 and was f32"),
    "steps": (["--steps"], "--steps is on and was off"),
    "output": (["--output-format", "openai"], "the format of the output is openai and was jsonl"),
    "guide": (["--guide", "other.gguf"], "the guide is another file"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another_run_is_refused_with_a_choice(
    command: Command, request: pytest.FixtureRequest, case: str
) -> None:
    options, difference = CHANGES[case]
    write_tiny(Path("other.gguf"), vocabulary="bpe", seed=9)
    write_rows(Path("in.jsonl"), prompts(1))
    command()
    request.getfixturevalue("unloadable")
    before = Path("out.jsonl").read_bytes()
    one_sentence(command(*options, exit=2).stderr, difference, "name a new file", "--overwrite")
    assert Path("out.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ["--threads", "2"],
        ["--n-ctx", "300"],
        ["--batch-size", "64"],
        ["--no-mmap"],
        ["--parallel", "5"],
        ["--limit", "3"],
        ["--quiet"],
        ["--json"],
        ["--retry-failed"],
        ["--gamma", "0.40"],
        ["--base", "copy.gguf"],
        ["--max-tokens", "6"],
    ],
    ids=str,
)
def test_what_changes_no_answer_goes_on(
    command: Command, pair: list[str], request: pytest.FixtureRequest, options: list[str]
) -> None:
    shutil.copy(pair[1], "copy.gguf")
    write_rows(Path("in.jsonl"), prompts(3))
    command()
    before = Path("out.jsonl").read_bytes()
    request.getfixturevalue("unloadable")
    command(*options)
    assert Path("out.jsonl").read_bytes() == before


def test_a_row_that_asks_something_else_is_refused_with_a_choice(command: Command) -> None:
    rows = prompts(4)
    answer(command, rows)
    before = Path("out.jsonl").read_bytes()
    for changed in ({"prompt": "something else"}, {"settings": {"gamma": 0.9}}, {"system": "Be brief."}):
        write_rows(Path("in.jsonl"), [*rows[:2], rows[2] | changed, rows[3]])
        one_sentence(
            command(exit=2).stderr, "'id 2' (line 3)", "Name another output", "--overwrite", "--retry-failed"
        )
        assert Path("out.jsonl").read_bytes() == before


def test_overwriting_starts_anew(command: Command) -> None:
    rows = prompts(4)
    answer(command, rows)
    changed = [{**row, "prompt": "something else"} for row in rows[:2]]
    assert answer(command, changed, "--overwrite", "--gamma", "0.9").keys() == {"id 0", "id 1"}
    # Whatever it was.
    Path("out.jsonl").write_text("something else\n", "utf-8")
    one_sentence(command(exit=2).stderr, "out.jsonl has content other than answers", "--overwrite")
    assert Path("out.jsonl").read_text("utf-8") == "something else\n"
    assert len(answer(command, rows, "--overwrite")) == 4


def test_failed_rows_are_asked_again_when_they_are_to_be(command: Command) -> None:
    rows = [*prompts(2), {"id": "bad", "prompt": ""}, {"id": "long", "prompt": "the " * 400}]
    first = answer(command, rows, exit=1)
    mended = [*prompts(2), {"id": "bad", "prompt": "the"}, {"id": "long", "prompt": "the " * 40}]
    # What could not be read had no question to compare with.
    write_rows(Path("in.jsonl"), [*prompts(2), mended[2]])
    command(exit=1)
    write_rows(Path("in.jsonl"), mended)
    result = command("--retry-failed", "--json")
    assert "2 failed rows are asked again." in result.stderr
    figures = json.loads(result.stdout)
    assert (figures["answered"], figures["failed"], figures["kept"]) == (4, 0, 2)
    found = results_in(Path("out.jsonl"))
    assert all(found[id] == first[id] for id in ("id 0", "id 1"))
    assert found["bad"]["text"] and found["long"]["text"]


def test_a_failure_that_stays_one_is_there_once(command: Command) -> None:
    write_rows(Path("in.jsonl"), [*prompts(2), {"id": "bad"}])
    command(exit=1)
    for _ in range(2):
        command("--retry-failed", exit=1)
        assert len(results_in(Path("out.jsonl"))) == 3


def test_an_input_may_grow_and_shrink(command: Command) -> None:
    first = answer(command, prompts(4))
    grown = answer(command, prompts(9))
    assert len(grown) == 9 and all(grown[id] == first[id] for id in first)
    before = Path("out.jsonl").read_bytes()
    answer(command, prompts(2))
    assert Path("out.jsonl").read_bytes() == before


def test_several_inputs_may_share_an_output(command: Command) -> None:
    """As many at once as ever: rows that are there already are not those that are left."""
    answer(command, prompts(9))
    others = [{**row, "id": f"other {row['id']}"} for row in prompts(9)]
    write_rows(Path("in.jsonl"), others)
    assert json.loads(command("--json").stdout)["parallel"] == 8
    assert len(results_in(Path("out.jsonl"))) == 18


def test_what_is_left_is_counted_of_this_input_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the output holds the rows of others, and some of this one."""
    answer(command, prompts(6))
    others = [{**row, "id": f"other {row['id']}"} for row in prompts(8)]
    answer(command, others[:3])
    write = Output.write

    def press(output: Output, result: Any) -> bool:
        signal.raise_signal(signal.SIGINT)
        return write(output, result)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    write_rows(Path("in.jsonl"), others)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Output, "write", press)
            result = command("--json", "--parallel", "1", exit=130)
    finally:
        signal.signal(signal.SIGINT, before)
    figures = json.loads(result.stdout)
    assert (figures["rows"], figures["left"]) == (10, 4)
    assert "9 of 14 rows" in result.stderr
    assert json.loads(command("--json").stdout)["left"] == 0
    assert json.loads(command("--json", "--limit", "2").stdout)["left"] == 0


def test_a_row_that_changed_is_found_before_any_is_answered(
    command: Command, request: pytest.FixtureRequest
) -> None:
    """However far down it stands: hours later would be late."""
    rows = prompts(12)
    answer(command, rows[8:])
    before = Path("out.jsonl").read_bytes()
    rows[11]["prompt"] = "another"
    write_rows(Path("in.jsonl"), rows)
    request.getfixturevalue("unloadable")
    one_sentence(command(exit=2).stderr, "id 11", "--overwrite")
    assert Path("out.jsonl").read_bytes() == before


def test_models_that_cannot_be_loaded_lose_nothing(
    command: Command, pair: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(Path("in.jsonl"), prompts(500))
    truncated(Path(pair[3]), Path("half.gguf"), -5000)
    one_sentence(command("--guide", "half.gguf", exit=2).stderr, "half.gguf")

    def load(*_arguments: object, **_options: object) -> None:
        raise ModelError("The model cannot be loaded: no memory.")

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_pair", load)
        one_sentence(command(exit=2).stderr, "no memory")
        one_sentence(command("--parallel", "auto", "--quiet", exit=2).stderr, "no memory")
    command("--limit", "4")
    assert len(results_in(Path("out.jsonl"))) == 4


# Ctrl-C


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_with_whole_lines_and_a_hint(
    command: Command, monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    write, wrote = Output.write, 0

    def press(output: Output, result: Any) -> bool:
        nonlocal wrote
        wrote += 1
        done = write(output, result)
        for _ in range(presses if wrote == 3 else 0):
            signal.raise_signal(signal.SIGINT)
        return done

    write_rows(Path("in.jsonl"), prompts(20))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Output, "write", press)
            result = command("--json", "--report", "report.html", "--parallel", "2", exit=130)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.stderr.endswith(
        "Stopped. Finished answers are saved: run the same command again to resume.\n"
    )
    assert 3 <= len(results_in(Path("out.jsonl"))) <= 5
    if presses == 1:
        figures = json.loads(result.stdout)
        assert figures["interrupted"] and figures["left"] == 20 - figures["rows"] > 0
        assert Path("report.html").exists()
    command()
    command(o="undisturbed.jsonl")
    assert texts_in(Path("out.jsonl")) == texts_in(Path("undisturbed.jsonl"))


@pytest.mark.parametrize("options", [["-o", "-"], ["-o", "/dev/null"]])
def test_no_hint_where_nothing_is_kept(
    pair: list[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    def load(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load_pair", load)
    write_rows(Path("in.jsonl"), prompts(2))
    result = run(*pair, "-i", "in.jsonl", *options)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Stopped."


def test_ctrl_c_in_the_warm_up_ends_at_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_arguments: Any, cancellation: Any, **_options: Any) -> list[Any]:
        signal.raise_signal(signal.SIGINT)
        while not cancellation.requested:
            pass
        return []

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    write_rows(Path("in.jsonl"), prompts(9))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(answering, "try_parallel", press)
            result = command("--parallel", "auto", exit=130)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Finished answers are saved" in result.stderr and Path("out.jsonl").read_bytes() == b""


# Preferences


def prefer(here: Path, text: str) -> None:
    (here / "config").mkdir(exist_ok=True)
    (here / "config" / "config.toml").write_text(text, "utf-8")


def test_preferences_count_as_for_one_prompt(here: Path, command: Command, pair: list[str]) -> None:
    prefer(
        here,
        '[generation]\ngamma = 0.9\nseed = 11\nmax_tokens = 9\nstop = ["#"]\n'
        '[models]\nn_ctx = 200\nguide_format = "question-answer"\n',
    )
    write_rows(Path("in.jsonl"), [{"id": "x", "prompt": "the world", "settings": {"seed": 11}}])
    models = pair[: -len(EXACT)]
    result = run(*models, "--threads", "1", "-i", "in.jsonl", "-o", "out.jsonl", "--parallel", "1")
    assert result.exit_code == 0, result.output
    found = results_in(Path("out.jsonl"))["x"]
    settings = found["settings"]
    assert (settings["blend"]["gamma"], settings["seed"], settings["max_tokens"]) == (0.9, 11, 9)
    assert settings["stop"] == ["#"]
    assert found["models"]["guide"]["format"]["name"] == "question-answer"
    single = run(*models, "--threads", "1", "--json", "the world")
    assert json.loads(single.stdout)["text"] == found["text"]
    # What is typed stands above them.
    command("--gamma", "0.2", "--seed", "0", o="typed.jsonl")
    settings = results_in(Path("typed.jsonl"))["x"]["settings"]
    assert (settings["blend"]["gamma"], settings["seed"], settings["max_tokens"]) == (0.2, 0, 6)
    # What is preferred now and was not then is a change like any other.
    prefer(here, "[generation]\ngamma = 0.5\n")
    stderr = run(*models, "-i", "in.jsonl", "-o", "out.jsonl", "--parallel", "1").stderr
    one_sentence(stderr, "--gamma is 0.5 and was 0.9", "--overwrite")


# What is refused

REFUSED: dict[str, tuple[list[str], str]] = {
    "no output": (["-i", "in.jsonl"], "--input needs --output"),
    "an output of no name": (["-i", "in.jsonl", "-o", ""], "--input needs --output"),
    "a prompt as well": (["-i", "in.jsonl", "-o", "out", "hello"], "--input and a prompt exclude"),
    "a prompt file as well": (["-i", "in.jsonl", "-o", "out", "-f", "x"], "--input and --file exclude"),
    "a view": (["-i", "in.jsonl", "-o", "out", "--view", "tokens"], "--view is for a single reply"),
    "colours": (["-i", "in.jsonl", "-o", "out", "--color", "never"], "--color is for a single reply"),
    "candidates": (["-i", "in.jsonl", "-o", "out", "--candidates", "2"], "--candidates needs --steps"),
    "two on stdout": (["-i", "in.jsonl", "-o", "-", "--json"], "--json and --output -"),
    "two on a device": (["-i", "in.jsonl", "-o", "/dev/stdout", "--json"], "--json and --output -"),
    "anew and again": (["-i", "in.jsonl", "-o", "out", "--overwrite", "--retry-failed"], "--retry-failed"),
    "workers alone": (["-i", "in.jsonl", "-o", "out", "--workers", "2"], "--workers needs --ray"),
    "auto for others": (["-i", "in.jsonl", "-o", "out", "-j", "auto", "--ray"], "--parallel auto measures"),
    "a report to stdout": (["-i", "in.jsonl", "-o", "out", "--report", "-"], "--report goes to a file"),
    "no such input": (["-i", "nowhere.jsonl", "-o", "out"], "There is no file nowhere.jsonl"),
    "a folder for an input": (["-i", ".", "-o", "out"], ". is a folder"),
    "a folder for an output": (["-i", "in.jsonl", "-o", "."], ". is a folder"),
    "no such folder": (["-i", "in.jsonl", "-o", "no/out"], "There is no folder"),
    "in and out": (["-i", "in.jsonl", "-o", "./in.jsonl", "--overwrite"], "is read by this command"),
    "out and report": (["-i", "in.jsonl", "-o", "out", "--report", "out"], "is also the file of --output"),
    "no folder for the report": (["-i", "in.jsonl", "-o", "out", "--report", "no/r.html"], "no folder no"),
    "gamma": (["-i", "in.jsonl", "-o", "out", "--gamma", "1.5"], "gamma"),
    "length": (["-i", "in.jsonl", "-o", "out", "-n", "0"], "--max-tokens must be between"),
    "seed": (["-i", "in.jsonl", "-o", "out", "--seed", f"{1 << 63}"], "9223372036854775808"),
    "format": (["-i", "in.jsonl", "-o", "out", "--base-format", "poem"], "poem"),
    "model": (["-i", "in.jsonl", "-o", "out", "--base", "gemma-3-27m"], "gemma-3-270m"),
    "pair": (["-i", "in.jsonl", "-o", "out", "--pair", "dmeo"], "demo"),
    "a document": (["-i", "document.json", "-o", "out"], "jq -c"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(
    pair: list[str], here: Path, unloadable: None, case: str
) -> None:
    options, words = REFUSED[case]
    write_rows(Path("in.jsonl"), prompts(2))
    Path("document.json").write_text(json.dumps(prompts(2), indent=1), "utf-8")
    kept = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    given = [] if {"--pair", "--base"} & set(options) else pair
    result = run(*given, *options)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    one_sentence(result.stderr, words)
    # Nothing was changed, and nothing made.
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == kept


@pytest.mark.parametrize("flag", ["-o", "--report"])
def test_a_model_is_never_written_over(command: Command, pair: list[str], flag: str) -> None:
    write_rows(Path("in.jsonl"), prompts(2))
    for model in (pair[1], pair[3]):
        before = Path(model).read_bytes()
        stderr = command("--overwrite", flag, model, exit=2).stderr
        one_sentence(stderr, "is read by this command: name another file")
        assert Path(model).read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "out"],
        ["--input-format", "text"],
        ["--output-format", "jsonl"],
        ["--column", "x"],
        ["--id-column", "x"],
        ["--system-column", "x"],
        ["--limit", "1"],
        ["--parallel", "2"],
        ["--retry-failed"],
        ["--overwrite"],
        ["--report", "x"],
        ["--ray"],
        ["--workers", "2"],
    ],
    ids=lambda options: options[0],
)
def test_what_belongs_to_rows_is_refused_without_them(
    pair: list[str], unloadable: None, options: list[str]
) -> None:
    # `--ray` takes a word that follows for an address.
    result = run(*pair, "--json", *options, "--", "hello")
    assert result.exit_code == 2
    one_sentence(result.stderr, "needs --input: name a file of prompts")


@pytest.mark.parametrize("wrong", ["0", "257", "-1", "many", "1.5", ""])
def test_a_number_of_rows_is_one(command: Command, wrong: str) -> None:
    write_rows(Path("in.jsonl"), prompts(1))
    stderr = command("--parallel", wrong, exit=2).stderr
    assert f"{wrong!r} is neither a number from 1 to 256 nor auto." in stderr
