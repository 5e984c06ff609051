"""One training step of K models as one function of tensors, which never waits for the device or reads a value from it.

The function covers everything from choosing the images to counting the results, so that a compiler sees all of it.
"""

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from vit.data.normalisation import Normalisation
from vit.fused.epoch_tensors import EpochTensors
from vit.fused.hyperparameters import Hyperparameters
from vit.fused.layout import Layout
from vit.fused.state import State
from vit.fused.update import update
from vit.model.vision_transformer import VisionTransformer
from vit.training.batch import training_batch
from vit.training.muon import muon_dtype
from vit.training.precision import Precision, autocast
from vit.training.runtime import Split


class TrainStep:
    """The step of K trainings of one shape, batch size and number of epochs. K follows from the tensors' shapes."""

    def __init__(
        self,
        model: VisionTransformer,
        layout: Layout,
        train: Split,
        normalisation: Normalisation,
        precision: Precision,
        batch_size: int,
        epochs: int,
    ) -> None:
        """Only the forward pass of `model` is used, not its weights; it must be on the images' device."""
        self._model, self._layout, self._train = model, layout, train
        self._normalise = normalisation.on(train.images.device)
        self._precision, self._epochs = precision, epochs
        self._muon_dtype = muon_dtype(precision)
        self._batch_size = batch_size
        self._offsets = torch.arange(batch_size + 1, device=train.images.device)
        self._steps_per_epoch = len(train.labels) // batch_size

    def __call__(self, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> None:
        """Trains on the next batch of the epoch, whose position follows from the number of steps done."""
        places = state.step % self._steps_per_epoch * self._batch_size + self._offsets
        num_classes = self._model.config.num_classes
        batches, targets = training_batch(self._train, epoch.order, epoch.augmentation, places, num_classes)
        images = self._normalise(batches.flatten(0, 1)).unflatten(0, targets.shape[:2])

        def total(weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            logits = self._logits(weights, images)
            losses = smoothed_losses(logits, targets, hyperparameters.label_smoothing)
            # The trainings are independent, so the gradient of the sum is the gradient of each training.
            return losses.sum() / self._batch_size, (logits, losses)

        gradients, (logits, losses) = grad(total, has_aux=True)(state.weights)
        torch.maximum(epoch.spoiled, (~losses.isfinite()).float(), out=epoch.spoiled)
        sound = epoch.spoiled == 0
        gradients = torch.where(sound[:, None], gradients, 0.0)
        rates = hyperparameters.learning_rates(state.step, self._steps_per_epoch, self._epochs).float() * sound
        update(state, gradients, hyperparameters, rates, self._layout, self._muon_dtype)
        epoch.counts.add(logits, targets.argmax(dim=2))

    def _logits(self, weights: Tensor, images: Tensor) -> Tensor:
        return forward(self._model, self._layout, weights, images, self._precision)


def forward(model: VisionTransformer, layout: Layout, weights: Tensor, images: Tensor, precision: Precision) -> Tensor:
    """Logits float32 (K, N, classes) of K models for their images.

    Args:
        model: only its forward pass is used.
        layout: the layout of the weights.
        weights: (K, P).
        images: normalised, (K, N, C, H, W), or (N, C, H, W) where all models see the same.
        precision: that of the matrix products.
    """

    def one(row: Tensor, its_images: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, layout.views(row), (its_images,))
        return logits

    shared = images.ndim == 4
    with autocast(images.device, precision):
        if len(weights) == 1:  # plain matrix products are faster than batches of one product
            return one(weights[0], images if shared else images[0])[None].float()
        logits: Tensor = vmap(one, in_dims=(0, None if shared else 0))(weights, images)
        return logits.float()


def smoothed_losses(logits: Tensor, targets: Tensor, label_smoothing: Tensor) -> Tensor:
    """Summed cross-entropy (K,) of logits and targets, both (K, N, classes), each with its own smoothing (K,)."""
    log_probabilities = logits.log_softmax(dim=-1)
    plain = -(targets * log_probabilities).sum(dim=-1)
    even = -log_probabilities.mean(dim=-1)
    return torch.lerp(plain, even, label_smoothing[:, None]).sum(dim=1)
