"""Train in several processes: this process's part of a batch, and sums over all processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnbench import machine
from cnnbench.spec import Device


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """This process's part of a batch; `weight` is that of its mean loss in the mean over all processes."""

    images: Tensor
    labels: Tensor
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessGroup:
    """The processes that train one model together; this one is number `rank` (from 0) of `size`."""

    rank: int
    size: int

    def share(self, images: Tensor, labels: Tensor) -> Share:
        """Return every `size`-th image of a batch, starting with number `rank`; all processes have the same batch.

        Gradients are averaged over processes, and parts may differ by an image. The weight makes this average that of
        the whole batch. A process without an image takes the first one with weight 0, because all must take part.
        """
        own = labels[self.rank :: self.size]
        if not len(own):
            return Share(images=images[:1], labels=labels[:1], weight=0.0)
        return Share(images=images[self.rank :: self.size], labels=own, weight=len(own) * self.size / len(labels))

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over all processes."""
        torch.distributed.all_reduce(values)
        return values

    def wrap(self, model: Callable[[Tensor], object]) -> nn.Module:
        """Return `model`, an `nn.Module`, such that every backward pass averages its gradients over all processes."""
        assert isinstance(model, nn.Module)
        return nn.parallel.DistributedDataParallel(model)


def join(device: Device, environ: Mapping[str, str] = os.environ) -> ProcessGroup | None:
    """Join the other processes of `torchrun`, by gloo on a CPU and NCCL on CUDA; return None if there are none.

    Each process takes the CUDA device of its local rank.
    """
    rank, size = machine.rank_and_world_size(environ)
    if size == 1:
        return None
    if device == "cuda":
        torch.cuda.set_device(int(environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return ProcessGroup(rank=rank, size=size)
