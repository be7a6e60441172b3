"""Signal handling that stops a decode under way and leaves finished work whole."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

__all__ = ["Interruptible", "interrupting", "interruptions", "terminating", "uninterrupted"]

Interruptible = Callable[[Callable[[], None]], AbstractContextManager[object]]
"""While its block runs, Ctrl-C calls what it is given instead of raising."""


def uninterrupted(cancel: Callable[[], None]) -> AbstractContextManager[object]:
    """Leave Ctrl-C as it is."""
    return nullcontext()


@contextmanager
def terminating() -> Iterator[None]:
    """Raise SystemExit in the block on SIGTERM, with the shell's exit code, so that open files are closed."""

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
def interrupting(cancel: Callable[[], None]) -> Iterator[threading.Event]:
    """Call `cancel` on the first Ctrl-C in the block, and raise KeyboardInterrupt on the second.

    Yields an event that is set by the first one. `cancel` may be called twice. Outside the main thread, which
    alone gets signals, nothing changes.
    """
    with interruptions(cancel) as listening, listening() as pressed:
        yield pressed


@contextmanager
def interruptions(
    cancel: Callable[[], None],
) -> Iterator[Callable[[], AbstractContextManager[threading.Event]]]:
    """Yield a function that makes a block as `interrupting` does, for several blocks with one thread.

    Python runs its signal handlers only between bytecodes, and a long prompt is one call into llama.cpp; the
    wake-up descriptor is written by the C handler at once, so a thread can hear it meanwhile.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda: nullcontext(pressed)
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while numbers := ear.recv(64):
            if signal.SIGINT in numbers:
                cancel()

    @contextmanager
    def listening() -> Iterator[threading.Event]:
        def first(_signal: int, _frame: object) -> None:
            signal.signal(signal.SIGINT, previous)
            pressed.set()
            cancel()  # the thread may be late: the code that was interrupted would begin something new

        previous = signal.signal(signal.SIGINT, first)
        previous_fd = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        try:
            yield pressed
        finally:
            signal.set_wakeup_fd(previous_fd)
            signal.signal(signal.SIGINT, previous)

    listener = threading.Thread(target=listen, name="interrupt", daemon=True)
    listener.start()
    try:
        yield listening
    finally:
        mouth.close()
        listener.join()
        ear.close()
