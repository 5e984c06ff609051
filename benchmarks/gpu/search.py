"""Searches over recipes of one shape by successive halving, with all trials fused; uses only `vit`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.gpu.recipes import test_accuracy
from benchmarks.gpu.setting import Item, Setting, listed
from benchmarks.gpu.table import Figure, Measured
from vit.fused.fit import FusedFit
from vit.training.fit import Epoch, NonFiniteLossError
from vit.training.recipes import Recipe

FACTOR = 4
"""One in this many trials continues after a rung; the first rung is the first epoch."""


def fused_search(setting: Setting) -> Iterator[Item]:
    for compiled in setting.ways[::-1]:
        way = "compiled" if compiled else "uncompiled"
        yield Item(f"{setting.scale.trials} trials, {way}", partial(_search, setting, compiled))


def rungs(epochs: int) -> list[int]:
    """The epochs with a rung: 1, 4, 16 ... below the full length."""
    found = [1]
    while found[-1] * FACTOR < epochs:
        found.append(found[-1] * FACTOR)
    return [each for each in found if each < epochs]


def drawn_recipes(count: int, base: Recipe, img_size: int, seed: int) -> list[Recipe]:
    """The base itself, then others from ranges like those of the search space `recipe`."""
    rng = np.random.default_rng(seed)

    def one() -> Recipe:
        def choice(options: Sequence[int]) -> int:
            return options[int(rng.integers(len(options)))]

        return replace(
            base,
            learning_rate=float(np.exp(rng.uniform(np.log(5e-4), np.log(8e-3)))),
            weight_decay=float(np.exp(rng.uniform(np.log(1e-3), np.log(0.3)))),
            warmup_epochs=float(rng.uniform(0.0, 2.0)),
            label_smoothing=float(rng.uniform(0.0, 0.2)),
            clip_grad=float(choice((0, 1))),
            ema_decay=choice((0, 990, 995, 998)) / 1000,
            attention_init=("timm", "mimetic")[choice((0, 1))],
            position_init=("timm", "sincos")[choice((0, 1))],
            patch_init=("timm", "whitening")[choice((0, 1))],
            rotation=float(choice((0, 15))),
            crop_padding=choice((0, img_size // 16, img_size // 8)),
            cutout=choice((0, img_size // 8, img_size // 4)),
            flip_alternates=bool(choice((0, 1))),
        )

    return [base, *(one() for _ in range(count - 1))]


@dataclass
class Halving:
    """The state of a running search: which trials are left, and the last accuracy of each."""

    fit: FusedFit
    left: list[int]
    """Trials by their numbers, in the order in which they are fused."""
    accuracy: dict[int, float]
    """The last validation accuracy of each trial; -1 for one that diverged."""
    trial_epochs: int = 0
    training: float = 0.0
    """Seconds so far, without compiling and validation."""
    validating: float = 0.0

    def run_epoch(self) -> None:
        for trial, outcome in zip(self.left, self.fit.run_epoch(), strict=True):
            self._note(trial, outcome)
        self.trial_epochs += len(self.left)

    def _note(self, trial: int, outcome: Epoch | NonFiniteLossError) -> None:
        if isinstance(outcome, Epoch):
            self.accuracy[trial] = outcome.validation.accuracy
            self.training += outcome.train_seconds
            self.validating += outcome.seconds - outcome.train_seconds
        else:
            self.accuracy[trial] = -1.0

    def halve(self) -> None:
        best = sorted(self.left, key=lambda trial: (-self.accuracy[trial], trial))[: -(-len(self.left) // FACTOR)]
        self.fit.keep([self.left.index(trial) for trial in best])
        self.left = best

    @property
    def best(self) -> int:
        return max(self.left, key=lambda trial: self.accuracy[trial])


def _search(setting: Setting, compiled: bool) -> Measured:
    """Times a whole search, from drawing the recipes to the best model."""
    started = time.perf_counter()
    model, base = setting.recipe("fast30", epochs=setting.scale.recipe_epochs)
    recipes = drawn_recipes(setting.scale.trials, base, model.img_size, seed=0)
    train, validation, test = setting.splits()
    count = range(len(recipes))
    fit = FusedFit(model, recipes, setting.runtime(compiled), train, validation, setting.normalisation, count)
    search = Halving(fit, list(count), {})
    for epoch in range(1, base.epochs + 1):
        setting.check_time()
        search.run_epoch()
        if epoch in rungs(base.epochs):
            search.halve()
    seconds = time.perf_counter() - started
    kept = fit[search.left.index(search.best)].kept_model
    figures = (
        Figure("in all", seconds, "s"),
        Figure("of which compiling", fit.compile_seconds, "s"),
        Figure("training", search.training, "s"),
        Figure("validation", search.validating, "s"),
        Figure("trial-epochs", search.trial_epochs),
        Figure("best on validation", 100 * search.accuracy[search.best], "%"),
        Figure("on test", 100 * test_accuracy(setting, kept, test), "%"),
    )
    rule = f"{base.epochs} epochs, one in {FACTOR} goes on at {listed(rungs(base.epochs))}"
    cached = "; compiled from the cache where K was compiled before" * compiled
    warning = "; RANDOM IMAGES: the accuracies mean nothing" * setting.images.random
    return Measured(
        figures, 1, f"fast30 and drawn recipes of its shape, {rule}; best: trial {search.best}{cached}{warning}"
    )
