"""Measures how good the recipes are: trains several seeds of each to the end, and tests them on the test images."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.gpu.fused import fusing_pays
from benchmarks.gpu.loops import EPOCHS, sound, what
from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.table import Figure, Measured
from vit.fused.fit import FusedFit
from vit.model.vision_transformer import VisionTransformer
from vit.training.evaluation import predict
from vit.training.runtime import Split

NAMES = ("seed", "fast30", "fast30-conv")


@dataclass(frozen=True)
class Trained:
    """One model at the end of its training."""

    accuracy: float
    mirrored: float
    """The accuracy with the mean of the logits of an image and of its mirror image."""
    seconds: float
    """The seconds of training and validation, or its share of them where several were fused."""


def recipes_to_their_end(setting: Setting) -> Iterator[Item]:
    for name in NAMES:
        yield Item(name, partial(_recipe, setting, name))


def _recipe(setting: Setting, name: str) -> Measured:
    seeds = range(setting.scale.seeds)
    # Even a machine on which compiling fails can show how good the recipes are.
    compiled = setting.ways[-1] and not setting.table.has_failed(EPOCHS, what(True, setting.scale.batch))
    together = fusing_pays(setting.table, len(seeds), compiled)
    trained, compile_seconds = list[Trained](), 0.0
    for some in [seeds] if together else [[seed] for seed in seeds]:
        models, its_compiling = _trained(setting, name, some, compiled)
        trained += models
        compile_seconds += its_compiling
    how = f"{'as one' if together else 'one by one'}, {'compiled' if compiled else 'not compiled'}"
    warning = "; RANDOM IMAGES: the accuracies mean nothing" * setting.images.random
    note = f"mean and standard deviation over seeds, {setting.scale.recipe_epochs} epochs, {how}{warning}"
    return Measured(_figures(setting, name, trained, compile_seconds), len(trained), note)


def _figures(setting: Setting, name: str, trained: Sequence[Trained], compiling: float) -> tuple[Figure, ...]:
    parameters = VisionTransformer(setting.recipe(name)[0]).num_parameters
    plain, mirrored = [one.accuracy for one in trained], [one.mirrored for one in trained]
    return (
        Figure("test", 100 * statistics.mean(plain), "%", 100 * statistics.stdev(plain)),
        Figure("with the mirror image", 100 * statistics.mean(mirrored), "%", 100 * statistics.stdev(mirrored)),
        Figure("parameters", parameters),
        Figure("a training", statistics.mean(one.seconds for one in trained), "s"),
        Figure("compiling (apart)", compiling, "s"),
    )


def _trained(setting: Setting, name: str, seeds: Sequence[int], compiled: bool) -> tuple[list[Trained], float]:
    """Trains these seeds as one; returns the models and the seconds of compiling."""
    model, recipe = setting.recipe(name, epochs=setting.scale.recipe_epochs)
    train, validation, test = setting.splits()
    runtime = setting.runtime(compiled)
    fit = FusedFit(model, [recipe] * len(seeds), runtime, train, validation, setting.normalisation, seeds)
    seconds = [0.0] * len(seeds)
    for _ in range(recipe.epochs):
        setting.check_time()
        for row, epoch in enumerate(sound(fit.run_epoch())):
            seconds[row] += epoch.seconds
    models = [fit[row].kept_model for row in range(len(seeds))]
    scores = [(test_accuracy(setting, each, test), test_accuracy(setting, each, test, mirror=True)) for each in models]
    return [Trained(*score, its) for score, its in zip(scores, seconds, strict=True)], fit.compile_seconds


def test_accuracy(setting: Setting, model: VisionTransformer, test: Split, mirror: bool = False) -> float:
    """The accuracy on the test images, with or without the mirror image of each."""
    normalise = setting.normalisation.on(setting.device)
    logits = predict(model.to(setting.device), test.images, normalise, setting.runtime(False), with_mirror=mirror)
    return (logits.argmax(dim=1) == test.labels).double().mean().item()
