"""Chooses between fp32 and bf16: whichever trains faster where the training will run."""

import math
from typing import Any

import ray
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.errors import UsageError
from vit.model.config import ViTConfig
from vit.timing.faster_compiled_precision import faster_compiled_precision
from vit.training.precision import Precision, faster_precision


def measure_faster_precision(
    model: ViTConfig, batch_size: int, compile: bool, allotment: Allotment, joined_cluster: bool
) -> Precision:
    """Times both precisions with the resources of a training, and returns the faster one.

    Args:
        model: the model that will be trained.
        batch_size: the images of a step, which are split among the workers of a training.
        compile: whether the model will be compiled.
        allotment: the resources that the training takes.
        joined_cluster: whether the training may run on another machine than this one.

    Raises:
        UsageError: torch cannot use the GPU that Ray has assigned.
    """
    share = math.ceil(batch_size / allotment.workers)
    whole_step = compile and allotment.workers == 1
    question = (model, share, whole_step, "cuda" if allotment.gpus else "cpu", max(1, int(allotment.cpus)))
    if not joined_cluster and not allotment.gpus:
        choice = _probe(*question)  # trainings run on this machine's cores, and a Ray process takes seconds to start
    else:
        # Given by `options`, a GPU would be left to an idle process, with all that torch keeps of its memory.
        task: Any = ray.remote(num_cpus=allotment.cpus, num_gpus=allotment.gpus)(_probe)
        choice = ray.get(task.remote(*question))
    if choice is None:
        raise UsageError(
            "Ray counts a GPU here, but torch cannot use it (is its driver too old for torch's CUDA?): to train without"
            " it, give --gpus-per-trial 0 or --gpus-per-worker 0"
        )
    return choice


def _probe(model: ViTConfig, batch_size: int, whole_step: bool, device: str, threads: int) -> Precision | None:
    """Returns the faster precision; None if there should be a GPU, but torch finds none."""
    if device == "cuda" and not torch.cuda.is_available():
        return None
    torch.set_num_threads(threads)
    probe = faster_compiled_precision if whole_step else faster_precision
    return probe(model, batch_size, torch.device(device))
