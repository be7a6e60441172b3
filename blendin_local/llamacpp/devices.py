"""The devices that llama.cpp can offload layers to, as its backends list them.

llama-cpp-python wraps none of these functions, so they are called in ggml's library where it exports them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp

from blendin_local.errors import ModelError
from blendin_local.llamacpp.library import api
from blendin_local.safe_text import sanitize

__all__ = ["NO_DEVICE", "Device", "device_list", "devices"]

NO_DEVICE = "none"
_GPU, _INTEGRATED = 1, 2
_FUNCTIONS = {
    "ggml_backend_dev_count": ([], ctypes.c_size_t),
    "ggml_backend_dev_get": ([ctypes.c_size_t], ctypes.c_void_p),
    "ggml_backend_dev_name": ([ctypes.c_void_p], ctypes.c_char_p),
    "ggml_backend_dev_description": ([ctypes.c_void_p], ctypes.c_char_p),
    "ggml_backend_dev_type": ([ctypes.c_void_p], ctypes.c_int),
    "ggml_backend_dev_memory": (
        [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)],
        None,
    ),
}


@dataclass(frozen=True, slots=True)
class Device:
    """A device that holds layers. free, total: bytes of its memory; shared: whether that is the RAM."""

    name: str
    description: str
    free: int
    total: int
    shared: bool = False


def devices() -> tuple[Device, ...]:
    """Return the devices that llama.cpp offloads to by default, in its order; none where it cannot tell."""
    functions = _functions()
    if functions is None:
        return ()
    found = {kind: list(_of_kind(functions, kind)) for kind in (_GPU, _INTEGRATED)}
    # llama.cpp takes an integrated device only where there is no other.
    return tuple(_describe(functions, handle) for handle in found[_GPU] or found[_INTEGRATED][:1])


def device_list(names: str) -> Any:
    """Return llama.cpp's array of the devices of these names, which are separated by commas.

    Raises ModelError for a name that it does not have.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == [NO_DEVICE]:
        return (ctypes.c_void_p * 1)(None)
    functions = _functions()
    known: dict[str, int] = {}
    if functions is not None:
        for kind in (_GPU, _INTEGRATED):
            known |= {_name(functions, handle): handle for handle in _of_kind(functions, kind)}
    for name in wanted:
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none but the CPU"
            raise ModelError(f"llama.cpp has no device called {sanitize(name)} here: {there}.")
    return (ctypes.c_void_p * (len(wanted) + 1))(*(known[name] for name in wanted), None)


class _Functions:
    """The C functions by name. Raises AttributeError where a library does not export one."""

    def __init__(self, libraries: Sequence[ctypes.CDLL]) -> None:
        for name, (arguments, result) in _FUNCTIONS.items():
            owner = next((library for library in libraries if hasattr(library, name)), libraries[0])
            function = getattr(owner, name)
            function.argtypes, function.restype = arguments, result
            setattr(self, name, function)


@cache
def _functions() -> Any:
    """Return the functions, or None where the libraries that llama.cpp has loaded do not export them."""
    with suppress(AttributeError, OSError):
        if sys.platform == "win32":
            folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(llama_cpp.__file__).parent / "lib")
            return _Functions([ctypes.CDLL(str(folder / name)) for name in ("ggml.dll", "ggml-base.dll")])
        # A library's handle also finds what the libraries that it depends on define.
        return _Functions([ctypes.CDLL(api._lib._name, handle=api._lib._handle)])
    return None


def _of_kind(functions: Any, kind: int) -> Iterator[int]:
    for index in range(functions.ggml_backend_dev_count()):
        handle = functions.ggml_backend_dev_get(index)
        if functions.ggml_backend_dev_type(handle) == kind:
            yield handle


def _name(functions: Any, handle: int) -> str:
    return str(functions.ggml_backend_dev_name(handle).decode("utf-8", "replace"))


def _describe(functions: Any, handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    functions.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    description = functions.ggml_backend_dev_description(handle) or b""
    return Device(
        name=_name(functions, handle),
        description=description.decode("utf-8", "replace"),
        free=free.value,
        total=total.value,
        # Apple's GPUs call themselves separate devices.
        shared=sys.platform == "darwin" or functions.ggml_backend_dev_type(handle) == _INTEGRATED,
    )
