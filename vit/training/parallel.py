"""The workers of one training run: how they share the images and add up their sums (torch.distributed)."""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vit.training.metrics import Counts

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The rank of this process among the workers of a run. A single worker needs no process group, nor its overhead."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def joined() -> "Workers":
        """This process's place in torch.distributed's default process group, where there is one."""
        return Workers(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Workers()

    def share(self, batch: slice) -> slice:
        """This worker's contiguous part of a batch; parts differ by one image at most, and every image is in one."""
        count = batch.stop - batch.start
        return slice(batch.start + count * self.rank // self.size, batch.start + count * (self.rank + 1) // self.size)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model, wrapped so that its backward pass averages the gradients over the workers."""
        if self.size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def sum(self, counts: Counts, device: torch.device) -> Counts:
        """The workers' counts added up."""
        if self.size == 1:
            return counts
        loss_sum = torch.tensor(counts.loss_sum, dtype=torch.float64, device=device)
        confusion = counts.confusion.to(device)
        dist.all_reduce(loss_sum)
        dist.all_reduce(confusion)
        return Counts(loss_sum.item(), confusion.cpu())

    def first(self, value: T, device: torch.device) -> T:
        """The first worker's value, sent to all workers; it can be anything that can be pickled."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=device)
        return values[0]

    def any(self, flag: Tensor) -> Tensor:
        """1 if any worker's flag is 1. All workers must decide alike, or they would wait for each other for ever."""
        if self.size > 1:
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return flag
