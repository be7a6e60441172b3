"""Connect to a Ray cluster or start one on this machine, without Ray's own output on the terminal."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blendin_local.errors import BatchError
from blendin_local.safe_text import sanitize

__all__ = ["connect", "disconnect"]

_CONNECT_TIMEOUT_S = 10.0
_OBJECT_STORE_BYTES = 100 << 20
"""Shared memory of a Ray that is started here: rows and results are small."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Skips every line: Ray would write about lost workers to standard output, among the results.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


def connect(address: str | None, cpus: int) -> Any:
    """Return the module `ray`, connected to the cluster at an address.

    address: None starts Ray on this machine, with at least `cpus` CPUs. Raises BatchError if Ray is not
    installed or the cluster cannot be reached.
    """
    # Ray reads these variables while it is imported.
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise BatchError("Ray is not installed: run `pip install 'blendin-local[ray]'`.") from error
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    options: dict[str, Any] = {"address": address}
    if address in (None, "local"):
        options = {
            "address": "local",
            "num_cpus": max(cpus, os.cpu_count() or 1),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    elif address != "auto":
        _check_reachable(str(address))
    try:
        with _sigterm_restored():
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        if options["address"] == "local":
            raise BatchError(f"Ray cannot be started on this machine: {_first_line(error)}") from error
        if address == "auto":
            raise BatchError(
                "No Ray cluster runs on this machine: start one with `ray start --head`, "
                "name its address, or leave the address out."
            ) from error
        raise BatchError(
            f"The Ray cluster at {sanitize(str(address))} cannot be used: {_first_line(error)}"
        ) from error
    return ray


def disconnect() -> None:
    """Disconnect from the cluster, and end it if it was started here."""
    import ray

    ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise BatchError if nothing listens at an address. Ray itself would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise BatchError(
            f"{sanitize(address)} is no address of a Ray cluster: give HOST:PORT (the port is 6379 unless "
            "it was chosen), ray://HOST:PORT, or auto for one on this machine."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise BatchError(
            f"The Ray cluster at {sanitize(address)} cannot be reached ({error}): see that it runs there "
            "(`ray status`) and that no firewall is between."
        ) from error


@contextmanager
def _sigterm_restored() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
