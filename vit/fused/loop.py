"""Which loop trains one model."""

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
    """Compiled as a whole where one worker compiles; of several, each compiles the model, and the rest is plain."""
    if runtime.compile and workers.size == 1:
        return CompiledFit(FusedFit(config, [recipe], runtime, train, validation, normalisation, [seed]))
    return Fit(config, recipe, runtime, train, validation, normalisation, seed, workers)
