"""Times an epoch of each of the two loops, and checks whether both learn the same."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from benchmarks.gpu.ceilings import LARGE_PRODUCT, RATE
from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.table import Figure, Measured
from benchmarks.gpu.timing import Timed, timed_epochs
from vit.fused.fit import FusedFit
from vit.model.work import flops_per_image
from vit.training.fit import Epoch, Fit, NonFiniteLossError
from vit.training.runtime import Split

EPOCHS = "epochs"
"""The name of the part that times an epoch of both loops."""
GOLDEN_BATCHES = 10
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121}
"""TFLOP/s of dense bf16 products by the vendor's data sheets; the first name contained in the device's name is used."""


def what(compiled: bool, batch: int) -> str:
    return f"{'compiled' if compiled else 'eager'}, batch {batch}"


def sound(outcomes: Sequence[Epoch | NonFiniteLossError]) -> list[Epoch]:
    """The epochs of fused trainings; raises the error of one that diverged."""
    for outcome in outcomes:
        if isinstance(outcome, NonFiniteLossError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Epoch)]


def epochs_of_both_loops(setting: Setting) -> Iterator[Item]:
    for batch in setting.scale.batches:
        yield Item(what(False, batch), partial(_eager, setting, batch))
        yield Item(what(True, batch), partial(_compiled, setting, batch))


def _eager(setting: Setting, batch: int) -> Measured:
    model, recipe = setting.recipe("seed", batch_size=batch)
    train, few = setting.all_training_images()
    fit = Fit(model, recipe, setting.runtime(False), train, few, setting.normalisation, seed=0)
    timed = timed_epochs(lambda: fit.run_epoch().train_seconds, setting.scale)
    return Measured(_speed(setting, timed, batch), timed.n, "Fit")


def _compiled(setting: Setting, batch: int) -> Measured:
    model, recipe = setting.recipe("seed", batch_size=batch)
    train, few = setting.all_training_images()
    fit = FusedFit(model, [recipe], setting.runtime(True), train, few, setting.normalisation, [0])
    timed = timed_epochs(lambda: sound(fit.run_epoch())[0].train_seconds, setting.scale)
    compiling = Figure("compiling (apart)", fit.compile_seconds, "s")
    return Measured((*_speed(setting, timed, batch), compiling), timed.n, "FusedFit of one")


def _speed(setting: Setting, timed: Timed, batch: int) -> tuple[Figure, ...]:
    count = len(setting.images.train) + len(setting.images.validation)
    rate = count // batch * batch / timed.seconds
    teraflops = 3e-12 * flops_per_image(setting.recipe("seed")[0]) * rate
    figures = [
        Figure("epoch", timed.seconds, "s"),
        Figure("images/s", rate),
        Figure("model", teraflops, "TFLOP/s"),
    ]
    peak = _peak(setting.device)
    if peak is not None:
        figures.append(Figure("model FLOPs utilisation", 100 * teraflops / peak, "%"))
    ceiling = setting.table.figure("device", LARGE_PRODUCT, RATE)
    if ceiling is not None:
        figures.append(Figure("of the measured ceiling", 100 * teraflops / ceiling, "%"))
    return tuple(figures)


def _peak(device: torch.device) -> float | None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((float(peak) for part, peak in PEAKS.items() if part in name), None)


def golden_losses(setting: Setting) -> Iterator[Item]:
    """Compares the losses of both loops in fp32, where only the order of sums may differ."""
    for name in ("seed", "fast30"):
        yield Item(f"losses of {setting.recipe(name)[1].optimizer}", partial(_golden, setting, name))


def _golden(setting: Setting, name: str) -> Measured:
    passes = setting.scale.golden_passes
    model, recipe = setting.recipe(name, epochs=passes)
    train, validation = setting.all_training_images()
    count = min(GOLDEN_BATCHES * recipe.batch_size, len(train.labels))
    steps = count // recipe.batch_size
    data = (Split(train.images[:count], train.labels[:count]), validation, setting.normalisation)
    plain = Fit(model, recipe, setting.runtime(False, "fp32"), *data, seed=0)
    expected = _losses(plain.run_epoch, passes)
    figures = []
    for way, compiled in (("compiled", True), ("uncompiled", False)):
        fused = FusedFit(model, [recipe], setting.runtime(compiled, "fp32"), *data, seeds=[0])
        losses = _losses(lambda fit=fused: sound(fit.run_epoch())[0], passes)  # type: ignore[misc]
        differences = [abs(ours / theirs - 1) for ours, theirs in zip(losses, expected, strict=True)]
        figures += [
            Figure(f"{way}, first {steps} steps", max(differences[:2])),
            Figure(f"{way}, all {passes * steps} steps", max(differences)),
        ]
    note = f"largest relative difference of the training and validation losses from Fit's; fp32, {passes} passes"
    return Measured(tuple(figures), note=f"{note} over {count:,} images")


def _losses(epoch: Callable[[], Epoch], passes: int) -> list[float]:
    """The training and the validation loss of each pass, pass by pass."""
    epochs = [epoch() for _ in range(passes)]
    return [loss for each in epochs for loss in (each.train.loss, each.validation.loss)]
