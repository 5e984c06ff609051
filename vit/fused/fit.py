"""Trains K models of one shape in one loop; each turns out as `vit.training.fit.Fit` would have trained it."""

import math
import time
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from vit.data.normalisation import Normalisation
from vit.fused.compilation import CompiledStep, Step
from vit.fused.epoch_tensors import EpochTensors, FusedCounts
from vit.fused.exchange import Exchange
from vit.fused.hyperparameters import Hyperparameters
from vit.fused.layout import Layout
from vit.fused.state import State
from vit.fused.step import TrainStep, forward
from vit.model.config import ViTConfig
from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer
from vit.training.epoch_draws import Chance
from vit.training.evaluation import evaluation_batch
from vit.training.fit import Epoch, NonFiniteLossError
from vit.training.initialisation import starting_models
from vit.training.metrics import Counts
from vit.training.muon import muon_dtype
from vit.training.optim import learning_rate_at
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

FEWEST_AT_ONCE = 128
"""The fewest images that each model validates in one batch, unless they are large: with fewer, a GPU would wait for the
host."""


def fusing_key(config: ViTConfig, recipe: Recipe) -> Hashable | None:
    """What trainings must have in common to be fused, or None for a training that cannot be fused with others.

    That is one with dropout or stochastic depth: they draw random numbers in an order that fused trainings cannot keep.
    """
    if config.proj_drop_rate or config.drop_path_rate:
        return None
    return config, recipe.batch_size, recipe.epochs, recipe.optimizer


class Member:
    """One of the fused trainings, by its position among them; valid until the next call of `keep`."""

    def __init__(self, fit: "FusedFit", row: int) -> None:
        self._fit, self._row = fit, row

    @property
    def epochs_done(self) -> int:
        return self._fit.epochs_done

    @property
    def kept_model(self) -> VisionTransformer:
        """A copy of the trained model on the CPU, with the averaged weights where the recipe averages them."""
        return self._fit.kept_model(self._row)

    def state_dict(self) -> dict[str, Any]:
        """The state as `Fit.state_dict` would return it, on the CPU; a `Fit` can resume from it."""
        return self._fit.plain_state(self._row)


class FusedFit:
    """K trainings that may differ in the fields of `Hyperparameters`, in augmentation, initialisation and seed.

    `run_epoch` trains all of them for the next epoch; `keep` drops all but some of them. Where the runtime compiles,
    the step is compiled in the first epoch and again in the first epoch after each `keep`.
    """

    def __init__(
        self,
        config: ViTConfig,
        recipes: Sequence[Recipe],
        runtime: Runtime,
        train: Split,
        validation: Split,
        normalisation: Normalisation,
        seeds: Sequence[int],
    ) -> None:
        """Several trainings must share one `fusing_key`.

        Raises:
            ValueError: they do not.
        """
        keys = {fusing_key(config, recipe) for recipe in recipes}
        if len(recipes) > 1 and (None in keys or len(keys) > 1):
            raise ValueError("these trainings differ in what fused ones must have in common")
        self._runtime, self._train, self._validation = runtime, train, validation
        self._normalise = normalisation.on(runtime.device)
        self.recipes = list(recipes)
        each = list(zip(recipes, seeds, strict=True))
        self._chances = [Chance(len(train.labels), config.img_size, recipe, seed) for recipe, seed in each]
        batch_size = min(recipes[0].batch_size, len(train.labels))
        self._steps_per_epoch = len(train.labels) // batch_size
        model = VisionTransformer(config)
        self._layout = Layout.of(model, recipes[0].optimizer)
        self._model = model.to(runtime.device).requires_grad_(False)
        """Only its forward pass is used, with the weights of the rows instead of its own."""
        self._exchange = Exchange(config, self._layout, muon_dtype(runtime.precision))
        self._step = TrainStep(
            self._model, self._layout, train, normalisation, runtime.precision, batch_size, recipes[0].epochs
        )
        starts = starting_models(config, each, train, normalisation)
        rows = [self._layout.row(dict(start.named_parameters())) for start in starts]
        self._set_state(State.start(torch.stack(rows).to(runtime.device), self._layout))
        self.epochs_done = 0
        self.compile_seconds = 0.0
        """The seconds that compiling has taken so far."""

    def __len__(self) -> int:
        return len(self.recipes)

    def __getitem__(self, row: int) -> Member:
        return Member(self, range(len(self))[row])

    def _set_state(self, state: State) -> None:
        self._state = state
        for module in self._model.modules():
            if isinstance(module, Attention):
                module.use_fused_kernel = len(self) == 1
        self._hyperparameters = Hyperparameters.of(self.recipes, self._runtime.device)
        num_classes = self._model.config.num_classes
        self._epoch = EpochTensors.empty(len(self), len(self._train.labels), num_classes, self._runtime.device)
        self._compiled: CompiledStep | None = None

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps only the trainings in `rows`, in this order; what they have learnt stays the same, bit for bit."""
        self.recipes = [self.recipes[row] for row in rows]
        self._chances = [self._chances[row] for row in rows]
        self._set_state(self._state.kept(torch.tensor(rows, device=self._runtime.device)))

    def run_epoch(self) -> list[Epoch | NonFiniteLossError]:
        """Trains each model on every image once, except for a last, smaller batch, and validates it.

        The time is divided evenly among the models. A training that diverged has its error in place of its epoch; the
        others are not affected, and the caller should `keep` them without it.
        """
        self._model.train()  # first: a step compiled in evaluation mode would be compiled again within the epoch
        step, compile_seconds = self._prepared_step()
        started = time.perf_counter()
        train = self._train_epoch(step)
        trained = time.perf_counter()
        validation = self._validate()
        self.epochs_done += 1
        ended = time.perf_counter()
        seconds = [each / len(self) for each in (trained - started, ended - started, compile_seconds)]
        spoiled = self._epoch.spoiled.tolist()
        return [
            self._outcome(row, train[row], validation[row], bool(spoiled[row]), *seconds) for row in range(len(self))
        ]

    def _outcome(
        self, row: int, train: Counts, validation: Counts, spoiled: bool, *seconds: float
    ) -> Epoch | NonFiniteLossError:
        for kind, bad in (("training", spoiled), ("validation", not math.isfinite(validation.loss))):
            if bad:
                return NonFiniteLossError(f"the {kind} loss is not finite in epoch {self.epochs_done}")
        return Epoch(self.epochs_done, train, validation, self._learning_rate(row), *seconds)

    def _learning_rate(self, row: int) -> float:
        """The learning rate of the last step; before the first step the peak, with which optimizers are created."""
        if not self.epochs_done:
            return self.recipes[row].learning_rate
        return learning_rate_at(self.epochs_done * self._steps_per_epoch - 1, self._steps_per_epoch, self.recipes[row])

    def _prepared_step(self) -> tuple[Step, float]:
        """The step, and the seconds that this call took to compile it (0 where it was compiled before)."""
        if not self._runtime.compile:
            return self._step, 0.0
        if self._compiled is not None:
            return self._compiled, 0.0
        self._compiled = CompiledStep(self._step, self._state, self._epoch, self._hyperparameters)
        self.compile_seconds += self._compiled.seconds
        return self._compiled, self._compiled.seconds

    def _train_epoch(self, step: Step) -> list[Counts]:
        drawn = [chance.epoch(self.epochs_done) for chance in self._chances]
        torch.manual_seed(drawn[0].dropout_seed)  # for dropout, which only a single training may have
        self._epoch.begin(drawn)
        for _ in range(self._steps_per_epoch):
            step(self._state, self._epoch, self._hyperparameters)
        return self._epoch.counts.per_model()

    @torch.no_grad()
    def _validate(self) -> list[Counts]:
        self._model.eval()
        counts = FusedCounts.zero(len(self), self._model.config.num_classes, self._runtime.device)
        together = evaluation_batch(self._model.config)
        at_once = max(min(FEWEST_AT_ONCE, together), together // len(self))
        for images, labels in zip(
            self._validation.images.split(at_once), self._validation.labels.split(at_once), strict=True
        ):
            logits = forward(
                self._model, self._layout, self._state.average, self._normalise(images), self._runtime.precision
            )
            counts.add(logits, labels)
        return counts.per_model()

    def kept_model(self, row: int) -> VisionTransformer:
        """A copy of one trained model on the CPU, with the averaged weights where its recipe averages them."""
        return self._exchange.model(self._state.average[row].cpu())

    def plain_state(self, row: int) -> dict[str, Any]:
        """The state of one training as `Fit.state_dict` would return it, on the CPU."""
        one = self._state.kept(torch.tensor([row], device=self._runtime.device))
        plain = self._exchange.to_plain(one, self.recipes[row], self._learning_rate(row))
        return {"epochs_done": self.epochs_done, **plain, "generator": self._chances[row].generator.get_state()}

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Resumes each training from what `plain_state` or `Fit.state_dict` returned; all must be at the same epoch.

        Raises:
            ValueError: they are not.
        """
        done = {state["epochs_done"] for state in states}
        if len(done) != 1:
            raise ValueError(f"fused trainings must have done as many epochs each, not {sorted(done)}")
        rows = [self._exchange.from_plain(state, recipe) for state, recipe in zip(states, self.recipes, strict=True)]
        self._set_state(State.joined(rows).to(self._runtime.device))
        for chance, state in zip(self._chances, states, strict=True):
            chance.generator.set_state(state["generator"])
        self.epochs_done = done.pop()
