"""The program of a trial: use a model file as this package will, and exit. See `trial`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from blendin_local.errors import BlendinError
from blendin_local.llamacpp.header import read_header
from blendin_local.llamacpp.model import open_model
from blendin_local.settings import ModelOptions

_OPTIONS = ModelOptions(n_ctx=128, n_batch=64, n_gpu_layers=0, n_threads=1)
_TEXTS = (
    b"a",
    " Hello world, 1,000 words\n\n\tand more …".encode(),
    "é".encode(),
    "日本語 한국어 العربية".encode(),
    "🙂👩‍👩‍👧".encode(),
    b"\x01\x7f\r\n",
    b"\xff\xfe\x80",
    b"a" * 300,
    b" " * 300,
    b"<s></s><|im_end|>",
)


def use(path: Path) -> None:
    """Load a model, tokenize awkward texts, and decode the first of their tokens."""
    model = open_model(path, _OPTIONS)
    try:
        tokens = [token for text in _TEXTS for token in model.tokenize(text)]
        for text in _TEXTS:  # what follows or precedes a text changes what llama.cpp does with it
            model.tokenize(text, continuation=False)
            model.tokenize(b"Question: " + text + b"\nAnswer:", continuation=False)
        model.tokenize(b" ".join(_TEXTS), continuation=False)
        model.advance({0: (tokens or [0])[: _OPTIONS.n_batch]})
        model.advance({0: [0]})
    finally:
        model.close()


def main() -> None:
    # A dump of the core would be as large as the model.
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        size = read_header(sys.argv[1]).size_bytes
        most = size * 6 // 5 + (1 << 30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with suppress(BlendinError):  # loading it in earnest tells the reason
        use(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
