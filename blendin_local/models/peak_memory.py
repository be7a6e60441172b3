"""Measure the peak resident memory of this process, if the system reports it.

The peak (VmHWM on Linux) covers the whole process: the interpreter and its libraries, some hundred megabytes,
the pages of the model files that were read, KV caches and buffers. Memory of a GPU is not in it, so callers
leave the peak out where a model may be in GPU memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["PeakMemory", "high_water_mark"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures the peak since the last `reset`.

    Linux lets a process reset its high-water mark. Elsewhere, or where that is forbidden, the mark never
    falls, so a peak is known only if it exceeds all earlier ones.
    """

    def __init__(self) -> None:
        self._before = 0
        self._begun_anew = False
        self.reset()

    def reset(self) -> None:
        self._begun_anew = _reset_mark()
        self._before = 0 if self._begun_anew else high_water_mark() or 0

    def read(self) -> int | None:
        """Return the peak in bytes; None if an earlier peak hides it."""
        now = high_water_mark()
        return now if now is not None and now > self._before else None


def _reset_mark() -> bool:
    try:
        # 5: see proc(5), "/proc/pid/clear_refs".
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def high_water_mark() -> int | None:
    """Return the peak resident memory of this process in bytes, since its start or the last reset."""
    try:
        for line in _STATUS.read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if sys.platform == "win32":
        return None
    import resource

    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
