"""fp32 or bf16: one choice for all that a command trains, so that its trainings compare."""

from typing import Any

import ray
import torch

from pipeline.cluster import Allotment
from pipeline.session import Session
from vit.model import ViTConfig
from vit.precision import Precision, faster_precision
from vit.recipes import Recipe


def precision_of(session: Session[Any], model: ViTConfig, recipe: Recipe, allotment: Allotment) -> Precision:
    """What the user named, else what is faster where the training runs; it stays so when the command is run again."""
    if session.config.precision != "auto":
        named: Precision = session.config.precision
        return named
    choice: Precision = session.remembered("precision") or _measured(session, model, recipe, allotment)
    session.remember("precision", choice)
    return choice


def _measured(session: Session[Any], model: ViTConfig, recipe: Recipe, allotment: Allotment) -> Precision:
    question = (model, recipe.batch_size, "cuda" if allotment.gpus else "cpu", max(1, int(allotment.cpus)))
    if session.config.address is None and not allotment.gpus:
        return _probe(*question)  # they run on these very cores, and a process there takes seconds to start
    task: Any = ray.remote(_probe).options(num_cpus=allotment.cpus, num_gpus=allotment.gpus)
    choice: Precision = ray.get(task.remote(*question))
    return choice


def _probe(model: ViTConfig, batch_size: int, device: str, threads: int) -> Precision:
    torch.set_num_threads(threads)
    return faster_precision(model, batch_size, torch.device(device))
