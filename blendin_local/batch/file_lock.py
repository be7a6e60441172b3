"""Lock the output of a job against other runs."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from blendin_local.errors import BatchError

__all__ = ["FileLock", "lock_descriptor"]


class FileLock:
    """An exclusive lock of a file between runs, released at the end of the process."""

    def __init__(self, path: str, name: str) -> None:
        """Open the file, creating it if missing, and lock it.

        Raises BatchError if another run holds the lock, OSError if the file cannot be opened.
        """
        self.path = path
        self.descriptor = -1
        while self.descriptor < 0:
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                lock_descriptor(opened)
                # The former holder may have replaced the file: then this lock is on a deleted file.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(opened), os.stat(path)):
                        self.descriptor = opened
            except BlockingIOError:
                raise BatchError(
                    f"{name} is being written by another run: wait until it has ended, or name another file."
                ) from None
            finally:
                if self.descriptor < 0:
                    os.close(opened)

    def move_to(self, descriptor: int) -> None:
        """Take over the locked descriptor of the file that replaced this one."""
        os.close(self.descriptor)
        self.descriptor = descriptor

    def release(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def lock_descriptor(descriptor: int) -> None:
    """Lock an open file. Raises BlockingIOError if another run holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # The file system does not support locks.
        return
