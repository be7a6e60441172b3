"""A template that takes too much, or is not wanted any more, costs its own process and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from blendin_local.templates import process
from blendin_local.templates.messages import RenderRequest, TemplateFailed
from blendin_local.templates.process import _Renderer

SAY = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{{ messages }}"


@pytest.fixture
def renderer() -> Iterator[_Renderer]:
    renderer = _Renderer()
    yield renderer
    renderer.kill()


def said(renderer: _Renderer, text: str = "hi") -> str:
    return renderer.render(RenderRequest(SAY, [("user", text)])).text


def pid_of(renderer: _Renderer) -> int:
    assert renderer._process is not None
    return renderer._process.pid


def test_one_process_renders_one_after_the_other(renderer: _Renderer) -> None:
    renderer.start()
    assert said(renderer) == "<user>hi"
    first = pid_of(renderer)
    assert said(renderer, "\0 é 🙂 \ud800 <user>") == "<user>\0 é 🙂 \ud800 <user>"
    with pytest.raises(TemplateFailed, match="failed: no"):
        renderer.render(RenderRequest("{{ raise_exception('no') }}", [("user", "hi")]))
    assert said(renderer) == "<user>hi"
    assert pid_of(renderer) == first


def test_what_the_template_wrote(renderer: _Renderer) -> None:
    found = renderer.render(RenderRequest(SAY, [("user", "<user>")]))
    assert (found.text, found.written) == ("<user><user>", [(0, 6)])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (ENDLESS, "takes too long, and was stopped"),
        ("{{ '{:4000000000d}'.format(1) }}", "needs too much memory"),
        ("{{ 'x' * 10 ** 10 }}", "needs too much memory"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "takes too long|needs too much memory",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
            "{{ n.x }}",
            "takes too long|needs too much memory",
        ),
    ],
    ids=["loop", "format", "times", "doubling", "nesting"],
)  # fmt: skip
def test_a_template_that_takes_too_much(
    renderer: _Renderer, template: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(renderer)
    monkeypatch.setattr(process, "_DEADLINE_S", 1.0)
    with pytest.raises(TemplateFailed, match=words):
        renderer.render(RenderRequest(template, [("user", "hi")]))
    monkeypatch.undo()
    assert said(renderer) == "<user>hi"


def test_a_rendering_that_is_not_wanted_any_more_ends_at_once(renderer: _Renderer) -> None:
    said(renderer)
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    began = monotonic()
    with pytest.raises(TemplateFailed, match="was stopped"):
        renderer.render(RenderRequest(ENDLESS, [("user", "hi")]), cancelled.is_set)
    assert monotonic() - began < process._DEADLINE_S
    assert said(renderer) == "<user>hi"


def test_a_process_that_was_killed_is_replaced(renderer: _Renderer) -> None:
    said(renderer)
    os.kill(pid_of(renderer), signal.SIGKILL)
    assert renderer._process is not None
    renderer._process.wait()
    assert said(renderer) == "<user>hi"


def test_threads_take_turns(renderer: _Renderer) -> None:
    with ThreadPoolExecutor(4) as threads:
        texts = [f"text {number}" for number in range(40)]
        assert list(threads.map(lambda text: said(renderer, text), texts)) == [
            f"<user>{text}" for text in texts
        ]


_PROGRAM = """
import sys
from blendin_local.templates.process import _renderer, render
from blendin_local.templates.messages import RenderRequest
rendering = render(RenderRequest("{{ messages[0].content }}", [("user", "hi")]))
print(rendering.text, _renderer._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_ends_with_its_program_and_imports_nothing_of_the_folder(here: Path) -> None:
    (here / "json.py").write_text("raise SystemExit('a module of the folder')")
    program = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None and program.stdin is not None
    text, pid = program.stdout.readline().split()
    assert text == "hi"
    program.kill()
    program.wait()
    program.stdin.close()
    program.stdout.close()
    for _ in range(200):
        if not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE:
            return
        sleep(0.05)
    raise AssertionError("the process outlives its program")
