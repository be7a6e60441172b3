"""Ctrl-C that reaches a decode under way, and leaves finished work whole."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def terminating() -> Iterator[None]:
    """While the block runs, SIGTERM ends it by an exception, so that what is open is closed.

    Raises SystemExit with the exit code that shells give to a program that was ended like this.
    """

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def interrupting(cancel: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first Ctrl-C calls `cancel`; a second one raises KeyboardInterrupt.

    Python runs its signal handlers only between bytecodes, and a long prompt is one call into llama.cpp.
    The wake-up descriptor is written by the C handler at once, so a thread can hear it meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        if ear.recv(1):
            cancel()

    def first(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, previous)

    listener = threading.Thread(target=listen, name="interrupt", daemon=True)
    previous = signal.signal(signal.SIGINT, first)
    previous_fd = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        signal.signal(signal.SIGINT, previous)
        mouth.close()
        listener.join()
        ear.close()
