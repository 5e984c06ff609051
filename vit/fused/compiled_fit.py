"""A training of one model whose whole step is compiled, used in place of the plain loop."""

from typing import Any

from vit.fused.fit import FusedFit
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Epoch, NonFiniteLossError


class CompiledFit:
    """Used like `vit.training.fit.Fit` with one worker; each can load the other's state. Compiles in the first epoch.

    It checks only at the end of each epoch whether the losses were finite.
    """

    def __init__(self, fused: FusedFit) -> None:
        """`fused` must hold exactly one training."""
        (self.recipe,) = fused.recipes
        self._fused = fused

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
