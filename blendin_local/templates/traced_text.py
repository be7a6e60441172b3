"""Text that knows where each of its characters came from: the template, a message, or elsewhere.

A template may do to a message whatever Jinja and the methods of `str` can do. To it a `TracedText` is the
plain text that was said; afterwards it still tells which characters the template wrote itself, and which
messages are in the text. What an operation cannot follow character by character counts as coming from all of
its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import compress
from typing import Any, SupportsIndex

TEMPLATE, UNKNOWN = "\0", "\1"
"""Sources of characters: the template's own text, and what comes from neither template nor message."""

_FIRST_MESSAGE = 2
_LAST_CODE = 0x10FFFF

_unions: dict[frozenset[str], str] = {}


def forget_unions() -> None:
    """Start numbering the sets of sources anew; call before each rendering."""
    _unions.clear()


def message_source(index: int) -> str:
    """Return the source of characters of the message at this index."""
    return chr(_FIRST_MESSAGE + index)


def messages_of(text: TracedText) -> tuple[set[int], dict[int, str]]:
    """Return the messages, by index, of which visible characters are in the text.

    Beside them, for each message, the characters that came from it together with something else.
    """
    visible = compress(sources_of(text), map(str.strip, str.__iter__(text)))
    single = set(visible) - {TEMPLATE, UNKNOWN, *_unions.values()}
    mixed: dict[int, str] = {}
    for parts, union in _unions.items():
        characters = "".join(compress(str.__iter__(text), map(union.__eq__, sources_of(text))))
        for part in parts - {TEMPLATE, UNKNOWN}:
            index = ord(part) - _FIRST_MESSAGE
            mixed[index] = mixed.get(index, "") + characters
    return {ord(source) - _FIRST_MESSAGE for source in single}, mixed


class TracedText(str):
    """A text and the source of each of its characters; equal to the plain text in everything else."""

    __slots__ = ("_sources",)
    _sources: str  # no template can read it: its name begins with an underscore

    def __new__(cls, text: str = "", sources: str | None = None) -> TracedText:
        self = super().__new__(cls, text)
        self._sources = UNKNOWN * len(text) if sources is None else sources
        return self

    def __str__(self) -> TracedText:
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> TracedText:
        return TracedText(str.__getitem__(self, key), self._sources[key])

    def __iter__(self) -> Iterator[TracedText]:
        return map(TracedText, str.__iter__(self), self._sources)

    def __add__(self, other: str) -> TracedText:
        if not isinstance(other, str):
            return NotImplemented
        return TracedText(str.__add__(self, other), self._sources + sources_of(other))

    def __radd__(self, other: str) -> TracedText:
        return as_text(other) + self if isinstance(other, str) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> TracedText:
        return TracedText(str.__mul__(self, times), self._sources * times)

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> TracedText:
        return _format_percent(self, values)

    def __rmod__(self, template: Any) -> TracedText:
        return _format_percent(as_text(template), self) if isinstance(template, str) else NotImplemented

    def join(self, parts: Iterable[str]) -> TracedText:
        texts = list(parts)
        # What is no text is an error, as everywhere.
        return TracedText(str.join(self, texts), self._sources.join(map(sources_of, texts)))

    def strip(self, characters: str | None = None) -> TracedText:
        return self.lstrip(characters).rstrip(characters)

    def lstrip(self, characters: str | None = None) -> TracedText:
        return self[len(self) - len(str.lstrip(self, characters)) :]

    def rstrip(self, characters: str | None = None) -> TracedText:
        return self[: len(str.rstrip(self, characters))]

    def removeprefix(self, prefix: str) -> TracedText:
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str) -> TracedText:
        return self[: len(self) - len(suffix)] if self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[TracedText]:  # type: ignore[override]
        return self._cut(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[TracedText]:  # type: ignore[override]
        return self._cut(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[TracedText]:  # type: ignore[override]
        lines = self._cut(str.splitlines(self, True), "")
        return lines if keepends else [line[: len(str.splitlines(line)[0])] for line in lines]

    def partition(self, sep: str) -> tuple[TracedText, TracedText, TracedText]:
        before, middle, _ = str.partition(self, sep)
        return self._cut_at(len(before), len(before) + len(middle))

    def rpartition(self, sep: str) -> tuple[TracedText, TracedText, TracedText]:
        before, middle, _ = str.rpartition(self, sep)
        return self._cut_at(len(before), len(before) + len(middle))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> TracedText:
        return as_text(new).join(self.split(old, count) if old else _between(self, count))

    def _cut(self, pieces: list[str], sep: str | None) -> list[TracedText]:
        """Find pieces of this text in it that follow each other with `sep`, or white space, between them."""
        found, start = [], 0
        for piece in pieces:
            start = str.index(self, piece, start) if sep is None else start
            found.append(self[start : start + len(piece)])
            start += len(piece) + len(sep or "")
        return found

    def _cut_at(self, start: int, end: int) -> tuple[TracedText, TracedText, TracedText]:
        return self[:start], self[start:end], self[end:]


def as_text(value: object) -> TracedText:
    """Return the text of any value, as Jinja prints it."""
    return (
        value if isinstance(value, TracedText) else TracedText(str(value), _union([value]) * len(str(value)))
    )


def from_template(text: str) -> TracedText:
    """Return text that the template wrote."""
    return TracedText(text, TEMPLATE * len(text))


def concat(parts: Iterable[object]) -> TracedText:
    return TracedText().join(as_text(part) for part in parts)


def sources_of(text: str) -> str:
    return text._sources if isinstance(text, TracedText) else UNKNOWN * len(text)


def adopt(result: Any, *inputs: object) -> Any:
    """Return a result whose new texts, or list of them, are traced: each came from all of the inputs."""
    if isinstance(result, str):
        return result if isinstance(result, TracedText) else TracedText(result, _union(inputs) * len(result))
    if type(result) in (list, tuple) and any(type(each) is str for each in result):
        return type(result)(adopt(each, *inputs) for each in result)
    return result


def _union(inputs: Iterable[object]) -> str:
    """Return the source of what came from all of these values."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(inputs)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.update(sources_of(value))
        elif isinstance(value, Mapping | list | tuple | set | frozenset):
            if id(value) not in seen:
                seen.add(id(value))
                found.add(UNKNOWN)  # what is written around its members
                waiting += value if not isinstance(value, Mapping) else [*value.keys(), *value.values()]
        else:
            found.add(UNKNOWN)
    if len(found) < 2:
        return next(iter(found), UNKNOWN)
    members = {union: parts for parts, union in _unions.items()}
    parts = frozenset[str]().union(*(members.get(source, {source}) for source in found))
    return _unions.setdefault(parts, chr(_LAST_CODE - len(_unions)))


def _between(text: TracedText, count: SupportsIndex) -> list[TracedText]:
    """Return the pieces that replacing the empty text joins: around every character, up to `count` times."""
    places = len(text) + 1
    times = count.__index__()
    cuts = places if times < 0 else min(times, places)
    if not cuts:
        return [text]
    return [TracedText(), *(text[place : place + 1] for place in range(cuts - 1)), text[cuts - 1 :]]


_PERCENT = re.compile(r"%(?:\((\w*)\))?([#0\- +]*(?:\d+)?(?:\.\d+)?)[hlL]?([diouxXeEfFgGcrsa%])")


def _format_percent(template: TracedText, values: Any) -> TracedText:
    plain = str.__mod__(template, values)  # raises what the operator raises, and is the text to arrive at
    left = list(values) if isinstance(values, tuple) else [values]
    parts, start = [], 0
    for match in _PERCENT.finditer(template):
        name, options, kind = match.groups()
        parts.append(template[start : match.start()])
        start = match.end()
        if kind == "%":
            parts.append(template[match.end() - 1 : match.end()])
            continue
        value = values[name] if name is not None else left.pop(0) if left else ""
        if kind == "s" and not options:
            parts.append(as_text(value))
        else:
            parts.append(adopt(str.__mod__(f"%{options}{kind}", (value,)), value))
    whole = concat([*parts, template[start:]])
    return whole if whole == plain else TracedText(plain, _union([template, values]) * len(plain))


def _letter_by_letter(method: Callable[..., str]) -> Callable[..., TracedText]:
    @wraps(method)
    def convert(self: TracedText) -> TracedText:
        text = method(self)
        # No letter becomes none, so that equal lengths tell that each became one.
        return TracedText(text, self._sources) if len(text) == len(self) else adopt(text, self)

    return convert


def _as_a_whole(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: TracedText, *args: Any, **options: Any) -> Any:
        return adopt(method(self, *args, **options), self, *args, *options.values())

    return call


for _name in ("lower", "upper", "capitalize", "title", "swapcase", "casefold"):
    setattr(TracedText, _name, _letter_by_letter(getattr(str, _name)))
for _name in ("center", "expandtabs", "ljust", "rjust", "translate", "zfill", "__format__", "__repr__"):
    setattr(TracedText, _name, _as_a_whole(getattr(str, _name)))
