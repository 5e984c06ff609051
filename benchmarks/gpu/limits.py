"""Tests the limits of trainings: two on one device, one rank of a group, losses that diverge, too little memory."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from unittest import mock

from benchmarks.gpu.children import in_children
from benchmarks.gpu.fused import NAMES
from benchmarks.gpu.jobs import CHILD_SECONDS, Job, as_one_rank, rate, runs_out
from benchmarks.gpu.loops import sound
from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.table import Figure, Measured
from benchmarks.gpu.timing import timed_epochs
from vit.fused.fit import FusedFit
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Epoch, Fit, NonFiniteLossError

SMALL_SHARE = 0.1
"""A share of the device's memory."""
DIVERGING = 1e30
"""A learning rate with which training diverges."""


def limits(setting: Setting) -> Iterator[Item]:
    for compiled in setting.ways:
        yield Item(f"two processes by halves, {NAMES[compiled]}", partial(_halves, setting, compiled))
    yield Item("one rank of torch.distributed", partial(_one_rank, setting))
    yield Item("a learning rate that diverges", partial(_diverging, setting))
    yield Item("checking each step's loss", partial(_checking, setting))
    yield Item("out of memory on purpose", partial(_out_of_memory, setting))


def _job(setting: Setting, compiled: bool, share: float = 1.0) -> Job:
    count = len(setting.images.train) + len(setting.images.validation)
    epochs = setting.scale.epochs if compiled else max(1, setting.scale.epochs // 2)
    return Job(*setting.recipe("seed"), setting.runtime(compiled), count, epochs, share)


def _halves(setting: Setting, compiled: bool) -> Measured:
    timeout = min(CHILD_SECONDS, setting.seconds_left())
    (alone,) = in_children(rate, _job(setting, compiled), 1, timeout)
    together = in_children(rate, _job(setting, compiled, share=0.5), 2, timeout)
    figures = (
        Figure("alone", alone, "images/s"),
        Figure("two together", sum(together), "images/s"),
        Figure("ratio", sum(together) / alone),
    )
    return Measured(figures, _job(setting, compiled).epochs, f"batch {setting.scale.batch}, half of the memory each")


def _one_rank(setting: Setting) -> Measured:
    job = replace(_job(setting, compiled=False), images=4 * setting.scale.batch)
    (report,) = in_children(as_one_rank, job, 1, min(CHILD_SECONDS, setting.seconds_left()))
    figures = (
        Figure("all-reduce of the gradient", 1e6 * report.reduce_seconds, "µs"),
        Figure("relative difference of gradients", report.gradient_difference),
        Figure("of losses", report.loss_difference),
    )
    return Measured(figures, note=f"{report.backend}; from the same without a group; Workers.joined() is the one rank")


def _diverging(setting: Setting) -> Measured:
    """Each loop must report the loss as not finite and leave finite weights; a fused neighbour must not be affected."""
    model, recipe = setting.recipe("seed")
    bad = replace(recipe, learning_rate=DIVERGING)
    train, few = setting.all_training_images()
    data = (train, few, setting.normalisation)
    plain = Fit(model, bad, setting.runtime(False), *data, seed=0)
    try:
        plain.run_epoch()
    except NonFiniteLossError:
        _assert_finite(plain.model)
    else:
        raise RuntimeError("Fit went on")
    refused = 1
    for recipes, compiled in (([bad], not setting.scale.miniature), ([recipe, bad], False)):
        fused = FusedFit(model, recipes, setting.runtime(compiled), *data, seeds=range(len(recipes)))
        *neighbours, outcome = fused.run_epoch()
        if isinstance(outcome, Epoch):
            raise RuntimeError(f"FusedFit of {len(recipes)} went on")
        sound(neighbours)
        _assert_finite(fused.kept_model(len(recipes) - 1))
        refused += 1
    note = "Fit, FusedFit of one, FusedFit beside a sound neighbour: NonFiniteLossError, weights finite"
    return Measured((Figure("refused by", refused, "of 3 loops"),), note=note)


def _assert_finite(model: VisionTransformer) -> None:
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise RuntimeError("the weights are not finite")


def _checking(setting: Setting) -> Measured:
    """Times the plain loop if it checks the loss in every step, as often as usual, or only in the first and last."""
    model, recipe = setting.recipe("seed")
    train, few = setting.all_training_images()
    steps = len(train.labels) // recipe.batch_size
    micros = []
    for between in (1, None, steps):
        fit = Fit(model, recipe, setting.runtime(False), train, few, setting.normalisation, seed=0)
        patch = mock.patch("vit.training.fit.STEPS_BETWEEN_CHECKS_ON_GPU", between) if between else nullcontext()
        with patch:
            timed = timed_epochs(lambda fit=fit: fit.run_epoch().train_seconds, setting.scale)  # type: ignore[misc]
        micros.append(1e6 * timed.seconds / steps)
    names = ("step that checks", "as it is", "without")
    figures = tuple(Figure(name, value, "µs") for name, value in zip(names, micros, strict=True))
    return Measured(figures, timed.n, "a CPU checks in every step, whatever is asked for" * setting.scale.miniature)


def _out_of_memory(setting: Setting) -> Measured:
    job = _job(setting, compiled=False, share=SMALL_SHARE)
    (epoch,) = in_children(runs_out, job, 1, min(CHILD_SECONDS, setting.seconds_left()))
    is_cuda = setting.device.type == "cuda"
    error = "torch.OutOfMemoryError" if is_cuda else "the CPU allocator's RuntimeError"
    return Measured((Figure("an epoch afterwards", epoch, "s"),), note=f"{error}, then the same process trains")
