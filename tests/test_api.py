"""The package as a library, on tiny models; docs/python.md is run as it stands."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.paths import ROOT
from support.tiny_gguf import never_ending, write_tiny

import blendin_local as blendin
from blendin_local.api.pair import LoadedPair
from blendin_local.api.reply import Reply
from blendin_local.cli import main
from blendin_local.llamacpp.model import GgufModel
from blendin_local.progress import Progress

ANSWERS = ["the people of the world", "it was said", "Paris is the capital", "no more", "the water", "when"]
EXACT: dict[str, Any] = {"n_threads": 1, "kv_type": "f32", "flash_attention": "off"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    write_tiny(folder / "base.gguf", vocabulary="spm", seed=1)
    write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=2)
    rows = [{"prompt": f"hello world {n}", "answer": "the", "match": "contains"} for n in range(3)]
    (folder / "made.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return folder


@pytest.fixture
def pair(folder: Path) -> Iterator[LoadedPair]:
    with blendin.load(
        base=folder / "base.gguf", guide=folder / "guide.gguf", progress=False, **EXACT
    ) as pair:
        yield pair


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[LoadedPair]:
    """A pair that never ends a reply by itself."""
    base = write_tiny(tmp_path / "e-base.gguf", bias=never_ending(), n_ctx_train=1 << 16)
    guide = write_tiny(
        tmp_path / "e-guide.gguf", vocabulary="bpe", bias=never_ending("bpe"), n_ctx_train=1 << 16
    )
    with blendin.load(base=base, guide=guide, progress=False, n_threads=1) as pair:
        yield pair


@pytest.fixture
def heard() -> Iterator[None]:
    """A program that runs in the background may have been started deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def steady(document: dict[str, Any]) -> dict[str, Any]:
    """All that does not depend on a clock."""
    kept = json.loads(json.dumps(document))
    for step in kept.get("steps", ()):
        for name in ("base_s", "guide_s", "blend_s"):
            step.pop(name)
    for name in ("timings", "tokens_per_second", "seconds"):
        kept.pop(name, None)
    return dict(kept)


# Names


def test_public_names_are_sorted_and_exist() -> None:
    assert blendin.__all__ == sorted(blendin.__all__)
    for name in blendin.__all__:
        assert getattr(blendin, name) is not None
        assert name in dir(blendin)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = blendin.nothing


def test_functions_win_over_subpackages_of_the_same_name() -> None:
    """Importing a subpackage would otherwise put a module in the place of the function."""
    code = (
        "import blendin_local.tune.passes, blendin_local.compare.run, blendin_local as b\n"
        "from blendin_local.tune import passes\n"
        "print(b.tune.__module__, b.compare.__module__, passes.__name__)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    named = "blendin_local.api.evaluation"
    assert done.stdout.split() == [named, named, "blendin_local.tune.passes"], done.stderr


def test_errors_have_one_root() -> None:
    with pytest.raises(blendin.BlendinError, match="demo"):
        blendin.load("dmeo")
    with pytest.raises(blendin.BlendinError, match="did you mean n_ctx"):
        blendin.load("demo", n_cttx=5)


# A reply


def test_a_reply_is_the_document_of_the_command_line(pair: LoadedPair, folder: Path) -> None:
    models = ["--base", str(folder / "base.gguf"), "--guide", str(folder / "guide.gguf")]
    exact = ["--threads", "1", "--kv-type", "f32", "--flash-attention", "off"]
    asked = ["--gamma", "0.7", "-n", "12", "--seed", "3", "--system", "Be brief.", "--stop", "zzz"]
    result = CliRunner().invoke(main, ["generate", *models, *exact, *asked, "--json", "--steps", "hello"])
    assert result.exit_code == 0, result.output
    reply = pair.reply("hello", gamma=0.7, max_tokens=12, seed=3, system="Be brief.", stop="zzz")
    steps = list(reply)
    assert steady(reply.to_dict(steps=True)) == steady(json.loads(result.stdout))
    assert steps == reply.steps and all(isinstance(step, blendin.Step) for step in steps)
    assert "".join(step.text for step in steps) == reply.text
    assert reply.summary.steps == len(steps) and reply.finish_reason == steps[-1].finish_reason
    assert "steps" not in reply.to_dict()


def test_settings_go_by_their_names(pair: LoadedPair) -> None:
    chosen = pair.reply("hello", alpha=0.25, temperature=0, repetition_penalty=1.2).settings
    assert (chosen.blend.method, chosen.blend.alpha) == ("fixed", 0.25)
    assert chosen.sampling == blendin.SamplingSettings(repetition_penalty=1.2)
    for changes, said in (
        ({"gama": 0.5}, "did you mean gamma"),
        ({"gamma": 2}, "gamma must be between 0 and 1"),
        ({"gamma": "high"}, "gamma must be a number"),
        ({"alpha": 0.5, "method": "nudge"}, "alpha belongs to the method fixed"),
    ):
        with pytest.raises(blendin.BlendinError, match=said):
            pair.reply("hello", **changes)  # type: ignore[arg-type]
    for prompt in ("", [], [{"role": "user"}], [{"role": "assistant", "content": "x"}]):
        with pytest.raises(blendin.BlendinError):
            pair.reply(prompt)


def test_a_reply_can_be_left_and_gone_on_with(pair: LoadedPair) -> None:
    whole = pair.reply("hello", max_tokens=8).finish().text
    reply = pair.reply([{"role": "user", "content": "hello"}], max_tokens=8)
    for step in reply:
        if step.index == 3:
            break
    assert reply.finish_reason is None and len(reply.steps) == 4
    assert reply.finish().text == whole and reply.finish_reason is not None


def test_a_reply_is_cancelled_by_itself_or_by_the_next_one(endless: LoadedPair) -> None:
    first = endless.reply("hello", max_tokens=10_000)
    next(iter(first))
    second = endless.reply("the world", max_tokens=10_000)
    for step in second:
        if step.index == 5:
            second.cancel()
    assert (first.finish_reason, second.finish_reason) == ("cancelled", "cancelled")
    assert list(first) == [] and len(second.steps) == 6


def test_a_chat_remembers(pair: LoadedPair) -> None:
    chat = pair.chat(system="Be brief.", max_tokens=6, temperature=0)
    first = chat.send("hello").finish()
    assert [m.role for m in chat.messages] == ["system", "user", "assistant"]
    assert chat.messages[-1].content == first.text
    second = chat.send("the world", gamma=1.0)
    assert len(chat.messages) == 3, "a reply is kept when it is over"
    for _ in second:
        pass
    assert [m.content for m in chat.messages[3:]] == ["the world", second.text]
    asked = [*chat.messages[:3], blendin.Message("user", "the world")]
    assert pair.reply(asked, max_tokens=6, temperature=0, gamma=1.0).finish().text == second.text
    assert (first.settings.seed, second.settings.seed) == (0, 1)


def test_a_chat_keeps_what_was_said_before_the_next_message(endless: LoadedPair) -> None:
    chat = endless.chat(max_tokens=10_000)
    for step in chat.send("hello"):
        if step.index == 5:
            break
    chat.send("the world")
    assert [m.role for m in chat.messages] == ["user", "assistant"]
    with pytest.raises(blendin.BlendinError, match="too long"):
        chat.send("the world " * 10_000)
    assert len(chat.messages) == 2


# Ctrl-C and the end


def test_ctrl_c_leaves_the_pair_usable(
    endless: LoadedPair, heard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = endless.reply("hello", max_tokens=12, temperature=0).finish().text
    advance = GgufModel.advance
    calls: list[int] = []

    def press(self: GgufModel, work: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return advance(self, work)

    reply = endless.reply("the world", max_tokens=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(GgufModel, "advance", press)
        with pytest.raises(KeyboardInterrupt):
            reply.finish()
    assert reply.finish_reason == "cancelled" and 0 < len(reply.steps) < 10
    assert endless.reply("hello", max_tokens=12, temperature=0).finish().text == expected


def test_ctrl_c_between_two_steps_leaves_the_pair_usable(endless: LoadedPair, heard: None) -> None:
    expected = endless.reply("hello", max_tokens=12, temperature=0).finish().text
    with pytest.raises(KeyboardInterrupt):
        for step in endless.reply("the world", max_tokens=10_000):
            if step.index == 3:
                signal.raise_signal(signal.SIGINT)
    assert endless.reply("hello", max_tokens=12, temperature=0).finish().text == expected


def test_iterating_starts_one_thread_for_all_steps(
    endless: LoadedPair, heard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def count(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", count)
    steps = iter(endless.reply("hello", max_tokens=10_000))
    for _ in range(20):
        next(steps)
    assert started == ["interrupt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "between two steps Ctrl-C is free"
    steps.close()
    assert "interrupt" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be blocked there")
def test_ctrl_c_is_heard_while_a_later_step_is_in_native_code(
    endless: LoadedPair, heard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own handler waits for the end of the native call; the listening thread does not."""
    advance, cancel = GgufModel.advance, Reply.cancel
    sleep = ctypes.CDLL(None).usleep
    cancelled_by: list[str] = []
    calls: list[int] = []

    def press(self: GgufModel, work: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 6:
            # Blocked in this thread, the signal goes to another one and does not end the sleep.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            sleep(500_000)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return advance(self, work)

    def record(reply: Reply) -> None:
        cancelled_by.append(threading.current_thread().name)
        cancel(reply)

    monkeypatch.setattr(GgufModel, "advance", press)
    monkeypatch.setattr(Reply, "cancel", record)
    with pytest.raises(KeyboardInterrupt):
        endless.reply("hello", max_tokens=10_000, gamma=0).finish()
    assert cancelled_by[0] == "interrupt"


def test_leaving_the_block_frees_both_models(folder: Path) -> None:
    with blendin.load(base=folder / "base.gguf", guide=folder / "guide.gguf", progress=False) as pair:
        models = [pair.models.pair.base, pair.models.pair.guide]
        reply = pair.reply("hello", max_tokens=20)
        next(iter(reply))
        results = pair.generate(["hello", "the world"], parallel=2, progress=False, max_tokens=4)
        next(iter(results))
    assert all(model._context is None and model._model is None for model in models)  # type: ignore[attr-defined]
    assert reply.text and reply.finish_reason == "cancelled" and "closed" in repr(pair)
    pair.close()
    for use in (
        lambda: pair.reply("hello"),
        lambda: pair.chat().send("hello"),
        lambda: pair.generate(["hello"]),
    ):
        with pytest.raises(blendin.BlendinError, match="was closed: load it again"):
            use()


def test_a_format_that_does_not_exist_is_refused_before_the_models_are_loaded(folder: Path) -> None:
    told: list[Progress] = []
    models = {"base": folder / "base.gguf", "guide": folder / "guide.gguf"}
    with pytest.raises(blendin.BlendinError, match="nope"):
        blendin.load(**models, base_format="nope", progress=told.append)
    assert not told


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"parallel": 0}, "parallel"),
        ({"parallel": 257}, "parallel"),
        ({"parallel": 1.5}, "parallel"),
        ({"parallel": "many"}, "parallel"),
        ({"limit": 0}, "limit"),
        ({"limit": -3}, "limit"),
        ({"candidates": -1}, "candidates"),
        ({"candidates": 1001}, "candidates"),
        ({"stop": 5}, "stop"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_wrong_arguments_of_a_batch_are_errors_of_the_package(
    pair: LoadedPair, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(blendin.BlendinError, match=named):
        pair.generate(["hello"], **arguments)


@pytest.mark.parametrize("prompt", [5, None, b"bytes", {"role": "user", "content": "hello"}, [5]])
def test_a_prompt_of_another_type_is_an_error_of_the_package(pair: LoadedPair, prompt: Any) -> None:
    with pytest.raises(blendin.BlendinError):
        pair.reply(prompt)


@pytest.mark.parametrize("text", ["", "  ", 5, "half \ud800"])
def test_a_message_that_is_no_text_is_refused_and_not_remembered(pair: LoadedPair, text: Any) -> None:
    chat = pair.chat(max_tokens=2)
    with pytest.raises(blendin.BlendinError):
        chat.send(text)
    assert chat.messages == []


@pytest.mark.parametrize("rows", ["hello", 5, None])
def test_rows_of_another_type_are_an_error_of_the_package(pair: LoadedPair, rows: Any) -> None:
    with pytest.raises(blendin.BlendinError, match="rows"):
        pair.generate(rows)


def test_messages_may_come_from_an_iterator(pair: LoadedPair) -> None:
    messages = [blendin.Message("user", "hello")]
    asked: dict[str, Any] = {"max_tokens": 3, "temperature": 0}
    assert pair.reply(iter(messages), **asked).finish().text == pair.reply(messages, **asked).finish().text


def test_a_document_of_numpy_settings_is_json(pair: LoadedPair) -> None:
    settings: dict[str, Any] = {"gamma": np.float32(0.5), "seed": np.int64(3), "max_tokens": np.int32(2)}
    document = pair.reply("hello", **settings).finish().to_dict(steps=True)
    assert json.loads(json.dumps(document))["settings"]["blend"]["gamma"] == 0.5


def test_a_callback_that_fails_stops_the_load(folder: Path) -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError(progress.work)

    with pytest.raises(RuntimeError, match=r"loading base: base\.gguf"):
        blendin.load(base=folder / "base.gguf", guide=folder / "guide.gguf", progress=fail)


# Many rows


def test_rows_in_results_out(pair: LoadedPair) -> None:
    rows = ["hello", {"id": "two", "prompt": "the world", "settings": {"max_tokens": 3}}, {"id": "bad"}]
    results = pair.generate(rows, parallel=2, max_tokens=5, temperature=0, progress=False)
    found = {result.id: result for result in results}
    assert set(found) == {"row-1", "two", "bad"}
    assert found["row-1"].text and found["row-1"].summary["steps"] == 5
    assert found["two"].to_dict()["row_settings"] == {"max_tokens": 3} and found["two"].index == 1
    assert found["bad"].text is None and "no `prompt`" in (found["bad"].error or "")
    report = results.report
    assert report and (report.answered, report.failed, report.parallel) == (2, 1, 2)


def test_rows_of_a_generator_are_read_once(pair: LoadedPair) -> None:
    texts = [result.text for result in pair.generate((f"hello {n}" for n in range(3)), parallel=1,
                                                     progress=False, max_tokens=3)]  # fmt: skip
    assert len(texts) == 3 and all(texts)
    with pytest.raises(blendin.BlendinError, match="one text"):
        pair.generate("hello")


def test_an_output_is_gone_on_with(pair: LoadedPair, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    asked: dict[str, Any] = {"parallel": 1, "output": output, "max_tokens": 4, "progress": False}
    rows = [f"hello {n}" for n in range(5)]
    for number, _ in enumerate(pair.generate(rows, **asked), 1):
        if number == 2:
            break
    first = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert len(first) >= 2
    results = pair.generate(rows, **asked)
    assert sorted(result.index for result in results) == [0, 1, 2, 3, 4]
    assert results.report and results.report.kept == len(first)
    with pytest.raises(blendin.BlendinError, match="--gamma is"):
        list(pair.generate(rows, **asked, gamma=0.9))


def test_ctrl_c_ends_a_batch_and_its_output_can_be_gone_on_with(
    endless: LoadedPair, heard: None, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    asked: dict[str, Any] = {"parallel": 1, "output": output, "max_tokens": 6, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        for _ in endless.generate(["hello", "the", "world"], **asked):
            signal.raise_signal(signal.SIGINT)
    assert len(list(endless.generate(["hello", "the", "world"], **asked))) == 3
    assert endless.reply("hello", max_tokens=3).finish().text


# Tune and compare


def test_tune_gives_the_document_of_the_command_line(folder: Path, tmp_path: Path) -> None:
    rows = [{"id": f"{n}", "prompt": f"Say {n}.", "response": said} for n, said in enumerate(ANSWERS)]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    told: list[Progress] = []
    models = {"base": folder / "base.gguf", "guide": folder / "guide.gguf"}
    result = blendin.tune(examples=rows, **models, n_threads=1, n_ctx=512, progress=told.append)
    assert {progress.work for progress in told} >= {"reading answers", "loading base: base.gguf"}
    flags = [part for name, path in models.items() for part in (f"--{name}", str(path))]
    done = CliRunner().invoke(
        main, ["tune", *flags, "--data", str(file), "--threads", "1", "--n-ctx", "512", "--json", "-q"]
    )
    document = json.loads(done.stdout)
    made = json.loads(json.dumps(result.to_dict()))
    assert made["references"].pop("source") == "given examples" and document["references"].pop("source")
    # The pass of the first is taken up by the second: even what was measured by the clock is the same.
    assert steady(made) == steady(document)
    assert "bits per byte" in result.to_markdown()
    with blendin.load(**models, progress=False, n_threads=1, n_ctx=512) as pair:  # type: ignore[arg-type]
        assert steady(blendin.tune(pair, rows, progress=False).to_dict())["base"] == made["base"]


@pytest.mark.parametrize(
    ("examples", "arguments"),
    [
        ([5], {}),
        ([{"response": "no prompt"}], {}),
        ([{"prompt": "hello", "response": "world"}], {"seed": -1}),
        ([{"prompt": "hello", "response": "world"}], {"max_tokens": "5"}),
        ([{"prompt": "hello", "response": "world"}], {"shots": -1}),
    ],
)
def test_wrong_arguments_of_tune_are_errors_of_the_package(
    folder: Path, examples: Any, arguments: dict[str, Any]
) -> None:
    models = {"base": folder / "base.gguf", "guide": folder / "guide.gguf"}
    with pytest.raises(blendin.BlendinError):
        blendin.tune(examples=examples, **models, **arguments, progress=False)


@pytest.mark.parametrize(
    ("arms", "arguments"),
    [
        ([5], {}),
        (5, {}),
        ("demo", {"limit": -1}),
        ("demo", {"limit": "2"}),
        ("demo", {"seed": -1}),
        ("demo", {"max_tokens": 0}),
        ("demo", {"shots": 1.0}),
    ],
)
def test_wrong_arguments_of_compare_are_errors_of_the_package(
    folder: Path, arms: Any, arguments: dict[str, Any]
) -> None:
    with pytest.raises(blendin.BlendinError, match="must be"):
        blendin.compare(arms, task="custom", data=folder / "made.jsonl", **arguments, progress=False)


def test_compare_gives_the_document_of_the_command_line(folder: Path) -> None:
    base, guide = str(folder / "base.gguf"), str(folder / "guide.gguf")
    result = blendin.compare(
        [{"base": base, "guide": guide, "method": ["nudge", "blendin"]}],
        task="custom",
        data=folder / "made.jsonl",
        max_tokens=4,
        progress=False,
    )
    done = CliRunner().invoke(
        main,
        ["compare", "--base", base, "--guide", guide, "--methods", "nudge,blendin", "--task", "custom",
         "--data", str(folder / "made.jsonl"), "-n", "4", "--json", "-q"],
    )  # fmt: skip
    assert steady(result.to_dict()) == steady(json.loads(done.stdout))
    assert len(result.report.answers) == 12 and "| arm |" in result.to_markdown()
    with pytest.raises(blendin.BlendinError, match="the key metod is unknown"):
        blendin.compare([{"pair": "demo", "metod": "nudge"}], task="custom", data="x")
    with pytest.raises(blendin.BlendinError, match="give each task its file"):
        blendin.compare([base], task="custom")


# The guide


def snippets() -> list[str]:
    page = (ROOT / "docs/python.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def run_guide(here: Path, capsys: pytest.CaptureFixture[str], load: Any = None) -> str:
    """Run the snippets one after another, as a reader would in a notebook."""
    (here / "made.jsonl").write_text('{"prompt": "hello", "answer": "the", "match": "contains"}\n' * 2)
    names: dict[str, Any] = {}
    for snippet in snippets():
        exec(compile(snippet, "docs/python.md", "exec"), names)
    return capsys.readouterr().out


@pytest.mark.parametrize("catalogue", [True])
def test_the_guide_runs_as_it_stands(
    here: Path, folder: Path, capsys: pytest.CaptureFixture[str], catalogue: bool
) -> None:
    """With tiny models under the names of the demo pair."""
    config = Path(os.environ["BLENDIN_CONFIG_DIR"])
    config.mkdir(exist_ok=True)
    (config / "pairs.toml").write_text(
        f'[pairs.demo]\nbase = "{folder / "base.gguf"}"\nguide = "{folder / "guide.gguf"}"\n'
    )
    said = run_guide(here, capsys)
    assert "finish reason" in said


def test_the_readme_has_the_same_beginning() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    example = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(example) == 1 and len(example[0].strip().splitlines()) <= 5
    assert example[0] in "\n".join(snippets())


@pytest.mark.nightly
@pytest.mark.real
def test_the_guide_runs_with_the_demo_pair(
    here: Path, demo_files: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = demo_files
    monkeypatch.setattr("blendin_local.models.catalogue.Catalogue.resolve_model", lambda self, given: (
        found.base.path if given == found.entry.base else found.guide.path if given == found.entry.guide
        else Path(given)))  # fmt: skip
    assert "finish reason" in run_guide(here, capsys)
