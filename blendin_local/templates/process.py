"""Run the process that renders templates: a stranger's program gets little time and memory."""

from __future__ import annotations

import atexit
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

import blendin_local
from blendin_local.templates.messages import (
    Rendering,
    RenderRequest,
    TemplateFailed,
    read_object,
    write_object,
)

__all__ = ["render", "start_renderer"]

_DEADLINE_S = 5.0
_START_S = 60.0
_LOOK_INTERVAL_S = 0.05
_MOST_MEMORY = 1 << 30


class _Renderer:
    """A process that renders one conversation after the other; it starts when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._starting = False  # it has not said yet that it is ready

    def start(self) -> None:
        """Start the process, without waiting for it, unless it runs."""
        with self._lock:
            self._starting = self._start() or self._starting

    def render(self, request: RenderRequest, cancelled: Callable[[], bool] = lambda: False) -> Rendering:
        """Render a conversation, unless `cancelled` tells meanwhile that it is not wanted.

        Raises TemplateFailed, also where the template takes too much or the rendering was cancelled.
        """
        with self._lock:
            try:
                self._send(asdict(request), cancelled)
                answer = self._wait(_DEADLINE_S, cancelled)
            except BaseException:
                self.kill()  # its answer would be taken for that of the next request
                raise
        if "error" in answer:
            raise TemplateFailed(answer["error"])
        return Rendering(answer["text"], [tuple(piece) for piece in answer["written"]])

    def kill(self) -> None:
        """End the process; the next request starts another one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def _start(self) -> bool:
        """Start the process unless it runs; return whether it was started."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.kill()
        root = str(Path(blendin_local.__file__).parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._answers = queue.SimpleQueue()
        self._starting = False
        self._process = subprocess.Popen(
            # -P: no module of the folder in which the program happens to run.
            [sys.executable, "-P", "-m", "blendin_local.templates.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the program that asks
        )
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
        return True

    def _send(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> None:
        """Send a request to a process that is ready, which the last one may have left in any state."""
        for _ in range(2):
            if self._start() or self._starting:
                self._wait(_START_S, cancelled)
                self._starting = False
            with suppress(OSError):
                assert self._process is not None and self._process.stdin is not None
                write_object(self._process.stdin, request)
                return
            self.kill()
        raise TemplateFailed("cannot be rendered: Python cannot start another process")

    def _wait(self, most_s: float, cancelled: Callable[[], bool]) -> dict[str, Any]:
        process = self._process
        assert process is not None
        end = monotonic() + most_s
        while True:
            try:
                answer = self._answers.get(timeout=_LOOK_INTERVAL_S)
            except queue.Empty:
                _check(process, end, cancelled)
            else:
                break
        if answer is None:
            raise TemplateFailed("needs too much memory or time")
        assert isinstance(answer, dict)
        return answer


def _check(process: subprocess.Popen[bytes], end: float, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise TemplateFailed("was stopped before it had written the prompt")
    if monotonic() > end:
        raise TemplateFailed("takes too long, and was stopped")
    with suppress(psutil.Error):
        if psutil.Process(process.pid).memory_info().rss > _MOST_MEMORY:
            raise TemplateFailed("needs too much memory")


def _listen(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[Any]) -> None:
    answer: Any = ""
    while answer is not None:
        try:
            answer = read_object(process.stdout) if process.stdout is not None else None
        except (OSError, ValueError):
            answer = None
        answers.put(answer)


_renderer = _Renderer()
atexit.register(_renderer.kill)

start_renderer = _renderer.start
render = _renderer.render
