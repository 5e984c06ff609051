"""One training whose whole step is compiled, in the place of the plain loop."""

from typing import Any

from vit.data.normalisation import Normalisation
from vit.fused.fit import FusedFit
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Epoch, NonFiniteLossError
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split


class CompiledFit:
    """Used like `vit.training.fit.Fit`, with which it exchanges its state, by one worker. Compiles in the first epoch.

    It looks for a loss that is not finite at the end of each epoch only.
    """

    def __init__(
        self,
        config: ViTConfig,
        recipe: Recipe,
        runtime: Runtime,
        train: Split,
        validation: Split,
        normalisation: Normalisation,
        seed: int,
    ) -> None:
        self.recipe = recipe
        self._fused = FusedFit(config, [recipe], runtime, train, validation, normalisation, [seed])

    @property
    def epochs_done(self) -> int:
        return self._fused.epochs_done

    @property
    def kept_model(self) -> VisionTransformer:
        return self._fused.kept_model(0)

    def run_epoch(self) -> Epoch:
        """Raises NonFiniteLossError where the training or the validation loss was not finite."""
        outcome = self._fused.run_epoch()[0]
        if isinstance(outcome, NonFiniteLossError):
            raise outcome
        return outcome

    def state_dict(self) -> dict[str, Any]:
        return self._fused.plain_state(0)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._fused.load_state_dicts([state])
