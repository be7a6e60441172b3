"""The program that renders templates beside the one that asks for it: JSON objects in, JSON objects out.

It imports neither NumPy nor llama.cpp, and never answers in a form that could run code.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from blendin_local.templates.messages import RenderRequest, TemplateFailed, read_object, write_object
from blendin_local.templates.rendering import render

_MOST_MEMORY = 1 << 30
_MOST_CPU_S = 30


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        rendering = render(RenderRequest(**request))
        return {"text": rendering.text, "written": rendering.written}
    except TemplateFailed as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "needs too much memory"}


def _limit(kind: str, most: int) -> None:
    """Set a limit of this process where the system has it."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        number = getattr(resource, kind)
        resource.setrlimit(number, (most, resource.getrlimit(number)[1]))


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing but answers goes to the parent
    _limit("RLIMIT_AS", _MOST_MEMORY)
    _limit("RLIMIT_CORE", 0)
    write_object(answers, {})  # ready
    while (request := read_object(requests)) is not None:
        # A program that was killed cannot end one that loops.
        _limit("RLIMIT_CPU", int(sum(os.times()[:2])) + _MOST_CPU_S)
        write_object(answers, _answer(request))


if __name__ == "__main__":
    main()
