"""Read keys and tensor infos of a GGUF file with the C functions of llama.cpp's ggml library.

They check every length against the file, and read a vocabulary of 262 144 tokens in 0.04 s. They abort the
process if a value is read as another type than its own, so its type is always checked first.
`blendin_local.llamacpp.header` interprets the keys.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import llama_cpp

from blendin_local.errors import ModelError
from blendin_local.llamacpp.library import api, captured_log

_STRING, _ARRAY = 8, 9
_SCALARS: Final[dict[int, tuple[str, Any]]] = {
    0: ("u8", ctypes.c_uint8),
    1: ("i8", ctypes.c_int8),
    2: ("u16", ctypes.c_uint16),
    3: ("i16", ctypes.c_int16),
    4: ("u32", ctypes.c_uint32),
    5: ("i32", ctypes.c_int32),
    6: ("f32", ctypes.c_float),
    7: ("bool", ctypes.c_bool),
    10: ("u64", ctypes.c_uint64),
    11: ("i64", ctypes.c_int64),
    12: ("f64", ctypes.c_double),
}

_MAGICS = (
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a git-lfs pointer instead of the file that it points to"),
    (b"ggjt", "a model in the format before GGUF"),
    (b"tjgg", "a model in the format before GGUF"),
    (b"lmgg", "a model in the format before GGUF"),
    (b"fmgg", "a model in the format before GGUF"),
    (b"\x00" * 16, "nothing but zeros, which a failed download leaves behind"),
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. end: where it ends in the file, counted from the start of all tensors; size: its bytes."""

    type_name: str
    n_elements: int
    end: int
    name: str = ""
    size: int = 0


_NEWEST_VERSION = 3
_FURTHEST_HEADER = 4096
"""Most bytes of padding between joined files."""
_PIECE = re.compile(r"[-_.]?(?:part|split)[-_.]?(?:\d+(?:of\d+)?|[a-z]{1,2})$", re.IGNORECASE)
"""The end of the name of a piece, as `split` and others give it: ".part1of2", "-split-a", ".part-aa"."""


class GgufFile:
    """One open GGUF file; use it in a `with` block.

    Raises ModelError if the file is missing, unreadable, no GGUF file, damaged or truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = _check_file(path)
        with captured_log() as log:
            self._context = _library().init(os.fsencode(path), _InitParams(no_alloc=True, ctx=None))
        if not self._context:
            reason = log.reason() or "llama.cpp cannot read its header"
            raise ModelError(
                f"{path} is damaged or incomplete ({reason}): delete it and get the model again."
            )
        try:
            self.tensors = self._read_tensors()
            self._check_length()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._context:
            _library().get.gguf_free(self._context)
            self._context = None

    @property
    def data_offset(self) -> int:
        """Where the weights begin, behind the header."""
        return int(_library().get.gguf_get_data_offset(self._context))

    @property
    def holds_more(self) -> bool:
        """Whether another header follows the weights."""
        end = self.data_offset + max((tensor.end for tensor in self.tensors), default=0)
        with self.path.open("rb") as stream:
            stream.seek(end)
            return b"GGUF" in stream.read(_FURTHEST_HEADER)

    def text(self, key: str) -> str:
        """Return a text value; "" if the key is missing or of another type."""
        index, kind = self._find(key)
        if kind != _STRING:
            return ""
        value: bytes = _library().get.gguf_get_val_str(self._context, index)
        return value.decode("utf-8", "replace")

    def integer(self, key: str, default: int = 0) -> int:
        """Return an integer value of any width; `default` if the key is missing or of another type."""
        index, kind = self._find(key)
        name = _SCALARS[kind][0] if kind in _SCALARS else ""
        if name[:1] not in ("u", "i"):
            return default
        return int(getattr(_library().get, f"gguf_get_val_{name}")(self._context, index))

    def number(self, key: str) -> float | None:
        """Return a floating-point value of either width; None if the key is missing or of another type."""
        index, kind = self._find(key)
        name = _SCALARS[kind][0] if kind in _SCALARS else ""
        if name[:1] != "f":
            return None
        return float(getattr(_library().get, f"gguf_get_val_{name}")(self._context, index))

    def integers(self, key: str) -> tuple[int, ...]:
        """Return an array of integers or booleans, or a single integer; empty if there is neither."""
        index, kind = self._find(key)
        if kind != _ARRAY:
            return (self.integer(key),) if kind in _SCALARS else ()
        name, ctype = _SCALARS.get(self._array_type(index), ("", None))
        n = self.length(key)
        if ctype is None or name.startswith("f") or not n:
            return ()
        return tuple(int(value) for value in (ctype * n).from_address(self._array_data(index)))

    def raw(self, key: str) -> bytes:
        """Return the bytes of a numeric array; empty if there is none."""
        index, kind = self._find(key)
        if kind != _ARRAY or self._array_type(index) not in _SCALARS or not self.length(key):
            return b""
        size = ctypes.sizeof(_SCALARS[self._array_type(index)][1]) * self.length(key)
        return ctypes.string_at(self._array_data(index), size)

    def length(self, key: str) -> int:
        """Return number of elements of an array; 0 if there is none."""
        index, kind = self._find(key)
        return int(_library().get.gguf_get_arr_n(self._context, index)) if kind == _ARRAY else 0

    def texts(self, key: str) -> list[bytes]:
        """Return an array of texts; empty if there is none."""
        index, kind = self._find(key)
        if kind != _ARRAY or self._array_type(index) != _STRING:
            return []
        # Passed as C values, because converting them 262 144 times takes longer than the calls.
        get, context, key_id = _library().text_at, ctypes.c_void_p(self._context), ctypes.c_int64(index)
        return [get(context, key_id, i) for i in range(self.length(key))]

    def _find(self, key: str) -> tuple[int, int]:
        """Index and type of a key, both -1 if it is missing."""
        get = _library().get
        index = int(get.gguf_find_key(self._context, key.encode()))
        return index, (int(get.gguf_get_kv_type(self._context, index)) if index >= 0 else -1)

    def _array_type(self, index: int) -> int:
        return int(_library().get.gguf_get_arr_type(self._context, index))

    def _array_data(self, index: int) -> int:
        address: int = _library().get.gguf_get_arr_data(self._context, index)
        return address

    def _read_tensors(self) -> list[Tensor]:
        get, tensors = _library().get, []
        for i in range(get.gguf_get_n_tensors(self._context)):
            kind, size = (
                get.gguf_get_tensor_type(self._context, i),
                get.gguf_get_tensor_size(self._context, i),
            )
            tensors.append(
                Tensor(
                    type_name=get.ggml_type_name(kind).decode(),
                    n_elements=size // get.ggml_type_size(kind) * get.ggml_blck_size(kind),
                    end=get.gguf_get_tensor_offset(self._context, i) + size,
                    name=get.gguf_get_tensor_name(self._context, i).decode("utf-8", "replace"),
                    size=size,
                )
            )
        return tensors

    def _check_length(self) -> None:
        if not self.tensors:
            return
        needed = _library().get.gguf_get_data_offset(self._context) + max(
            tensor.end for tensor in self.tensors
        )
        if self.size < needed:
            if pieces := _pieces_hint(self.path):
                raise ModelError(f"{self.path} is only a part of a model: {pieces}.")
            raise ModelError(
                f"{self.path} is cut off, with {self.size:,} of {needed:,} bytes: get the model again, "
                "because its download was not completed."
            )


def _check_file(path: Path) -> int:
    """Size of a file with a GGUF header. Raises ModelError for another file."""
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder: give the .gguf file inside it.")
        if not path.is_file():
            # Opening a pipe would block.
            what = "is not a regular file" if path.exists() else "does not exist"
            raise ModelError(f"{path} {what}: give the path of a .gguf file.")
        with path.open("rb") as stream:
            start = stream.read(512)
            size = os.fstat(stream.fileno()).st_size
    except PermissionError as error:
        raise ModelError(f"{path} cannot be read, because you lack the permission.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{path} cannot be read: {reason}.") from error
    if not start:
        raise ModelError(f"{path} is empty: delete it and get the model again.")
    if not start.startswith(b"GGUF"):
        if pieces := _pieces_hint(path):
            raise ModelError(f"{path} is not the beginning of a model: {pieces}.")
        raise ModelError(f"{path} is not a GGUF file: it looks like {_looks_like(start)}.")
    version = start[4:8]
    if len(version) == 4 and not 1 < (number := int.from_bytes(version, "little")) <= _NEWEST_VERSION:
        if 0 < int.from_bytes(version, "big") <= _NEWEST_VERSION:
            raise ModelError(
                f"{path} is written for big-endian machines: get the usual file, or convert it with the "
                "script gguf_convert_endian of the Python package gguf."
            )
        raise ModelError(
            f"{path} has version {number:,} of the GGUF format, but llama.cpp reads versions 2 to "
            f"{_NEWEST_VERSION} here: "
            + ("convert the model again." if number < 2 else "update llama-cpp-python, or get another file.")
        )
    return size


def _pieces_hint(path: Path) -> str:
    """Return what to do with one of several pieces into which a file was cut; "" for another file."""
    if not _PIECE.search(path.name):
        return ""
    whole = _PIECE.sub("", path.name)
    return f"its name says that it is one piece of {whole}: join all in order (cat PIECE... > {whole})"


def _looks_like(start: bytes) -> str:
    for magic, what in _MAGICS:
        if start.startswith(magic):
            return what
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30:
        return "a safetensors file, which has to be converted first"
    head = start.lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, saved in place of the model"
    if re.fullmatch(rb"[\t\r\n -~]+", start):
        return f"text that begins with {start[:20].decode()!r}"
    return f"another format (its first bytes are {start[:4].hex(' ')})"


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


class _Library:
    """The C functions. `get` holds the interpreter's lock during a call, `init` releases it.

    A getter takes 0.1 µs: releasing the lock would cost a thread switch for every token of the vocabulary
    while another thread runs.
    """

    def __init__(self, path: str, handle: int | None) -> None:
        self.get = ctypes.PyDLL(path, handle=handle)
        self.init = ctypes.CDLL(path, handle=handle).gguf_init_from_file
        self.init.restype = ctypes.c_void_p
        self.init.argtypes = (ctypes.c_char_p, _InitParams)
        pointer, number, size = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t
        signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "gguf_free": (None, (pointer,)),
            "gguf_find_key": (number, (pointer, ctypes.c_char_p)),
            "gguf_get_kv_type": (ctypes.c_int, (pointer, number)),
            "gguf_get_val_str": (ctypes.c_char_p, (pointer, number)),
            "gguf_get_arr_type": (ctypes.c_int, (pointer, number)),
            "gguf_get_arr_n": (size, (pointer, number)),
            "gguf_get_arr_data": (pointer, (pointer, number)),
            "gguf_get_n_tensors": (number, (pointer,)),
            "gguf_get_tensor_name": (ctypes.c_char_p, (pointer, number)),
            "gguf_get_tensor_type": (ctypes.c_int, (pointer, number)),
            "gguf_get_tensor_size": (size, (pointer, number)),
            "gguf_get_tensor_offset": (size, (pointer, number)),
            "gguf_get_data_offset": (size, (pointer,)),
            "ggml_type_name": (ctypes.c_char_p, (ctypes.c_int,)),
            "ggml_type_size": (size, (ctypes.c_int,)),
            "ggml_blck_size": (number, (ctypes.c_int,)),
        }
        signatures |= {f"gguf_get_val_{name}": (kind, (pointer, number)) for name, kind in _SCALARS.values()}
        for name, (result, arguments) in signatures.items():
            function = getattr(self.get, name)
            function.restype, function.argtypes = result, arguments
        self.text_at = self.get["gguf_get_arr_str"]
        self.text_at.restype = ctypes.c_char_p


@cache
def _library() -> _Library:
    """Return the ggml library that llama.cpp has loaded.

    Opening its file by name could load it a second time, and that copy would log to the terminal.
    """
    if sys.platform == "win32":
        folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(llama_cpp.__file__).parent / "lib")
        return _Library(str(folder / "ggml-base.dll"), None)
    else:
        # A library's handle also finds what the libraries that it depends on define.
        return _Library(api._lib._name, api._lib._handle)
