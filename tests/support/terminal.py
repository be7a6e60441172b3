"""Run a process in a pseudo-terminal: type keys, read the screen, get the exit status."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import pyte

_PATIENCE_S = 300.0
"""Generous, because machines that run tests are busy."""
_LEAD = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Makes the pseudo-terminal the controlling terminal of the new session, which SIGHUP needs."""
# pyte prints the ends of these sequences: queries of the terminal, and the keyboard protocol.
_UNKNOWN = re.compile(r"\x1b\[(\?[\d;]*\$p|[<>=][\d;]*[a-z])")
_HALF = re.compile(r"\x1b\[\?2026h(?!.*\x1b\[\?2026l).*\Z|\x1b(\[[<>=?\d;$]*)?\Z", re.DOTALL)
"""An incomplete frame or escape sequence at the end."""
_CAN_YOU_WAIT, _YES = "\x1b[?2026$p", "\x1b[?2026;2$y"
"""Query and answer whether the terminal draws frames at once, so that tests see whole ones only."""

CTRL_C, CTRL_D, CTRL_N, CTRL_O, CTRL_Q, CTRL_R = "\x03", "\x04", "\x0e", "\x0f", "\x11", "\x12"
ENTER, TAB, ESC, UP, DOWN, RIGHT, LEFT = "\r", "\t", "\x1b", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
F2, F4, F5, F6 = "\x1bOQ", "\x1bOS", "\x1b[15~", "\x1b[17~"


class Terminal:
    """Runs `python ARGUMENTS`; leaving the context kills the process.

    environment: changes of this process's environment; None removes a variable.
    """

    def __init__(
        self,
        *arguments: str,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.ours, theirs = os.openpty()
        self._screen = pyte.Screen(*size)
        self._stream = pyte.Stream(self._screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._half = ""
        self.said = ""
        """The whole output, with escape sequences."""
        self._set_size(size)
        self.modes_before = termios.tcgetattr(self.ours)
        changed: dict[str, str | None] = {"TERM": "xterm-256color", "COLUMNS": None, "LINES": None}
        changed.update(environment or {})
        kept = {name: value for name, value in os.environ.items() if name not in changed}
        given = {name: value for name, value in changed.items() if value is not None}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEAD, *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env=kept | given, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    # The user

    def send(self, *keys: str) -> None:
        for each in keys:
            os.write(self.ours, each.encode())

    def resize(self, columns: int, rows: int) -> None:
        self._set_size((columns, rows))
        self._screen.resize(rows, columns)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def hang_up(self) -> None:
        """Close the window."""
        if self.ours >= 0:
            os.close(self.ours)
            self.ours = -1

    # The output

    @property
    def text(self) -> str:
        """The text of the screen, one line for each row."""
        return "\n".join(row.rstrip() for row in self._screen.display)

    @property
    def full_screen(self) -> bool:
        """Whether the program has the alternate screen."""
        return self.said.rfind("\x1b[?1049h") > self.said.rfind("\x1b[?1049l")

    @property
    def as_it_was(self) -> bool:
        """Whether terminal modes and the cursor are restored, and mouse reports are off."""
        mouse = ("1000", "1003", "1006", "2004", "1004")
        off = all(self.said.rfind(f"\x1b[?{mode}h") <= self.said.rfind(f"\x1b[?{mode}l") for mode in mouse)
        modes = termios.tcgetattr(self.ours) == self.modes_before
        return off and modes and not self.full_screen and not self._screen.cursor.hidden

    def wait(self, wanted: str | Callable[[str], object], gone: str = "") -> str:
        """Read until the screen contains a text, or a function of it returns true; return the screen.

        gone: a text that the screen must not contain.
        """
        seen = (lambda text: wanted in text) if isinstance(wanted, str) else wanted
        end = time.monotonic() + _PATIENCE_S
        while not seen(self.text) or (gone and gone in self.text):
            open_ = self.read()
            assert open_ and time.monotonic() < end, f"waited for {wanted} in vain:\n{self.text}"
        return self.text

    def read(self, seconds: float = 0.05) -> bool:
        """Read available output; return False once the process has closed the terminal."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.ours, 1 << 16)
        except OSError:
            return False
        text = self._half + self._decode(data)
        half = _HALF.search(text)
        self._half = half.group() if half else ""
        self._take(text[: len(text) - len(self._half)])
        return bool(data)

    def _take(self, text: str) -> None:
        self.said += text
        self._stream.feed(_UNKNOWN.sub("", text))
        if _CAN_YOU_WAIT in text:
            self.send(_YES)

    def end(self) -> int:
        """Read until the process ends, and return its exit status: negative for a signal."""
        end = time.monotonic() + _PATIENCE_S
        while self.process.poll() is None:
            if self.ours >= 0:
                self.read()
            else:
                time.sleep(0.02)
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
        while self.ours >= 0 and select.select([self.ours], [], [], 0)[0] and self.read(0):
            pass
        self._stream.feed(self._half)
        return self.process.returncode

    def _set_size(self, size: tuple[int, int]) -> None:
        columns, rows = size
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
