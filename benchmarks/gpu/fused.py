"""Times a trial's epoch by how many trainings are fused."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.loops import sound
from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.table import Figure, Measured, Table
from benchmarks.gpu.timing import timed_epochs
from vit.fused.fit import FusedFit
from vit.training.runtime import Split

PART = "fused"
TRIAL_EPOCH = "a trial's epoch"
NAMES = {False: "uncompiled", True: "compiled"}


def what(count: int, compiled: bool) -> str:
    return f"K = {count}, {NAMES[compiled]}"


def fused_trainings(setting: Setting) -> Iterator[Item]:
    for compiled in setting.ways:
        for count in setting.scale.fused:
            yield Item(what(count, compiled), partial(_fused, setting, count, compiled))


def _fused(setting: Setting, count: int, compiled: bool) -> Measured:
    """Trains `fast30`, as the search that comes later does, so that the search can reuse what is compiled here."""
    model, recipe = setting.recipe("fast30")
    train, validation, _ = setting.splits()
    few = Split(validation.images[: setting.scale.batch], validation.labels[: setting.scale.batch])
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    fit = FusedFit(model, [recipe] * count, setting.runtime(compiled), train, few, setting.normalisation, range(count))
    timed = timed_epochs(lambda: sound(fit.run_epoch())[0].train_seconds, setting.scale)
    alone = timed.seconds if count == 1 else setting.table.figure(PART, what(1, compiled), TRIAL_EPOCH)
    figures = [Figure(TRIAL_EPOCH, timed.seconds, "s")]
    if alone is not None:
        figures.append(Figure("speed-up over K = 1", alone / timed.seconds))
    if setting.device.type == "cuda":
        figures.append(Figure("memory", torch.cuda.max_memory_allocated() / 2**30, "GiB"))
    if compiled:
        figures.append(Figure("compiling (apart)", fit.compile_seconds, "s"))
    return Measured(tuple(figures), timed.n, f"fast30, batch {recipe.batch_size}, {len(train.labels):,} images")


def fusing_pays(table: Table, count: int, compiled: bool) -> bool:
    """Whether fused trainings were faster than single ones, by the largest number measured up to `count`."""
    measured = {each: table.figure(PART, what(each, compiled), TRIAL_EPOCH) for each in range(1, count + 1)}
    known = [seconds for seconds in measured.values() if seconds is not None]
    return len(known) > 1 and known[-1] < known[0]
