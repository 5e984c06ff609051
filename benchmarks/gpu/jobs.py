"""Trainings for processes of their own: several at the same time, one as a rank of a group, one out of memory."""

import tempfile
import time
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from benchmarks.gpu.images import random_images
from vit.data.normalisation import Normalisation
from vit.fused.fit import FusedFit
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Fit
from vit.training.parallel import Workers
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

CHILD_SECONDS = 300.0
"""How long a process of its own may take."""
TOO_MUCH = 2**60
"""More bytes than any machine has."""


@dataclass(frozen=True)
class Job:
    """A training in a process of its own, on random images, since only its speed matters."""

    model: ViTConfig
    recipe: Recipe
    runtime: Runtime
    images: int
    epochs: int
    share: float = 1.0
    """The share of the device's memory that it may use."""

    def take_share(self) -> None:
        if self.runtime.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(self.share)

    def fit(self, workers: Workers = Workers()) -> Fit:  # noqa: B008 - frozen
        return Fit(self.model, self.recipe, self.runtime, *self._data(), seed=0, workers=workers)

    def fused_fit(self) -> FusedFit:
        return FusedFit(self.model, [self.recipe], self.runtime, *self._data(), seeds=[0])

    def _data(self) -> tuple[Split, Split, Normalisation]:
        images = random_images(self.images, self.recipe.batch_size, 0, self.model.img_size, "speed only")
        device = self.runtime.device
        return Split.of(images.train, device), Split.of(images.validation, device), images.normalisation


def rate(job: Job, barrier: Barrier) -> float:
    """Images per second, measured once all processes are ready."""
    job.take_share()
    fit = job.fused_fit() if job.runtime.compile else job.fit()
    fit.run_epoch()
    barrier.wait(CHILD_SECONDS)
    started = time.perf_counter()
    for _ in range(job.epochs):
        fit.run_epoch()
    return job.images * job.epochs / (time.perf_counter() - started)


@dataclass(frozen=True)
class RankReport:
    backend: str
    reduce_seconds: float
    """The time of an all-reduce of as many numbers as the model has parameters."""
    gradient_difference: float
    """The largest difference of gradients with and without DistributedDataParallel, relative to the largest of them."""
    loss_difference: float
    """The relative difference between the losses of an epoch as the group's only worker and of one without a group."""


def as_one_rank(job: Job, barrier: Barrier) -> RankReport:
    device, expected = job.runtime.device, job.fit().run_epoch().train.loss
    backend = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(backend, init_method=f"file://{folder}/group", rank=0, world_size=1)
        workers = Workers.joined()
        if workers != Workers(0, 1):
            raise RuntimeError(f"the one rank is {workers}")
        loss = job.fit(workers).run_epoch().train.loss
        report = RankReport(
            backend, _reduce_seconds(job, device), _gradient_difference(job, device), abs(loss / expected - 1)
        )
        dist.destroy_process_group()
    return report


def _reduce_seconds(job: Job, device: torch.device) -> float:
    numbers = torch.ones(VisionTransformer(job.model).num_parameters, device=device)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        dist.all_reduce(numbers)
        numbers[0].item()  # waits for it
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _gradient_difference(job: Job, device: torch.device) -> float:
    model = VisionTransformer(job.model).to(device)
    images = torch.randn(job.recipe.batch_size, job.model.in_chans, job.model.img_size, job.model.img_size)
    labels = torch.zeros(job.recipe.batch_size, dtype=torch.int64, device=device)
    gradients = []
    for forward in (model, nn.parallel.DistributedDataParallel(model)):
        model.zero_grad()
        F.cross_entropy(forward(images.to(device)), labels).backward()
        flat = [each.grad.flatten() for each in model.parameters() if each.grad is not None]
        gradients.append(torch.cat(flat).clone())
    return float((gradients[1] - gradients[0]).abs().max() / gradients[0].abs().max())


def runs_out(job: Job, barrier: Barrier) -> float:
    """Runs out of memory on purpose, and returns the seconds of an epoch after that."""
    job.take_share()
    try:
        if job.runtime.device.type == "cuda":
            replace(job, recipe=replace(job.recipe, batch_size=job.images)).fit().run_epoch()
        else:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
    except RuntimeError as error:
        if job.runtime.device.type == "cuda" and not isinstance(error, torch.OutOfMemoryError):
            raise
    else:
        raise RuntimeError("there was memory enough")
    return job.fit().run_epoch().train_seconds
