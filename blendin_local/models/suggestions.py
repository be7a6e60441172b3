"""Suggest pairs of the catalogue for the memory of a machine, whether they have been pulled or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import psutil

from blendin_local.errors import BlendinError
from blendin_local.files import local_path
from blendin_local.llamacpp.header import GgufHeader, read_header
from blendin_local.models import memory_estimate
from blendin_local.models.catalogue import Catalogue
from blendin_local.models.entries import ModelEntry, PairEntry
from blendin_local.settings import ModelOptions

if TYPE_CHECKING:
    from blendin_local.llamacpp.devices import Device

__all__ = ["Machine", "PairForMachine", "Place", "Suggestions", "suggest", "this_machine"]

Place = Literal["device", "split", "RAM", ""]

_ROOM = 0.2
_LEAST_ROOM = 10**9
_ROOM_ON_DEVICE = 0.1
# KV cache of 4096 tokens and buffers of models with 0.5 to 70 billion parameters: at most about this share of
# a 4-bit file and this much, but no more than the file of a tiny model.
_BESIDE_SHARE = 0.1
_BESIDE = 500_000_000
_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Machine:
    """Bytes of RAM, and of the memory of devices apart from it; names of those devices."""

    ram: int
    device_memory: int = 0
    devices: tuple[str, ...] = ()

    @property
    def usable_ram(self) -> int:
        """The RAM without room for the system and other programs: a fifth, at least 1 GB."""
        return max(0, self.ram - max(_LEAST_ROOM, int(self.ram * _ROOM)))

    @property
    def usable_device_memory(self) -> int:
        return int(self.device_memory * (1 - _ROOM_ON_DEVICE))

    def place(self, needed: int) -> Place:
        """Return where models of that many bytes fit: on devices, in part there, in RAM, or nowhere ("")."""
        if needed <= self.usable_device_memory:
            return "device"
        if needed <= self.usable_ram:
            return "split" if self.device_memory else "RAM"
        return "split" if self.device_memory and needed <= self.usable_ram + self.usable_device_memory else ""


@dataclass(frozen=True, slots=True)
class PairForMachine:
    """A pair of the catalogue and what it takes.

    missing: models to be pulled. download: their bytes. memory: expected
    bytes of both models; measured: whether it was computed from their files. place: where it fits, or "".
    """

    entry: PairEntry
    missing: tuple[ModelEntry, ...]
    download: int
    memory: int
    measured: bool
    place: Place
    base_size: int
    thinking: bool = False

    @property
    def command(self) -> str:
        """The command that brings what is missing, or that uses the pair."""
        return f"blendin {'models pull' if self.missing else 'chat --pair'} {self.entry.name}"


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Pairs that fit, best first: those with the largest base. Of the others the smallest, if none fits.

    unknown: names of pairs whose sizes the catalogue does not tell.
    """

    machine: Machine
    fitting: tuple[PairForMachine, ...]
    smallest: PairForMachine | None
    unknown: tuple[str, ...]


def this_machine() -> Machine:
    """Return the memory of this machine; a device that shares the RAM counts as RAM."""
    apart: Sequence[Device] = [each for each in memory_estimate.offload_devices() if not each.shared]
    return Machine(
        int(psutil.virtual_memory().total),
        sum(each.total for each in apart),
        tuple(each.name for each in apart),
    )


def suggest(catalogue: Catalogue, machine: Machine, options: ModelOptions | None = None) -> Suggestions:
    """Return the pairs of the catalogue that fit a machine, with options of loading.

    Pairs that cannot be used are left out.
    """
    options = options or ModelOptions()
    found, unknown = list[PairForMachine](), list[str]()

    @cache
    def look(given: str) -> GgufHeader | ModelEntry:
        return _look(catalogue, given)

    for entry in catalogue.pairs.values():
        try:
            models = look(entry.base), look(entry.guide)
        except BlendinError:
            continue
        pair = _pair(catalogue, entry, models, machine, options)
        if pair is None:
            unknown.append(entry.name)
        else:
            found.append(pair)
    fitting = sorted((each for each in found if each.place), key=lambda each: (-each.base_size, -each.memory))
    smallest = min(found, key=lambda each: each.memory, default=None)
    return Suggestions(machine, tuple(fitting), None if fitting else smallest, tuple(unknown))


def _look(catalogue: Catalogue, given: str) -> GgufHeader | ModelEntry:
    """Return the header of a file that is here, or the entry of a model to be pulled. Raises BlendinError."""
    known = catalogue.models.get(given)
    if known is None and local_path(given).is_file():
        path = local_path(given)
    else:
        from blendin_local.models.download.store import find_pulled

        entry = catalogue.model(given)
        pulled = find_pulled(entry)
        if pulled is None:
            return entry
        path = pulled
    header = read_header(path)
    header.check_usable()
    return header


def _pair(
    catalogue: Catalogue,
    entry: PairEntry,
    models: tuple[GgufHeader | ModelEntry, GgufHeader | ModelEntry],
    machine: Machine,
    options: ModelOptions,
) -> PairForMachine | None:
    """Return what a pair takes; None if the size of a model is unknown."""
    options = options.recommended(entry.base_options, entry.guide_options)
    sizes, memory = list[int](), 0
    for model, own in zip(models, (options.of("base"), options.of("guide")), strict=True):
        size = model.size_bytes if isinstance(model, GgufHeader) else model.size or model.approximate_size
        if size is None:
            return None
        sizes.append(size)
        if isinstance(model, GgufHeader):
            memory += memory_estimate.estimate(model, own, ()).total
        else:
            longer = max(1.0, own.n_ctx / _CONTEXT)
            memory += size + int(longer * (size * _BESIDE_SHARE + min(size, _BESIDE)))
    # By name, because one model in both roles is pulled once.
    missing = {each.name: each for each in models if isinstance(each, ModelEntry)}
    download = sum(each.size or each.approximate_size or 0 for each in missing.values())
    return PairForMachine(
        entry=entry,
        missing=tuple(missing.values()),
        download=download,
        memory=memory,
        measured=not missing,
        place=machine.place(memory),
        base_size=sizes[0],
        thinking=any(
            known.thinking for name in (entry.base, entry.guide) if (known := catalogue.models.get(name))
        ),
    )
