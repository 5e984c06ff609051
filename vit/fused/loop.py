"""Chooses the loop that trains one model."""

from vit.data.normalisation import Normalisation
from vit.fused.compiled_fit import CompiledFit
from vit.fused.fit import FusedFit
from vit.model.config import ViTConfig
from vit.training.fit import Fit
from vit.training.parallel import Workers
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split


def training_loop(
    config: ViTConfig,
    recipe: Recipe,
    runtime: Runtime,
    train: Split,
    validation: Split,
    normalisation: Normalisation,
    seed: int,
    workers: Workers = Workers(),  # noqa: B008 - frozen
) -> Fit | CompiledFit:
    """The loop whose whole step is compiled where a single worker compiles, else the plain loop.

    Where several workers compile, each compiles only the model, and the rest of the plain loop stays uncompiled.
    """
    if runtime.compile and workers.size == 1:
        return CompiledFit(FusedFit(config, [recipe], runtime, train, validation, normalisation, [seed]))
    return Fit(config, recipe, runtime, train, validation, normalisation, seed, workers)
