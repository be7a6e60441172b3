"""Bytes as they are generated, into text that may be shown. Knows no model and no token.

Two things are held back: the bytes of an unfinished character, and text that may be the beginning of a
stop string.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Sequence


class TextStream:
    """Decodes UTF-8 piece by piece and ends the text before the first stop string.

    The stop string that starts earliest wins, and of those that start at the same place the longest. Both
    may need text that is still to come, so `stopped` is set once no further byte could change it. What is
    released and where the text ends never depend on how the bytes were split. Each feed costs in
    proportion to its own data and the length of the stop strings.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Raises ValueError if a stop string is empty."""
        if not all(stops):
            raise ValueError("A stop string must not be empty.")
        # Longest first, so that the first one found at a place is the longest there.
        self._stops = sorted(set(stops), key=len, reverse=True)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._released = io.StringIO()
        self._held = ""
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text; None while there is none."""
        return self._stopped

    @property
    def inside_character(self) -> bool:
        """Whether the bytes so far end inside a character that further bytes may complete."""
        return bool(self._decoder.getstate()[0])

    @property
    def text(self) -> str:
        """All text so far, with what is held back for a possible stop string.

        It leaves out an unfinished character and, once stopped, the stop string and what follows it.
        """
        return self._released.getvalue() + self._held

    def feed(self, data: bytes) -> str:
        """The text that can be shown since the last call; nothing more once stopped.

        Bytes that cannot be UTF-8 become U+FFFD as soon as that is known.
        """
        if self._stopped is not None:
            return ""
        self._held += self._decoder.decode(data)
        # Python's decoder waits for the third byte of a surrogate, which no UTF-8 character begins with.
        if (pending := self._decoder.getstate()[0])[:1] == b"\xed" and pending[1:] >= b"\xa0":
            self._held += self._decoder.decode(b"", final=True)
        return self._release(self._undecided_from())

    def flush(self) -> str:
        """The end of the bytes: the text held back, up to a stop string that was waiting for a longer one.

        An unfinished character is dropped: a response cut at its token limit must not show half of one.
        """
        self._decoder.reset()
        return self._release(len(self._held))

    def _undecided_from(self) -> int:
        """The first place of the held text from where on it is the beginning of a stop string."""
        held = self._held
        longest = len(self._stops[0]) if self._stops else 1
        for place in range(max(0, len(held) - longest + 1), len(held)):
            rest = held[place:]
            if any(stop.startswith(rest) and stop != rest for stop in self._stops):
                return place
        return len(held)

    def _release(self, decided: int) -> str:
        """Hand out the held text up to `decided`, or up to a stop string that starts before it."""
        end = decided
        for stop in self._stops:
            place = self._held.find(stop)
            if 0 <= place < end:
                end, self._stopped = place, stop
        released, self._held = self._held[:end], self._held[end:]
        if self._stopped is not None:
            self._held = ""
            self._decoder.reset()
        self._released.write(released)
        return released
