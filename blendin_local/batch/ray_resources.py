"""Plan the workers of a Ray cluster: how many there are, and how many CPUs and GPUs each requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blendin_local.errors import BatchError
from blendin_local.settings import ModelOptions

__all__ = ["NodeResources", "WorkerResources", "plan_workers"]

NodeResources = Mapping[str, float]
"""Resources of a node by Ray's names; "CPU" and "GPU" are used here."""


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """CPU and GPU request of each worker, such that `per_node` workers fit on one node."""

    per_node: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")

    def fit(self, node: NodeResources) -> bool:
        return node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus


def plan_workers(
    nodes: Sequence[NodeResources], workers: int | None, options: ModelOptions
) -> tuple[int, WorkerResources]:
    """Return the number of workers and the request of each.

    nodes: the resources of each node. workers: None for one on each usable node. Nodes without a GPU are
    unused where others have one. Raises BatchError if no node has a CPU.
    """
    usable = [node for node in nodes if node.get("CPU", 0) >= 1]
    both = options.of("base"), options.of("guide")
    offloads = any(each.n_gpu_layers for each in both)
    with_gpu = [node for node in usable if node.get("GPU", 0)] if offloads else []
    usable = with_gpu or usable
    if not usable:
        raise BatchError("No node of the Ray cluster has a CPU for a worker: add a node with `ray start`.")
    n_workers = workers or len(usable)
    per_node = -(-n_workers // len(usable))
    # A thread count set by the user is requested as it is, even where no node has so many CPUs.
    n_threads = max(each.n_threads for each in both) if all(each.n_threads for each in both) else 0
    cpus = n_threads or int(min(node["CPU"] for node in usable)) // per_node
    gpus = min((node["GPU"] for node in with_gpu), default=0.0) / per_node
    # Ray accepts whole numbers of GPUs, or a fraction of one.
    return n_workers, WorkerResources(per_node, max(1, cpus), gpus if gpus < 1 else float(int(gpus)))
