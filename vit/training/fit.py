"""The training loop: runs one epoch at a time, can be resumed, and does not depend on what orchestrates it."""

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.batch import training_batch
from vit.training.compilation import compiled
from vit.training.epoch_draws import Chance
from vit.training.evaluation import evaluate
from vit.training.initialisation import starting_model
from vit.training.metrics import Counter, Counts
from vit.training.muon import muon_dtype
from vit.training.optim import build_optimizers, learning_rate_at
from vit.training.parallel import Workers
from vit.training.precision import autocast
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

# Reading the flag for a loss that is not finite waits for the device: this is free on a CPU, but leaves a GPU idle.
STEPS_BETWEEN_CHECKS_ON_GPU = 50


class NonFiniteLossError(ArithmeticError):
    """The training or the validation loss became infinite or not a number.

    Where it was the training loss, the weights are those before that step.
    """


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch. `number` counts from 1."""

    number: int
    train: Counts
    """Counts over the augmented images, by the predictions made during the epoch."""
    validation: Counts
    learning_rate: float
    """The learning rate of the epoch's last step."""
    train_seconds: float
    seconds: float
    """The time of training and validation together."""
    compile_seconds: float = 0.0
    """The time that compiling took before the epoch; neither of the two above includes it."""

    @property
    def images_per_second(self) -> float:
        return self.train.total / self.train_seconds


class Fit:
    """A training run of one model, on one device or as one of several workers with a device each.

    Every worker holds all images and takes its part of each global batch, so the number of workers changes neither the
    batches nor their augmentation. Only dropout and stochastic depth, where used, draw differently with another number
    of workers. All randomness comes from `seed`. `epochs_done` epochs have been trained so far; `run_epoch` trains the
    next, and `state_dict`/`load_state_dict` carry the whole state over to another process (bit for bit on a CPU).
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
        workers: Workers = Workers(),  # noqa: B008 - frozen
    ) -> None:
        self.recipe, self.runtime, self._workers = recipe, runtime, workers
        self._train, self._validation = train, validation
        self._normalise = normalisation.on(runtime.device)
        self._chance = Chance(len(train.labels), config.img_size, recipe, seed)
        self.model = starting_model(config, recipe, seed, train, normalisation).to(runtime.device)
        self._averaged = copy.deepcopy(self.model).requires_grad_(False) if recipe.ema_decay else None
        self._optimizers = build_optimizers(self.model, recipe, muon_dtype(runtime.precision))
        wrapped = workers.wrap(self.model, runtime.device)
        self._forward = compiled(wrapped) if runtime.compile else wrapped
        self._batch_size = min(recipe.batch_size, len(train.labels))
        # A last, smaller batch is left out. Its images are not lost, since the next epoch is shuffled differently.
        self._steps_per_epoch = len(train.labels) // self._batch_size
        self.epochs_done = 0

    @property
    def kept_model(self) -> VisionTransformer:
        """The model that is validated and kept: the one with averaged weights where there is one."""
        return self._averaged or self.model

    def run_epoch(self) -> Epoch:
        """Trains on every image once, except for a last, smaller batch, and validates.

        Raises:
            NonFiniteLossError: the training loss is not finite, and its step has not changed the weights; or the
                validation loss is not finite, because a step with a finite loss has spoiled the weights.
        """
        started = time.perf_counter()
        train = self._train_epoch()
        trained = time.perf_counter()
        validation = self._validate()
        if not math.isfinite(validation.loss):
            raise NonFiniteLossError(f"the validation loss is not finite in epoch {self.epochs_done + 1}")
        self.epochs_done += 1
        learning_rate = float(self._optimizers[0].param_groups[0]["lr"])
        ended = time.perf_counter()
        return Epoch(self.epochs_done, train, validation, learning_rate, trained - started, ended - started)

    def _train_epoch(self) -> Counts:
        self.model.train()
        device = self.runtime.device
        # Dropout draws from torch's global generator, which other code uses too, so each epoch seeds it again. Each
        # worker has its own seed, since the workers' images differ; so another number of workers changes the draws.
        chance = self._chance.epoch(self.epochs_done)
        torch.manual_seed(chance.dropout_seed + self._workers.rank)
        counter = Counter(self.model.config.num_classes, device)
        order, draws = chance.order.to(device), chance.augmentation.each(lambda tensor: tensor.to(device))
        spoiled = torch.zeros((), device=device)
        for step in range(self._steps_per_epoch):
            batch = self._workers.share(slice(step * self._batch_size, (step + 1) * self._batch_size))
            places = torch.arange(batch.start, batch.stop + 1, device=device)
            images, targets = training_batch(self._train, order, draws, places, self.model.config.num_classes)
            logits, loss = self._forward_loss(self._normalise(images), targets)
            spoiled = self._workers.any(torch.maximum(spoiled, (~torch.isfinite(loss.detach())).float()))
            if device.type == "cpu" or step % STEPS_BETWEEN_CHECKS_ON_GPU == 0 or step == self._steps_per_epoch - 1:
                self._raise_if_non_finite(spoiled)
            self._update(loss, self.epochs_done * self._steps_per_epoch + step, spoiled)
            counter.add(logits.detach(), targets.argmax(dim=1))
        return self._workers.sum(counter.counts(), device)

    def _validate(self) -> Counts:
        """Validates on each image exactly once, whatever the number of workers: no worker's part is padded."""
        share = self._workers.share(slice(0, len(self._validation.labels)))
        split = Split(self._validation.images[share], self._validation.labels[share])
        counts = evaluate(self.kept_model, split, self._normalise, self.runtime)
        return self._workers.sum(counts, self.runtime.device)

    def _forward_loss(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(self.runtime.device, self.runtime.precision):
            logits: Tensor = self._forward(images)
        logits = logits.float()
        total = F.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing, reduction="sum")
        # DDP averages the gradients over the workers. Each worker divides by the mean share of a worker, so that all
        # images count the same even if the shares differ in size.
        return logits, total * self._workers.size / self._batch_size

    def _update(self, loss: Tensor, step: int, spoiled: Tensor) -> None:
        self.model.zero_grad()
        loss.backward()
        if self.recipe.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        learning_rate = learning_rate_at(step, self._steps_per_epoch, self.recipe)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            # Both kinds of optimizer leave the weights unchanged where this is 1, without waiting for the device.
            optimizer.found_inf = spoiled  # type: ignore[attr-defined]
            optimizer.step()
        if self._averaged is not None:
            self._average(self._averaged, step)

    @torch.no_grad()
    def _average(self, averaged: VisionTransformer, step: int) -> None:
        # The decay ramps up so that the average forgets the random start (as in timm and TensorFlow).
        decay = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(averaged.parameters()), list(self.model.parameters()), 1 - decay)

    def _raise_if_non_finite(self, spoiled: Tensor) -> None:
        if spoiled.item():
            raise NonFiniteLossError(f"the training loss is not finite in epoch {self.epochs_done + 1}")

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as tensors and plain values only, so that it can be loaded without running code."""
        return {
            "epochs_done": self.epochs_done,
            "model": self.model.state_dict(),
            "averaged": self._averaged.state_dict() if self._averaged else None,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generator": self._chance.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]
        self.model.load_state_dict(state["model"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        for optimizer, its_state in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        self._chance.generator.set_state(state["generator"])
