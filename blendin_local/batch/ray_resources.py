"""What a worker takes of a node, so that Ray puts as many on each as there are to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blendin_local.errors import BatchError
from blendin_local.settings import ModelOptions

__all__ = ["Resources", "Share", "share_out"]

Resources = Mapping[str, float]
"""What a node has: "CPU" and "GPU" count."""


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker takes: of so many on a node, CPUs and GPUs as Ray counts them."""

    on_node: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")

    def fits(self, resources: Resources) -> bool:
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus


def share_out(nodes: Sequence[Resources], workers: int | None, options: ModelOptions) -> tuple[int, Share]:
    """How many workers there are to be, by default one on each node, and what each takes.

    nodes: the resources of each. Raises BatchError where no node is for workers.
    """
    usable = [node for node in nodes if node.get("CPU", 0) >= 1]
    with_gpu = [node for node in usable if node.get("GPU", 0)] if options.n_gpu_layers else []
    usable = with_gpu or usable
    if not usable:
        raise BatchError("No node of the Ray cluster has a CPU for a worker: add a node with `ray start`.")
    wanted = workers or len(usable)
    on_node = -(-wanted // len(usable))
    # Threads that a user chose are no guess: a node must have room for them.
    cpus = options.n_threads or int(min(node["CPU"] for node in usable)) // on_node
    gpus = min((node["GPU"] for node in with_gpu), default=0.0) / on_node
    # Ray takes whole GPUs, or a part of one.
    return wanted, Share(on_node, max(1, cpus), gpus if gpus < 1 else float(int(gpus)))
