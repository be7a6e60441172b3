"""A GGUF model in llama.cpp, as the `LanguageModel` of the engine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from blendin_local.engine.language_model import Cancellation, Logits, Status
from blendin_local.engine.vocabulary import Vocabulary
from blendin_local.errors import ModelError
from blendin_local.llamacpp.batch import Batch, chunks
from blendin_local.llamacpp.devices import device_list
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.llamacpp.library import LoadCancelled, api, captured_log, forget_log, last_error, load_file
from blendin_local.llamacpp.tokenizer import Tokenizer
from blendin_local.llamacpp.trial import try_file
from blendin_local.settings import ModelOptions

LoadProgress = Callable[[float], bool]
"""Called with the loaded fraction of the file; returning False stops the load."""

_GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}

# strlen() as llama.cpp's abort callback: it returns 0 until a byte is written at the head of the string it
# is given. As native code, it needs no interpreter lock.
_libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
_abort_if_not_empty = ctypes.cast(_libc.strlen, api.ggml_abort_callback)


def open_model(
    path: str | Path, options: ModelOptions | None = None, *, progress: LoadProgress | None = None
) -> GgufModel:
    """Load a GGUF file. Raises ModelError with llama.cpp's reason if that fails.

    Raises LoadCancelled where `progress` returns False.
    """
    header = read_header(path)
    header.check_usable()
    try_file(header, lambda: progress is None or progress(0.0))
    return GgufModel(header, options or ModelOptions(), progress)


class GgufModel:
    """A loaded model with one context of `options.n_seq` sequences. Not thread-safe."""

    def __init__(self, header: GgufHeader, options: ModelOptions, progress: LoadProgress | None) -> None:
        self.header = header
        self.options = options
        self._context: Any = None
        self._model: Any = None
        self._model = _load(header.path, options, progress)
        try:
            self._tokenizer = Tokenizer(api.llama_model_get_vocab(self._model), dict(header.special_ids))
            self._context, self.n_ctx = _make_context(self._model, header.path, options)
            self._memory = api.llama_get_memory(self._context)
        except BaseException:
            self.close()
            raise
        self._window = api.llama_model_n_swa(self._model)
        self._batch = Batch(options.n_batch)
        self._cached: list[list[int]] = [[] for _ in range(options.n_seq)]
        self._row_of: dict[int, int] = {}
        self._rows: dict[tuple[int, int], int] = {}
        self._row_type = ctypes.c_float * len(self.vocabulary)
        self._watched: Cancellation | None = None

    # Properties

    @property
    def name(self) -> str:
        return self.header.path.stem

    @property
    def vocabulary(self) -> Vocabulary:
        return self._tokenizer.vocabulary

    @property
    def n_seq(self) -> int:
        return self.options.n_seq

    @property
    def n_batch(self) -> int:
        return self.options.n_batch

    @property
    def n_outputs(self) -> int:
        return max(self.options.n_outputs, self.n_seq)

    @property
    def chat_template(self) -> str | None:
        return self.header.chat_template

    @property
    def native_context(self) -> Any:
        """llama.cpp's context, for measurements."""
        return self._context

    @property
    def native_memory(self) -> Any:
        """llama.cpp's KV cache, for measurements."""
        return self._memory

    def forget(self) -> None:
        """Clear all sequences."""
        for seq in range(self.n_seq):
            self.rewind(seq, 0)
        api.llama_memory_clear(self._memory, True)

    # Text and tokens

    def tokenize(self, text: bytes, *, continuation: bool = True) -> list[int]:
        """See `LanguageModel.tokenize`."""
        self._check_open()
        return self._tokenizer.tokenize(text, continuation=continuation)

    def tokenize_special(self, text: bytes, *, add_special: bool = False) -> list[int]:
        """See `Tokenizer.tokenize_special`."""
        self._check_open()
        return self._tokenizer.tokenize_special(text, add_special=add_special)

    # Sequences

    def cached(self, seq: int) -> Sequence[int]:
        return self._cached[seq]

    def rewind(self, seq: int, length: int) -> int:
        """See `LanguageModel.rewind`. Raises ModelError once the model is closed.

        llama_memory_seq_rm returns True also for a sliding window whose older half is gone, and the next
        logits are
        then wrong: so the window's content is checked too.
        """
        self._check_open()
        cached = self._cached[seq]
        if length >= len(cached):
            return len(cached)
        self._row_of.pop(seq, None)
        if length > 0 and api.llama_memory_seq_rm(self._memory, seq, length, -1) and self._holds(seq, length):
            del cached[length:]
            return length
        api.llama_memory_seq_rm(self._memory, seq, -1, -1)
        cached.clear()
        return 0

    def _holds(self, seq: int, length: int) -> bool:
        """Return whether all positions that the token after the first `length` attends to are in the
        cache.
        """
        oldest: int = api.llama_memory_seq_pos_min(self._memory, seq)
        return 0 <= oldest <= max(0, length - self._window if self._window else 0)

    def advance(self, work: Mapping[int, Sequence[int]]) -> Status:
        """See `LanguageModel.advance`. Raises ModelError if llama.cpp fails or the model is closed."""
        if not self._fits(work):
            return Status.CONTEXT_FULL
        before = {seq: len(self._cached[seq]) for seq in work}
        status = None
        try:
            for chunk in chunks(work, self.options.n_batch, self.n_outputs):
                status = None
                status = self._decode_last(chunk)
                if status is not Status.DONE:
                    return status
            return Status.DONE
        finally:
            if status is not Status.DONE:
                for seq, length in before.items():
                    self.rewind(seq, length)

    def advance_rows(self, work: Mapping[int, Sequence[int]], wanted: Mapping[int, Sequence[int]]) -> Status:
        """See `ScoringModel.advance_rows`. Raises ModelError like `advance`."""
        tokens, rows = sum(map(len, work.values())), sum(map(len, wanted.values()))
        if tokens > self.n_batch or rows > self.n_outputs:
            most = f"{self.n_batch} tokens and {self.n_outputs} rows"
            raise ValueError(f"one decode has at most {most}, not {tokens} and {rows}")
        if any(not 0 <= place < len(work.get(seq, ())) for seq, places in wanted.items() for place in places):
            raise ValueError("rows can be wanted only of tokens that are decoded")
        if not self._fits(work):
            return Status.CONTEXT_FULL
        before = {seq: len(self._cached[seq]) for seq in work}
        self._batch.clear()
        for seq, appended in work.items():
            last = self._batch.add(seq, appended, before[seq], False)
            first = last + 1 - len(appended)
            for place in wanted.get(seq, ()):
                self._batch.outputs[first + place] = True
                self._rows[seq, place] = first + place
        status = None
        try:
            status = self._decode(work)
            return status
        finally:
            if status is not Status.DONE:
                for seq, length in before.items():
                    self.rewind(seq, length)

    def _fits(self, work: Mapping[int, Sequence[int]]) -> bool:
        """Invalidate old logits, validate the work, and check for room in the context."""
        self._check_open()
        if not all(0 <= seq < self.n_seq for seq in work):
            raise ValueError(f"this context has the sequences 0 to {self.n_seq - 1}, not {sorted(work)}")
        if any(len(tokens) == 0 for tokens in work.values()):
            raise ValueError("each sequence must be given at least one token")
        self._row_of.clear()
        self._rows.clear()
        return all(len(self._cached[seq]) + len(tokens) <= self.n_ctx for seq, tokens in work.items())

    def _decode_last(self, chunk: list[tuple[int, Sequence[int], bool]]) -> Status:
        """Decode a chunk with logits for the last tokens of whole sequences."""
        self._batch.clear()
        for seq, tokens, wants_logits in chunk:
            row = self._batch.add(seq, tokens, len(self._cached[seq]), wants_logits)
            if wants_logits:
                self._row_of[seq] = row
        return self._decode({seq: tokens for seq, tokens, _ in chunk})

    def _decode(self, appended: Mapping[int, Sequence[int]]) -> Status:
        """Decode the batch, which appends these tokens."""
        batch = self._batch
        forget_log()
        code = api.llama_decode(self._context, batch.native)
        if code == 0:
            api.llama_synchronize(self._context)
        for seq, tokens in appended.items():
            self._cached[seq].extend(tokens)
        if code == 0:
            return Status.DONE
        self._row_of.clear()
        self._rows.clear()
        if code == 1:
            return Status.CONTEXT_FULL
        if code == 2:
            return Status.CANCELLED
        reason = last_error() or f"llama_decode returned {code}"
        raise ModelError(f"llama.cpp failed to decode with {self.name}: {reason}.")

    def logits(self, seq: int) -> Logits:
        """See `LanguageModel.logits`. Raises KeyError for a sequence outside the last `advance`."""
        return self._logits_at(self._row_of[seq])

    def row(self, seq: int, place: int) -> Logits:
        """See `ScoringModel.row`. Raises KeyError for an index that was not requested."""
        return self._logits_at(self._rows[seq, place])

    def _logits_at(self, batch_row: int) -> Logits:
        self._check_open()
        pointer = api.llama_get_logits_ith(self._context, batch_row)
        row = self._row_type.from_address(ctypes.addressof(pointer.contents))
        return np.frombuffer(row, np.float32)  # type: ignore[call-overload, no-any-return]

    @property
    def forks(self) -> bool:
        """See `LanguageModel.forks`."""
        return self.options.shared_cache and not self.header.recurrent_size

    def fork(self, source: int, target: int, length: int) -> int:
        """See `LanguageModel.fork`."""
        self._check_open()
        if not self.options.shared_cache:
            raise ValueError("sequences can be copied only in a context with shared_cache")
        if source == target or not 0 < length <= len(self._cached[source]):
            raise ValueError(f"sequence {source} has no {length} tokens to copy to {target}")
        self.rewind(target, 0)
        if not self.forks or not self._holds(source, length):
            return 0
        api.llama_memory_seq_cp(self._memory, source, target, 0, length)
        self._cached[target] = self._cached[source][:length]
        return length

    def watch(self, cancellation: Cancellation | None) -> None:
        """See `LanguageModel.watch`. llama.cpp polls it between the operations of a decode (CPU)."""
        # A reference, so that the buffer outlives the decodes that read it.
        self._watched = cancellation
        if self._context is None:
            return
        if cancellation is None:
            api.llama_set_abort_callback(self._context, api.ggml_abort_callback(), None)
        else:
            address = ctypes.addressof(cancellation.buffer)
            api.llama_set_abort_callback(self._context, _abort_if_not_empty, address)

    def _check_open(self) -> None:
        # llama.cpp would follow the null pointer.
        if self._context is None:
            raise ModelError(f"{self.name} has been closed.")

    def close(self) -> None:
        """Free context and model; may be called twice."""
        context, self._context = self._context, None
        model, self._model = self._model, None
        if context is not None:
            api.llama_free(context)
        if model is not None:
            api.llama_model_free(model)


def _load(path: Path, options: ModelOptions, progress: LoadProgress | None) -> Any:
    params = api.llama_model_default_params()
    params.n_gpu_layers = options.n_gpu_layers
    if options.main_gpu >= 0 and api.llama_supports_gpu_offload():
        params.split_mode, params.main_gpu = api.LLAMA_SPLIT_MODE_NONE, options.main_gpu
    # Variables, because llama.cpp reads both arrays while it loads.
    if shares := [float(share) for share in options.tensor_split.split(",") if share]:
        split = (ctypes.c_float * max(len(shares), api.llama_max_devices()))(*shares)
        params.tensor_split = split
    if options.device:
        chosen = device_list(options.device)
        params.devices = ctypes.cast(chosen, ctypes.c_void_p)
    # Weights repacked for Intel's AMX crash in the first decode where the system grants no AMX state
    # (seen on virtual machines); the other repackings are safe.
    params.use_extra_bufts = b"AMX_INT8 = 1" not in api.llama_print_system_info()
    params.load_mode = {
        (False, False): api.LLAMA_LOAD_MODE_NONE,
        (True, False): api.LLAMA_LOAD_MODE_MMAP,
        (False, True): api.LLAMA_LOAD_MODE_MLOCK,
        (True, True): api.LLAMA_LOAD_MODE_MMAP_MLOCK,
    }[options.mmap, options.mlock]
    cancelled = False

    @api.llama_progress_callback  # type: ignore[untyped-decorator]
    def on_progress(share: float, _user_data: object) -> bool:
        nonlocal cancelled
        cancelled = progress is not None and not progress(share)
        return not cancelled

    params.progress_callback = on_progress
    try:
        return load_file(path, params)
    except ModelError as error:
        raise LoadCancelled(f"Loading {path.name} was cancelled.") if cancelled else error from None


def _make_context(model: Any, path: Path, options: ModelOptions) -> tuple[Any, int]:
    """Return the context, and the number of tokens that each of its sequences can hold."""
    trained = api.llama_model_n_ctx_train(model)
    if trained <= 0:
        trained = options.n_ctx or ModelOptions().n_ctx
    n_ctx = min(options.n_ctx, trained) if options.n_ctx else trained
    threads = options.n_threads or psutil.cpu_count(logical=False) or 1
    params = api.llama_context_default_params()
    params.n_ctx = n_ctx * (options.n_contexts if options.shared_cache else options.n_seq)
    params.n_seq_max = options.n_seq
    params.kv_unified = options.shared_cache
    params.n_batch = params.n_ubatch = options.n_batch
    # By default llama.cpp reserves memory for logits at all positions of a batch: 512 MB at 262 144 tokens.
    params.n_outputs_max = params.n_outputs_max_per_seq = max(options.n_outputs, options.n_seq)
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = _GGML_TYPES[options.kv_type]
    params.flash_attn_type = _FLASH_ATTENTION[options.flash_attention]
    params.swa_full = options.swa_full
    params.no_perf = True
    with captured_log() as log:
        context = api.llama_init_from_model(model, params)
    if not context:
        reason = log.reason() or "it gave no reason"
        raise ModelError(f"llama.cpp cannot make a context of {n_ctx} tokens for {path.name}: {reason}.")
    return context, n_ctx
